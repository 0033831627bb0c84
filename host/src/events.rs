//! Kubernetes Events for what a person has to see to, on the pod of this process. Off unless
//! `[events]` turns them on: nothing else of Wharf talks to the API server.
//!
//! No call waits for them. One task checks twice a minute what the process knows of itself. One
//! trouble of one object makes one Event an hour, and a process makes a bounded number of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

mod api;
mod sources;
mod troubles;

pub use api::{Api, may};
pub use sources::Sources;
use troubles::{Trouble, Troubles};

use crate::config::EventsSection;

/// One trouble is reported again after as long as API servers keep an Event by default.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// Events of one process in an hour: a node has no more kinds of trouble than that, and a cluster
/// has thousands of nodes.
const MAX_AN_HOUR: usize = 20;
/// What one round may take before the next is due.
const SEND_BOUND: Duration = Duration::from_secs(5);

/// Begins to report, if the configuration asks for it. What is wrong with the way to the API server
/// is a line of the log: volumes do not wait for it.
pub fn start(section: &EventsSection, sources: Sources) {
    if !section.enabled {
        return;
    }
    match Api::new(section) {
        Ok(api) => drop(tokio::spawn(run(api, Arc::new(sources), section.interval()))),
        Err(why) => tracing::error!(why, "no Kubernetes Events are made"),
    }
}

async fn run(api: Api, sources: Arc<Sources>, every: Duration) {
    let (mut troubles, mut sent_events) = (Troubles::default(), SentEvents::default());
    loop {
        tokio::time::sleep(every).await;
        let observer = Arc::clone(&sources);
        let Ok(seen) = tokio::task::spawn_blocking(move || observer.observe()).await else {
            continue;
        };
        for trouble in troubles.lasting(seen) {
            let Some(count) = sent_events.due(&trouble, Instant::now()) else { continue };
            if let Err(why) = api.post(&trouble, count, SystemTime::now(), SEND_BOUND).await {
                sent_events.was_not_sent(&trouble);
                tracing::warn!(why, reason = trouble.reason, "the API server took no Event");
                // The others would meet the same.
                break;
            }
        }
    }
}

/// What was sent when.
#[derive(Default)]
struct SentEvents {
    sent: HashMap<(&'static str, String), (Instant, u32)>,
}

impl SentEvents {
    /// Whether a trouble is to be sent now, and how often it then was.
    fn due(&mut self, trouble: &Trouble, now: Instant) -> Option<u32> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < REPEAT_AFTER;
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
        Trouble { reason: "MountDead", object: object.into(), message: "m".into(), rounds: 1 }
    }

    #[test]
    fn one_trouble_is_told_once_an_hour_and_all_together_are_bounded() {
        let (mut sent_events, start) = (SentEvents::default(), Instant::now());
        assert_eq!(sent_events.due(&trouble("a"), start), Some(1));
        assert_eq!(sent_events.due(&trouble("a"), start + REPEAT_AFTER / 2), None);
        let sent = (0..100).filter(|n| sent_events.due(&trouble(&n.to_string()), start).is_some());
        assert_eq!(sent.count(), MAX_AN_HOUR - 1);
        assert_eq!(sent_events.due(&trouble("a"), start + REPEAT_AFTER), Some(2));
        assert!(sent_events.sent.len() <= MAX_AN_HOUR);
    }

    #[test]
    fn what_the_api_server_did_not_take_is_told_again() {
        let (mut sent_events, now) = (SentEvents::default(), Instant::now());
        assert_eq!(sent_events.due(&trouble("a"), now), Some(1));
        sent_events.was_not_sent(&trouble("a"));
        assert_eq!(sent_events.due(&trouble("a"), now), Some(1));
    }
}
