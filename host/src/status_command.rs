//! `wharf status`: what serves on this machine, what is under way and why something waits.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use wharf_core::ports::Node as _;
use wharf_modules::Serving;
use wharf_node::supervisor::{self, Client};
use wharf_node::{LinuxNode, NodeOptions};

use crate::cli::{Output, Status};
use crate::config::Config;
use crate::output::{self, Failure};
use crate::status::{self, Report};

/// How often `--watch` shows it anew.
const REFRESH: Duration = Duration::from_secs(2);

/// Everything that is shown.
struct Seen {
    servers: Vec<Report>,
    silent: Vec<String>,
    /// Drivers of the configuration that no server serves.
    unserved: Vec<String>,
    volumes: Vec<Volumes>,
    supervisor: Supervisor,
}

/// The volumes of one driver on this node.
struct Volumes {
    driver: String,
    staged: usize,
    unfinished: usize,
    published: usize,
    trouble: Vec<String>,
}

enum Supervisor {
    Absent,
    Silent(String),
    Mounts(Vec<supervisor::Status>),
}

/// Prints the status once, or until it is ended.
///
/// # Errors
/// What is wrong with the configuration.
pub fn run(config: &Path, command: &Status) -> Result<(), Failure> {
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    loop {
        let seen = Seen::read(&config);
        let is_terminal = command.watch && std::io::stdout().is_terminal();
        // Clears the terminal; what is read by a program gets one document after the other.
        let clear = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
        match command.output {
            Output::Json if command.watch => output::print(&seen.json().to_string())?,
            Output::Json => output::print(&format!("{:#}", seen.json()))?,
            Output::Text => output::write(format!("{clear}{}", seen.text()).as_bytes())?,
        }
        if !command.watch {
            return Ok(());
        }
        std::thread::sleep(REFRESH);
    }
}

impl Seen {
    fn read(config: &Config) -> Self {
        let (servers, silent) = status::ask(&config.status_directory());
        let is_served = |name: &&String| {
            !servers.iter().flat_map(|server| &server.drivers).any(|driver| driver.name == **name)
        };
        let unserved = config.driver.keys().filter(is_served).cloned().collect();
        let supervisor = match Client::new(&config.run_directory(), None).list_if_running() {
            Ok(None) => Supervisor::Absent,
            Ok(Some(mounts)) => Supervisor::Mounts(mounts),
            Err(error) => Supervisor::Silent(error.to_string()),
        };
        Self { servers, silent, unserved, volumes: volumes(config), supervisor }
    }

    fn json(&self) -> serde_json::Value {
        let volumes: Vec<_> = self
            .volumes
            .iter()
            .map(|volumes| {
                json!({
                    "driver": volumes.driver, "staged": volumes.staged,
                    "unfinished": volumes.unfinished, "published": volumes.published,
                    "trouble": volumes.trouble,
                })
            })
            .collect();
        let supervisor = match &self.supervisor {
            Supervisor::Absent => json!({ "running": false, "mounts": [] }),
            Supervisor::Silent(why) => json!({ "running": true, "error": why, "mounts": [] }),
            Supervisor::Mounts(mounts) => json!({ "running": true, "mounts": mounts }),
        };
        json!({
            "servers": self.servers, "silent": self.silent, "unserved": self.unserved,
            "volumes": volumes, "supervisor": supervisor,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            text.push_str(&of_server(server));
        }
        for socket in &self.silent {
            text.push_str(&format!("no answer: {socket}\n"));
        }
        if !self.unserved.is_empty() {
            text.push_str(&format!("no server serves {}\n", self.unserved.join(", ")));
        }
        for volumes in &self.volumes {
            text.push_str(&of_volumes(volumes));
        }
        text.push_str(&of_supervisor(&self.supervisor));
        text
    }
}

fn of_server(server: &Report) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut text = format!(
        "wharf csi --role {} {} (process {}), for {}\n",
        server.role,
        server.version,
        server.pid,
        time(now.saturating_sub(server.started))
    );
    if let Some(why) = &server.configuration_refused {
        text.push_str(&format!("  the changed configuration is not in force: {why}\n"));
    }
    for driver in &server.drivers {
        let trouble = driver.trouble.as_ref().map(|trouble| format!(": not served, {trouble}"));
        let trouble = trouble.unwrap_or_default();
        let socket = driver.socket.display();
        text.push_str(&format!("  driver {} at {socket}{trouble}\n", driver.name));
    }
    for component in &server.components {
        text.push_str(&format!("  {}\n", of_component(component)));
    }
    for operation in &server.operations {
        text.push_str(&format!(
            "  {} of {} ({}) for {}, waits for: {}\n",
            operation.verb,
            operation.volume,
            operation.driver,
            time(operation.seconds),
            operation.waits_for
        ));
    }
    if server.operations.is_empty() {
        text.push_str("  no operation is under way\n");
    }
    for pace in &server.pace {
        let account = pace.account.as_deref().unwrap_or("nobody");
        text.push_str(&format!(
            "  requests to {} signed by {account}: {} of {} under way, {} wait\n",
            pace.endpoint, pace.under_way, pace.at_once, pace.waiting
        ));
        for slowed in &pace.slowed {
            text.push_str(&format!(
                "    {} is slowed down: one each {} ms, the next in {} ms\n",
                slowed.action, slowed.interval_ms, slowed.opens_in_ms
            ));
        }
    }
    text
}

fn of_component(component: &Serving) -> String {
    let Serving { kind, component: name, generation, version, active, why_not } = component;
    let serves = match (generation, version) {
        (Some(generation), Some(version)) => format!("{version} (generation {generation}) serves"),
        _ => "is not loaded".to_owned(),
    };
    let active = active.map_or_else(|| "none".to_owned(), |active| active.to_string());
    match why_not {
        None => format!("{kind} {name} {serves}"),
        Some(why) => format!("{kind} {name} {serves}; active is generation {active}: {why}"),
    }
}

fn of_volumes(volumes: &Volumes) -> String {
    let Volumes { driver, staged, unfinished, published, trouble } = volumes;
    let mut text = format!("{driver}: {staged} volumes on this node, published {published} times");
    if *unfinished > 0 {
        text.push_str(&format!(
            ", {unfinished} not finished (the next call for them goes on where it was)"
        ));
    }
    text.push('\n');
    text.extend(trouble.iter().map(|trouble| format!("  {trouble}\n")));
    text
}

fn of_supervisor(seen: &Supervisor) -> String {
    match seen {
        Supervisor::Absent => {
            "no supervisor of mounts runs; the first mount of a bucket needs one\n".to_owned()
        }
        Supervisor::Silent(why) => format!("the supervisor of mounts does not answer: {why}\n"),
        Supervisor::Mounts(mounts) => {
            let serving =
                |mount: &&supervisor::Status| mount.condition == supervisor::Condition::Serving;
            let healthy = mounts.iter().filter(serving).count();
            let mut text =
                format!("supervisor of mounts: {} mounts, {healthy} healthy\n", mounts.len());
            for mount in mounts.iter().filter(|mount| !serving(mount)) {
                let ending = mount.last_exit.map(|it| format!(", {it}")).unwrap_or_default();
                text.push_str(&format!(
                    "  {}: {:?}{ending} (`wharf mounts list` says more)\n",
                    mount.target.display(),
                    mount.condition
                ));
            }
            text
        }
    }
}

/// What the records say, compared with the mount table.
fn volumes(config: &Config) -> Vec<Volumes> {
    let node = LinuxNode::new(NodeOptions {
        state_directory: config.state.clone(),
        roots: config.roots(),
        ..NodeOptions::default()
    });
    let of_driver = |driver: &String| {
        let (records, mut trouble) = match node.records(driver) {
            Ok(records) => (records, Vec::new()),
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        for record in records.iter().filter(|record| record.complete) {
            let paths = record.targets.iter().map(|target| &target.target_path);
            for path in paths.filter(|path| matches!(node.is_mounted(path), Ok(false))) {
                trouble.push(format!(
                    "volume {} is recorded at {}, and nothing is mounted there",
                    record.volume,
                    path.display()
                ));
            }
        }
        Volumes {
            driver: driver.clone(),
            staged: records.len(),
            unfinished: records.iter().filter(|record| !record.complete).count(),
            published: records.iter().map(|record| record.targets.len()).sum(),
            trouble,
        }
    };
    config.driver.keys().map(of_driver).collect()
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_does_not_serve_is_told_with_the_reason() {
        let mut serving = Serving {
            kind: "backend".into(),
            component: "disk".into(),
            generation: Some(1),
            version: Some("0.1.0".into()),
            active: Some(2),
            why_not: Some("it needs another host".into()),
        };
        assert_eq!(
            of_component(&serving),
            "backend disk 0.1.0 (generation 1) serves; active is generation 2: it needs another host"
        );
        serving = Serving { active: Some(1), why_not: None, ..serving };
        assert_eq!(of_component(&serving), "backend disk 0.1.0 (generation 1) serves");
    }

    #[test]
    fn a_time_is_told_in_the_unit_that_a_person_would_take() {
        assert_eq!([90, 600, 9000, 200_000].map(time), ["90 s", "10 min", "2 h", "2 days"]);
    }
}
