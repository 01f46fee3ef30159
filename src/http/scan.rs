//! The phone's calls: scan, confirm, deny, and the receipt (spec section 3).

use std::{rc::Rc, time::Duration};

use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::Method, web};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Held, approval, body,
    client::{Client, bearer_of},
    held::HeldCall,
    risk,
};
use crate::{
    config::Confirm,
    connection::AddressPermit,
    error::{ApiError, answer},
    keys::{Claim, Key},
    login::{Answer, Attempt, Ending, Facts, MatchNumber, Note, Outcome, PhoneRefusal, Then},
    metrics::{ScanResult, TokenKind},
    socket::Worker,
    store::{ConfirmDone, ScanDone},
    tokens::{AppUser, NotVerified},
};

/// The header in which the phone brings its claim.
pub const CLAIM_HEADER: &str = "Scanlogin-Claim";
/// The longest that a call is held open (spec 3.4).
const MAX_WAIT: Duration = Duration::from_secs(10);
/// What a body with a claim must be.
const CLAIM_EXPECTED: &str = "The body must have a text field 'claim'";

#[derive(Deserialize, JsonSchema)]
pub(super) struct KeyBody {
    /// What the QR code held: the key, or the whole address.
    key: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ClaimBody {
    /// What `/scan` answered.
    claim: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ConfirmBody {
    /// What `/scan` answered.
    claim: String,
    /// The two digits that the browser shows, where `/scan` said `match`.
    #[serde(default, rename = "match")]
    #[schemars(schema_with = "two_digits")]
    number: Option<Value>,
}

/// As the app is to send it; a JSON number is understood as well.
fn two_digits(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]{2}$" })
}

#[derive(Deserialize)]
struct WaitQuery {
    wait: Option<String>,
}

/// `POST /scan`
pub(super) async fn scan(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    counted(&worker, async {
        let user = phone(&request, &worker).await?;
        let KeyBody { key } =
            body::read(&request, payload, "The body must have a text field 'key'").await?;
        let receipt = wait(&request)?.map(|wait| (user.user.clone(), wait));
        let Key { id, code } = Key::parse(&key).map_err(|_| ApiError::NoKey)?;
        let claim = code.claim(id, &user.user);
        let trace = worker.trace(&request, id);
        let (mut flags, mut place) = (Vec::new(), None);
        let done = match worker.config.confirm {
            Confirm::Off => approval::scan(&worker, id, code, &claim, user.user, trace).await?,
            Confirm::Required => {
                let phone = Client::of(&request, &worker.config).ip;
                let asked = risk::ask(&worker, id, &code, &user.user, phone).await?;
                (flags, place) = (asked.flags, asked.place);
                let number = MatchNumber::random(worker.entropy).hidden(&claim);
                let then = Then::Claim(user.profile, asked.needs_number.then_some(number));
                let (code, claim) = (code.hash(), claim.hash());
                let attempt = Attempt { code, user: user.user, claim, then };
                let done = worker.store.scan(id, attempt).await;
                done.map_err(|_| ApiError::StoreAway)?.map_err(refusal)?
            }
        };
        worker.journal.scanned(id, done.answer, done.repeated, trace);
        let result = match (done.repeated, done.answer) {
            (true, _) => ScanResult::Repeated,
            (false, Answer::Approved) => ScanResult::Approved,
            (false, Answer::Claimed) => ScanResult::Claimed,
        };
        if let Some(place) = place {
            place.keep();
        }
        let mut body = scan_answer(&worker, &done, &claim, flags);
        if done.answer == Answer::Approved {
            add_state(&request, &worker, &claim, receipt, &mut body).await;
        }
        Ok((result, body))
    })
    .await
}

fn scan_answer(worker: &Worker, done: &ScanDone, claim: &Claim, flags: Vec<&'static str>) -> Value {
    let (code, msg) = match done.answer {
        Answer::Approved => (100, "Sao successfully"),
        Answer::Claimed => (101, "Confirmation needed"),
    };
    let mut body = json!({ "code": code, "msg": msg, "claim": claim.expose() });
    if let Some((facts, created)) = &done.facts {
        let Facts { ip, user_agent, origin } = facts;
        body["browser"] = json!({
            "ip": ip,
            "user_agent": user_agent,
            "browser_name": browser_name(user_agent),
            "origin": origin,
            "age_ms": worker.store.now().since(*created).as_millis() as u64,
        });
        body["flags"] = flags.into();
    }
    if done.asks_number {
        body["match"] = true.into();
    }
    body
}

/// "Firefox on Windows": what a person recognises of a user agent.
pub(super) fn browser_name(user_agent: &str) -> String {
    // The order matters: most browsers also claim to be those that come later.
    const BROWSERS: [(&str, &str); 7] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find = |list: &[(&str, &'static str)]| {
        list.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.into(),
        (None, Some(system)) => format!("Unknown browser on {system}"),
        (None, None) => "Unknown browser".into(),
    }
}

/// `POST /scan/confirm`
pub(super) async fn confirm(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    counted(&worker, async {
        let user = phone(&request, &worker).await?;
        let ConfirmBody { claim, number } = body::read(&request, payload, CLAIM_EXPECTED).await?;
        let claim = Claim::parse(&claim).map_err(|_| ApiError::UnknownKey)?;
        let number = match_number(number)?.map(|number| number.hidden(&claim));
        let receipt = wait(&request)?.map(|wait| (user.user.clone(), wait));
        let trace = worker.trace(&request, claim.id);
        let done = approval::confirm(&worker, &claim, &user.user, number, trace).await?;
        let ConfirmDone { repeated, ip } = match done {
            Ok(done) => done,
            Err(why) => return Err(refusal(why)),
        };
        worker.journal.confirmed(claim.id, repeated, trace);
        worker.limits.claims.leave(&user.user, claim.id);
        if let Some(ip) = ip.and_then(|ip| ip.parse().ok()) {
            note(&worker, &user.user, Note::Place(worker.config.history_key.place(&user.user, ip)))
                .await;
        }
        let mut body = json!({ "code": 100, "msg": "Confirmed" });
        add_state(&request, &worker, &claim, receipt, &mut body).await;
        Ok((if repeated { ScanResult::Repeated } else { ScanResult::Confirmed }, body))
    })
    .await
}

/// Adds to what is remembered of a user. A store that is away by now has done what it was asked
/// for, so the answer stands.
pub(super) async fn note(worker: &Worker, user: &str, note: Note) {
    let _ = worker.store.note(&worker.config.history_key.user(user), note).await;
}

/// The number of a confirmation: two digits, as a text or a number.
fn match_number(number: Option<Value>) -> Result<Option<MatchNumber>, ApiError> {
    let read = match number {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => MatchNumber::parse(text.trim()),
        Some(Value::Number(number)) => number.as_u64().and_then(MatchNumber::from_number),
        Some(_) => None,
    };
    read.map(Some)
        .ok_or(ApiError::Malformed("'match' must be the two digits that the browser shows"))
}

/// `POST /scan/deny`
pub(super) async fn deny(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    counted(&worker, async {
        let user = phone(&request, &worker).await?;
        let ClaimBody { claim } = body::read(&request, payload, CLAIM_EXPECTED).await?;
        let claim = Claim::parse(&claim).map_err(|_| ApiError::UnknownKey)?;
        let trace = worker.trace(&request, claim.id);
        let done = worker.store.deny(&claim, &user.user).await;
        let repeated = done.map_err(|_| ApiError::StoreAway)?.map_err(refusal)?;
        worker.limits.claims.leave(&user.user, claim.id);
        worker.journal.denied(claim.id, repeated, trace);
        let result = if repeated { ScanResult::Repeated } else { ScanResult::Denied };
        Ok((result, json!({ "code": 100, "msg": "Denied" })))
    })
    .await
}

/// `GET /scan/outcome`: the receipt.
pub(super) async fn outcome(
    request: HttpRequest,
    worker: web::Data<Rc<Worker>>,
) -> Result<HttpResponse, ApiError> {
    let user = authenticated(&request, &worker).await?;
    // Who asks by HEAD is not told the state, and so has nothing to wait for.
    let wait = wait(&request)?.filter(|_| request.method() != Method::HEAD);
    let claim = request.headers().get(CLAIM_HEADER).and_then(|value| value.to_str().ok());
    let claim = claim.ok_or(ApiError::Malformed("The header Scanlogin-Claim is missing"))?;
    let claim = Claim::parse(claim).map_err(|_| ApiError::UnknownKey)?;
    worker.trace(&request, claim.id);
    let state = watch(&request, &worker, &claim, &user.user, wait.unwrap_or_default()).await?;
    let body = json!({ "code": 100, "msg": "OK", "state": state });
    Ok(answer(HttpResponse::Ok(), &body))
}

// ---- what the calls have in common ----

/// Counts what a call came to, and makes the answer.
async fn counted(
    worker: &Worker,
    call: impl Future<Output = Result<(ScanResult, Value), ApiError>>,
) -> Result<HttpResponse, ApiError> {
    match call.await {
        Ok((result, body)) => {
            worker.metrics.scans.inc(result);
            Ok(answer(HttpResponse::Ok(), &body))
        }
        Err(error) => {
            worker.metrics.scans.inc(match &error {
                ApiError::UnknownKey | ApiError::NoKey | ApiError::NoLogin => ScanResult::Unknown,
                ApiError::Conflict => ScanResult::Conflict,
                ApiError::Unauthenticated(_) => ScanResult::Unauthenticated,
                ApiError::NotYours
                | ApiError::OtherBrowser
                | ApiError::CannotMatch
                | ApiError::Origin
                | ApiError::Host => ScanResult::Forbidden,
                ApiError::WrongNumber { .. } => ScanResult::Mismatch,
                ApiError::Limited(_) | ApiError::Crowded | ApiError::TooManyHeld => {
                    ScanResult::Limited
                }
                ApiError::Locked(_) => ScanResult::Locked,
                ApiError::TooManyClaims(_) => ScanResult::Crowded,
                ApiError::StoreAway
                | ApiError::Full
                | ApiError::Draining
                | ApiError::TokenIsNoCookie => ScanResult::Store,
                ApiError::KeysAway | ApiError::WebhookAway => ScanResult::Upstream,
                ApiError::Malformed(_)
                | ApiError::TooLarge
                | ApiError::HeadTooLarge
                | ApiError::SlowHead
                | ApiError::NotUpgraded
                | ApiError::UnsupportedType
                | ApiError::NotJson
                | ApiError::UpgradeRequired
                | ApiError::NoSuchPath
                | ApiError::NoSuchMethod => ScanResult::Malformed,
            });
            Err(error)
        }
    }
}

async fn authenticated(request: &HttpRequest, worker: &Worker) -> Result<AppUser, ApiError> {
    let client = Client::of(request, &worker.config);
    client.check_host(&worker.config)?;
    client.check_origin(&worker.config)?;
    let refused = |why| worker.refuse_token(&client, TokenKind::App, why);
    let token = bearer_of(request).map_err(refused)?;
    worker.app_auth.verify(token).await.map_err(|why| match why {
        NotVerified::Refused(why) => refused(why),
        NotVerified::KeysAway => ApiError::KeysAway,
        NotVerified::TooManyFetches(wait) => worker.limits.count_forged(&client, wait),
    })
}

/// An authenticated phone that has not called too often.
pub(super) async fn phone(request: &HttpRequest, worker: &Worker) -> Result<AppUser, ApiError> {
    let user = authenticated(request, worker).await?;
    worker.limits.scans.check(user.user.clone()).map_err(ApiError::Limited)?;
    Ok(user)
}

pub(super) fn refusal(why: PhoneRefusal) -> ApiError {
    match why {
        PhoneRefusal::Unknown => ApiError::UnknownKey,
        PhoneRefusal::Conflict => ApiError::Conflict,
        PhoneRefusal::NotYours => ApiError::NotYours,
        PhoneRefusal::WrongNumber { tries_left } => ApiError::WrongNumber { tries_left },
        PhoneRefusal::CannotMatch => ApiError::CannotMatch,
    }
}

/// `?wait=<seconds>`, clamped; `None` where it is not asked for.
fn wait(request: &HttpRequest) -> Result<Option<Duration>, ApiError> {
    let malformed = ApiError::Malformed("'wait' must be a number of seconds");
    let query: WaitQuery =
        serde_urlencoded::from_str(request.query_string()).map_err(|_| malformed.clone())?;
    let Some(text) = query.wait else { return Ok(None) };
    // More than fits a number is clamped like any other.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().or(is_number.then_some(u64::MAX)).ok_or(malformed)?;
    Ok(Some(Duration::from_secs(seconds).min(MAX_WAIT)))
}

/// Adds the outcome to an answer, where the phone asked for it: as it stands where the call cannot be
/// held open. What was asked for has been done, so neither a bound nor a store that is away by now is a
/// reason to say that it was not.
async fn add_state(
    request: &HttpRequest,
    worker: &Worker,
    claim: &Claim,
    receipt: Option<(String, Duration)>,
    body: &mut Value,
) {
    let Some((user, wait)) = receipt else { return };
    let place = hold(request, worker, &user, wait);
    let wait = if place.is_ok() { wait } else { Duration::ZERO };
    if let Ok(Some((outcome, _))) = settled(request, worker, claim, &user, wait).await {
        body["state"] = state_name(outcome).into();
    }
}

async fn watch(
    request: &HttpRequest,
    worker: &Worker,
    claim: &Claim,
    user: &str,
    wait: Duration,
) -> Result<&'static str, ApiError> {
    let _place = hold(request, worker, user, wait)?;
    let found = settled(request, worker, claim, user, wait).await?;
    let (outcome, owner) = found.ok_or(ApiError::UnknownKey)?;
    if owner != user {
        return Err(ApiError::NotYours);
    }
    Ok(state_name(outcome))
}

/// What a call that is held open takes up.
struct HeldPlace {
    /// Behind a proxy, where its connection says nothing of its client.
    _of_address: Option<AddressPermit>,
    _of_user: HeldCall,
}

/// Counts a call that is to be held open; `Ok(None)` where it is not to be.
fn hold(
    request: &HttpRequest,
    worker: &Worker,
    user: &str,
    wait: Duration,
) -> Result<Option<HeldPlace>, ApiError> {
    if wait.is_zero() {
        return Ok(None);
    }
    let Client { peer, ip, .. } = Client::of(request, &worker.config);
    let _of_user = worker.limits.held.hold(user).ok_or(ApiError::TooManyHeld)?;
    let permit = worker.connections.enter_behind_proxy(peer, ip);
    let _of_address = permit.map_err(|_| ApiError::Crowded)?;
    Ok(Some(HeldPlace { _of_address, _of_user }))
}

/// The outcome, as soon as it is final or the time is over.
async fn settled(
    request: &HttpRequest,
    worker: &Worker,
    claim: &Claim,
    user: &str,
    wait: Duration,
) -> Result<Option<(Outcome, String)>, ApiError> {
    let start = worker.clock.now();
    let found = worker.store.outcome(claim).await.map_err(|_| ApiError::StoreAway)?;
    let can_change = |found: &Option<(Outcome, String)>| {
        matches!(found, Some((outcome, owner))
            if !matches!(outcome, Outcome::Ended(_)) && owner == user)
    };
    if wait.is_zero() || !can_change(&found) {
        return Ok(found);
    }
    loop {
        let login = worker.looks.next(&worker.store, claim.id).await;
        let login = login.map_err(|_| ApiError::StoreAway)?;
        let now = worker.store.now();
        let is_open = login.is_some_and(|login| {
            let is_claimed = login.scan().is_some_and(|scan| scan.claim.matches(&claim.hash()));
            is_claimed && !matches!(login.outcome(false, now), Outcome::Ended(_))
        });
        let waited = worker.clock.now().since(start);
        if !is_open || waited >= wait {
            request.extensions_mut().insert(Held(waited));
            // The record may say approved where the user's entry knows better.
            return worker.store.outcome(claim).await.map_err(|_| ApiError::StoreAway);
        }
    }
}

fn state_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Waiting => "waiting",
        Outcome::Scanned => "scanned",
        Outcome::Approved => "approved",
        Outcome::Ended(Ending::Delivered | Ending::Revoked) => "delivered",
        Outcome::Ended(Ending::Undelivered) => "undelivered",
        Outcome::Ended(Ending::Denied) => "denied",
        Outcome::Ended(Ending::Expired) => "expired",
        Outcome::Ended(Ending::Cancelled) => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_as_people_know_them() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/126.0.0.0 Safari/537.36";
        let firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 \
                       Firefox/127.0";
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
        for (agent, name) in [
            (chrome, "Chrome on Linux"),
            (firefox, "Firefox on Windows"),
            (safari, "Safari on iPhone"),
            ("curl/8", "Unknown browser"),
            ("", "Unknown browser"),
        ] {
            assert_eq!(browser_name(agent), name);
        }
    }
}
