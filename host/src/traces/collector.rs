//! Which collector is meant, and the way to it.

use std::time::Duration;

use tokio::runtime::Handle;
use wharf_runtime::{OwnHttp, OwnRequest};
use wharf_traces::{Collector, Headers, Posted, Sender, Way};

use crate::config::TracesSection;

/// Where OpenTelemetry's own programs look for their collector; the first one is the more special.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Who takes spans; `None`: no collector is named.
///
/// # Errors
/// What is wrong with its address.
pub fn sender(
    section: &TracesSection,
    role: &'static str,
    handle: &Handle,
) -> Result<Option<Sender>, String> {
    let value = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let named = VARIABLES.iter().find_map(|name| Some((*name, value(name)?)));
    let (from, url) = match (&section.endpoint, &named) {
        (Some(endpoint), _) => ("`endpoint` of `[traces]`", endpoint.as_str()),
        (None, Some((name, endpoint))) => (*name, endpoint.trim()),
        (None, None) => return Ok(None),
    };
    let wrong = |why: String| format!("{from}: {why}");
    let http = OwnHttp::new(url, section.ca.as_deref());
    let http = http.map_err(|error| wrong(error.to_string()))?;
    let collector = Collector {
        endpoint: section.endpoint.as_deref(),
        service: format!("wharf-{role}"),
        version: env!("CARGO_PKG_VERSION"),
        host: rustix::system::uname().nodename().to_str().ok().map(str::to_owned),
    };
    let way = OwnWay { http, handle: handle.clone() };
    Sender::start(collector, way).map(Some).map_err(wrong)
}

/// By the host's own HTTP client, on the server's async runtime.
#[derive(Debug)]
struct OwnWay {
    http: OwnHttp,
    handle: Handle,
}

impl Way for OwnWay {
    fn post(&self, url: String, headers: Headers, body: Vec<u8>, within: Duration) -> Posted {
        let http = self.http.clone();
        let sending = self.handle.spawn(async move {
            let headers: Vec<(&str, &[u8])> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let request = OwnRequest { method: "POST", url: &url, headers: &headers, body };
            http.send(request, within).await.map_err(|error| error.to_string())
        });
        Box::pin(async { sending.await.unwrap_or_else(|_| Err("the process is ending".into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_collector_is_said_with_the_place_that_names_it() {
        let of = |endpoint: Option<&str>, ca: Option<&str>| {
            let section = TracesSection {
                endpoint: endpoint.map(str::to_owned),
                ca: ca.map(std::path::PathBuf::from),
            };
            sender(&section, "node", &Handle::current()).map(|sender| sender.is_some())
        };
        assert_eq!(of(None, None), Ok(false));
        assert_eq!(of(Some("http://127.0.0.1:9"), None), Ok(true));
        for (url, ca) in [("nonsense", None), ("http://a:b@c", None), ("https://c", Some("/none"))]
        {
            let refused = of(Some(url), ca).unwrap_err();
            assert!(refused.starts_with("`endpoint` of `[traces]`: "), "{refused}");
            assert!(!refused.contains("a:b"), "{refused}");
        }
    }
}
