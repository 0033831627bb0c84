//! The API server, as far as Events need it: a token that is read anew each time, two verbs on one
//! resource in one namespace, and the question whether those are allowed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;
use wharf_core::text::one_line;
use wharf_runtime::{OwnHttp, OwnRequest};

use super::troubles::Trouble;
use crate::config::EventsSection;

/// As much of a message as the newer API of Events takes.
const MESSAGE_BYTES: usize = 1024;
/// A token has about one KiB.
const TOKEN_BYTES: u64 = 64 << 10;

/// The way to the API server.
#[derive(Debug)]
pub struct Api {
    http: OwnHttp,
    url: String,
    token: PathBuf,
    pod: Pod,
}

/// The pod of this process.
#[derive(Debug)]
struct Pod {
    name: String,
    namespace: String,
    uid: String,
}

impl Api {
    /// By what kubelet gives to a container. Nobody is asked.
    ///
    /// # Errors
    /// What is missing, and what adds it.
    pub fn new(section: &EventsSection) -> Result<Self, String> {
        let variable = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                format!(
                    "the environment has no {name}; the chart's `events` values give a container \
                     all that Events need"
                )
            })
        };
        let url = match &section.api {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = variable("KUBERNETES_SERVICE_HOST")?;
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                format!("https://{host}:{}", variable("KUBERNETES_SERVICE_PORT")?)
            }
        };
        let pod = Pod {
            name: variable("POD_NAME")?,
            namespace: variable("POD_NAMESPACE")?,
            uid: variable("POD_UID")?,
        };
        let account = section.account();
        let http = OwnHttp::new(&url, Some(&account.join("ca.crt")));
        let http = http.map_err(|error| format!("the API server at {url}: {error}"))?;
        Ok(Self { http, url, token: account.join("token"), pod })
    }

    /// Makes an Event, or counts one up that is still there.
    ///
    /// # Errors
    /// Why the API server did not take it.
    pub async fn post(
        &self,
        trouble: &Trouble,
        count: u32,
        now: SystemTime,
        within: Duration,
    ) -> Result<(), String> {
        let Pod { name: pod, namespace, uid } = &self.pod;
        let name = self.name_of(trouble);
        let (now, message) = (stamp(now), one_line(&trouble.message, MESSAGE_BYTES));
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": uid,
            },
            "reason": trouble.reason,
            "message": message,
            "type": "Warning",
            "source": { "component": "wharf" },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": count,
        });
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let (status, said) = self.send("POST", &path, "application/json", &event, within).await?;
        let (status, said) = if status == 409 {
            let patch = json!({ "lastTimestamp": now, "count": count, "message": message });
            let kind = "application/merge-patch+json";
            self.send("PATCH", &format!("{path}/{name}"), kind, &patch, within).await?
        } else {
            (status, said)
        };
        match status {
            200 | 201 => Ok(()),
            401 | 403 => Err(format!(
                "{}; the pod's ServiceAccount has to be allowed to `create` and `patch` events in \
                 namespace {namespace} (`wharf doctor --only events`)",
                words(status, &said)
            )),
            _ => Err(words(status, &said)),
        }
    }

    /// Whether this pod's account may do this with Events in its namespace.
    ///
    /// # Errors
    /// Why the API server does not say.
    pub async fn may(&self, verb: &str, within: Duration) -> Result<bool, String> {
        let namespace = &self.pod.namespace;
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": verb, "resource": "events",
            } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        match self.send("POST", path, "application/json", &question, within).await? {
            (200 | 201, answer) => {
                Ok(answer.pointer("/status/allowed") == Some(&Value::Bool(true)))
            }
            (status, said) => Err(words(status, &said)),
        }
    }

    /// One name for one trouble of this pod, so that it is found again.
    fn name_of(&self, trouble: &Trouble) -> String {
        let mut hash = DefaultHasher::new();
        trouble.key().hash(&mut hash);
        format!("{}.{:016x}", self.pod.name, hash.finish())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
        within: Duration,
    ) -> Result<(u16, Value), String> {
        let token = read(&self.token)?;
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_bytes()),
            ("content-type", kind.as_bytes()),
            ("accept", b"application/json".as_slice()),
        ];
        let url = format!("{}{path}", self.url);
        let body = body.to_string().into_bytes();
        let request = OwnRequest { method, url: &url, headers: &headers, body };
        let sent = self.http.send(request, within).await;
        let (status, answer) = sent.map_err(|error| error.to_string())?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
    }
}

/// Asks both questions; for an examination, which has no async runtime.
///
/// # Errors
/// Why there is no answer.
pub fn may(api: &Api, verbs: &[&str], within: Duration) -> Result<Vec<bool>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no async runtime: {error}"))?;
    runtime.block_on(async {
        let mut allowed = Vec::new();
        for verb in verbs {
            allowed.push(api.may(verb, within).await?);
        }
        Ok(allowed)
    })
}

/// What the API server said, without what it was sent.
fn words(status: u16, said: &Value) -> String {
    let message = said.get("message").and_then(Value::as_str).unwrap_or("no reason is given");
    format!("the API server answers {status}: {}", one_line(message, MESSAGE_BYTES))
}

fn read(token: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(token).map(|file| file.take(TOKEN_BYTES));
    let read = file.and_then(|mut file| file.read_to_string(&mut text));
    read.map_err(|error| format!("the token {} cannot be read: {error}", token.display()))?;
    Ok(text.trim().to_owned())
}

/// As RFC 3339 has it, in whole seconds.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = UtcDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX));
    // Every year that it can have has the four digits that the format wants.
    time.unwrap_or(UtcDateTime::MAX).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_as_the_api_reads_it() {
        let at = |seconds: u64| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
