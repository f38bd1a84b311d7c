//! Spans and metrics on their way to an OTLP receiver (OTLP over HTTP, protobuf).
//!
//! Nothing that a request does waits for the receiver: spans go into a queue that is bounded, and what it has no room for is
//! dropped and counted. Two tasks push: one the spans, soon after they end, the other the metrics, at an interval. A push that
//! fails is counted, told once, and not tried again: the next one has newer figures.

use std::{
    mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, KeyValue, trace::TracerProvider as _};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter as _, reader::MetricReader,
    },
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Metrics,
    metrics::{Push, SpanLoss},
    trace::Traces,
};

/// Spans that may wait for the receiver.
const QUEUE: usize = 8192;
/// Spans in one push.
const BATCH: usize = 512;
/// The pause after a push that took all there was, in which others gather.
const PAUSE: Duration = Duration::from_millis(500);

/// Where telemetry goes, and how much of it.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// The receiver's address, to which `/v1/traces` and `/v1/metrics` are added.
    pub endpoint: String,
    /// From one push of the metrics to the next.
    pub interval: Duration,
    /// How many of the traces that begin here are kept, from 0 to 1.
    pub sample_ratio: f64,
    /// What tells this process from others of its kind.
    pub instance: String,
}

/// Telemetry cannot be pushed as configured.
#[derive(Debug, thiserror::Error)]
#[error("the OTLP exporter cannot be set up: {0}")]
pub struct OtlpError(#[from] ExporterBuildError);

/// What spans and metrics are given to, before anything is pushed.
pub struct Otlp {
    resource: Resource,
    reader: SharedReader,
    tracers: SdkTracerProvider,
    pushing: Pushing,
}

/// What the two tasks need.
struct Pushing {
    spans: SpanExporter,
    metrics: MetricExporter,
    queue: Receiver<SpanData>,
    lost: Arc<AtomicUsize>,
    interval: Duration,
}

impl Otlp {
    /// Sets up what is pushed with `client`; nothing is sent.
    ///
    /// # Errors
    /// [`OtlpError`] if the address is none.
    pub fn new(
        settings: &OtlpSettings,
        client: impl HttpClient + Clone + 'static,
    ) -> Result<Self, OtlpError> {
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "moorgate"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", settings.instance.clone()),
            ])
            .build();
        let mut spans = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(format!("{}/v1/traces", settings.endpoint))
            .build()?;
        spans.set_resource(&resource);
        let metrics = MetricExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/metrics", settings.endpoint))
            .build()?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let lost = Arc::<AtomicUsize>::default();
        let processor = Queue { sender, lost: Arc::clone(&lost) };
        let ratio = Sampler::TraceIdRatioBased(settings.sample_ratio);
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_span_processor(processor)
            .build();
        let reader = SharedReader(Arc::new(ManualReader::default()));
        let pushing = Pushing { spans, metrics, queue, lost, interval: settings.interval };
        Ok(Self { resource, reader, tracers, pushing })
    }

    pub(super) fn reader(&self) -> impl MetricReader + use<> {
        self.reader.clone()
    }

    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    pub(super) fn traces(&self) -> Traces {
        Traces::new(self.tracers.tracer("moorgate"))
    }

    /// Begins to push, and counts in `metrics` what became of it.
    #[must_use]
    pub fn start(self, metrics: Arc<Metrics>) -> Pushes {
        let stopping = CancellationToken::new();
        let Pushing { spans, metrics: exporter, queue, lost, interval } = self.pushing;
        let told = Told::default();
        let spans = SpanPush { exporter: spans, queue, lost, metrics: Arc::clone(&metrics), told };
        let pushed = MetricPush { exporter, reader: self.reader, metrics, told };
        let tasks =
            [tokio::spawn(spans.run(stopping.clone())), tokio::spawn(pushed.run(interval, stopping.clone()))];
        Pushes { tasks, stopping: stopping.drop_guard(), _tracers: self.tracers }
    }
}

/// The tasks that push.
pub struct Pushes {
    tasks: [JoinHandle<()>; 2],
    stopping: DropGuard,
    _tracers: SdkTracerProvider,
}

impl Pushes {
    /// Pushes what is left, unless that takes longer than `patience`.
    pub async fn finish(self, patience: Duration) {
        drop(self.stopping);
        let [spans, metrics] = self.tasks;
        let aborts = [spans.abort_handle(), metrics.abort_handle()];
        let finish = async { (spans.await, metrics.await) };
        if timeout(patience, finish).await.is_err() {
            tracing::warn!("the OTLP receiver did not take the last spans and metrics in time");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// Takes spans when they end.
#[derive(Debug)]
struct Queue {
    sender: Sender<SpanData>,
    lost: Arc<AtomicUsize>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Whether a failure was told.
#[derive(Debug, Clone, Copy, Default)]
struct Told(bool);

impl Told {
    /// Tells the first of some failures, and that they are over.
    fn note(&mut self, what: &'static str, result: &OTelSdkResult) {
        match result {
            Err(error) if !mem::replace(&mut self.0, true) => {
                tracing::warn!(what, %error, "the OTLP receiver does not take what is pushed; this is told once");
            }
            Ok(()) if mem::take(&mut self.0) => {
                tracing::info!(what, "the OTLP receiver takes what is pushed again");
            }
            _ => {}
        }
    }
}

struct SpanPush {
    exporter: SpanExporter,
    queue: Receiver<SpanData>,
    lost: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    told: Told,
}

impl SpanPush {
    /// Pushes until it is told to stop, and then what is left.
    async fn run(mut self, stopping: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = self.queue.recv_many(&mut batch, BATCH) => if taken == 0 { break },
                () = stopping.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            }
            let is_full = batch.len() == BATCH;
            self.push(mem::take(&mut batch)).await;
            if !is_full {
                stopping.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        self.count_lost();
    }

    async fn push(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.told.note("spans", &result);
        self.metrics.own.pushed(if result.is_ok() { Push::SpansSent } else { Push::SpansFailed });
        if result.is_err() {
            self.metrics.own.lost(SpanLoss::ExportFailed, spans);
        }
        self.count_lost();
    }

    fn count_lost(&self) {
        self.metrics.own.lost(SpanLoss::QueueFull, self.lost.swap(0, Ordering::Relaxed));
    }
}

struct MetricPush {
    exporter: MetricExporter,
    reader: SharedReader,
    metrics: Arc<Metrics>,
    told: Told,
}

impl MetricPush {
    /// Pushes at an interval until it is told to stop, and then once more.
    async fn run(mut self, every: Duration, stopping: CancellationToken) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopping.run_until_cancelled(tick.tick()).await.is_some() {
            self.push().await;
        }
        self.push().await;
    }

    async fn push(&mut self) {
        let mut figures = ResourceMetrics::default();
        let result = match self.reader.collect(&mut figures) {
            Ok(()) => self.exporter.export(&figures).await,
            Err(error) => Err(error),
        };
        self.told.note("metrics", &result);
        self.metrics.own.pushed(if result.is_ok() { Push::MetricsSent } else { Push::MetricsFailed });
    }
}

/// A reader that is asked by us and registered with OpenTelemetry.
#[derive(Debug, Clone)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, figures: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(figures)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
