//! A backend's operation driven to its end, the way the host does it: observe, decide, wait,
//! repeat.

use std::time::Duration;

use wharf_core::error::{Effect, Error};
use wharf_core::types::{Answer, Observation, Pending, Progress, ResourceId, VolumeId};
use wharf_core::verbs::{AskExt as _, Observe};

use super::Case;

/// The contract's bound on a token.
const MAX_RESUME: usize = 4 * 1024;
/// The contract's bound on an observation.
const MAX_STATE: usize = 64 * 1024;
/// An operation that needs more steps than this does not end.
const MAX_STEPS: usize = 500;
/// A backend that asks to be called again at once gets this instead.
const SHORTEST: Duration = Duration::from_millis(5);

/// What the caller remembers from one step to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Everything, as a host that lives.
    Whole,
    /// Nothing for the first steps: each is the first of a host that was killed after the one
    /// before. Then the host lives.
    LostAtFirst,
}

/// How many hosts die one after the other.
const DEATHS: usize = 3;

/// What `drive` came to.
pub(crate) type Driven<T> = Result<Result<T, Error>, String>;

impl Case<'_> {
    /// Drives to the end. The outer error is a broken rule, the inner one the backend's answer.
    pub(crate) fn drive<T>(
        &self,
        ids: &[&str],
        memory: Memory,
        step: impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Driven<T> {
        let first: Vec<ResourceId> = ids.iter().map(|id| volume(id)).collect();
        let (mut watch, mut resume) = (first.clone(), None);
        for number in 0..MAX_STEPS {
            let observed = match self.look(&watch)? {
                Ok(observed) => observed,
                Err(error) if error.kind.is_transient() => {
                    self.wait(SHORTEST);
                    continue;
                }
                Err(error) => return Ok(Err(error)),
            };
            let pending = match step(&Progress { observed, resume: resume.clone() }) {
                Ok(Answer::Done(value)) => return Ok(Ok(value)),
                Ok(Answer::Pending(pending)) => pending,
                Ok(Answer::Perform(perform)) => {
                    return Err(format!(
                        "it asks for `{}` to be performed, and this suite has no machine",
                        perform.plan.summary
                    ));
                }
                Err(error) if error.kind.is_transient() => {
                    self.wait(error.retry_after.unwrap_or(SHORTEST));
                    continue;
                }
                Err(error) => return check_error(&error).map(|()| Err(error)),
            };
            check_pending(&pending)?;
            self.wait(Duration::from_millis(u64::from(pending.after_ms)).max(SHORTEST));
            if memory == Memory::LostAtFirst && number < DEATHS {
                (watch, resume) = (first.clone(), None);
                continue;
            }
            resume = pending.resume;
            if !pending.watch.is_empty() {
                watch = pending.watch;
            }
        }
        Err(format!("it is still pending after {MAX_STEPS} steps"))
    }

    /// One observation for each volume and none besides.
    pub(crate) fn observe(&self, ids: &[String]) -> Driven<Vec<Observation>> {
        self.look(&ids.iter().map(|id| volume(id)).collect::<Vec<_>>())
    }

    fn look(&self, resources: &[ResourceId]) -> Driven<Vec<Observation>> {
        if resources.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let observed = match self.backend().call::<Observe>(&self.call(), resources) {
            Ok(observed) => observed,
            Err(error) => return check_error(&error).map(|()| Err(error)),
        };
        let (mut has, mut wants): (Vec<&ResourceId>, Vec<&ResourceId>) =
            (observed.iter().map(|one| &one.of).collect(), resources.iter().collect());
        has.sort_unstable();
        wants.sort_unstable();
        if has != wants {
            return Err(format!("observe({wants:?}) answers for {has:?}"));
        }
        if let Some(large) = observed.iter().find(|one| one.state.len() > MAX_STATE) {
            return Err(format!(
                "the observation of {} has {} bytes",
                large.of.id,
                large.state.len()
            ));
        }
        Ok(Ok(observed))
    }

    fn wait(&self, duration: Duration) {
        self.subject.clock.sleep(duration, &self.call());
    }
}

fn volume(id: &str) -> ResourceId {
    ResourceId::volume(&VolumeId::new(id))
}

fn check_pending(pending: &Pending) -> Result<(), String> {
    if pending.reason.is_empty() {
        return Err("a pending answer does not say what is waited for".to_owned());
    }
    match &pending.resume {
        Some(resume) if resume.len() > MAX_RESUME => {
            Err(format!("a resume token has {} bytes", resume.len()))
        }
        _ => Ok(()),
    }
}

/// A final error leaves nothing unknown, and says something.
fn check_error(error: &Error) -> Result<(), String> {
    if error.message.is_empty() {
        return Err("an error without a message".to_owned());
    }
    if error.effect == Effect::Unknown && !error.kind.is_transient() {
        return Err(format!("a final error leaves an unknown effect: {error}"));
    }
    Ok(())
}
