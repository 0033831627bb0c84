//! The rules of the contract as a suite that any backend has to pass, Wasm or not, fakes included.
//!
//! Every function is called at least twice; what takes time is also begun again from nothing, as
//! after a kill, with its progress thrown away. What a backend does not offer (its capabilities say
//! so) is not asked for. What is left out: anything about one cloud, and what the host does with
//! the answers.

mod controller;
mod drive;
mod node;

use std::sync::Arc;
use std::time::Duration;

use wharf_core::ports::{Backend, Call, Clock};
use wharf_core::types::{Caller, Capability, CapacityRange, Description, NodeId, Parameters};
use wharf_core::verbs::CreateRequest;

pub use self::drive::Memory;

/// A backend, and what its cloud allows.
pub struct Subject<'a> {
    /// The backend.
    pub backend: &'a dyn Backend,
    /// Time, for the waits that it asks for.
    pub clock: &'a dyn Clock,
    /// StorageClass parameters of a volume that can be created.
    pub parameters: Parameters,
    /// How such a volume is used.
    pub capability: Capability,
    /// Its size.
    pub bytes: u64,
    /// Two nodes that it can be attached to.
    pub nodes: [NodeId; 2],
    /// A StorageClass parameter that it does not know. `None`: it takes every name.
    pub unknown_parameter: Option<String>,
    /// A volume id that is well formed and does not exist.
    pub missing: String,
    /// Distinguishes the volumes of this run from those of others.
    pub prefix: String,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// What happened instead.
    pub what: String,
}

/// One rule.
type Rule = (&'static str, fn(&Case<'_>) -> Result<(), String>);

/// What a rule works with.
pub(crate) struct Case<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) description: Arc<Description>,
}

/// How long one operation may take altogether.
const PATIENCE: Duration = Duration::from_secs(60);

impl Case<'_> {
    pub(crate) fn can(&self, word: &str) -> bool {
        self.description.can(word)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.subject.backend
    }

    pub(crate) fn call(&self) -> Call {
        Call::until(self.subject.clock.now() + PATIENCE)
    }

    pub(crate) fn create_request(&self, name: &str) -> CreateRequest {
        CreateRequest {
            name: format!("{}-{name}", self.subject.prefix),
            capacity: CapacityRange { required: Some(self.subject.bytes), limit: None },
            capabilities: vec![self.subject.capability.clone()],
            parameters: self.subject.parameters.clone(),
            mutable_parameters: Vec::new(),
            source: None,
            topology: None,
            caller: Caller::default(),
        }
    }
}

/// Holds a backend against every rule. Empty: it passes.
pub fn breaches(subject: &Subject<'_>) -> Vec<Breach> {
    let call = Call::until(subject.clock.now() + PATIENCE);
    let description = match subject.backend.description(&call) {
        Ok(description) => description,
        Err(error) => {
            return vec![Breach { rule: "describe always answers", what: error.to_string() }];
        }
    };
    let case = Case { subject, description };
    let rules = controller::RULES.iter().chain(node::RULES);
    rules.filter_map(|(rule, check)| check(&case).err().map(|what| Breach { rule, what })).collect()
}

/// How many rules there are.
pub fn rules() -> usize {
    controller::RULES.len() + node::RULES.len()
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
