//! Traces of the real binary, as a collector gets them. For a build with the feature `otlp`.

#![cfg(feature = "otlp")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use prost::Message;
use wharf_testing::bed::{Bed, BedOptions, Parts};
use wharf_testing::http_server::{FakeHttpServer, HttpRequest};
use wharf_testing::player::VolumeClass;

/// Spans are sent every five seconds, on a loaded machine a little later.
const PATIENCE: Duration = Duration::from_secs(60);

/// What of OTLP's messages is looked at (`opentelemetry/proto/trace/v1/trace.proto`).
mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<Scope>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(fixed64, tag = "7")]
        pub start: u64,
        #[prost(fixed64, tag = "8")]
        pub end: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Attribute {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Value {
        #[prost(oneof = "Is", tags = "1, 3")]
        pub is: Option<Is>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Is {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }
}

use otlp::{Is, Span};

impl Span {
    fn text(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| attribute.key == key)?;
        match found.value.as_ref()?.is.as_ref()? {
            Is::Text(text) => Some(text),
            Is::Number(_) => None,
        }
    }
}

/// Takes everything that is sent.
fn collector() -> FakeHttpServer {
    FakeHttpServer::start(|_| (200, String::new())).unwrap()
}

/// Spans of the trace whose root has this name, as soon as the root is there with two levels below;
/// and everything that was sent until then.
fn trace_of(collector: &FakeHttpServer, root: &str) -> (Vec<Span>, Vec<u8>) {
    let (mut spans, mut bytes, end) = (Vec::new(), Vec::new(), Instant::now() + PATIENCE);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(HttpRequest { line, head, body }) = collector.next(left) else {
            panic!("no trace of {root} among {spans:#?}");
        };
        assert_eq!(line, "POST /v1/traces HTTP/1.1");
        let request = otlp::Request::decode(body.as_slice()).unwrap();
        let sent = request.resources.into_iter().flat_map(|it| it.scopes);
        spans.extend(sent.flat_map(|scope| scope.spans));
        bytes.extend(head.into_bytes());
        bytes.extend(body);
        if let Some(root) = spans.iter().find(|span| span.name == root) {
            let trace = root.trace.clone();
            spans.retain(|span| span.trace == trace);
            return (spans, bytes);
        }
    }
}

/// A region with the binary of this build.
fn bed() -> Bed {
    let parts = Parts::find().unwrap();
    let parts = Parts { wharf: env!("CARGO_BIN_EXE_wharf").into(), ..parts };
    Bed::make_with(&BedOptions { nodes: 1, ..BedOptions::default() }, parts).unwrap()
}

fn name_collector(bed: &Bed, address: &str) {
    let config = bed.manager().config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[traces]\nendpoint = \"{address}\"\n")).unwrap();
}

#[test]
fn a_call_its_components_and_their_requests_are_one_trace_without_a_secret() {
    let (bed, collector) = (bed(), collector());
    name_collector(&bed, &collector.address);
    bed.manager().serve("controller", bed.parts()).unwrap();
    let csi = bed.csi();
    let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
    csi.provision("pvc-traced", 1 << 30, &class).unwrap();

    let (spans, bytes) = trace_of(&collector, "CreateVolume");
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.clone(), span)).collect();
    let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    let [root] = roots.as_slice() else { panic!("{roots:#?}") };
    assert_eq!(root.text("wharf.driver"), Some(wharf_testing::bed::CSI_DRIVER));
    assert_eq!(root.text("wharf.volume"), Some("pvc-traced"));
    assert_eq!(root.text("rpc.response.status_code"), Some("OK"));
    let below = |parent: &Span| -> Vec<&Span> {
        spans.iter().filter(|span| span.parent == parent.id).collect()
    };
    let create = below(root).into_iter().find(|span| span.name == "create");
    let create = create.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(
        (create.text("wharf.component"), create.text("wharf.kind")),
        (Some("disk"), Some("backend"))
    );
    let request = below(create).into_iter().find(|span| span.name == "CreateDisk");
    let request = request.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(request.text("wharf.endpoint"), Some("ecs"));
    assert!(request.text("wharf.request_id").is_some_and(|id| id.len() > 8), "{request:#?}");
    // Who signs is called by whoever sends.
    assert!(below(create).iter().any(|span| span.text("wharf.kind") == Some("authenticator")));
    for span in &spans {
        assert!(span.start <= span.end, "{span:#?}");
        let Some(parent) = by_id.get(&span.parent) else {
            assert!(span.parent.is_empty(), "{span:#?}");
            continue;
        };
        // The clock of the day may be set meanwhile, but not here.
        let slack = 1_000_000;
        assert!(parent.start <= span.start + slack && span.end <= parent.end + slack, "{spans:#?}");
    }

    let text = String::from_utf8_lossy(&bytes);
    let key = &bed.region().description().admin;
    for secret in [&key.access_key_id, &key.access_key_secret, "Signature", "ignature=", "://"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_collector_that_is_gone_neither_fails_nor_slows_a_call() {
    let bed = bed();
    // Nobody takes what is sent there, and nobody refuses it.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    name_collector(&bed, &format!("http://{}", deaf.local_addr().unwrap()));
    bed.manager().serve("controller", bed.parts()).unwrap();
    let csi = bed.csi();
    let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
    let disk = csi.provision("pvc-deaf", 1 << 30, &class).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        csi.provision("pvc-deaf", 1 << 30, &class).unwrap();
    }
    // One request alone would be waited for for five seconds.
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    csi.delete(&disk).unwrap();
    let log = fs::read_to_string(bed.manager().server_log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
