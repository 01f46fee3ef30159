//! `POST /redeem`: a ticket becomes a cookie, in the browser that asked for the login.

use std::{rc::Rc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{body, client::Client, cookie};
use crate::{
    error::{ApiError, answer},
    keys::Ticket,
    login::{Bringer, OwnerRefusal, Redeemed, TicketRefusal},
    socket::Worker,
    store::{Session, StoreError},
    tokens::{self, WebToken},
};

/// Pauses between attempts to store an acknowledgement while the store is away.
const ACKNOWLEDGE_AGAIN: Duration = Duration::from_millis(500);

#[derive(Deserialize, JsonSchema)]
pub(super) struct TicketBody {
    /// What the frame `ticket` held.
    ticket: String,
}

pub(super) async fn redeem(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::of(&request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin_is_listed(&worker.config)?;
    // A browser redeems as often as it comes back with `resume`.
    worker.limits.resumes.check(client.limit_key()).map_err(ApiError::Limited)?;
    let TicketBody { ticket } =
        body::read_json(&request, payload, "The body must have a text field 'ticket'").await?;
    // A text that is no ticket at all never existed either.
    let ticket = Ticket::parse(&ticket).map_err(|_| ApiError::NoLogin)?;
    let id = ticket.claim.id;
    // First, since a ticket may be good once.
    let now = worker.store.token_time().await.map_err(|_| ApiError::StoreAway)?;
    let by = if worker.config.binds_browsers() {
        Bringer::Browser(cookie::browser_hash(&request))
    } else {
        Bringer::Anyone
    };
    let redeemed = worker.store.redeem(&ticket, by, worker.config.collect).await;
    let redeemed = redeemed.map_err(|_| ApiError::StoreAway)?.map_err(|why| match why {
        TicketRefusal::Unknown => ApiError::NoLogin,
        TicketRefusal::OtherBrowser => ApiError::OtherBrowser,
    })?;
    let Redeemed { user, sealed, approved, facts, repeated } = redeemed;
    let WebToken { token, expires_at } = tokens::open(&sealed, &ticket.claim).map_err(|_| {
        tracing::error!(login = id.log_id(), "a sealed token cannot be opened");
        ApiError::NoLogin
    })?;
    let seconds = expires_at.saturating_sub(now.as_secs());
    let cookie = cookie::set(&token, seconds).inspect_err(|_| {
        tracing::error!(
            login = id.log_id(),
            bytes = token.len(),
            "a token is not fit for a cookie"
        );
    })?;
    if repeated {
        // Not acknowledged again: what has replaced or ended the web login since stands.
        let current = worker.store.current(&user).await.map_err(|_| ApiError::StoreAway)?;
        if current != Some(id) {
            return Err(ApiError::NoLogin);
        }
    } else {
        let session = worker.session(id, approved, facts.as_ref());
        acknowledge(&worker, &user, session).await?;
        worker.journal.redeemed(id, worker.trace(&request, id));
    }
    let body = json!({
        "code": 100, "msg": "OK", "user": user, "platform": "web", "expires_at": expires_at,
    });
    let mut response = answer(HttpResponse::Ok(), &body);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Writes down that the browser has its token. The ticket may be used up: where the store went away in
/// this very moment, the cookie is set all the same and the rest is written when it is back.
async fn acknowledge(worker: &Rc<Worker>, user: &str, session: Session) -> Result<(), ApiError> {
    let ttl = worker.config.token_ttl;
    // Of no epoch: a ticket is good whichever socket owns the login.
    match worker.store.acknowledge(0, user, &session, ttl).await {
        Ok(Ok(())) => Ok(()),
        // The record is gone, as after a restart of Redis; the web login stands.
        Ok(Err(OwnerRefusal::Over)) if is_current(worker, user, &session).await => Ok(()),
        // The user has ended all web logins since.
        Ok(Err(_)) => Err(ApiError::NoLogin),
        Err(StoreError { .. }) => {
            let (worker, user) = (worker.clone(), user.to_owned());
            let under_way = worker.background.begin();
            actix_rt::spawn(async move {
                let until = session.since + worker.config.collect;
                while worker.store.now() < until {
                    tokio::time::sleep(ACKNOWLEDGE_AGAIN).await;
                    if worker.store.acknowledge(0, &user, &session, ttl).await.is_ok() {
                        break;
                    }
                }
                drop(under_way);
            });
            Ok(())
        }
    }
}

async fn is_current(worker: &Worker, user: &str, session: &Session) -> bool {
    matches!(worker.store.current(user).await, Ok(Some(id)) if id == session.id)
}
