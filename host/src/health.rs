//! Whether this process lives and whether it can work: `/healthz` and `/readyz`.
//!
//! Liveness fails for what a restart mends, and for nothing else: a socket of ours that does not
//! answer, a call that goes on far beyond its deadline. Readiness fails also for what keeps volumes
//! from pods: a store that cannot be read, a component that cannot be loaded, a supervisor of
//! mounts that is to run and does not answer, a registration that kubelet refuses. Each check is
//! bounded, all run at once, and the answer names every one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use wharf_core::manifest::World;
use wharf_core::ports::Clock;
use wharf_csi::{Probed, RegistrationState, probe};
use wharf_modules::{BEING_LOADED, ComponentId, Loader, NOT_NEEDED_YET, Serving, Store};
use wharf_node::supervisor::Client;

use crate::drivers::Served;
use crate::http::Page;
use crate::metrics::operations::Operations;

/// For one check: kubelet's probes wait a second by default and are set to wait longer, the
/// liveness probe of the sidecars waits three.
const CHECK: Duration = Duration::from_secs(3);

/// What is examined.
pub struct Health {
    /// The drivers of this process.
    pub drivers: Arc<Vec<Arc<Served>>>,
    /// The calls that threads work on.
    pub operations: Arc<Operations>,
    /// The clock of their deadlines.
    pub clock: Arc<dyn Clock>,
    /// How long beyond its deadline a call may go on.
    pub wedged_after: Duration,
    /// Where components come from, and which of them serve.
    pub loader: Arc<Loader>,
    /// Those that the drivers and their accounts need.
    pub needed: BTreeSet<ComponentId>,
    /// The supervisor of mounts, where it is to run as a service.
    pub supervisor: Option<Client>,
    /// True once the process ends.
    pub stopped: watch::Receiver<bool>,
}

/// What a check came to: what is so, or why it fails.
type Outcome = Result<String, String>;
type Checks = JoinSet<(String, Outcome)>;

impl Health {
    /// Whether a restart would help.
    pub async fn live(&self) -> Page {
        if self.is_stopped() {
            return report("healthz", vec![("process".to_owned(), Ok("draining".to_owned()))]);
        }
        let mut checks = Checks::new();
        for driver in self.drivers.iter().cloned() {
            checks.spawn(async move { (format!("csi {}", driver.name), answers(&driver).await) });
        }
        checks.spawn(std::future::ready(("calls".to_owned(), self.no_call_is_wedged())));
        report("healthz", all(checks).await)
    }

    /// Whether pods of this node, or claims of this cluster, get what they ask for.
    pub async fn ready(&self) -> Page {
        if self.is_stopped() {
            return report("readyz", vec![("process".to_owned(), Err("it is ending".to_owned()))]);
        }
        let mut checks = Checks::new();
        for driver in self.drivers.iter().cloned() {
            if let Some(registration) = &driver.registration {
                let outcome = registered(&registration.state());
                checks
                    .spawn(std::future::ready((format!("registration {}", driver.name), outcome)));
            }
            checks.spawn(async move { (format!("csi {}", driver.name), is_ready(&driver).await) });
        }
        checks.spawn(std::future::ready(("calls".to_owned(), self.no_call_is_wedged())));
        let store = self.loader.store().clone();
        checks.spawn(async move { ("store".to_owned(), away(move || can_be_read(&store)).await) });
        for id in self.needed.clone() {
            let label = format!("{} {}", id.world.noun(), id.name);
            let loader = Arc::clone(&self.loader);
            checks.spawn(async move {
                (label, away(move || can_be_loaded(&loader.serving(), &id)).await)
            });
        }
        if let Some(client) = self.supervisor.clone() {
            checks.spawn(async move { ("supervisor".to_owned(), supervised(client).await) });
        }
        report("readyz", all(checks).await)
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    fn no_call_is_wedged(&self) -> Outcome {
        let (now, running) = (self.clock.now(), self.operations.all());
        let over = |deadline: Duration| now.saturating_sub(deadline);
        match running.iter().max_by_key(|operation| over(operation.deadline)) {
            Some(oldest) if over(oldest.deadline) > self.wedged_after => Err(format!(
                "{} of {} {} goes on {} s after its deadline, more than the {} s that the longest \
                 work on a node takes",
                oldest.rpc,
                oldest.driver,
                oldest.volume,
                over(oldest.deadline).as_secs(),
                self.wedged_after.as_secs()
            )),
            _ => Ok(format!("{} under way", running.len())),
        }
    }
}

/// Whether a driver's socket answers. One that this process could not have is not its to repair.
async fn answers(driver: &Served) -> Outcome {
    if let Some(trouble) = driver.trouble() {
        return Ok(format!("not served, and tried again: {trouble}"));
    }
    probe(&driver.socket, CHECK).await.map(|_| "answers".to_owned())
}

/// Whether a driver can work.
async fn is_ready(driver: &Served) -> Outcome {
    if let Some(trouble) = driver.trouble() {
        return Err(trouble);
    }
    match probe(&driver.socket, CHECK).await? {
        Probed::Ready => Ok("ready".to_owned()),
        Probed::NotYet => Err("its backend has not described itself yet".to_owned()),
        Probed::Unable(why) => Err(why),
    }
}

/// Kubelet has its own time to ask; only a refusal is a failure.
fn registered(state: &RegistrationState) -> Outcome {
    match state {
        RegistrationState::Waiting | RegistrationState::Registered => Ok(state.to_string()),
        RegistrationState::NotServed(_) | RegistrationState::Refused(_) => Err(state.to_string()),
    }
}

fn can_be_read(store: &Store) -> Outcome {
    let mut count = 0;
    for world in World::ALL {
        count += store.list(world).map_err(|error| error.to_string())?.summaries.len();
    }
    Ok(format!("{count} components"))
}

/// Nothing is loaded for this: what was tried is known, and what was not yet is looked at.
fn can_be_loaded(serving: &[Serving], id: &ComponentId) -> Outcome {
    let is_it = |it: &&Serving| it.kind == id.world.noun() && it.component == *id.name;
    let own = serving.iter().filter(is_it);
    for serving in own.clone() {
        if let Some(generation) = serving.generation {
            let but = serving.why_not.as_ref();
            let but = but.map(|why| format!("; the active one does not: {why}"));
            return Ok(format!("generation {generation} serves{}", but.unwrap_or_default()));
        }
    }
    let mut why_not = own.filter_map(|serving| serving.why_not.as_deref());
    match why_not.clone().find(|why| ![NOT_NEEDED_YET, BEING_LOADED].contains(why)) {
        Some(why) => Err(why.to_owned()),
        None => Ok(why_not.next_back().unwrap_or(NOT_NEEDED_YET).to_owned()),
    }
}

/// Whether a supervisor of mounts answers.
pub async fn supervised(client: Client) -> Outcome {
    let listed = away(move || client.list_of_running().map_err(|error| error.to_string()));
    listed.await.map(|mounts| format!("answers; {} mounts", mounts.len()))
}

/// A check that may block, on a thread that may: whatever it does, it is not waited for longer.
async fn away<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(CHECK, tokio::task::spawn_blocking(check)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panicked)) => Err("the check ended in a defect of wharf".to_owned()),
        Err(_elapsed) => Err(format!("no answer within {CHECK:?}")),
    }
}

async fn all(mut checks: Checks) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    while let Some(ended) = checks.join_next().await {
        outcomes.push(ended.unwrap_or_else(|_| {
            ("check".to_owned(), Err("it ended in a defect of wharf".to_owned()))
        }));
    }
    outcomes.sort();
    outcomes
}

/// One line for each check, as Kubernetes' own components have them.
pub fn report(name: &str, outcomes: Vec<(String, Outcome)>) -> Page {
    let mut text = String::new();
    for (check, outcome) in &outcomes {
        // Writing into a string does not fail.
        let _ = match outcome {
            Ok(is_so) => writeln!(text, "[+]{check}: ok, {is_so}"),
            Err(why) => writeln!(text, "[-]{check}: failed, {why}"),
        };
    }
    let is_good = outcomes.iter().all(|(_, outcome)| outcome.is_ok());
    let _ = writeln!(text, "{name} check {}", if is_good { "passed" } else { "failed" });
    Page::text(if is_good { 200 } else { 503 }, text)
}
