//! The web token's calls: is it good, and let it be over (spec section 4).

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::json;

use super::{
    client::{Client, bearer_of},
    cookie,
};
use crate::{
    config::Deliver,
    error::{ApiError, answer},
    metrics::{TokenKind, TokenRefusal},
    socket::Worker,
    tokens::WebLogin,
};

/// How a request brought its web token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    /// In the `Authorization` header, which no page elsewhere can send.
    Bearer,
    /// In the cookie, which the browser adds by itself, whoever asks.
    Cookie,
}

/// What the request's token says; the header counts before the cookie.
async fn web_login(
    request: &HttpRequest,
    worker: &Worker,
) -> (Brought, Result<WebLogin, ApiError>) {
    let client = Client::of(request, &worker.config);
    if !request.headers().contains_key(header::AUTHORIZATION)
        && worker.config.deliver == Deliver::Ticket
        && let Some(token) = cookie::token(request)
    {
        return (Brought::Cookie, verified(&token, &client, worker).await);
    }
    let login = match bearer_of(request) {
        Ok(token) => verified(token, &client, worker).await,
        Err(why) => Err(worker.refuse_token(&client, TokenKind::Web, why)),
    };
    (Brought::Bearer, login)
}

/// The login of a token that is ours and has not expired.
async fn verified(token: &str, client: &Client, worker: &Worker) -> Result<WebLogin, ApiError> {
    let refused = |why| worker.refuse_token(client, TokenKind::Web, why);
    let signed = worker.issuer.verify(token).map_err(refused)?;
    let now = worker.store.token_time().await.map_err(|_| ApiError::StoreAway)?;
    signed.at(now).ok_or_else(|| refused(TokenRefusal::Expired))
}

/// `GET /verify`
pub(super) async fn verify(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    let WebLogin { user, id, expires_at } = web_login(&request, &worker).await.1?;
    let good = worker.store.is_good(&user, id).await.map_err(|_| ApiError::StoreAway)?;
    if !good {
        return Err(worker.refuse_token(&client, TokenKind::Web, TokenRefusal::Revoked));
    }
    let body = json!({
        "code": 100, "msg": "OK", "user": user, "platform": "web", "expires_at": expires_at,
    });
    Ok(answer(HttpResponse::Ok(), &body))
}

/// How long others may keep the key set: a key that is listed this long before it signs is known to
/// everybody (docs/security.md, "Key rotation").
pub(super) const KEY_SET_CACHE: &str = "public, max-age=300, must-revalidate";

/// `GET /.well-known/jwks.json`: there only where web tokens are signed with a private key.
pub(super) async fn key_set(worker: web::Data<Rc<Worker>>) -> Result<HttpResponse, ApiError> {
    let set = worker.issuer.key_set().ok_or(ApiError::NoSuchPath)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, KEY_SET_CACHE)).json(set))
}

/// `POST /logout`: whatever the token was worth before, it is worth nothing after.
pub(super) async fn logout(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    let (brought, login) = web_login(&request, &worker).await;
    if brought == Brought::Cookie {
        // Else a page anywhere could log its visitors out.
        client.check_origin_is_listed(&worker.config)?;
    }
    let mut response = match login {
        Ok(WebLogin { user, id, .. }) => {
            let revoked = worker.store.revoke(&user, id).await.map_err(|_| ApiError::StoreAway)?;
            tracing::info!(login = id.log_id(), revoked, "logged out");
            answer(HttpResponse::Ok(), &json!({ "code": 100, "msg": "Logged out" }))
        }
        // The cookie stays, or the token would stay good without anybody who could end it.
        Err(error @ ApiError::StoreAway) => return Err(error),
        Err(error) => error.response(),
    };
    if brought == Brought::Cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie::forget());
    }
    Ok(response)
}
