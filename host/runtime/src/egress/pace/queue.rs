//! Who goes next. A plain function of the time that is handed in; nothing here waits.
//!
//! Backends take turns, so that one with many requests does not hold up one with few. Of one
//! backend's, those that read go before those that change, because every operation begins and ends
//! with a read; among equals the first come goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::super::RequestEffect;
use super::PaceOfAction;
use super::lane::{Lane, Verdict};

/// Actions of one account at one endpoint with a pace of their own: the largest backend asks for a
/// dozen. Further ones share one, so that a guest cannot fill memory with names.
const LANES: usize = 64;
/// Of the requests that may be under way, a quarter is reserved for those that read.
const PART_FOR_READS: usize = 4;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asker: Arc<str>,
    pub(super) action: String,
    pub(super) effect: RequestEffect,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Started {
    lane: String,
    epoch: u64,
    effect: RequestEffect,
}

/// Requests of one account to one endpoint.
#[derive(Debug)]
pub(super) struct Queue {
    at_once: usize,
    reading: usize,
    changing: usize,
    count: u64,
    waiting: BTreeMap<u64, Waiter>,
    lanes: HashMap<String, Lane>,
    /// When each backend was served last, in numbers of `count`. As many as the operator has
    /// sections.
    served: HashMap<Arc<str>, u64>,
}

impl Queue {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once,
            reading: 0,
            changing: 0,
            count: 0,
            waiting: BTreeMap::new(),
            lanes: HashMap::new(),
            served: HashMap::new(),
        }
    }

    /// Puts a request at the end, and gives it a number.
    pub(super) fn join(&mut self, mut waiter: Waiter) -> u64 {
        if !self.lanes.contains_key(&waiter.action) && self.lanes.len() >= LANES {
            waiter.action = String::new();
        }
        self.lanes.entry(waiter.action.clone()).or_default();
        self.count += 1;
        self.waiting.insert(self.count, waiter);
        self.count
    }

    /// A request does not wait any more. Whether its action was held back.
    pub(super) fn leave(&mut self, number: u64, now: Duration) -> bool {
        let left = self.waiting.remove(&number);
        let lane = left.and_then(|waiter| self.lanes.get(&waiter.action));
        lane.is_some_and(|lane| lane.is_slowed(now))
    }

    /// How many requests are under way and wait, and which actions are held back.
    pub(super) fn moment(&self, now: Duration) -> (usize, usize, Vec<PaceOfAction>) {
        let slowed = self.lanes.iter().filter(|(_, lane)| lane.is_slowed(now));
        let mut slowed: Vec<_> = slowed
            .map(|(action, lane)| PaceOfAction {
                action: action.clone(),
                interval: lane.interval(),
                opens_in: lane.opens_at().saturating_sub(now),
            })
            .collect();
        slowed.sort_by(|one, other| one.action.cmp(&other.action));
        (self.reading + self.changing, self.waiting.len(), slowed)
    }

    /// How often each action was asked to slow down.
    pub(super) fn backoffs(&self) -> Vec<(String, u64)> {
        let backoffs = self.lanes.iter().map(|(action, lane)| (action.clone(), lane.backoffs()));
        backoffs.filter(|(_, backoffs)| *backoffs > 0).collect()
    }

    /// Who goes next, and when.
    pub(super) fn next(&self, now: Duration) -> Option<(u64, Duration)> {
        let may_read = self.reading + self.changing < self.at_once;
        let may_change = may_read && self.changing < changes_at_once(self.at_once);
        let may_start = |waiter: &Waiter| match waiter.effect {
            RequestEffect::Read => may_read,
            RequestEffect::Mutate => may_change,
        };
        let rank = |(number, waiter): (&u64, &Waiter)| {
            let at = self.lanes.get(&waiter.action).map_or(now, Lane::opens_at).max(now);
            let served = self.served.get(&waiter.asker).copied().unwrap_or(0);
            (at, served, waiter.effect == RequestEffect::Mutate, *number)
        };
        let waiting = self.waiting.iter().filter(|(_, waiter)| may_start(waiter));
        waiting.map(rank).min().map(|(at, _, _, number)| (number, at))
    }

    /// Starts this request, if it is its turn. `part`: a random number below one.
    pub(super) fn start(&mut self, number: u64, now: Duration, part: f64) -> Option<Started> {
        if self.next(now) != Some((number, now)) {
            return None;
        }
        let Waiter { asker, action, effect } = self.waiting.remove(&number)?;
        self.count += 1;
        self.served.insert(asker, self.count);
        match effect {
            RequestEffect::Read => self.reading += 1,
            RequestEffect::Mutate => self.changing += 1,
        }
        let epoch = self.lanes.entry(action.clone()).or_default().start(now, part);
        Some(Started { lane: action, epoch, effect })
    }

    /// A request has ended. `part`: a random number below one.
    pub(super) fn end(&mut self, started: Started, now: Duration, verdict: Verdict, part: f64) {
        match started.effect {
            RequestEffect::Read => self.reading = self.reading.saturating_sub(1),
            RequestEffect::Mutate => self.changing = self.changing.saturating_sub(1),
        }
        if let Some(lane) = self.lanes.get_mut(&started.lane) {
            lane.end(started.epoch, now, verdict, part);
        }
        if self.lanes.len() >= LANES && self.waiting.is_empty() {
            self.lanes.retain(|_, lane| !lane.is_forgotten(now));
        }
    }
}

#[cfg(test)]
impl Queue {
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }
}

fn changes_at_once(at_once: usize) -> usize {
    (at_once - at_once / PART_FOR_READS).max(1)
}
