//! A user's web login, as the user's app sees and ends it.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::scan::{browser_name, phone};
use crate::{
    error::{ApiError, answer},
    login::Facts,
    socket::Worker,
    store::{Entry, Session},
};

/// `GET /weblogin`: since when, which browser, from where.
pub(super) async fn get(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let user = phone(&request, &worker).await?.user;
    let entry = worker.store.entry(&user).await.map_err(|_| ApiError::StoreAway)?;
    let Entry::Session(Session { id, since, browser }) = entry else {
        return Err(ApiError::NoLogin);
    };
    let mut body = json!({ "code": 100, "msg": "OK", "since": since.as_secs() });
    // Not where they were sealed with another secret.
    if let Some(Facts { ip, user_agent, origin }) = worker.facts.open(&browser, id) {
        body["browser"] = json!({
            "ip": ip,
            "user_agent": user_agent,
            "browser_name": browser_name(&user_agent),
            "origin": origin,
        });
    }
    Ok(answer(HttpResponse::Ok(), &body))
}

/// `DELETE /weblogin`: over, and whatever else is approved by now with it.
pub(super) async fn end(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let user = phone(&request, &worker).await?.user;
    let ended = match worker.webhook {
        Some(_) => worker.store.end_session_and_tell(&user).await,
        None => worker.store.end_session(&user).await,
    };
    let ended = ended.map_err(|_| ApiError::StoreAway)?;
    let id = ended.ok_or(ApiError::NoLogin)?;
    tracing::info!(login = id.log_id(), "ended by its user");
    Ok(answer(HttpResponse::Ok(), &json!({ "code": 100, "msg": "Logged out" })))
}
