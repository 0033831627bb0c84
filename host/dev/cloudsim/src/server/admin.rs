//! `/_region/…` on the ECS listener: what the library offers, for programs that are not Rust.
//! Unsigned, because it is on loopback; turned off by `RegionOptions::admin_api`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /_region/faults` | | the rules |
//! | `PUT /_region/faults` | a list of rules | the rules; counts start again |
//! | `GET /_region/journal` | | the entries in memory |
//! | `DELETE /_region/journal` | | forgets them |
//! | `GET /_region/holds` | | parked calls |
//! | `POST /_region/holds/release` | `{"id": 3}` or `{}` for all | `{"released": n}` |
//! | `GET /_region/disks` | | the disks |
//! | `GET /_region/file-systems` | | the file systems |
//! | `GET /_region/buckets` | | the buckets with their objects |
//! | `PUT /_region/delays` | some of the delays | all of them; what is absent stays |
//! | `PUT /_region/quotas` | some of the quotas | all of them; what is absent stays |
//! | `PUT /_region/policies` | `{"users": POLICY, "roles": {NAME: POLICY}}` | the policies |
//! | `POST /_region/advance` | `{"ms": 60000}` | the region's time goes forward |
//! | `PUT /_region/instances/<id>` | an instance's condition | |
//! | `PUT /_region/disks/<id>/arrears` | `true` or `false` | |
//! | `POST /_region/reset` | | forgets disks, snapshots, buckets, tokens, sessions, faults,
//! journal; keeps instances and keys |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Incoming, Outcome, Outgoing, Shared};
use crate::control::{self, InstanceCondition};
use crate::error::RegionError;
use crate::faults::FaultRule;
use crate::options::{Delays, Quotas};
use crate::policies::Policies;

pub(super) async fn handle(shared: Arc<Shared>, incoming: Incoming) -> Outcome {
    let answer = tokio::task::spawn_blocking(move || run(&shared, &incoming)).await;
    let (status, body) = match answer {
        Ok(Ok(body)) => (200, body),
        Ok(Err(refusal)) => (refusal.status, json!({ "message": refusal.message })),
        Err(error) => (500, json!({ "message": error.to_string() })),
    };
    Outcome {
        answer: Outgoing {
            status,
            content_type: "application/json",
            body: body.to_string(),
            request_id: None,
        },
        fault: None,
    }
}

struct Refusal {
    status: u16,
    message: String,
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self { status: 400, message: error.to_string() }
    }
}

impl From<RegionError> for Refusal {
    fn from(error: RegionError) -> Self {
        let status = if matches!(error, RegionError::Unknown { .. }) { 404 } else { 500 };
        Self { status, message: error.to_string() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: u64,
}

fn run(shared: &Shared, incoming: &Incoming) -> Result<Value, Refusal> {
    let path = incoming.path.strip_prefix("/_region/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let body = if incoming.body.is_empty() { b"{}".as_slice() } else { incoming.body.as_slice() };
    match (incoming.method.as_str(), parts.as_slice()) {
        ("GET", ["faults"]) => Ok(json!(control::faults(shared))),
        ("PUT" | "POST", ["faults"]) => {
            let rules: Vec<FaultRule> = serde_json::from_slice(body)?;
            control::set_faults(shared, rules);
            Ok(json!(control::faults(shared)))
        }
        ("GET", ["journal"]) => Ok(json!(control::journal(shared))),
        ("DELETE", ["journal"]) => {
            control::clear_journal(shared);
            Ok(json!({}))
        }
        ("GET", ["holds"]) => Ok(json!(shared.holds.list())),
        ("POST", ["holds", "release"]) => match serde_json::from_slice::<Release>(body)?.id {
            None => Ok(json!({ "released": shared.holds.release_all() })),
            Some(id) if shared.holds.release(id) => Ok(json!({ "released": 1 })),
            Some(id) => {
                Err(RegionError::Unknown { kind: "held request", id: id.to_string() }.into())
            }
        },
        ("GET", ["file-systems"]) => Ok(json!(control::file_systems(shared))),
        ("GET", ["disks"]) => Ok(json!(control::disks(shared))),
        ("GET", ["buckets"]) => Ok(json!(super::lock(&shared.oss).summary())),
        ("PUT" | "POST", ["delays"]) => {
            let delays: Delays = changed(&control::delays(shared), body)?;
            control::set_delays(shared, delays);
            Ok(json!(delays))
        }
        ("PUT" | "POST", ["quotas"]) => {
            let quotas: Quotas = changed(&control::quotas(shared), body)?;
            control::set_quotas(shared, quotas);
            Ok(json!(quotas))
        }
        ("PUT" | "POST", ["policies"]) => {
            let policies: Policies = serde_json::from_slice(body)?;
            let answer = json!(policies);
            control::set_policies(shared, policies);
            Ok(answer)
        }
        ("POST", ["advance"]) => {
            control::advance(
                shared,
                Duration::from_millis(serde_json::from_slice::<Advance>(body)?.ms),
            );
            Ok(json!({}))
        }
        ("PUT" | "POST", ["instances", id]) => {
            let condition: InstanceCondition = serde_json::from_slice(body)?;
            control::set_instance(shared, id, condition)?;
            Ok(json!({}))
        }
        ("PUT" | "POST", ["disks", id, "arrears"]) => {
            control::set_arrears(shared, id, serde_json::from_slice(body)?)?;
            Ok(json!({}))
        }
        ("POST", ["reset"]) => {
            control::reset(shared)?;
            Ok(json!({}))
        }
        _ => Err(Refusal {
            status: 404,
            message: format!("no `{} /_region/{path}`", incoming.method),
        }),
    }
}

/// `current` with the fields of `change`, a JSON object.
fn changed<T: Serialize + DeserializeOwned>(current: &T, change: &[u8]) -> Result<T, Refusal> {
    let mut fields: BTreeMap<String, Value> = serde_json::from_value(json!(current))?;
    fields.extend(serde_json::from_slice::<BTreeMap<String, Value>>(change)?);
    Ok(serde_json::from_value(json!(fields))?)
}
