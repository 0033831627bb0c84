//! The way to the collector: a bounded queue, and a thread that sends from it. A collector that is
//! slow or gone costs spans, and no call any time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};

use crate::{Kind, Span, Value};

/// Spans that wait: a call has about ten, so some hundred calls between two sendings. What does not
/// fit is dropped. A span takes less than 1 KiB.
const MAX_QUEUED: usize = 4096;
/// Spans in one request.
const MAX_BATCH: usize = 512;
/// Between two exports. A person opens a trace after a while.
const SEND_EVERY: Duration = Duration::from_secs(5);
/// For one sending. A collector is beside us, or in the next room.
const SEND: Duration = Duration::from_secs(5);
/// Before the process ends: a drain has its own thirty seconds, and traces may not be what kubelet
/// kills it for.
const FINISH: Duration = Duration::from_secs(2);
/// Between two lines of the log about a collector that does not take them.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Carries bytes to the collector.
pub trait Way: fmt::Debug + Send + Sync + 'static {
    /// Sends them with POST; answers with the status and the body, or with why there is none. It is
    /// polled on a thread without an async runtime.
    fn post(&self, url: String, headers: Headers, body: Vec<u8>, within: Duration) -> Posted;
}

/// Names and values of headers.
pub type Headers = Vec<(String, Vec<u8>)>;
/// The future of an answer.
pub type Posted = Pin<Box<dyn Future<Output = Result<(u16, Vec<u8>), String>> + Send>>;

/// Where spans go, and whose they are.
#[derive(Debug)]
pub struct Collector<'a> {
    /// `http://host:4318`, to which `/v1/traces` is added; absent: as the environment of
    /// OpenTelemetry says.
    pub endpoint: Option<&'a str>,
    /// `service.name`, where the environment does not say it.
    pub service: String,
    /// `service.version`.
    pub version: &'static str,
    /// `host.name`.
    pub host: Option<String>,
}

/// Sends spans.
pub struct Sender {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Sender {
    /// Nobody is asked for this.
    ///
    /// # Errors
    /// What is wrong with the address or the environment.
    pub fn start(collector: Collector<'_>, way: impl Way) -> Result<Self, String> {
        let client = Client { way: Box::new(way), complained: Mutex::new(None) };
        let exporter = SpanExporter::builder().with_http().with_http_client(client);
        let exporter = exporter.with_timeout(SEND);
        let exporter = match collector.endpoint {
            Some(endpoint) => {
                exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            }
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", collector.version))
            .with_attributes(collector.host.map(|name| KeyValue::new("host.name", name)));
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name(collector.service),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource.build())
            .build();
        Ok(Self { tracer: provider.tracer("wharf"), provider })
    }

    /// Tells what happened. Never waits: what does not fit into the queue is dropped.
    pub fn export(&self, root: Span) {
        self.export_below(&Context::new(), root);
    }

    fn export_below(&self, parent: &Context, observed: Span) {
        let Span { name, kind, began, ended, attributes, error, parts } = observed;
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let attributes = attributes.into_iter().map(|(key, value)| match value {
            Value::Text(text) => KeyValue::new(key, text),
            Value::Number(number) => KeyValue::new(key, number),
        });
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(wall(began))
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, parent);
        if let Some(error) = error {
            span.set_status(Status::error(error));
        }
        let context = parent.with_remote_span_context(span.span_context().clone());
        for part in parts {
            self.export_below(&context, part);
        }
        span.end_with_timestamp(wall(ended));
    }

    /// Sends what is left, for two seconds at most.
    ///
    /// # Errors
    /// Why something is left.
    pub fn finish(&self) -> Result<(), String> {
        self.provider.shutdown_with_timeout(FINISH).map_err(|error| error.to_string())
    }
}

/// The time of day of a moment that is not long ago.
fn wall(moment: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(moment.elapsed()).unwrap_or(now)
}

/// The library's requests, on the caller's way.
#[derive(Debug)]
struct Client {
    way: Box<dyn Way>,
    complained: Mutex<Option<Instant>>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let headers = request.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let (url, body) = (request.uri().to_string(), request.body().to_vec());
        let why = match self.way.post(url, headers, body, SEND).await {
            Ok((status, body)) if (200..300).contains(&status) => {
                return Ok(Response::builder().status(status).body(body.into())?);
            }
            Ok((status, _)) => format!("it answered {status}"),
            Err(why) => why,
        };
        self.complain(&why);
        Err(why.into())
    }
}

impl Client {
    fn complain(&self, why: &str) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            *complained = Some(Instant::now());
            tracing::warn!(why, "the collector takes no traces; they are dropped");
        }
    }
}

impl<W: Way> Way for Arc<W> {
    fn post(&self, url: String, headers: Headers, body: Vec<u8>, within: Duration) -> Posted {
        (**self).post(url, headers, body, within)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender as Tell, channel};

    use super::*;

    /// Takes bytes and says that it took them, or never answers.
    #[derive(Debug)]
    struct FakeWay {
        taken: Mutex<Tell<(String, Vec<u8>)>>,
        is_deaf: bool,
    }

    impl Way for FakeWay {
        fn post(&self, url: String, _: Headers, body: Vec<u8>, _: Duration) -> Posted {
            let _ = self.taken.lock().unwrap().send((url, body));
            if self.is_deaf {
                return Box::pin(std::future::pending());
            }
            Box::pin(std::future::ready(Ok((200, Vec::new()))))
        }
    }

    fn collector() -> Collector<'static> {
        Collector {
            endpoint: Some("http://collector.example:4318/"),
            service: "wharf-test".into(),
            version: "1",
            host: None,
        }
    }

    fn span(name: &str, parts: Vec<Span>) -> Span {
        let now = Instant::now();
        Span {
            name: name.into(),
            kind: Kind::Internal,
            began: now,
            ended: now,
            attributes: vec![("wharf.driver", Value::Text("d".into()))],
            error: None,
            parts,
        }
    }

    #[test]
    fn a_tree_is_sent_whole_before_the_end() {
        let (taken, sent) = channel();
        let way = FakeWay { taken: Mutex::new(taken), is_deaf: false };
        let sender = Sender::start(collector(), way).unwrap();
        sender.export(span("the-root", vec![span("the-part", vec![span("the-leaf", vec![])])]));
        sender.finish().unwrap();
        let (url, body) = sent.recv().unwrap();
        assert_eq!(url, "http://collector.example:4318/v1/traces");
        for name in ["the-root", "the-part", "the-leaf", "wharf.driver", "wharf-test"] {
            assert!(body.windows(name.len()).any(|it| it == name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_collector_that_never_answers_holds_nobody_up() {
        let (taken, sent) = channel();
        let way = FakeWay { taken: Mutex::new(taken), is_deaf: true };
        let sender = Sender::start(collector(), way).unwrap();
        let start = Instant::now();
        for _ in 0..4 * MAX_QUEUED {
            sender.export(span("call", vec![]));
        }
        // The thread has begun to send, and waits.
        sent.recv().unwrap();
        sender.export(span("call", vec![]));
        assert!(start.elapsed() < SEND, "{:?}", start.elapsed());
        assert!(sender.finish().is_err());
        assert!(start.elapsed() < SEND + FINISH, "{:?}", start.elapsed());
    }
}
