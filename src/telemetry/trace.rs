//! Spans, each behind a typed function, as metrics are: no call site spells a name.
//!
//! What a span says is a number or a word from the sources; there is no way to put text into one that came from outside. The
//! one exception is the name of a model, which the operator chose.
//!
//! Without a receiver a span is `None`: it takes no memory, and asks for nothing but whether there is one above it.

mod context;

use std::{future::Future, sync::Arc};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::{
    metrics::{HttpMethod, HttpRoute, ProviderLabel},
    scope::{self, Scope},
};
use crate::domain::channel::ChannelKind;

pub use context::inject;

/// Where spans begin that have none above them.
#[derive(Clone)]
pub struct Traces(Option<SdkTracer>);

/// A span that others go below.
pub struct Above {
    tracer: SdkTracer,
    context: SpanContext,
}

/// Something that takes time. It ends when it is dropped.
pub struct Span(Option<Box<Open>>);

struct Open {
    span: SdkSpan,
    above: Arc<Above>,
}

/// A span that another one belongs to without being below it.
pub struct Linked(SpanContext);

/// What a span may say.
pub trait Attribute {
    /// As OpenTelemetry takes it.
    fn value(self) -> Value;
}

impl Attribute for &'static str {
    fn value(self) -> Value {
        self.into()
    }
}

impl Attribute for u64 {
    fn value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).into()
    }
}

impl Traces {
    /// No spans at all.
    #[must_use]
    pub const fn disabled() -> Self {
        Self(None)
    }

    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Whether there are spans.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A request, below the span of its caller if it names one.
    #[must_use]
    pub fn request(&self, headers: &HeaderMap, method: HttpMethod, route: HttpRoute) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let name = match route {
            HttpRoute::Other => method.as_str().to_owned(),
            route => format!("{} {}", method.as_str(), route.as_str()),
        };
        let attributes = vec![
            KeyValue::new("http.request.method", method.as_str()),
            KeyValue::new("http.route", route.as_str()),
            KeyValue::new("url.scheme", "http"),
        ];
        let builder = builder(name, SpanKind::Server, attributes);
        begin(tracer, builder, context::of_caller(headers))
    }

    /// Work on a message that a channel delivered before.
    #[must_use]
    pub fn message(&self, channel: ChannelKind) -> Span {
        self.of_channel("process", SpanKind::Consumer, channel)
    }

    /// A part of a reply on its way to a channel.
    #[must_use]
    pub fn send(&self, channel: ChannelKind) -> Span {
        self.of_channel("send", SpanKind::Producer, channel)
    }

    fn of_channel(&self, name: &'static str, kind: SpanKind, channel: ChannelKind) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let attributes = vec![
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.system", channel.as_str()),
        ];
        begin(tracer, builder(format!("{name} {channel}"), kind, attributes), None)
    }

    /// A transaction of the writer, for the callers that `links` belong to. Without any it is not worth a span.
    #[must_use]
    pub fn batch(&self, links: Vec<Linked>, commands: usize) -> Span {
        let (Some(tracer), false) = (&self.0, links.is_empty()) else { return Span(None) };
        let attributes = vec![system(), KeyValue::new("db.operation.batch.size", as_i64(commands))];
        let first = links.first().map(|link| link.0.clone());
        let links = links.into_iter().map(|link| Link::new(link.0, Vec::new(), 0)).collect();
        let builder = builder("commit".to_owned(), SpanKind::Internal, attributes).with_links(links);
        begin(tracer, builder, first)
    }
}

/// A turn: from the message to its answer.
#[must_use]
pub fn turn() -> Span {
    child(|| builder("turn".to_owned(), SpanKind::Internal, Vec::new()))
}

/// A call of a language model. `model` is one that is configured.
#[must_use]
pub fn chat(provider: ProviderLabel, model: &str) -> Span {
    child(|| {
        let attributes = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", provider.as_str()),
            KeyValue::new("gen_ai.request.model", model.to_owned()),
        ];
        builder(format!("chat {model}"), SpanKind::Client, attributes)
    })
}

/// The wait for a command that the writer was given.
#[must_use]
pub fn write(command: &'static str) -> Span {
    child(|| {
        let attributes = vec![system(), KeyValue::new("db.operation.name", command)];
        builder(format!("write {command}"), SpanKind::Internal, attributes)
    })
}

/// A read that memory could not answer.
#[must_use]
pub fn read(what: &'static str) -> Span {
    child(|| {
        let attributes = vec![system(), KeyValue::new("db.operation.name", what)];
        builder(format!("read {what}"), SpanKind::Internal, attributes)
    })
}

fn system() -> KeyValue {
    KeyValue::new("db.system.name", "sqlite")
}

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn builder(name: String, kind: SpanKind, attributes: Vec<KeyValue>) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes)
}

/// A span below the present one, if that is kept.
fn child(builder: impl FnOnce() -> SpanBuilder) -> Span {
    match scope::above() {
        Some(above) if above.context.is_sampled() => {
            begin(&above.tracer, builder(), Some(above.context.clone()))
        }
        _ => Span(None),
    }
}

fn begin(tracer: &SdkTracer, builder: SpanBuilder, parent: Option<SpanContext>) -> Span {
    let context = match parent {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    };
    let span = tracer.build_with_context(builder, &context);
    let above = Above { tracer: tracer.clone(), context: span.span_context().clone() };
    Span(Some(Box::new(Open { span, above: Arc::new(above) })))
}

impl Span {
    /// Notes something about it.
    pub fn set(&mut self, key: &'static str, value: impl Attribute) {
        if let Some(open) = &mut self.0 {
            open.span.set_attribute(KeyValue::new(key, value.value()));
        }
    }

    /// Notes that it failed; `class` is one word for why.
    pub fn fail(&mut self, class: &'static str) {
        self.set("error.type", class);
        if let Some(open) = &mut self.0 {
            open.span.set_status(Status::error(""));
        }
    }

    /// Notes the answer to a request.
    pub fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", u64::from(status));
        if let (500.., Some(open)) = (status, &mut self.0) {
            open.span.set_status(Status::error(""));
        }
    }

    /// The id of its trace, if it is kept.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        let context = &self.0.as_ref()?.above.context;
        context.is_sampled().then(|| context.trace_id().to_string())
    }

    /// For others to belong to; `None` if it is not kept.
    #[must_use]
    pub fn link(&self) -> Option<Linked> {
        let context = &self.0.as_ref()?.above.context;
        context.is_sampled().then(|| Linked(context.clone()))
    }

    /// The present scope, with this span above what is begun in it.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match &self.0 {
            Some(open) => Scope::current().below(Arc::clone(&open.above)),
            None => Scope::current(),
        }
    }

    /// Work within this span.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.scope().run(work)
    }
}
