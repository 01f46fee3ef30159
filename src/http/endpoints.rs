//! Every endpoint of the public port, once: the routes and `/openapi.json` are made from this table.
//!
//! To add one: a line here, with what it takes and answers, and a label in `metrics::Route`. A route
//! that is made anywhere else fails a test, and so does an answer that is not described.

use std::time::Duration;

use actix_web::{guard, http::Method, web};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{
    CLAIM_HEADER, answers, app_links, demo, open, openapi,
    openapi::{Auth, Operation, Place, Tag, schema},
    pages, redeem, scan, script, serve_document, stream, verify, weblogin,
};
use crate::{error::ApiError, tokens::DemoUser};

/// A path and its methods.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) cors: Pages,
    pub(super) calls: Vec<Call>,
    /// Whether HEAD is answered as GET, without a body (RFC 9110, 9.3.2): wherever GET only reads.
    pub(super) head: bool,
}

/// Which pages elsewhere may call it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// None, or any: it tells them nothing.
    None,
    /// Those of listed origins.
    Listed,
    /// The same, with the browser's cookie where there is one.
    WithCookie,
    /// The same, whether there is one or not: a page that sends cookies along cannot know, and its
    /// browser refuses the answer of a service that does not expect them.
    MayHaveCookie,
}

/// What not every instance serves.
#[derive(Clone, Copy)]
pub(super) struct Offered {
    /// The demo.
    pub(super) demo: bool,
    /// The iOS apps that open the QR code's address.
    pub(super) apple: bool,
    /// The Android apps.
    pub(super) android: bool,
    /// The keys that sign web tokens.
    pub(super) key_set: bool,
    /// A cookie for a ticket.
    pub(super) ticket: bool,
    /// What judges and ends web tokens: not where a webhook makes them.
    pub(super) own_tokens: bool,
}

/// One method of a path.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) route: actix_web::Route,
    /// Asked for only where the document is made.
    pub(super) operation: Box<dyn Fn() -> Operation>,
}

impl Endpoint {
    fn at(path: &'static str) -> Self {
        Self { path, cors: Pages::None, calls: Vec::new(), head: false }
    }

    fn cors(mut self) -> Self {
        self.cors = Pages::Listed;
        self
    }

    fn cookie(mut self) -> Self {
        self.cors = Pages::WithCookie;
        self
    }

    fn maybe_cookie(mut self) -> Self {
        self.cors = Pages::MayHaveCookie;
        self
    }

    /// GET and HEAD.
    fn get(mut self, route: actix_web::Route, operation: impl Fn() -> Operation + 'static) -> Self {
        self.head = true;
        let route = route.guard(guard::Any(guard::Get()).or(guard::Head()));
        self.calls.push(Call { method: Method::GET, route, operation: Box::new(operation) });
        self
    }

    /// GET that does something: HEAD must not.
    fn get_only(
        self,
        route: actix_web::Route,
        operation: impl Fn() -> Operation + 'static,
    ) -> Self {
        self.call(Method::GET, route, operation)
    }

    fn post(self, route: actix_web::Route, operation: impl Fn() -> Operation + 'static) -> Self {
        self.call(Method::POST, route, operation)
    }

    fn delete(self, route: actix_web::Route, operation: impl Fn() -> Operation + 'static) -> Self {
        self.call(Method::DELETE, route, operation)
    }

    fn call(
        mut self,
        method: Method,
        route: actix_web::Route,
        operation: impl Fn() -> Operation + 'static,
    ) -> Self {
        let route = route.method(method.clone());
        self.calls.push(Call { method, route, operation: Box::new(operation) });
        self
    }
}

/// All of them that are offered.
pub(super) fn all(offered: Offered) -> Vec<Endpoint> {
    let mut all = vec![
        Endpoint::at("/ws").get_only(web::route().to(open), socket),
        Endpoint::at("/stream").maybe_cookie().post(web::route().to(stream::stream), || {
            admits(Operation::new(Tag::Browser, "stream", "Wait for a login over an event stream"))
                .json_body::<stream::OpenBody>()
                .serves(
                    "text/event-stream",
                    stream::UNCACHED,
                    "The socket's messages as events, then `close`",
                )
        }),
        Endpoint::at("/stream/poll").maybe_cookie().post(web::route().to(stream::poll), || {
            admits(Operation::new(
                Tag::Browser,
                "poll",
                "Wait for the next message of a login, at most 25 s",
            ))
            .json_body::<stream::OpenBody>()
            .answers::<answers::News>("What is new, if anything")
        }),
        Endpoint::at("/stream/message").cors().post(web::route().to(stream::message), || {
            called_by_page(Operation::new(
                Tag::Browser,
                "message",
                "What a browser without a socket says",
            ))
            .json_body::<stream::MessageBody>()
            .answers::<answers::Heard>("Done")
            .refused(&[
                ApiError::UnknownKey,
                ApiError::Limited(Duration::from_secs(1)),
                ApiError::StoreAway,
            ])
        }),
        Endpoint::at("/scan").cors().post(web::route().to(scan::scan), || {
            waits(decides(Operation::new(
                Tag::Phone,
                "scan",
                "Log in the browser that shows this key",
            )))
            .body::<scan::KeyBody>()
            .answers::<answers::Scanned>("Logged in, or claimed and to be confirmed")
            .refused(&[
                ApiError::NoKey,
                ApiError::Locked(Duration::from_secs(1)),
                ApiError::TooManyClaims(Duration::from_secs(1)),
                ApiError::CannotMatch,
            ])
        }),
        Endpoint::at("/scan/confirm").cors().post(web::route().to(scan::confirm), || {
            waits(decides(Operation::new(Tag::Phone, "confirm", "Confirm a claimed login")))
                .body::<scan::ConfirmBody>()
                .answers::<answers::Confirmed>("Confirmed")
                .refused(&[ApiError::NotYours, ApiError::WrongNumber { tries_left: 2 }])
        }),
        Endpoint::at("/scan/deny").cors().post(web::route().to(scan::deny), || {
            decides(Operation::new(Tag::Phone, "deny", "Decline a claimed login"))
                .body::<scan::ClaimBody>()
                .answers::<answers::Denied>("Declined; the browser is told at once")
                .refused(&[ApiError::NotYours])
        }),
        Endpoint::at("/scan/outcome").cors().get(web::route().to(scan::outcome), || {
            waits(called_by_page(Operation::new(Tag::Phone, "outcome", "What became of a scan")))
                .auth(Auth::AppToken)
                .parameter(Place::Header, CLAIM_HEADER, true, "What /scan answered", claim)
                .answers::<answers::Receipt>("The receipt")
                .refused(&[ApiError::UnknownKey, ApiError::NotYours, ApiError::Crowded])
                .refused(&[ApiError::TooManyHeld, ApiError::StoreAway])
        }),
        Endpoint::at("/weblogin")
            .cors()
            .get(web::route().to(weblogin::get), || {
                about_weblogin(Operation::new(
                    Tag::Phone,
                    "weblogin",
                    "The user's web login: since when, where",
                ))
                .answers::<answers::WebLogin>("There is one")
            })
            .delete(web::route().to(weblogin::end), || {
                about_weblogin(Operation::new(
                    Tag::Phone,
                    "end_weblogin",
                    "End the user's web login",
                ))
                .answers::<answers::LoggedOut>("Ended")
            }),
        Endpoint::at("/openapi.json").get(web::route().to(serve_document), || {
            Operation::new(Tag::Files, "openapi", "This document")
                .serves("application/json", "no-cache", "OpenAPI 3.1")
                .refused(&[ApiError::Host])
        }),
        Endpoint::at("/docs").get(web::route().to(pages::docs), || {
            Operation::new(Tag::Files, "docs", "The same for people")
                .serves("text/html", pages::DOCS_CACHE, "A page")
                .refused(&[ApiError::Host])
        }),
        Endpoint::at("/s").get(web::route().to(pages::landing_page_or_demo), || {
            Operation::new(
                Tag::Files,
                "landing",
                "What the QR code's address shows without the app",
            )
            .description("With the demo: the simulator of a phone.")
            .serves(
                "text/html",
                pages::LANDING_CACHE,
                "A page, in the language of `Accept-Language`",
            )
            .refused(&[ApiError::Host])
        }),
    ];
    all.extend(script::SERVED.iter().map(|served| {
        let describe = || {
            Operation::new(Tag::Files, served.path, "The browser's package")
                .serves(served.content_type, served.cache_control, "The file")
                .without_body(304, "The one that is known already (`If-None-Match`)")
                .refused(&[ApiError::Host])
        };
        Endpoint::at(served.path).get(script::route(served), describe)
    }));
    if offered.ticket {
        all.push(Endpoint::at("/redeem").cookie().post(web::route().to(redeem::redeem), || {
            called_by_page(Operation::new(Tag::Browser, "redeem", "Turn a ticket into the cookie"))
                .json_body::<redeem::TicketBody>()
                .answers::<answers::Verified>("The cookie is set")
                .refused(&[
                    ApiError::NoSuchPath,
                    ApiError::NoLogin,
                    ApiError::OtherBrowser,
                    ApiError::Limited(Duration::from_secs(1)),
                    ApiError::StoreAway,
                    ApiError::TokenIsNoCookie,
                ])
        }));
    }
    if offered.own_tokens {
        all.extend(web_tokens());
    }
    if offered.key_set {
        all.push(Endpoint::at("/.well-known/jwks.json").cors().get(
            web::route().to(verify::key_set),
            || {
                called_by_page(Operation::new(
                    Tag::Backend,
                    "key_set",
                    "The keys that sign web tokens",
                ))
                .serves("application/json", verify::KEY_SET_CACHE, "A JSON Web Key Set (RFC 7517)")
                .refused(&[ApiError::NoSuchPath])
            },
        ));
    }
    if offered.apple {
        let path = "/.well-known/apple-app-site-association";
        all.push(Endpoint::at(path).get(web::route().to(app_links::apple), || {
            app_links_file("apple_apps", "Which iOS apps open the QR code's address")
        }));
    }
    if offered.android {
        let path = "/.well-known/assetlinks.json";
        all.push(Endpoint::at(path).get(web::route().to(app_links::android), || {
            app_links_file("android_apps", "Which Android apps open the QR code's address")
        }));
    }
    if offered.demo {
        all.extend(demo_endpoints());
    }
    all
}

fn app_links_file(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Files, id, summary)
        .serves("application/json", app_links::CACHE, "Made from the configuration")
        .refused(&[ApiError::Host, ApiError::NoSuchPath])
}

/// What judges and ends web tokens.
fn web_tokens() -> [Endpoint; 2] {
    [
        Endpoint::at("/verify").cookie().get(web::route().to(verify::verify), || {
            called_by_page(Operation::new(Tag::Backend, "verify", "Whether a web token is good"))
                .auth(Auth::WebToken)
                .answers::<answers::Verified>("It is")
                .refused(&[ApiError::StoreAway, ApiError::NoSuchPath])
                .refused(&[ApiError::Limited(Duration::from_secs(1))])
        }),
        Endpoint::at("/logout").cookie().post(web::route().to(verify::logout), || {
            called_by_page(Operation::new(Tag::Backend, "logout", "Make a web token worth nothing"))
                .auth(Auth::WebToken)
                .answers::<answers::LoggedOut>("Logged out")
                .refused(&[ApiError::StoreAway, ApiError::NoSuchPath])
                .refused(&[ApiError::Limited(Duration::from_secs(1))])
        }),
    ]
}

/// What not every instance serves is described, too.
const EVERYTHING: Offered = Offered {
    demo: true,
    apple: true,
    android: true,
    key_set: true,
    ticket: true,
    own_tokens: true,
};

/// The document.
pub(super) fn document() -> serde_json::Value {
    openapi::document(&all(EVERYTHING))
}

/// The paths in the order of the table.
pub(super) fn paths() -> Vec<&'static str> {
    all(EVERYTHING).iter().map(|endpoint| endpoint.path).collect()
}

fn socket() -> Operation {
    Operation::new(Tag::Browser, "ws", "Open a waiting browser's WebSocket")
        .description(
            "Needs the headers of a WebSocket handshake (RFC 6455). Without a sub-protocol: the \
             plain protocol. What is said on the socket is described in the README.",
        )
        .parameter(Place::Query, "qr", false, "`svg`: the key comes drawn, too", schema::<String>)
        .parameter(
            Place::Query,
            "resume",
            false,
            "`1`: go on with an earlier login",
            schema::<String>,
        )
        .parameter(
            Place::Header,
            "Sec-WebSocket-Protocol",
            false,
            "`scanlogin.v1`: the JSON protocol",
            schema::<String>,
        )
        .without_body(101, "The socket is open")
        .refused(&[
            ApiError::Malformed("What is wrong with the handshake"),
            ApiError::NotUpgraded,
            ApiError::Crowded,
            ApiError::Host,
            ApiError::Origin,
            ApiError::UpgradeRequired,
            ApiError::Limited(Duration::from_secs(1)),
            ApiError::Full,
            ApiError::Draining,
            ApiError::StoreAway,
        ])
}

fn demo_endpoints() -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> = demo::pages()
        .map(|(path, content_type, route)| {
            Endpoint::at(path).get(route, move || {
                Operation::new(Tag::Demo, path, "A part of the demo")
                    .serves(content_type, "no-cache", "The file")
                    .refused(&[ApiError::Host, ApiError::NoSuchPath])
            })
        })
        .collect();
    all.push(Endpoint::at("/demo/users").get(web::route().to(demo::users), || {
        Operation::new(Tag::Demo, "demo_users", "The demo's users")
            .answers::<Vec<DemoUser>>("All of them")
            .refused(&[ApiError::Host, ApiError::NoSuchPath])
    }));
    all.push(Endpoint::at("/demo/app-token").post(web::route().to(demo::app_token), || {
        called_by_page(Operation::new(
            Tag::Demo,
            "demo_app_token",
            "What a real app's backend would give",
        ))
        .body::<demo::UserBody>()
        .answers::<answers::DemoToken>("An app token for a demo user")
        .refused(&[ApiError::NoSuchPath])
    }));
    all
}

/// Pages may call it, those of listed origins.
fn called_by_page(operation: Operation) -> Operation {
    operation.refused(&[ApiError::Host, ApiError::Origin])
}

/// Whoever asks gets a place among those who wait, or not.
fn admits(operation: Operation) -> Operation {
    called_by_page(operation)
        .parameter(Place::Query, "qr", false, "`svg`: the key comes drawn, too", schema::<String>)
        .refused(&[
            ApiError::Limited(Duration::from_secs(1)),
            ApiError::Crowded,
            ApiError::Full,
            ApiError::Draining,
            ApiError::StoreAway,
        ])
}

/// What the calls have in common in which a phone decides something.
fn decides(operation: Operation) -> Operation {
    called_by_page(operation).auth(Auth::AppToken).refused(&[
        ApiError::UnknownKey,
        ApiError::Conflict,
        ApiError::Limited(Duration::from_secs(1)),
        ApiError::StoreAway,
        ApiError::WebhookAway,
    ])
}

/// What both calls about a web login have in common.
fn about_weblogin(operation: Operation) -> Operation {
    called_by_page(operation).auth(Auth::AppToken).refused(&[
        ApiError::NoLogin,
        ApiError::Limited(Duration::from_secs(1)),
        ApiError::StoreAway,
    ])
}

/// Can be held open.
fn waits(operation: Operation) -> Operation {
    const TEXT: &str = "Hold the call open for so many seconds, at most 10, until the outcome is \
                        final; then `state` is in the answer";
    operation
        .parameter(Place::Query, "wait", false, TEXT, schema::<u64>)
        .refused(&[ApiError::Malformed("What is wrong with the request")])
}

fn claim(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$" })
}
