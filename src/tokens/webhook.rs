//! Tokens that another server makes: asked with each login, told of each that was never delivered.
//! What it hears and what it must answer stands in docs/webhook.md.

use std::{fmt::Write, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use reqwest::{Client, Response, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    WebToken,
    outgoing::{self, CallError},
};
use crate::{
    clock::{Clock, Timestamp},
    config::{Config, TokenKey},
    json,
    keys::{LoginId, user_hash},
    metrics::{Metrics, WebhookEvent, WebhookResult},
    trace::{self, TraceContext, Tracer},
};

/// In which our calls are signed.
const SIGNATURE: &str = "Scanlogin-Signature";
/// The same for every attempt to say the same.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Largest answer, in bytes: a token and what stands around it.
const MAX_BODY: usize = 16 * 1024;
/// Longest token, in bytes: it waits in the store, and goes to the browser as one frame.
const MAX_TOKEN: usize = 4096;
/// The longest that a token may last, in seconds (as `SCANLOGIN_TOKEN_TTL_SECONDS`).
const MAX_EXPIRES_IN: u64 = 31_536_000;

/// The server that makes our tokens.
pub struct Webhook {
    client: Client,
    url: Url,
    key: hmac::Key,
    ttl: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
    tracer: Option<Arc<Tracer>>,
}

#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    id: String,
    user: &'a str,
    platform: &'static str,
    time: u64,
}

#[derive(Deserialize)]
struct Made {
    token: String,
    expires_in: Option<u64>,
}

impl Webhook {
    /// The configured one; `None` where we make the tokens ourselves.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn new(
        config: &Config,
        metrics: Arc<Metrics>,
        clock: Clock,
        tracer: Option<Arc<Tracer>>,
    ) -> Result<Option<Self>, CallError> {
        let TokenKey::Webhook(hook) = &config.token_keys.current else { return Ok(None) };
        Ok(Some(Self {
            client: outgoing::client(&hook.url)
                .map_err(|e| CallError::Unreachable(e.to_string()))?,
            url: hook.url.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, hook.secret.expose()),
            ttl: config.token_ttl,
            metrics,
            clock,
            tracer,
        }))
    }

    /// Has a token made for `user`, whose login this is, as part of that trace. `now`: the time of tokens
    /// ([`crate::store::Store::token_time`]), from which it is told when the new one expires.
    ///
    /// # Errors
    /// [`CallError`]; unless it is [`CallError::Unreachable`], a token may have been made.
    pub async fn login(
        &self,
        id: LoginId,
        user: &str,
        now: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<WebToken, CallError> {
        let (own, asked) = (self.own(trace), self.clock.now());
        let call = async {
            let sent = self.send("login", id, user, String::new(), own).await;
            let body = outgoing::body(sent, MAX_BODY).await?;
            self.made(&body, now + self.clock.now().since(asked))
        };
        self.measured(WebhookEvent::Login, trace.zip(own), call).await
    }

    /// Says that the token for this login of `user` was never delivered. Any status of success
    /// will do.
    ///
    /// # Errors
    /// [`CallError`]: to be tried again.
    pub async fn revoked(&self, id: LoginId, user: &str) -> Result<(), CallError> {
        // Whichever instance gets to it: the login's own trace.
        let sampled = self.tracer.as_ref().is_some_and(|tracer| tracer.samples(id));
        let trace = sampled.then(|| TraceContext::of_login(id));
        let own = self.own(trace);
        let call = async {
            let sent = self.send("revoked", id, user, ".revoked".into(), own).await;
            match sent {
                Ok(answer) if answer.status().is_success() => Ok(()),
                sent => outgoing::body(sent, MAX_BODY).await.map(drop),
            }
        };
        self.measured(WebhookEvent::Revoked, trace.zip(own), call).await
    }

    /// What a call says of itself: a span of its own where we export it, else where we were called.
    fn own(&self, trace: Option<TraceContext>) -> Option<TraceContext> {
        trace.map(|trace| match &self.tracer {
            Some(_) if trace.is_sampled() => trace.child(),
            _ => trace,
        })
    }

    async fn send(
        &self,
        event: &'static str,
        id: LoginId,
        user: &str,
        key_suffix: String,
        trace: Option<TraceContext>,
    ) -> Result<Response, reqwest::Error> {
        let time = self.clock.wall().as_secs();
        let event = Event { event, id: id.to_string(), user, platform: super::PLATFORM, time };
        let body = serde_json::to_string(&event).expect("texts and a number");
        let mut call = self.client.post(self.url.clone());
        if let Some(trace) = trace {
            call = call.header(trace::HEADER, trace.to_string());
        }
        call.header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, format!("{id}.{}{key_suffix}", user_hash(user)))
            .header(SIGNATURE, self.signature(time, &body))
            .body(body)
            .send()
            .await
    }

    /// `t=<seconds>,v1=<HMAC-SHA256 of t.body, in hex>`.
    fn signature(&self, time: u64, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{time}.{body}").as_bytes());
        let mut text = format!("t={time},v1=");
        for byte in tag.as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    fn made(&self, body: &[u8], now: Timestamp) -> Result<WebToken, CallError> {
        let invalid = |what: &str| CallError::Invalid(what.into());
        let Made { token, expires_in } =
            json::object(body).map_err(|_| invalid("is not JSON with a text field 'token'"))?;
        if token.is_empty() || token.len() > MAX_TOKEN || token.contains(char::is_control) {
            return Err(invalid("has a token that is empty, over 4096 bytes or no plain text"));
        }
        let seconds = expires_in.unwrap_or(self.ttl.as_secs());
        if !(1..=MAX_EXPIRES_IN).contains(&seconds) {
            return Err(invalid("has an 'expires_in' that is not from 1 to 31536000"));
        }
        let expires_at = (now + Duration::from_secs(seconds)).as_secs();
        Ok(WebToken { token, expires_at })
    }

    async fn measured<T>(
        &self,
        event: WebhookEvent,
        trace: Option<(TraceContext, TraceContext)>,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let start: Timestamp = self.clock.now();
        let result = call.await;
        let end = self.clock.now();
        self.metrics.webhook_seconds.observe(event, end.since(start));
        if let (Some(tracer), Some((parent, own))) = (&self.tracer, trace)
            && own.is_sampled()
        {
            let error = result.as_ref().err().map(ToString::to_string);
            tracer.call(own, parent, "webhook", (start, end), error.as_deref());
        }
        let label = match &result {
            Ok(_) => WebhookResult::Ok,
            Err(CallError::Unreachable(_)) => WebhookResult::Unreachable,
            Err(CallError::NoAnswer(_)) => WebhookResult::NoAnswer,
            Err(CallError::Status(_)) => WebhookResult::Status,
            Err(CallError::Invalid(_)) => WebhookResult::Invalid,
        };
        self.metrics.webhook_requests.inc(event, label);
        result
    }
}
