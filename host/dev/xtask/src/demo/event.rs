//! What the demo tells: one enum, as JSON for scripts and as lines for people. Printing is
//! [`super::teller`]'s part. Read again by a demo that has a chapter shown elsewhere
//! ([`super::shares`]).

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A new part of the story.
    Chapter {
        /// Its title.
        title: String,
    },
    /// What the demo itself did or saw.
    Note {
        /// In words.
        text: String,
    },
    /// A person's command, and its answer.
    Command {
        /// As one would type it.
        line: String,
        /// What it printed.
        printed: String,
        /// Exit code; absent: killed.
        exit_code: Option<i32>,
        /// How long it took.
        took_ms: u64,
    },
    /// Kubernetes calls Wharf.
    Asked(Asked),
    /// The call came back, and this is what it did.
    Answered {
        /// Which call.
        #[serde(flatten)]
        asked: Asked,
        /// Absent: it succeeded.
        failure: Option<String>,
        /// How long it took.
        took_ms: u64,
        /// What was seen meanwhile.
        #[serde(flatten)]
        seen: Seen,
    },
    /// Kubernetes repeats or skips a call.
    Remark {
        /// Which call.
        #[serde(flatten)]
        asked: Asked,
        /// In words.
        text: String,
    },
    /// The demo failed.
    Failed {
        /// Why.
        why: String,
        /// The ends of the servers' logs.
        log: Vec<String>,
    },
    /// The last event.
    Summary(Summary),
}

/// Who asks whom for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// The program that calls.
    pub who: String,
    /// Its node; empty for the control plane.
    pub node: String,
    /// `NodeStageVolume`, `mountdevice`, …
    pub call: String,
    /// Which volume.
    pub volume: String,
    /// The argument that matters.
    pub with: String,
}

/// What was to be seen from outside, in the order of the layers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Calls of sandboxed components.
    pub backend: Vec<BackendCall>,
    /// Plans that the backend returned.
    pub plans: Vec<Planned>,
    /// Requests that reached the cloud.
    pub cloud: Vec<CloudRequest>,
    /// What the host did on the node.
    pub host: Vec<String>,
}

/// One call of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCall {
    /// Its name.
    pub component: String,
    /// Which generation of it answered.
    pub generation: u64,
    /// What was called.
    pub function: String,
    /// How long it took.
    pub micros: u64,
}

/// What a backend wants to be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// `plan-stage`, …
    pub function: String,
    /// The backend's own line for people.
    pub summary: String,
    /// The steps.
    pub steps: String,
}

/// One request at the cloud's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudRequest {
    /// `AttachDisk`, or method and path.
    pub action: String,
    /// HTTP status.
    pub status: u16,
    /// The cloud's word for an error.
    pub code: Option<String>,
}

/// How it all went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Whether everything was shown and nothing is left.
    pub succeeded: bool,
    /// Calls by Kubernetes.
    pub steps: usize,
    /// Of those, the ones that failed.
    pub failed: usize,
    /// Requests that reached the cloud.
    pub cloud_requests: usize,
    /// Backends that were replaced while serving.
    pub swaps: usize,
    /// Builds that were refused.
    pub refused: usize,
    /// What is still there and should not be.
    pub left: Vec<String>,
    /// How long it took, after the build.
    pub took_ms: u64,
}
