//! What is to be done about a mount, decided from what is true now and nothing else: the same
//! decision serves a helper's death, an unmount, and a supervisor that was killed anywhere and
//! starts again. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::backoff::pause_after;

/// A file system's device number, as the mount table has it.
pub(crate) type DeviceNumber = (u32, u32);

/// How far a mount has come, as its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Whoever asked for it has no answer yet.
    Starting,
    /// It was made.
    Made,
}

/// What is true of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Situation {
    /// From the record.
    pub phase: Phase,
    /// Whether the recorded helper lives.
    pub is_alive: bool,
    /// What the living helper serves; `None`: it has not mounted yet.
    pub serving: Option<DeviceNumber>,
    /// Devices that this namespace's mounts show, of those that are this mount's for sure, at
    /// mount points other than the private one.
    pub shown: Vec<DeviceNumber>,
    /// Whether something with a number of this mount is shown, where this mount might be, that is
    /// not this mount's for sure.
    pub is_unproved: bool,
    /// Whether the private mount point shows the helper's mount: it does while mount points are
    /// repaired.
    pub is_private_mounted: bool,
    /// Whether mount points in other namespaces could not be repaired yet.
    pub is_unhealed: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// All is well.
    Nothing,
    /// Take back what was begun: whoever asked has to ask again.
    RollBack,
    /// Start a helper and give its mount to every mount point that shows a dead one.
    Restart,
    /// Give the living helper's mount to mount points that show a dead one.
    Repair,
    /// Nothing: what is shown may be somebody else's.
    Leave,
    /// The mount is gone: let the helper end, then forget it.
    End,
}

/// The decision.
pub(crate) fn next(now: &Situation) -> Next {
    match now {
        Situation { phase: Phase::Starting, .. } => Next::RollBack,
        Situation { shown, is_unproved: true, .. } if shown.is_empty() => Next::Leave,
        Situation { shown, .. } if shown.is_empty() => Next::End,
        Situation { is_alive: false, .. } | Situation { serving: None, .. } => Next::Restart,
        Situation { serving: Some(device), shown, is_private_mounted, is_unhealed, .. } => {
            let has_dead = shown.iter().any(|other| other != device);
            if has_dead || *is_private_mounted || *is_unhealed {
                Next::Repair
            } else {
                Next::Nothing
            }
        }
    }
}

/// A helper that lived this long was not brought down by what it met at its start.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Deaths in a row that are answered at once: one may be an accident, and a pod that waits for its
/// files is worth a process more.
const MAX_IMMEDIATE: u32 = 3;
/// The pauses for a helper that gets ready each time: its pods have files in between.
const FIRST_PAUSE_READY: Duration = Duration::from_millis(125);
const MAX_PAUSE_READY: Duration = Duration::from_millis(500);
/// The pauses for a helper that does not even get ready: a wrong key stays wrong, and every start
/// asks a server.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Deaths of a mount's helper in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Deaths {
    ready: u32,
    unready: u32,
}

impl Deaths {
    /// Counts a helper that had been ready and lived this long.
    pub fn after_ready(&mut self, lived: Duration) {
        self.unready = 0;
        self.ready = if lived >= STABLE_AFTER { 1 } else { self.ready.saturating_add(1) };
    }

    /// Counts a helper that did not get ready.
    pub fn before_ready(&mut self) {
        self.unready = self.unready.saturating_add(1);
    }

    /// How long to wait before it is started again: from when it was ready, or from when it failed
    /// to get so. Helpers of one server that died together do not ask it together again.
    pub fn pause(self) -> Duration {
        match self {
            Self { ready, unready: 0 } if ready <= MAX_IMMEDIATE => Duration::ZERO,
            Self { ready, unready: 0 } => {
                pause_after(ready - MAX_IMMEDIATE - 1, FIRST_PAUSE_READY, MAX_PAUSE_READY)
            }
            Self { unready, .. } => pause_after(unready - 1, FIRST_PAUSE, MAX_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: DeviceNumber = (0, 50);
    const NEW: DeviceNumber = (0, 51);

    fn well() -> Situation {
        Situation {
            phase: Phase::Made,
            is_alive: true,
            serving: Some(NEW),
            shown: vec![NEW, NEW],
            is_unproved: false,
            is_private_mounted: false,
            is_unhealed: false,
        }
    }

    #[test]
    fn every_situation_has_its_answer() {
        assert_eq!(next(&well()), Next::Nothing);
        for (change, answer) in [
            (Situation { is_alive: false, ..well() }, Next::Restart),
            (Situation { serving: None, shown: vec![OLD], ..well() }, Next::Restart),
            (Situation { shown: vec![NEW, OLD], ..well() }, Next::Repair),
            (Situation { is_private_mounted: true, ..well() }, Next::Repair),
            (Situation { is_unhealed: true, ..well() }, Next::Repair),
            (Situation { shown: vec![], ..well() }, Next::End),
            (Situation { shown: vec![], is_alive: false, ..well() }, Next::End),
            (Situation { shown: vec![], is_unhealed: true, ..well() }, Next::End),
            (Situation { is_unproved: true, ..well() }, Next::Nothing),
            (Situation { is_unproved: true, is_alive: false, ..well() }, Next::Restart),
            (Situation { is_unproved: true, shown: vec![], ..well() }, Next::Leave),
            (
                Situation { is_unproved: true, is_alive: false, shown: vec![], ..well() },
                Next::Leave,
            ),
            (Situation { phase: Phase::Starting, ..well() }, Next::RollBack),
            (Situation { phase: Phase::Starting, shown: vec![], ..well() }, Next::RollBack),
        ] {
            assert_eq!(next(&change), answer, "{change:?}");
        }
    }

    #[track_caller]
    fn assert_is_about(pause: Duration, usual: Duration) {
        assert!(pause >= usual * 3 / 4 && pause <= usual * 5 / 4, "{pause:?} for {usual:?}");
    }

    #[test]
    fn a_helper_that_gets_ready_is_never_waited_for_long() {
        let mut deaths = Deaths::default();
        let usual = [0, 0, 0, 125, 250, 500].map(Duration::from_millis);
        for usual in usual.into_iter().chain([MAX_PAUSE_READY; 100]) {
            deaths.after_ready(Duration::from_millis(1));
            assert_is_about(deaths.pause(), usual);
        }
    }

    #[test]
    fn a_helper_that_does_not_get_ready_is_tried_more_and_more_rarely() {
        let mut deaths = Deaths::default();
        deaths.after_ready(STABLE_AFTER);
        let usual = [1, 2, 4, 8, 16, 32].map(Duration::from_secs);
        for usual in usual.into_iter().chain([MAX_PAUSE; 100]) {
            deaths.before_ready();
            assert_is_about(deaths.pause(), usual);
        }
    }

    #[test]
    fn a_long_life_is_forgiven_what_was_before() {
        let mut deaths = Deaths::default();
        for _ in 0..50 {
            deaths.after_ready(Duration::ZERO);
        }
        deaths.before_ready();
        deaths.after_ready(STABLE_AFTER);
        assert_eq!(deaths.pause(), Duration::ZERO);
    }
}
