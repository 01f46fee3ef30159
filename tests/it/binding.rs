//! Tickets that belong to the browser which asked for the login.

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::helpers::{
    Browser, Phone, RedisServer, Service, Settings, both, eventually,
    phone::{Answer, answer, logout, verify},
};

/// Where the pages of these tests come from.
const PAGE: &str = "https://www.example.com";
const NAME: &str = "__Host-scanlogin-browser";

fn by_ticket(settings: Settings) -> Settings {
    settings.with("DELIVER", "ticket").with("ALLOWED_ORIGINS", PAGE)
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

/// On which line a login is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Socket,
    Stream,
    Poll,
}

const LINES: [Line; 3] = [Line::Socket, Line::Stream, Line::Poll];

/// A login as its page has it.
struct Login {
    /// The first message.
    key: Value,
    /// What `Set-Cookie` said; empty where it was not there.
    set: String,
    socket: Option<Browser>,
    /// Keeps the line open.
    _stream: Option<reqwest::Response>,
}

fn with_cookie(request: RequestBuilder, cookie: Option<&str>) -> RequestBuilder {
    match cookie {
        Some(cookie) => request.header("Cookie", cookie),
        None => request,
    }
}

/// Asks for a login, with this `Cookie`; or goes on with one, by its secret.
async fn ask(at: &Service, line: Line, cookie: Option<&str>, resume: Option<&str>) -> Login {
    let body = resume.map_or(json!({}), |resume| json!({ "resume": resume }));
    let post = |path: &str| {
        let request = Client::new().post(format!("http://{}{path}", at.address)).json(&body);
        with_cookie(request.header("Origin", PAGE), cookie)
    };
    match line {
        Line::Socket => {
            let cookie = cookie.map(|cookie| ("Cookie", cookie));
            let query = if resume.is_some() { "?resume=1" } else { "" };
            let (mut socket, head) = Browser::open_with_head(at.address, query, cookie).await;
            if let Some(resume) = resume {
                socket.say(&json!({ "type": "resume", "resume": resume })).await;
            }
            let key = socket.message().await;
            let set = head.get("set-cookie").map(|set| set.to_str().unwrap().to_owned());
            Login { key, set: set.unwrap_or_default(), socket: Some(socket), _stream: None }
        }
        Line::Stream => {
            let mut stream = post("/stream").send().await.unwrap();
            assert_eq!(stream.status(), 200);
            let set = stream.headers().get("set-cookie");
            let set = set.map(|set| set.to_str().unwrap().to_owned()).unwrap_or_default();
            assert_eq!(stream.headers()["cache-control"], "no-store, no-transform");
            let mut heard = String::new();
            while !heard.ends_with("\n\n") {
                let chunk = stream.chunk().await.unwrap().expect("a frame");
                heard.push_str(str::from_utf8(&chunk).unwrap());
            }
            let key = heard.strip_prefix("data: ").expect("an event");
            let key = serde_json::from_str(key).unwrap();
            Login { key, set, socket: None, _stream: Some(stream) }
        }
        Line::Poll => {
            let answer = answer(post("/stream/poll")).await;
            assert_eq!(answer.codes(), (200, 100));
            let set = answer.header("set-cookie").to_owned();
            Login { key: answer.body["frames"][0].clone(), set, socket: None, _stream: None }
        }
    }
}

/// `name=value` of a `Set-Cookie`, as the browser sends it.
fn pair(set: &str) -> String {
    let pair = set.split("; ").next().unwrap_or_default();
    assert!(pair.starts_with(&format!("{NAME}=")), "{set}");
    pair.to_owned()
}

async fn redeem(at: &Service, ticket: &str, cookie: Option<&str>) -> Answer {
    let request = Client::new().post(format!("http://{}/redeem", at.address));
    let request = request.header("Origin", PAGE).json(&json!({ "ticket": ticket }));
    answer(with_cookie(request, cookie)).await
}

/// alice scans, and the page is given its ticket.
async fn ticket(at: &Service, login: &Login) -> String {
    let phone = Phone::of(at.address, "alice");
    assert_eq!(phone.scan(text(&login.key, "key")).await.codes(), (200, 100));
    let resume = text(&login.key, "resume");
    let body = json!({ "resume": resume, "seen": { "type": "key", "seq": login.key["seq"] } });
    // Over a line of its own, which anybody may have who has the secret.
    let request = Client::new().post(format!("http://{}/stream/poll", at.address)).json(&body);
    let news = answer(request.header("Origin", PAGE)).await;
    text(&news.body["frames"][0], "ticket").to_owned()
}

#[tokio::test]
async fn a_ticket_is_good_only_in_the_browser_that_asked_for_the_login() {
    for (service, redis) in both(by_ticket).await {
        for line in LINES {
            let login = ask(&service, line, None, None).await;
            for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
                let has = login.set.split("; ").any(|one| one == attribute);
                assert!(has, "{line:?} {attribute}: {}", login.set);
            }
            assert_eq!(login.key["new_browser"], true);
            let own = pair(&login.set);
            let ticket = ticket(&service, &login).await;
            let other = pair(&ask(&service, line, None, None).await.set);
            let cut = &own[..own.len() - 1];
            let (quoted, renamed) = (own.replace('=', "=\""), own.replace("__Host-", ""));
            for stranger in [None, Some(&other[..]), Some(cut), Some(&quoted), Some(&renamed)] {
                let refused = redeem(&service, &ticket, stranger).await;
                assert_eq!(refused.codes(), (403, -7), "{line:?} {stranger:?}");
                assert_eq!(refused.header("set-cookie"), "");
            }
            // Nothing of this has used it up.
            let cookies = format!("theme=dark; {own}; __Host-scanlogin=old");
            let redeemed = redeem(&service, &ticket, Some(&cookies)).await;
            assert_eq!((redeemed.codes(), redeemed.text("user")), ((200, 100), "alice"));
            if let Some(redis) = &redis {
                let dump = redis.dump().await;
                let value = own.split_once('=').unwrap().1;
                let contains = |part: &[u8]| dump.windows(part.len()).any(|bytes| bytes == part);
                assert!(!contains(value.as_bytes()), "a cookie stands in Redis");
            }
        }
    }
}

#[tokio::test]
async fn a_browser_has_one_cookie_for_all_its_logins_and_tabs() {
    let service = Service::start(by_ticket(Settings::embedded())).await;
    let own = pair(&ask(&service, Line::Socket, None, None).await.set);
    for line in LINES {
        let cookies = format!("a=b; {own}");
        let login = ask(&service, line, Some(&cookies), None).await;
        assert_eq!((&login.set[..], &login.key["new_browser"]), ("", &Value::Null), "{line:?}");
        let ticket = ticket(&service, &login).await;
        assert_eq!(redeem(&service, &ticket, Some(&own)).await.codes(), (200, 100));
        // What is no cookie of ours is as good as none.
        let cut = &own[..own.len() - 1];
        let login = ask(&service, line, Some(cut), None).await;
        assert_ne!(pair(&login.set), own);
        // And who comes back is given none.
        let again = ask(&service, line, None, Some(text(&login.key, "resume"))).await;
        assert_eq!((&again.set[..], &again.key["new_browser"]), ("", &Value::Null));
    }
}

/// The token that the web login's cookie holds.
fn token(answer: &Answer) -> String {
    let set = answer.header("set-cookie");
    let value = set.strip_prefix("__Host-scanlogin=").expect("our cookie");
    value.split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_lost_answer_costs_a_reload_and_no_scan() {
    for (service, _redis) in both(by_ticket).await {
        let login = ask(&service, Line::Socket, None, None).await;
        let own = pair(&login.set);
        let again = async |ticket: &str| redeem(&service, ticket, Some(&own)).await;
        let first_ticket = ticket(&service, &login).await;
        let first = again(&first_ticket).await;
        let second = again(&first_ticket).await;
        assert_eq!((first.codes(), second.codes()), ((200, 100), (200, 100)));
        assert_eq!(first.body, second.body);
        assert_eq!(token(&first), token(&second), "the same web login");
        assert_eq!(verify(service.address, &token(&second)).await.status, 200);
        let stranger = redeem(&service, &first_ticket, None).await;
        assert_eq!(stranger.codes(), (403, -7), "its browser's still");

        // One that has taken its place, or a log-out, stands.
        let login = ask(&service, Line::Socket, Some(&own), None).await;
        let newer_ticket = ticket(&service, &login).await;
        let newer = again(&newer_ticket).await;
        assert_eq!(newer.codes(), (200, 100));
        assert_eq!(again(&first_ticket).await.codes(), (404, -1), "replaced");
        assert_eq!(verify(service.address, &token(&newer)).await.status, 200);
        assert_eq!(logout(service.address, &token(&newer)).await.status, 200);
        assert_eq!(again(&newer_ticket).await.codes(), (404, -1), "logged out");
        assert_eq!(verify(service.address, &token(&newer)).await.status, 401);
        let delivered = "scanlogin_logins_total{outcome=\"delivered\"}";
        eventually("each is counted once", || async {
            (service.metric(delivered).await == 2.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_ticket_is_good_again_for_a_while_and_no_longer() {
    for (service, _redis) in both(|settings| by_ticket(settings).with("RESUME_SECONDS", "2")).await
    {
        let login = ask(&service, Line::Socket, None, None).await;
        let own = pair(&login.set);
        let ticket = ticket(&service, &login).await;
        let first = redeem(&service, &ticket, Some(&own)).await;
        assert_eq!(first.codes(), (200, 100));
        eventually("its time is over", || async {
            let again = redeem(&service, &ticket, Some(&own)).await;
            (again.codes() == (404, -1)).then_some(())
        })
        .await;
        assert_eq!(verify(service.address, &token(&first)).await.status, 200, "it goes on");
    }
}

#[tokio::test]
async fn of_tabs_that_ask_at_once_each_logs_in_with_the_cookie_that_is_left() {
    let redis = RedisServer::start().await;
    let a = Service::start(by_ticket(Settings::redis(&redis))).await;
    let b = Service::start(by_ticket(Settings::redis(&redis))).await;
    for line in LINES {
        let first = ask(&a, line, None, None).await;
        let second = ask(&b, line, None, None).await;
        // The browser has kept the one that came last.
        let (lost, kept) = (pair(&first.set), pair(&second.set));
        assert_ne!(lost, kept);
        // The first tab comes back once, as `new_browser` asks it to; at whichever instance.
        let back = ask(&b, line, Some(&kept), Some(text(&first.key, "resume"))).await;
        assert_eq!(back.key["key"], first.key["key"], "the same code");
        for login in [&back, &second] {
            let ticket = ticket(&a, login).await;
            assert_eq!(redeem(&a, &ticket, Some(&lost)).await.codes(), (403, -7));
            assert_eq!(redeem(&b, &ticket, Some(&kept)).await.codes(), (200, 100), "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_thief_of_the_resume_secret_has_a_ticket_that_is_good_for_nothing() {
    for (service, _redis) in both(|settings| by_ticket(settings).with("CONFIRM", "required")).await
    {
        let login = ask(&service, Line::Socket, None, None).await;
        let own = pair(&login.set);
        let thiefs = pair(&ask(&service, Line::Socket, None, None).await.set);
        let phone = Phone::of(service.address, "alice");
        let scanned = phone.scan(text(&login.key, "key")).await;
        let claim = json!({ "claim": scanned.text("claim") });
        // Takes it over once it is scanned: from then on it is decided where the token goes.
        let resume = Some(text(&login.key, "resume"));
        let stolen = ask(&service, Line::Socket, Some(&thiefs), resume).await;
        assert_eq!(stolen.key["type"], "scanned");
        assert_eq!(phone.post("/scan/confirm", &claim).await.codes(), (200, 100));
        let message = stolen.socket.unwrap().message_of("ticket").await;
        let ticket = text(&message, "ticket");
        assert_eq!(redeem(&service, ticket, Some(&thiefs)).await.codes(), (403, -7));
        assert_eq!(redeem(&service, ticket, Some(&own)).await.codes(), (200, 100));
    }
}

#[tokio::test]
async fn without_binding_there_is_no_cookie_and_a_ticket_is_good_once_anywhere() {
    let redis = RedisServer::start().await;
    let off = |settings| by_ticket(settings).with("TICKET_BINDING", "off");
    let unbound = Service::start(off(Settings::redis(&redis))).await;
    let bound = Service::start(by_ticket(Settings::redis(&redis))).await;
    let tokens = Service::start(Settings::redis(&redis).with("TICKET_BINDING", "on")).await;
    for line in LINES {
        // In a rolling update both are there: what one began the other ends, and an instance that looks
        // at no browser gives each ticket once.
        let login = ask(&unbound, line, None, None).await;
        assert_eq!((&login.set[..], &login.key["new_browser"]), ("", &Value::Null));
        let of_none = ticket(&bound, &login).await;
        assert_eq!(redeem(&bound, &of_none, None).await.codes(), (200, 100), "{line:?}");
        let login = ask(&bound, line, None, None).await;
        let of_one = ticket(&unbound, &login).await;
        assert_eq!(redeem(&unbound, &of_one, None).await.codes(), (200, 100), "{line:?}");
        for (at, ticket) in [(&unbound, &of_none), (&bound, &of_none), (&unbound, &of_one)] {
            assert_eq!(redeem(at, ticket, None).await.codes(), (404, -1), "{line:?}");
        }
    }
    // Where tokens are delivered, nothing is set and nothing kept.
    let before = redis.keys().await;
    let login = ask(&tokens, Line::Socket, None, None).await;
    assert_eq!((&login.set[..], &login.key["new_browser"]), ("", &Value::Null));
    let new = redis.keys().await.into_iter().find(|key| !before.contains(key)).expect("a record");
    let record: Vec<u8> = redis.command(&["GET", &new]).await;
    // Four codes of 16 bytes, and no mark behind them.
    assert!(!record.windows(16).any(|bytes| bytes == [0; 16]), "{record:?}");
    assert_eq!(record[0], 0x9c, "twelve fields");
    let login = ask(&bound, Line::Socket, None, None).await;
    let marked = async || {
        for key in redis.keys().await.into_iter().filter(|key| !before.contains(key) && *key != new)
        {
            let record: Vec<u8> = redis.command(&["GET", &key]).await;
            if record.windows(16).any(|bytes| bytes == [0; 16]) {
                return record[0];
            }
        }
        panic!("no record with a mark")
    };
    assert_eq!(marked().await, 0x9c, "twelve fields, as an older instance expects");
    drop(login);
}

#[tokio::test]
async fn who_is_refused_is_given_no_cookie() {
    let service = Service::start(by_ticket(Settings::embedded()).with("MAX_WAITING", "1")).await;
    let evil = [("Origin", "https://evil.example")];
    let json = Some("scanlogin.v1");
    let refused = Browser::open(service.address, "", json, &evil).await.err().expect("refused");
    let _one = ask(&service, Line::Socket, None, None).await;
    let full = Browser::open(service.address, "", json, &[("Origin", PAGE)]).await;
    let full = full.err().expect("refused");
    assert_eq!((refused.status, full.status), (403, 503));
    for refused in [refused, full] {
        assert!(refused.headers.iter().all(|(name, _)| name != "set-cookie"));
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_send_cookies_where_a_login_is_asked_for() {
    for settings in [by_ticket(Settings::embedded()), Settings::embedded()] {
        let service = Service::start(settings.with("ALLOWED_ORIGINS", PAGE)).await;
        for path in ["/stream", "/stream/poll"] {
            for (origin, allowed) in [(PAGE, "true"), ("https://evil.example", "")] {
                let asked = Client::new()
                    .request(reqwest::Method::OPTIONS, format!("http://{}{path}", service.address))
                    .header("Origin", origin)
                    .header("Access-Control-Request-Method", "POST")
                    .header("Access-Control-Request-Headers", "content-type")
                    .send()
                    .await
                    .unwrap();
                let header =
                    |name| asked.headers().get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(header("access-control-allow-credentials"), allowed, "{path} {origin}");
                let named = if allowed.is_empty() { "" } else { PAGE };
                assert_eq!(header("access-control-allow-origin"), named, "{path} {origin}");
            }
        }
    }
}
