//! Every metric of the service, declared once (spec section 7). The text beside a name is its HELP.
//!
//! Label values come from enums, so their sets are closed, and every series exists at 0 from the
//! start: a rate over a series that appears late would miss its first events.

mod labels;
mod lines;
mod threads;

use std::{marker::PhantomData, time::Duration};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
    process_collector::ProcessCollector,
};

pub use self::{
    labels::{
        ConnectionEnd, ConnectionState, CutReason, KeySetResult, Label, LoginOutcome,
        NotificationResult, Port, ProtocolLabel, RefusedReason, ResumeResult, ResyncReason, Route,
        ScanResult, SpanResult, Status, StoreErrorKind, StoreOperation, TokenKind, TokenRefusal,
        WebhookEvent, WebhookResult,
    },
    lines::Lines,
    threads::{Thread, Threads},
};

/// A counter per value of a label.
pub struct CounterBy<L> {
    children: Vec<IntCounter>,
    label: PhantomData<L>,
}

impl<L: Label> CounterBy<L> {
    fn new(registry: &Registry, name: &str, help: &str, label: &str) -> Self {
        let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        let children = L::ALL.iter().map(|value| family.with_label_values(&[value.text()]));
        Self { children: children.collect(), label: PhantomData }
    }

    /// Counts one.
    pub fn inc(&self, label: L) {
        self.children[label.index()].inc();
    }

    /// Counts so many.
    pub fn add(&self, label: L, count: u64) {
        self.children[label.index()].inc_by(count);
    }

    /// What was counted.
    pub fn get(&self, label: L) -> u64 {
        self.children[label.index()].get()
    }
}

/// A counter per pair of values.
pub struct CounterByTwo<A, B> {
    children: Vec<IntCounter>,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label> CounterByTwo<A, B> {
    fn new(registry: &Registry, name: &str, help: &str, labels: [&str; 2]) -> Self {
        let family = register(registry, IntCounterVec::new(Opts::new(name, help), &labels));
        let pairs = A::ALL.iter().flat_map(|a| B::ALL.iter().map(move |b| [a.text(), b.text()]));
        let children = pairs.map(|pair| family.with_label_values(&pair)).collect();
        Self { children, labels: PhantomData }
    }

    /// Counts one.
    pub fn inc(&self, a: A, b: B) {
        self.children[a.index() * B::ALL.len() + b.index()].inc();
    }
}

/// A gauge per pair of values.
pub struct GaugeByTwo<A, B> {
    children: Vec<IntGauge>,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label> GaugeByTwo<A, B> {
    fn new(registry: &Registry, name: &str, help: &str, labels: [&str; 2]) -> Self {
        let family = register(registry, IntGaugeVec::new(Opts::new(name, help), &labels));
        let pairs = A::ALL.iter().flat_map(|a| B::ALL.iter().map(move |b| [a.text(), b.text()]));
        let children = pairs.map(|pair| family.with_label_values(&pair)).collect();
        Self { children, labels: PhantomData }
    }

    /// So many more, or fewer.
    pub fn add(&self, a: A, b: B, by: i64) {
        self.children[a.index() * B::ALL.len() + b.index()].add(by);
    }
}

/// A histogram of seconds per value of a label.
pub struct HistogramBy<L> {
    children: Vec<Histogram>,
    label: PhantomData<L>,
}

impl<L: Label> HistogramBy<L> {
    fn new(registry: &Registry, name: &str, help: &str, label: &str, buckets: &[f64]) -> Self {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = register(registry, HistogramVec::new(opts, &[label]));
        let children = L::ALL.iter().map(|value| family.with_label_values(&[value.text()]));
        Self { children: children.collect(), label: PhantomData }
    }

    /// Records a duration.
    pub fn observe(&self, label: L, duration: Duration) {
        self.children[label.index()].observe(duration.as_secs_f64());
    }
}

/// Store calls and HTTP requests: a quarter of a millisecond to 5 s, where our own timeouts end.
const FAST: &[f64] =
    &[0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// From a scan to its push: up to 10 s, so that a resync's rescue still shows.
const PUSH: &[f64] = &[
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// How long people wait.
const WAIT: &[f64] = &[1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0];

/// All metrics of one instance.
#[expect(missing_docs, reason = "each one's HELP in `new` says what it is")]
pub struct Metrics {
    registry: Registry,
    pub connections: GaugeByTwo<Port, ConnectionState>,
    pub connections_ended: CounterByTwo<Port, ConnectionEnd>,
    pub waiting_sockets: IntGauge,
    pub max_waiting_sockets: IntGauge,
    pub detached_logins: IntGauge,
    pub detached_ended: IntCounter,
    pub sockets_opened: CounterBy<ProtocolLabel>,
    pub sockets_refused: CounterBy<RefusedReason>,
    pub logins: CounterBy<LoginOutcome>,
    pub scans: CounterBy<ScanResult>,
    pub open_to_key: Histogram,
    pub scan_to_push: Histogram,
    pub wait: Histogram,
    pub resumes: CounterBy<ResumeResult>,
    pub notifications: CounterBy<NotificationResult>,
    pub feed_connected: Lines,
    pub feed_resyncs: CounterBy<ResyncReason>,
    pub feed_probe: Histogram,
    pub feed_rescued: IntCounter,
    pub store_seconds: HistogramBy<StoreOperation>,
    pub store_errors: CounterByTwo<StoreOperation, StoreErrorKind>,
    pub store_clock_offset: Gauge,
    pub registry_mailbox: IntGauge,
    pub threads: Threads,
    pub http_requests: CounterByTwo<Route, Status>,
    pub http_request_seconds: HistogramBy<Route>,
    pub tokens_refused: CounterByTwo<TokenKind, TokenRefusal>,
    pub key_set_refreshes: CounterBy<KeySetResult>,
    pub key_set_refreshed: IntGauge,
    pub webhook_requests: CounterByTwo<WebhookEvent, WebhookResult>,
    pub webhook_seconds: HistogramBy<WebhookEvent>,
    pub webhook_queue: IntGauge,
    pub slow_clients: IntCounter,
    pub log_lines_dropped: IntCounter,
    pub log_lines_sampled_out: IntCounter,
    pub trace_spans: CounterBy<SpanResult>,
    pub sockets_cut: CounterBy<CutReason>,
    pub draining: IntGauge,
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and labels are literals of this file");
    registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

impl Metrics {
    /// All metrics, at 0.
    pub fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help));
        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help));
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(opts))
        };
        // Fails only where there is no /proc to read.
        let _ = registry.register(Box::new(ProcessCollector::for_self()));
        let build = Opts::new("scanlogin_build_info", "Always 1; the version is in the label")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, Gauge::with_opts(build)).set(1.0);
        Self {
            connections: GaugeByTwo::new(
                &registry,
                "scanlogin_connections",
                "Open TCP connections by what they are at",
                ["port", "state"],
            ),
            connections_ended: CounterByTwo::new(
                &registry,
                "scanlogin_connections_ended_total",
                "TCP connections that a bound on time, size or number ended",
                ["port", "reason"],
            ),
            waiting_sockets: gauge("scanlogin_waiting_sockets", "Open WebSockets"),
            max_waiting_sockets: gauge(
                "scanlogin_max_waiting_sockets",
                "Most WebSockets that this instance takes: SCANLOGIN_MAX_WAITING, or what its open \
                 files allow",
            ),
            detached_logins: gauge(
                "scanlogin_detached_logins",
                "Logins without a connection whose browser may come back: at most \
                 SCANLOGIN_MAX_WAITING, but for those that somebody has scanned",
            ),
            detached_ended: counter(
                "scanlogin_detached_ended_total",
                "Logins without a connection that nobody had scanned and that ended because others \
                 needed their places",
            ),
            sockets_opened: CounterBy::new(
                &registry,
                "scanlogin_sockets_opened_total",
                "WebSockets that were upgraded",
                "protocol",
            ),
            sockets_refused: CounterBy::new(
                &registry,
                "scanlogin_sockets_refused_total",
                "WebSockets that were refused before the upgrade",
                "reason",
            ),
            logins: CounterBy::new(
                &registry,
                "scanlogin_logins_total",
                "Logins that ended, counted once by the instance that last held the socket",
                "outcome",
            ),
            scans: CounterBy::new(
                &registry,
                "scanlogin_scans_total",
                "Calls of phones that scan, confirm or deny",
                "result",
            ),
            open_to_key: histogram(
                "scanlogin_open_to_key_seconds",
                "From a WebSocket request's head to its key handed to the socket",
                FAST,
            ),
            scan_to_push: histogram(
                "scanlogin_scan_to_push_seconds",
                "From an approval in the store, on its clock, to the token handed to the socket",
                PUSH,
            ),
            wait: histogram("scanlogin_wait_seconds", "From a login's creation to its end", WAIT),
            resumes: CounterBy::new(
                &registry,
                "scanlogin_resumes_total",
                "Browsers that came back with their resume secret",
                "result",
            ),
            notifications: CounterBy::new(
                &registry,
                "scanlogin_notifications_total",
                "Keyspace notifications that reached this instance",
                "result",
            ),
            feed_connected: Lines::new(register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "scanlogin_feed_connected",
                        "1 while every worker thread is subscribed to notifications of this Redis \
                         node",
                    ),
                    &["node"],
                ),
            )),
            feed_resyncs: CounterBy::new(
                &registry,
                "scanlogin_feed_resyncs_total",
                "Times that a worker thread read the records of all its waiting logins again",
                "reason",
            ),
            feed_probe: histogram(
                "scanlogin_feed_probe_seconds",
                "From writing a canary to hearing its notification",
                FAST,
            ),
            feed_rescued: counter(
                "scanlogin_feed_rescued_total",
                "Changes that were found by reading again, not by a notification",
            ),
            store_seconds: HistogramBy::new(
                &registry,
                "scanlogin_store_seconds",
                "How long the store took",
                "operation",
                FAST,
            ),
            store_errors: CounterByTwo::new(
                &registry,
                "scanlogin_store_errors_total",
                "Calls of the store that failed",
                ["operation", "kind"],
            ),
            store_clock_offset: register(
                &registry,
                Gauge::new(
                    "scanlogin_store_clock_offset_seconds",
                    "What Redis's clock shows more than this machine's wall clock; 0 with the \
                     embedded store",
                ),
            ),
            registry_mailbox: gauge(
                "scanlogin_registry_mailbox",
                "Messages that wait for the registry actors of all worker threads together",
            ),
            threads: Threads::new(&registry),
            http_requests: CounterByTwo::new(
                &registry,
                "scanlogin_http_requests_total",
                "HTTP requests answered",
                ["route", "status"],
            ),
            http_request_seconds: HistogramBy::new(
                &registry,
                "scanlogin_http_request_seconds",
                "How long HTTP requests took, not counting a wait that the phone asked for",
                "route",
                FAST,
            ),
            tokens_refused: CounterByTwo::new(
                &registry,
                "scanlogin_tokens_refused_total",
                "Calls that were answered 401, by the kind of token that they needed and what is wrong with it",
                ["kind", "reason"],
            ),
            key_set_refreshes: CounterBy::new(
                &registry,
                "scanlogin_jwks_refreshes_total",
                "Times that the app's key set was fetched (SCANLOGIN_APP_JWKS_URL)",
                "result",
            ),
            key_set_refreshed: gauge(
                "scanlogin_jwks_refreshed_timestamp_seconds",
                "When the app's key set was last fetched, in seconds since the Unix epoch; 0: never",
            ),
            webhook_requests: CounterByTwo::new(
                &registry,
                "scanlogin_webhook_requests_total",
                "Calls of the token webhook",
                ["event", "result"],
            ),
            webhook_seconds: HistogramBy::new(
                &registry,
                "scanlogin_webhook_seconds",
                "How long the token webhook took",
                "event",
                FAST,
            ),
            webhook_queue: gauge(
                "scanlogin_webhook_queue",
                "Logins of all instances whose tokens the webhook made and nobody has acknowledged",
            ),
            slow_clients: counter(
                "scanlogin_slow_clients_total",
                "Sockets that were cut because the client did not read",
            ),
            log_lines_dropped: counter(
                "scanlogin_log_lines_dropped_total",
                "Lines that the log left out because whoever reads it was too slow",
            ),
            log_lines_sampled_out: counter(
                "scanlogin_log_lines_sampled_out_total",
                "Lines about single logins that were not written because there were more than \
                 SCANLOGIN_LOG_LINES_PER_SECOND",
            ),
            trace_spans: CounterBy::new(
                &registry,
                "scanlogin_trace_spans_total",
                "Spans of traces that were to be exported (SCANLOGIN_OTLP_ENDPOINT)",
                "result",
            ),
            sockets_cut: CounterBy::new(
                &registry,
                "scanlogin_sockets_cut_total",
                "Sockets that were closed because the client broke a rule",
                "reason",
            ),
            draining: gauge("scanlogin_draining", "1 from SIGTERM on"),
            registry,
        }
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory cannot fail; a broken family would be left out, not crash a scrape.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_at_zero_from_the_start() {
        let text = Metrics::new().render();
        for outcome in LoginOutcome::ALL {
            let line = format!("scanlogin_logins_total{{outcome=\"{}\"}} 0", outcome.text());
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains("scanlogin_store_errors_total{kind=\"oom\",operation=\"scan\"} 0"));
        assert!(text.contains("scanlogin_feed_rescued_total 0"));
        assert!(text.contains("process_open_fds"));
    }
}
