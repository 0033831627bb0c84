//! What a fake was asked, in order, and what it was told to answer instead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use wharf_core::ports::{Call, Instant};
use wharf_core::verbs::{
    AttachRequest, CapacityRequest, CreateRequest, ExpandRequest, NodeExpandRequest,
    PublishRequest, StageRequest, ValidateRequest,
};
use wharf_core::{Blame, Error, ErrorKind};

use super::hold::{Gate, Hold};
use super::lock;

/// A request, as it arrived at the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// `create`.
    Create(CreateRequest),
    /// `attach`.
    Attach(AttachRequest),
    /// `expand`.
    Expand(ExpandRequest),
    /// `validate`.
    Validate(ValidateRequest),
    /// `capacity`.
    Capacity(CapacityRequest),
    /// `plan-stage`.
    PlanStage(StageRequest),
    /// `plan-publish`.
    PlanPublish(PublishRequest),
    /// `plan-expand`.
    PlanExpand(NodeExpandRequest),
}

/// The calls of one fake.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    verbs: Vec<(&'static str, Instant)>,
    seen: Vec<Seen>,
    by_verb: BTreeMap<String, VecDeque<Error>>,
    by_position: BTreeMap<usize, Error>,
    gates: BTreeMap<String, Arc<Gate>>,
}

impl Journal {
    /// Notes the call, stops where a test holds it, and answers what a test injected.
    pub(crate) fn enter(&self, call: &Call, verb: &'static str) -> Result<(), Error> {
        let (injected, gate) = {
            let mut inner = lock(&self.inner);
            let position = inner.verbs.len();
            inner.verbs.push((verb, call.deadline()));
            let injected = inner
                .by_position
                .remove(&position)
                .or_else(|| inner.by_verb.get_mut(verb).and_then(VecDeque::pop_front));
            (injected, inner.gates.get(verb).cloned())
        };
        if gate.is_some_and(|gate| !gate.pass(call)) {
            return Err(Error::new(
                ErrorKind::DeadlineExceeded,
                Blame::Host,
                format!("{verb} was cancelled"),
            )
            .with_unknown_effect());
        }
        injected.map_or(Ok(()), Err)
    }

    pub(crate) fn see(&self, seen: Seen) {
        lock(&self.inner).seen.push(seen);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.inner).seen.clone()
    }

    pub(crate) fn verbs(&self) -> Vec<&'static str> {
        lock(&self.inner).verbs.iter().map(|(verb, _)| *verb).collect()
    }

    pub(crate) fn deadline_of_last(&self, verb: &str) -> Option<Instant> {
        lock(&self.inner)
            .verbs
            .iter()
            .rev()
            .find(|(name, _)| *name == verb)
            .map(|(_, deadline)| *deadline)
    }

    pub(crate) fn fail(&self, verb: &str, error: Error) {
        lock(&self.inner).by_verb.entry(verb.to_owned()).or_default().push_back(error);
    }

    pub(crate) fn fail_at(&self, position: usize, error: Error) {
        lock(&self.inner).by_position.insert(position, error);
    }

    pub(crate) fn hold(&self, verb: &str) -> Hold {
        let (hold, gate) = Hold::new();
        lock(&self.inner).gates.insert(verb.to_owned(), gate);
        hold
    }
}
