//! From spans to OTLP: a bounded queue, and one task that sends what is in it.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::sync::{Notify, mpsc};

use super::SpanResult;
use crate::{clock::Clock, config::Otlp, keys::LoginId, metrics::Metrics, tokens::outgoing};

/// Spans that may wait to be sent: some seconds at a thousand logins a second.
const WAITING_SPANS: usize = 8 * 1024;
/// Spans of one request.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);

/// Takes spans. What does not fit is counted, and nobody waits.
pub struct Tracer {
    queue: mpsc::Sender<SpanData>,
    one_in: NonZeroU64,
    metrics: Arc<Metrics>,
    /// For the times of spans.
    pub(super) clock: Clock,
    closing: Arc<Notify>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("one_in", &self.one_in).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Whether this login is one of those whose trace is exported: the same at every instance.
    pub fn samples(&self, id: LoginId) -> bool {
        u64::from(id.lot()).is_multiple_of(self.one_in.get())
    }

    pub(super) fn export(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.metrics.trace_spans.inc(SpanResult::Dropped);
        }
    }

    /// Takes no more: what waits is sent, and the exporter's task ends.
    pub fn close(&self) {
        self.closing.notify_one();
    }
}

/// Sends spans.
pub struct Exporter {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    metrics: Arc<Metrics>,
    closing: Arc<Notify>,
}

/// Both ends; asks nobody yet.
///
/// # Errors
/// Where no client can be made.
pub fn start(
    config: &Otlp,
    metrics: &Arc<Metrics>,
    clock: &Clock,
) -> Result<(Arc<Tracer>, Exporter), ExporterBuildError> {
    let client = outgoing::client(&config.endpoint)
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    let endpoint = format!("{}/v1/traces", config.endpoint.as_str().trim_end_matches('/'));
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(outgoing::CALL_TIME)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("scanlogin").with_attribute(version);
    exporter.set_resource(&resource.build());
    let (queue, spans) = mpsc::channel(WAITING_SPANS);
    let closing = Arc::new(Notify::new());
    let tracer = Tracer {
        queue,
        one_in: config.one_in,
        metrics: metrics.clone(),
        clock: clock.clone(),
        closing: closing.clone(),
    };
    Ok((Arc::new(tracer), Exporter { spans, exporter, metrics: metrics.clone(), closing }))
}

impl Exporter {
    /// Sends until the tracer is closed and nothing waits any more.
    pub async fn run(mut self) {
        let (mut closed, mut well) = (false, true);
        while !closed || !self.spans.is_empty() {
            let mut batch = Vec::new();
            if !closed {
                tokio::select! {
                    () = self.closing.notified() => closed = true,
                    taken = self.spans.recv_many(&mut batch, 1) => {
                        // Nobody can have sent the last one: the tracer lives as long as its users.
                        closed |= taken == 0;
                        tokio::select! {
                            () = self.closing.notified() => closed = true,
                            () = tokio::time::sleep(GATHER) => {}
                        }
                    }
                }
            }
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if !batch.is_empty() {
                well = self.send(batch, well).await;
            }
        }
    }

    async fn send(&self, batch: Vec<SpanData>, well: bool) -> bool {
        let spans = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.metrics.trace_spans.add(SpanResult::Exported, spans);
                true
            }
            Err(error) => {
                self.metrics.trace_spans.add(SpanResult::Failed, spans);
                // The first of a row: the metric counts the others.
                if well {
                    tracing::warn!(%error, spans, "traces cannot be exported");
                }
                false
            }
        }
    }
}
