//! What is read when somebody asks: the state of this process and of the node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wharf_core::ports::Clock;
use wharf_csi::RegistrationState;
use wharf_modules::Loader;
use wharf_node::LinuxNode;
use wharf_node::supervisor::{Client, Condition, Status};
use wharf_runtime::{HttpEgress, Share};

use super::operations::Operations;
use super::table::Table;
use crate::drivers::Served;
use crate::reload::Refused;
use crate::renewal::{is_overdue, unix_millis};

/// The parts of this process that know what is reported. Each is left out by a process that has
/// none.
#[derive(Default)]
pub struct Sources {
    /// The drivers that are served.
    pub drivers: Option<Arc<Vec<Arc<Served>>>>,
    /// The clock of calls' deadlines.
    pub clock: Option<Arc<dyn Clock>>,
    /// Which generations serve.
    pub loader: Option<Arc<Loader>>,
    /// How fast requests leave.
    pub egress: Option<Arc<HttpEgress>>,
    /// Whether a changed configuration was refused.
    pub refused: Option<Refused>,
    /// What calls hold.
    pub shares: Vec<Arc<Share>>,
    /// The node, in a process with its role.
    pub node: Option<Arc<LinuxNode>>,
    /// The machine that plans are performed on, whatever the role.
    pub machine: Option<Arc<LinuxNode>>,
    /// The supervisor of mounts; never started for this.
    pub supervisor: Option<Supervisor>,
}

/// The supervisor of mounts.
pub struct Supervisor {
    /// Asks it.
    pub client: Client,
    /// It is somebody else's to start, and missing is a fault.
    pub must_run: bool,
    seen: Mutex<Option<HashMap<String, (u64, u64)>>>,
}

impl Supervisor {
    /// Not asked yet.
    pub fn new(client: Client, must_run: bool) -> Self {
        Self { client, must_run, seen: Mutex::default() }
    }
}

impl Sources {
    /// Writes down what there is now. May wait for the supervisor, some seconds at most.
    pub fn gather(&self, table: &Table, operations: &Operations) {
        self.calls(table, operations);
        self.drivers(table);
        self.components(table);
        self.cloud(table);
        self.shares(table);
        self.volumes(table);
        if let Some(machine) = &self.machine {
            table.waiting_processes.set([], number(machine.waiting_processes()));
        }
        if let Some(refused) = &self.refused {
            table.configuration_refused.set([], flag(refused.why().is_some()));
        }
        if let Some(supervisor) = &self.supervisor {
            supervisor.gather(table);
        }
    }

    fn drivers(&self, table: &Table) {
        table.driver_registered.clear();
        for driver in self.drivers.iter().flat_map(|drivers| drivers.iter()) {
            let name = [driver.name.as_str()];
            table.driver_served.set(name, flag(driver.trouble().is_none()));
            if let Some(registration) = &driver.registration {
                let is_registered = registration.state() == RegistrationState::Registered;
                table.driver_registered.set(name, flag(is_registered));
            }
        }
    }

    fn calls(&self, table: &Table, operations: &Operations) {
        let (now, running) = (self.clock.as_ref().map(|clock| clock.now()), operations.all());
        for driver in self.drivers.iter().flat_map(|drivers| drivers.iter()) {
            let own = running.iter().filter(|operation| operation.driver == driver.name);
            let oldest = own.clone().map(|operation| operation.began.elapsed()).max();
            let is_overdue = |deadline: Duration| now.is_some_and(|now| now > deadline);
            let overdue = own.clone().filter(|operation| is_overdue(operation.deadline)).count();
            let name = [driver.name.as_str()];
            table.calls_under_way.set(name, number(own.count()));
            table.oldest_call.set(name, oldest.unwrap_or_default().as_secs_f64());
            table.overdue_calls.set(name, number(overdue));
        }
    }

    fn components(&self, table: &Table) {
        let Some(loader) = &self.loader else { return };
        for serving in loader.serving() {
            if let Some(generation) = serving.generation {
                let labels = [serving.kind.as_str(), serving.component.as_str()];
                table.component_generation.set(labels, count(generation));
            }
        }
        for counter in [&table.component_swaps, &table.component_load_failures] {
            counter.clear();
        }
        for (id, changes) in loader.components().all() {
            let labels = [id.world.noun(), &*id.name];
            table.component_swaps.add(labels, count(changes.swaps));
            table.component_load_failures.add(labels, count(changes.failures));
        }
    }

    fn cloud(&self, table: &Table) {
        let Some(egress) = &self.egress else { return };
        table.cloud_backoffs.clear();
        for gauge in [&table.cloud_pace, &table.cloud_pause] {
            gauge.clear();
        }
        for site in egress.pace() {
            let account = site.account.as_deref().unwrap_or("none");
            let endpoint = site.endpoint.as_str();
            table.cloud_under_way.set([account, endpoint], number(site.under_way));
            table.cloud_waiting.set([account, endpoint], number(site.waiting));
            for (action, backoffs) in &site.backoffs {
                // What is not slowed any more is reported as well.
                table.cloud_backoffs.add([account, endpoint, named(action)], count(*backoffs));
                table.cloud_pace.set([account, endpoint, named(action)], 0.0);
                table.cloud_pause.set([account, endpoint, named(action)], 0.0);
            }
            for slowed in &site.slowed {
                let labels = [account, endpoint, named(&slowed.action)];
                table.cloud_pace.set(labels, slowed.interval.as_secs_f64());
                table.cloud_pause.set(labels, slowed.opens_in.as_secs_f64());
            }
        }
    }

    fn shares(&self, table: &Table) {
        for share in &self.shares {
            let (used, name) = (share.in_use(), &**share.name());
            table.share_bytes.set([name], number(used.bytes));
            table.share_limit.set([name], number(used.limit_bytes));
            table.share_calls.set([name, "running"], number(used.calls));
            table.share_calls.set([name, "waiting"], number(used.waiting));
        }
    }

    fn volumes(&self, table: &Table) {
        let Some(node) = &self.node else { return };
        for driver in self.drivers.iter().flat_map(|drivers| drivers.iter()) {
            let name = driver.name.as_str();
            match node.survey(name) {
                Ok(survey) => {
                    table.volume_records.set([name], count(survey.records));
                    table.volume_mounts.set([name, "mounted"], count(survey.mounted));
                    table.volume_mounts.set([name, "missing"], count(survey.missing));
                    table.volume_mounts.set([name, "dead"], count(survey.dead));
                }
                Err(error) => tracing::warn!(driver = name, %error, "volumes are not counted"),
            }
        }
    }
}

impl Supervisor {
    fn gather(&self, table: &Table) {
        table.supervisor_up.clear();
        table.helper_mounts.clear();
        table.helper_endings.clear();
        table.helper_keys_overdue.clear();
        match self.client.list_of_running() {
            Ok(mounts) => {
                table.supervisor_up.set([], 1.0);
                self.count(table, &mounts);
            }
            Err(_) if self.must_run => table.supervisor_up.set([], 0.0),
            Err(_) => {}
        }
    }

    /// The supervisor counts for each mount, as long as that is there. What was counted before the
    /// first time is not reported: it would seem to have happened now.
    fn count(&self, table: &Table, mounts: &[Status]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states: HashMap<(&str, &str), u32> = HashMap::new();
        let mut endings: HashMap<(&str, &str), u32> = HashMap::new();
        let mut overdue: HashMap<&str, u32> = HashMap::new();
        for mount in mounts {
            let before = match &*seen {
                Some(seen) => seen.get(&mount.name).copied().unwrap_or_default(),
                None => (mount.restarts, mount.healed),
            };
            let helper = [mount.helper.as_str()];
            let (restarts, healed) = (mount.restarts, mount.healed);
            table.helper_restarts.add(helper, count(restarts.saturating_sub(before.0)));
            table.helper_healed.add(helper, count(healed.saturating_sub(before.1)));
            *states.entry((&mount.helper, word(mount.condition))).or_default() += 1;
            if let Some(ending) = mount.last_exit {
                *endings.entry((&mount.helper, ending.reason())).or_default() += 1;
            }
            let is_overdue = is_overdue(mount, unix_millis());
            *overdue.entry(&mount.helper).or_default() += u32::from(is_overdue);
        }
        for ((helper, state), mounts) in states {
            table.helper_mounts.set([helper, state], f64::from(mounts));
        }
        for ((helper, reason), mounts) in endings {
            table.helper_endings.set([helper, reason], f64::from(mounts));
        }
        for (helper, mounts) in overdue {
            table.helper_keys_overdue.set([helper], f64::from(mounts));
        }
        let now = mounts.iter().map(|it| (it.name.clone(), (it.restarts, it.healed)));
        *seen = Some(now.collect());
    }
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Serving => "serving",
        Condition::Busy => "busy",
        Condition::Dead => "dead",
        Condition::Partly => "partly",
        Condition::Ending => "ending",
        Condition::Unproved => "unproved",
    }
}

/// What the kernel reports of this process.
pub fn process(table: &Table, began: Instant) {
    table.build_info.set([env!("CARGO_PKG_VERSION")], 1.0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    table.process_start.set([], since.saturating_sub(began.elapsed()).as_secs_f64().floor());
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        table.process_files.set([], number(files.count().saturating_sub(1)));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(kib) = kib {
        table.process_memory.set([], count(kib * 1024));
    }
}

/// Requests without an action, and those of actions that have no place of their own.
fn named(action: &str) -> &str {
    if action.is_empty() { "other" } else { action }
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// Exact up to 2^53, which no count here reaches.
fn number(number: usize) -> f64 {
    number as f64
}

fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use crate::renewal::tests::mount;

    #[test]
    fn mounts_whose_keys_were_not_renewed_are_counted() {
        let supervisor = Supervisor::new(Client::new("/nowhere".as_ref(), None), false);
        let metrics = Metrics::new([].into());
        supervisor.count(&metrics.table, &[mount(Some(1)), mount(Some(u64::MAX)), mount(None)]);
        let text = metrics.text();
        assert!(text.contains("wharf_helper_keys_overdue{helper=\"ossfs\"} 1.0\n"), "{text}");
    }
}
