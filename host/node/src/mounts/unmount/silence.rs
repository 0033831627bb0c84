//! How long a server has answered nothing while it was unmounted, also over several calls: one call
//! may be too short to distinguish a dead server from one that fails over, and each of many short
//! ones would begin from nothing.
//!
//! In memory, for it has to work on a disk that is full. A FlexVolume process forgets it with its
//! one call, which has minutes. Left out: what to do about a silence (`remote`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::mounts::table::Entry;

/// Between two calls nobody may have asked the server anything, so what an old call saw says
/// little. Kubelet calls again after two minutes at the latest.
const RETENTION: Duration = Duration::from_secs(5 * 60);

/// How long a server has been silent, and what it had said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    /// As [`answers::count`](crate::mounts::answers::count) has it.
    answers: Option<u64>,
    lasted: Duration,
}

impl Silence {
    /// It was waited for so long, and has given so many answers by now. `has_answered`: it has
    /// answered otherwise, where nobody counts.
    pub fn note(&mut self, answers: Option<u64>, has_answered: bool, waited: Duration) {
        let is_silent = answers == self.answers && !has_answered;
        self.lasted = if is_silent { self.lasted + waited } else { Duration::ZERO };
        self.answers = answers;
    }

    /// Only the time that it was waited for, so neither a pause between calls nor one of the whole
    /// machine is silence.
    pub fn lasted(&self) -> Duration {
        self.lasted
    }
}

/// The silences that calls ended in: at most one for each mount that could not be unmounted.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<HashMap<u64, SavedSilence>>);

#[derive(Debug)]
struct SavedSilence {
    mount: Entry,
    silence: Silence,
    at: Duration,
}

impl Silences {
    /// What calls before have seen of this mount's server, which has given so many answers by now.
    /// It is another call's no more.
    pub(super) fn take(&self, mount: &Entry, answers: Option<u64>, now: Duration) -> Silence {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        saved.retain(|_, saved| now.saturating_sub(saved.at) < RETENTION);
        saved
            .remove(&mount.id)
            .filter(|saved| saved.mount == *mount && saved.silence.answers == answers)
            .map_or(Silence { answers, lasted: Duration::ZERO }, |saved| saved.silence)
    }

    /// For the call after this one.
    pub(super) fn save(&self, mount: &Entry, silence: Silence, now: Duration) {
        let saved = SavedSilence { mount: mount.clone(), silence, at: now };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(mount.id, saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::table::MountTable;

    const SECOND: Duration = Duration::from_secs(1);

    fn mount(line: &str) -> Entry {
        MountTable::parse(line.as_bytes()).unwrap().entries()[0].clone()
    }

    fn one() -> Entry {
        mount("36 35 0:50 / /a rw - nfs s:/a rw")
    }

    fn silent_for(time: Duration) -> Silence {
        Silence { answers: Some(7), lasted: time }
    }

    #[test]
    fn an_answer_ends_a_silence() {
        let mut silence = silent_for(Duration::ZERO);
        silence.note(Some(7), false, SECOND * 5);
        silence.note(Some(7), false, SECOND);
        assert_eq!(silence.lasted(), SECOND * 6);
        silence.note(Some(8), false, SECOND);
        assert_eq!(silence.lasted(), Duration::ZERO);
        silence.note(Some(8), false, SECOND);
        assert_eq!(silence.lasted(), SECOND);
        // Where nobody counts, it is asked.
        let mut silence = Silence { answers: None, lasted: SECOND };
        silence.note(None, false, SECOND);
        assert_eq!(silence.lasted(), SECOND * 2);
        silence.note(None, true, SECOND);
        assert_eq!(silence.lasted(), Duration::ZERO);
    }

    #[test]
    fn a_silence_goes_on_in_the_next_call_for_the_same_mount() {
        let silences = Silences::default();
        silences.save(&one(), silent_for(SECOND), Duration::ZERO);
        let next = silences.take(&one(), Some(7), SECOND * 120);
        assert_eq!(next.lasted(), SECOND);
        // The one that took it says whether it goes on.
        assert_eq!(silences.take(&one(), Some(7), SECOND * 120).lasted(), Duration::ZERO);
    }

    #[test]
    fn a_silence_says_nothing_after_an_answer_after_long_or_of_another_mount() {
        let silences = Silences::default();
        let lasted_of = |mount: &Entry, answers, now| {
            silences.save(&one(), silent_for(SECOND), Duration::ZERO);
            silences.take(mount, answers, now).lasted()
        };
        assert_eq!(lasted_of(&one(), Some(7), SECOND), SECOND);
        assert_eq!(lasted_of(&one(), Some(8), SECOND), Duration::ZERO);
        assert_eq!(lasted_of(&one(), None, SECOND), Duration::ZERO);
        assert_eq!(lasted_of(&one(), Some(7), RETENTION), Duration::ZERO);
        // The kernel gives numbers out again.
        let other = mount("36 35 0:51 / /b rw - nfs s:/b rw");
        assert_eq!(lasted_of(&other, Some(7), SECOND), Duration::ZERO);
    }
}
