//! Healing a mount: its helper started again, and the new mount given to every mount point that
//! shows a dead one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::Error;

use super::super::connections::Connection;
use super::super::context::SupervisorContext;
use super::super::decide::DeviceNumber;
use super::super::launch::Running;
use super::super::namespaces;
use super::super::protocol::Ending;
use super::super::repair::{self, Outcome, Replacement};
use super::{Mount, REPAIR_AGAIN, Search};
use crate::mounts::table::MountTable;

/// Rounds of looking for mount points in one repair. A container that is being started may copy the
/// dead mount while others are repaired.
const MAX_ROUNDS: usize = 5;

impl Mount {
    /// Notes the end of a helper whose mount is still shown.
    pub(super) fn note_death(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        let Some(helper) = self.helper.take() else { return Ok(()) };
        // One that is still alive has mounted nothing: an earlier supervisor was killed meanwhile.
        let ending = self.cause(context, helper.kill());
        tracing::warn!(mount = self.name, target = %self.target().display(), "the helper has ended: {ending}");
        let lived = self.ready_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.deaths.after_ready(lived);
        // Between two starts, not after a death: one that served meanwhile is not waited for.
        self.not_before = Some(Instant::now() + self.deaths.pause().saturating_sub(lived));
        self.record.last_exit = Some(ending);
        self.save(context)
    }

    /// How a helper ended, with what its control group knows of it.
    pub(super) fn cause(&self, context: &SupervisorContext, ending: Ending) -> Ending {
        let kills = context.cgroups.out_of_memory_kills(&self.name);
        match ending {
            Ending::Killed(_) | Ending::Unseen if kills > self.memory_kills => Ending::OutOfMemory,
            ending => ending,
        }
    }

    /// Starts the helper again and gives its mount to every mount point.
    pub(super) fn restart(&mut self, context: &SupervisorContext) {
        let Err(error) = self.try_restart(context) else { return };
        if self.record.serving.is_some() {
            // What failed came after the mount was ready: it stays, and the rest is done later.
            tracing::error!(%error, mount = self.name, target = %self.target().display(), "it runs again, not every mount point shows it yet; again in {REPAIR_AGAIN:?}");
            self.not_before = Some(Instant::now() + REPAIR_AGAIN);
            return;
        }
        self.deaths.before_ready();
        let pause = self.deaths.pause();
        tracing::error!(%error, mount = self.name, target = %self.target().display(), "the helper could not be started again; tried again in {pause:?}");
        self.not_before = Some(Instant::now() + pause);
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
    }

    fn try_restart(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        if let Some(retired) = self.record.retired.take().and_then(Running::adopt) {
            // An earlier supervisor was replacing it when it was killed.
            retired.stop();
        }
        self.private.detach_mount()?;
        self.private.create()?;
        self.record.restarts = self.record.restarts.saturating_add(1);
        let limit = Duration::from_secs(self.record.spec.profile.start_seconds.into());
        self.start(context, Instant::now() + limit)?;
        let repaired = self.repair(context, true);
        self.move_helper(context);
        repaired
    }

    /// Gives the living helper's mount to every mount point that shows an old one.
    pub(super) fn repair(
        &mut self,
        context: &SupervisorContext,
        must_be_dead: bool,
    ) -> Result<(), Error> {
        let Some(serving) = self.record.serving else { return Ok(()) };
        let began = Instant::now();
        let (mut healed, mut failures) = (0, Vec::new());
        for _ in 0..MAX_ROUNDS {
            let old = self.dead()?;
            if old.is_empty() {
                failures.clear();
                break;
            }
            let numbers: Vec<_> = old.iter().map(|connection| connection.device).collect();
            let replacement = Replacement {
                healthy: self.healthy(serving.device)?,
                serving,
                old,
                connections: Arc::clone(&self.connections),
                must_be_dead,
            };
            // This namespace first: what propagates from it needs no repair any more.
            let mut outcomes = repair::replace(&namespaces::own(&numbers)?, &replacement);
            outcomes.extend(repair::replace(&namespaces::others(&numbers)?, &replacement));
            let round = self.report(&outcomes);
            healed += round.0;
            failures = round.1;
            // Another look finds only what another round can change.
            if round.0 == 0 {
                break;
            }
        }
        self.finish_repair(context, serving, healed, failures, began)
    }

    /// The file systems of earlier helpers that some mount or open file still keeps.
    fn dead(&self) -> Result<Vec<Connection>, Error> {
        let kept = |connection: &Connection| match self.connections.has(connection) {
            Ok(is_there) => is_there.then_some(Ok(*connection)),
            Err(error) => Some(Err(error)),
        };
        self.record.dead().filter_map(kept).collect()
    }

    fn finish_repair(
        &mut self,
        context: &SupervisorContext,
        serving: Connection,
        healed: u64,
        failures: Vec<String>,
        began: Instant,
    ) -> Result<(), Error> {
        let table = MountTable::read()?;
        let private = self.private.mountpoint();
        let is_shown = table.of_device(serving.device).any(|entry| entry.mount_point != private);
        // While no mount point has it yet, it is all there is to repair from. Where there is
        // nothing to repair, because all were unmounted meanwhile, it would keep its helper.
        if is_shown || failures.is_empty() {
            self.private.detach_mount()?;
        }
        for failure in failures.iter().filter(|failure| !self.unhealed.contains(failure)) {
            tracing::warn!(
                mount = self.name,
                "a mount point still shows the dead mount: {failure}"
            );
        }
        if healed > 0 {
            self.search = Search::default();
        }
        if failures.is_empty() {
            // What the kernel keeps and no table shows may be shown later.
            let dead = self.dead()?;
            self.search.go_on(!dead.is_empty());
            self.record.connections = dead.into_iter().chain([serving]).collect();
        } else {
            self.not_before = Some(Instant::now() + REPAIR_AGAIN);
        }
        if healed > 0 {
            tracing::info!(mount = self.name, target = %self.target().display(), places = healed, micros = began.elapsed().as_micros(), "healed");
        }
        self.unhealed = failures;
        self.record.healed = self.record.healed.saturating_add(healed);
        self.save(context)
    }

    /// Counts what was repaired, and says what was not.
    fn report(&self, outcomes: &[(String, Vec<Outcome>)]) -> (u64, Vec<String>) {
        let mut healed = 0;
        let mut failures = Vec::new();
        for (namespace, outcomes) in outcomes {
            for outcome in outcomes {
                match &outcome.failure {
                    None => {
                        healed += 1;
                        tracing::info!(mount = self.name, namespace, place = %outcome.mount_point.display(), "repaired a place");
                    }
                    Some(failure) => {
                        failures.push(format!(
                            "{namespace}, {}: {failure}",
                            outcome.mount_point.display()
                        ));
                    }
                }
            }
        }
        (healed, failures)
    }

    /// A mount point of this namespace that shows all of the living mount.
    fn healthy(&self, serving: DeviceNumber) -> Result<PathBuf, Error> {
        let table = MountTable::read()?;
        let private = self.private.mountpoint();
        let is_healthy = |path: &Path| {
            table
                .top(path)
                .is_some_and(|entry| entry.device == serving && entry.root == Path::new("/"))
        };
        let elsewhere = table.of_device(serving).map(|entry| entry.mount_point.clone());
        std::iter::once(private).chain(elsewhere).find(|path| is_healthy(path)).ok_or_else(|| {
            Error::internal(format!(
                "the mount of {} is nowhere on this node",
                self.target().display()
            ))
        })
    }
}
