//! Distributed traces: `traceparent` is read and passed on, and spans are exported where
//! `SCANLOGIN_OTLP_ENDPOINT` says so. Where it does not, nothing of this costs anything.
//!
//! A login has a trace of its own, whose id and first span are derived from the login's id. So
//! nothing has to be stored, sent along or held by a waiting socket for the browser's side and the
//! phone's side, on whichever instances, to meet: both know the id. A call that brings no context
//! becomes part of that trace; a call that brings one stays in its own and links to it.

mod context;
mod export;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{HttpMessage, HttpRequest};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

pub use self::{
    context::{HEADER, TraceContext},
    export::{Exporter, Tracer, start},
};
use crate::{
    clock::Timestamp,
    journal::Ended,
    keys::LoginId,
    metrics::{Label, Route, SpanResult},
};

/// A call about a login that is traced; what `http::around` finds when it is over.
struct Joined {
    tracer: Arc<Tracer>,
    own: TraceContext,
    parent: [u8; 8],
    login: LoginId,
}

/// The trace of a call about this login: to be logged, and passed on.
pub fn join(
    tracer: Option<&Arc<Tracer>>,
    request: &HttpRequest,
    login: LoginId,
) -> Option<TraceContext> {
    let given =
        request.headers().get(HEADER).and_then(|value| TraceContext::parse(value.to_str().ok()?));
    let Some(tracer) = tracer else { return given };
    let parent = match given {
        Some(given) if given.is_sampled() => given,
        Some(given) => return Some(given),
        None if tracer.samples(login) => TraceContext::of_login(login),
        None => return None,
    };
    let own = parent.child();
    let joined = Joined { tracer: tracer.clone(), own, parent: parent.span_id, login };
    request.extensions_mut().insert(joined);
    Some(own)
}

/// The span of a request that is over, if it is traced; from when to when by the steady clock.
pub fn finish(request: &HttpRequest, route: Route, status: u16, start: Timestamp, end: Timestamp) {
    let extensions = request.extensions();
    let Some(Joined { tracer, own, parent, login }) = extensions.get::<Joined>() else { return };
    let mut span = span(*own, *parent, SpanKind::Server, tracer.by_the_wall((start, end)));
    span.name = format!("{} {}", request.method(), route.text()).into();
    span.parent_span_is_remote = true;
    span.attributes = vec![
        KeyValue::new("http.request.method", request.method().to_string()),
        KeyValue::new("http.route", route.text()),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new(LOGIN, login.log_id()),
    ];
    if status >= 500 {
        span.status = Status::error(status.to_string());
    }
    let root = TraceContext::of_login(*login);
    if root.trace_id != own.trace_id {
        span.links = links(root);
    }
    tracer.export(span);
}

/// The attribute that all spans about a login share, and the log with them.
const LOGIN: &str = "scanlogin.login";

impl Tracer {
    /// The span of a whole login, from its creation to its end.
    pub fn login(&self, ended: &Ended) {
        if !self.samples(ended.id) {
            return;
        }
        let root = TraceContext::of_login(ended.id);
        // Its times are the store's; it ends now.
        let offset = self.clock.wall().as_micros() as i64 - ended.at.as_micros() as i64;
        let at = |moment: Timestamp| moment.shifted(offset);
        let mut span = span(root, [0; 8], SpanKind::Internal, (at(ended.created), at(ended.at)));
        span.name = "login".into();
        span.attributes = vec![
            KeyValue::new(LOGIN, ended.id.log_id()),
            KeyValue::new("scanlogin.outcome", ended.outcome.text()),
            KeyValue::new("scanlogin.protocol", ended.protocol.text()),
            KeyValue::new("scanlogin.resumes", i64::from(ended.resumes)),
        ];
        let mut events = SpanEvents::default();
        for (name, moment) in [("approved", ended.approved), ("pushed", ended.pushed)] {
            events.events.extend(moment.map(|one| Event::new(name, time(at(one)), Vec::new(), 0)));
        }
        span.events = events;
        self.export(span);
    }

    /// When something was, as collectors compare it with what other machines say: by the wall clock as it
    /// stands at the end of it, and as long as the steady one says.
    fn by_the_wall(&self, (start, end): (Timestamp, Timestamp)) -> (Timestamp, Timestamp) {
        (self.clock.wall_at(start), self.clock.wall_at(end))
    }

    /// The span of a call that we made, as part of this trace; when it was by the steady clock.
    pub fn call(
        &self,
        own: TraceContext,
        parent: TraceContext,
        name: &'static str,
        took: (Timestamp, Timestamp),
        error: Option<&str>,
    ) {
        let mut span = span(own, parent.span_id, SpanKind::Client, self.by_the_wall(took));
        span.name = name.into();
        if let Some(error) = error {
            span.status = Status::error(error.to_owned());
        }
        self.export(span);
    }
}

fn span(
    own: TraceContext,
    parent: [u8; 8],
    span_kind: SpanKind,
    (start, end): (Timestamp, Timestamp),
) -> SpanData {
    SpanData {
        span_context: own.into(),
        parent_span_id: SpanId::from_bytes(parent),
        parent_span_is_remote: false,
        span_kind,
        name: "".into(),
        start_time: time(start),
        end_time: time(end.max(start)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("scanlogin").build(),
    }
}

fn links(to: TraceContext) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links.push(Link::new(to.into(), Vec::new(), 0));
    links
}

fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(at.as_micros())
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        Self::new(
            TraceId::from_bytes(context.trace_id),
            SpanId::from_bytes(context.span_id),
            TraceFlags::new(context.flags),
            false,
            TraceState::NONE,
        )
    }
}
