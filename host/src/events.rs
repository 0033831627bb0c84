//! Kubernetes Events for what a person has to see to, on the pod of this process. Off unless
//! `[events]` turns them on: nothing else of Wharf talks to the API server.
//!
//! No call waits for them. One task looks twice a minute at what the process knows of itself. One
//! trouble of one object makes one Event an hour, and a process makes a bounded number of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

mod api;
mod places;
mod troubles;

pub use api::{Api, may};
pub use places::Places;
use troubles::{Trouble, Troubles};

use crate::config::EventsSection;

/// One trouble is told again after as long as API servers keep an Event by default.
const AGAIN: Duration = Duration::from_secs(3600);
/// Events of one process in an hour: a node has no more kinds of trouble than that, and a cluster
/// has thousands of nodes.
const MAX_AN_HOUR: usize = 20;
/// What one look may take before the next is due.
const SEND: Duration = Duration::from_secs(5);

/// Begins to tell, if the configuration wants it. What is wrong with the way to the API server is a
/// line of the log: volumes do not wait for it.
pub fn start(section: &EventsSection, places: Places) {
    if !section.enabled {
        return;
    }
    match Api::new(section) {
        Ok(api) => drop(tokio::spawn(keep(api, Arc::new(places), section.look()))),
        Err(why) => tracing::error!(why, "no Kubernetes Events are made"),
    }
}

async fn keep(api: Api, places: Arc<Places>, every: Duration) {
    let (mut troubles, mut ledger) = (Troubles::default(), Ledger::default());
    loop {
        tokio::time::sleep(every).await;
        let looked = Arc::clone(&places);
        let Ok(seen) = tokio::task::spawn_blocking(move || looked.look()).await else { continue };
        for trouble in troubles.lasting(seen) {
            let Some(count) = ledger.due(&trouble, Instant::now()) else { continue };
            if let Err(why) = api.tell(&trouble, count, SystemTime::now(), SEND).await {
                ledger.was_not_sent(&trouble);
                tracing::warn!(why, reason = trouble.reason, "the API server took no Event");
                // The others would meet the same.
                break;
            }
        }
    }
}

/// What was sent when.
#[derive(Default)]
struct Ledger {
    sent: HashMap<(&'static str, String), (Instant, u32)>,
}

impl Ledger {
    /// Whether a trouble is to be sent now, and how often it then was.
    fn due(&mut self, trouble: &Trouble, now: Instant) -> Option<u32> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < AGAIN;
        let key = trouble.key();
        let before = self.sent.get(&key).copied();
        if before.is_some_and(|(at, _)| is_recent(at)) {
            return None;
        }
        // Bounded by this: what is older than an hour goes when something new comes.
        self.sent.retain(|known, (at, _)| is_recent(*at) || *known == key);
        if self.sent.values().filter(|(at, _)| is_recent(*at)).count() >= MAX_AN_HOUR {
            return None;
        }
        let count = before.map_or(1, |(_, count)| count.saturating_add(1));
        self.sent.insert(key, (now, count));
        Some(count)
    }

    fn was_not_sent(&mut self, trouble: &Trouble) {
        self.sent.remove(&trouble.key());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(object: &str) -> Trouble {
        Trouble { reason: "MountDead", object: object.into(), message: "m".into(), looks: 1 }
    }

    #[test]
    fn one_trouble_is_told_once_an_hour_and_all_together_are_bounded() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert_eq!(ledger.due(&trouble("a"), start), Some(1));
        assert_eq!(ledger.due(&trouble("a"), start + AGAIN / 2), None);
        let sent = (0..100).filter(|n| ledger.due(&trouble(&n.to_string()), start).is_some());
        assert_eq!(sent.count(), MAX_AN_HOUR - 1);
        assert_eq!(ledger.due(&trouble("a"), start + AGAIN), Some(2));
        assert!(ledger.sent.len() <= MAX_AN_HOUR);
    }

    #[test]
    fn what_the_api_server_did_not_take_is_told_again() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        assert_eq!(ledger.due(&trouble("a"), now), Some(1));
        ledger.was_not_sent(&trouble("a"));
        assert_eq!(ledger.due(&trouble("a"), now), Some(1));
    }
}
