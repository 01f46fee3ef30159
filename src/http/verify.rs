//! The web token's calls: is it good, and let it be over (spec section 4).

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::json;

use super::client::Client;
use crate::{
    error::{ApiError, answer},
    socket::Worker,
    tokens::{WebLogin, bearer},
};

fn web_login(request: &HttpRequest, worker: &Worker) -> Result<WebLogin, ApiError> {
    let client = Client::of(request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    let header = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    bearer(header).and_then(|token| worker.issuer.verify(token)).ok_or(ApiError::Unauthenticated)
}

/// `GET /verify`
pub(super) async fn verify(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let WebLogin { user, id, expires_at } = web_login(&request, &worker)?;
    let good = worker.store.is_good(&user, id).await.map_err(|_| ApiError::StoreAway)?;
    if !good {
        return Err(ApiError::Unauthenticated);
    }
    let body = json!({
        "code": 100, "msg": "OK", "user": user, "platform": "web", "expires_at": expires_at,
    });
    Ok(answer(HttpResponse::Ok(), &body))
}

/// How long others may keep the key set, in seconds: a key that is listed this long before it signs
/// is known to everybody (docs/security.md, "Key rotation").
const KEY_SET_AGE: u32 = 300;

/// `GET /.well-known/jwks.json`: there only where web tokens are signed with a private key.
pub(super) async fn key_set(worker: web::Data<Rc<Worker>>) -> Result<HttpResponse, ApiError> {
    let set = worker.issuer.key_set().ok_or(ApiError::NoSuchPath)?;
    let cache = format!("public, max-age={KEY_SET_AGE}, must-revalidate");
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, cache)).json(set))
}

/// `POST /logout`: whatever the token was worth before, it is worth nothing after.
pub(super) async fn logout(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let WebLogin { user, id, .. } = web_login(&request, &worker)?;
    let revoked = worker.store.revoke(&user, id).await.map_err(|_| ApiError::StoreAway)?;
    tracing::info!(login = id.log_id(), revoked, "logged out");
    Ok(answer(HttpResponse::Ok(), &json!({ "code": 100, "msg": "Logged out" })))
}
