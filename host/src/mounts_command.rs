//! `wharf mounts`: the supervisor of the processes that serve mounts, and what an administrator
//! asks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wharf_node::supervisor::{self, Client, Condition, StartCommand, Status, SupervisorOptions};

use crate::assembly::{Assembly, Process};
use crate::cli::{Mounts, Output};
use crate::config::Config;
use crate::http::Listen;
use crate::log::Log;
use crate::open_files;
use crate::output::{self, Failure};
use crate::renewal::{self, Renewal};

mod pages;

/// How long a person waits for the end of a helper.
const UNMOUNT: Duration = Duration::from_secs(30);
/// What this program is called where its name decides what it is.
const NAME: &str = "wharf";
/// Of a thread that reads a list and starts a process; the usual 8 MiB would count against the
/// node.
const STACK_BYTES: usize = 128 << 10;

/// Runs one command.
///
/// # Errors
/// What could not be done, and what to do about it.
pub fn run(config: &Path, command: Mounts) -> Result<(), Failure> {
    match command {
        Mounts::Serve { run, state, own_group, renew, http } => {
            let directories = Directories::of(config, run, state, renew)?;
            serve(directories, own_group, http)
        }
        Mounts::List { run, output } => {
            let mounts = client(config, run)?.list().map_err(|error| error.to_string())?;
            list(&mounts, output)
        }
        Mounts::Logs { run, mount } => {
            let log = client(config, run)?.log(&mount).map_err(|error| error.to_string())?;
            output::write(log.as_bytes())
        }
        Mounts::Renew { all } => renew(config, all),
        Mounts::Unmount { run, target } => {
            let unmounted = client(config, run)?.unmount(&target, UNMOUNT);
            Ok(unmounted.map_err(|error| error.to_string())?)
        }
    }
}

/// What starts a supervisor for a process that finds none. It reads no configuration, so it goes on
/// with what this one says; for new keys it has another process read it.
pub fn start_command(config: &Config) -> Option<StartCommand> {
    let program = std::env::current_exe().ok()?;
    let word = |text: &str| text.into();
    let arguments = vec![
        // The name decides what the program is: it may be installed as a driver.
        word(NAME),
        word("--config"),
        config.file.clone().into(),
        word("mounts"),
        word("serve"),
        word("--own-group"),
        word("--renew"),
        word("--run"),
        config.run_directory().into(),
        word("--state"),
        config.state.clone().into(),
    ];
    Some(StartCommand { program, arguments })
}

/// Where a supervisor has its things.
struct Directories {
    run: PathBuf,
    state: PathBuf,
    /// The configuration with which keys are renewed.
    renew_with: Option<PathBuf>,
}

impl Directories {
    fn of(
        config: &Path,
        run: Option<PathBuf>,
        state: Option<PathBuf>,
        renew: bool,
    ) -> Result<Self, Failure> {
        match (run, state) {
            (Some(run), Some(state)) => {
                Ok(Self { run, state, renew_with: renew.then(|| config.to_owned()) })
            }
            (run, state) => {
                let config = Config::load(config).map_err(|error| error.for_a_command())?;
                Ok(Self {
                    run: run.unwrap_or_else(|| config.run_directory()),
                    state: state.unwrap_or(config.state),
                    renew_with: Some(config.file),
                })
            }
        }
    }
}

fn serve(directories: Directories, own_group: bool, http: Option<Listen>) -> Result<(), Failure> {
    let Directories { run: run_directory, state: state_directory, renew_with } = directories;
    let log = Log::start(false);
    open_files::raise();
    if let Some(listen) = http {
        pages::serve(listen, &run_directory)?;
    }
    if let Some(config) = renew_with {
        renew_when_due(&config, &run_directory)?;
    }
    let served = supervisor::serve(&SupervisorOptions {
        run_directory,
        state_directory,
        leave_cgroup: own_group,
        ..SupervisorOptions::default()
    });
    log.finish();
    Ok(served.map_err(|error| error.to_string())?)
}

/// In a thread that does nothing else: neither requests nor repairs wait for a cloud.
fn renew_when_due(config: &Path, run_directory: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot prepare to renew keys: {error}");
    let word = |text: &str| text.into();
    let command = StartCommand {
        program: std::env::current_exe().map_err(failed)?,
        arguments: vec![word(NAME), word("--config"), config.into(), word("mounts"), word("renew")],
    };
    let supervisor = Client::new(run_directory, None);
    let work = move || renewal::run_when_due(&supervisor, &command);
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(drop).map_err(failed)
}

fn renew(config: &Path, all: bool) -> Result<(), Failure> {
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    let text = |error: wharf_core::Error| error.to_string();
    let supervisor = Client::new(&config.run_directory(), None);
    let mounts = supervisor.list().map_err(text)?;
    let assembly = Assembly::new(&config, &Process::OneCall).map_err(text)?;
    let drivers = config.driver.keys().map(|name| assembly.node(name).map(Arc::new));
    let drivers = drivers.collect::<Result<_, _>>().map_err(text)?;
    let renewal = Renewal { supervisor, drivers, clock: assembly.clock() };
    let now = renewal::unix_millis();
    let looked = renewal.of(mounts.iter().filter(|mount| all || renewal::is_due(mount, now)));
    let renewed = looked.renewed.iter().map(|target| format!("renewed: {}\n", target.display()));
    output::write(renewed.collect::<String>().as_bytes())?;
    if looked.failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Message(looked.failed.join("\n       ")))
}

fn client(config: &Path, run: Option<PathBuf>) -> Result<Client, Failure> {
    let run = match run {
        Some(run) => run,
        None => Config::load(config).map_err(|error| error.for_a_command())?.run_directory(),
    };
    Ok(Client::new(&run, None))
}

fn list(mounts: &[Status], output: Output) -> Result<(), Failure> {
    let text = match output {
        Output::Json => {
            let mut text =
                serde_json::to_string_pretty(mounts).map_err(|error| error.to_string())?;
            text.push('\n');
            text
        }
        Output::Text => mounts.iter().map(describe).collect(),
    };
    output::write(text.as_bytes())
}

fn describe(mount: &Status) -> String {
    let condition = match mount.condition {
        Condition::Serving => "serving",
        Condition::Busy => "being worked on",
        Condition::Dead => "dead, and started again",
        Condition::Partly => "serving, not yet everywhere",
        Condition::Ending => "ending",
        Condition::Unproved => "left alone: nothing proves that what is mounted there is it",
    };
    let pid = mount.pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    let mut text = format!(
        "{}  {}  {condition}\n    {} of {}, process {pid}; started again {} times, {} places healed\n",
        mount.name,
        mount.target.display(),
        mount.helper,
        mount.source,
        mount.restarts,
        mount.healed
    );
    if let Some(exit) = &mount.last_exit {
        text.push_str(&format!("    the last time {exit}\n"));
    }
    if renewal::is_overdue(mount, renewal::unix_millis()) {
        text.push_str("    its keys were to be renewed and were not: wharf mounts renew\n");
    }
    for place in &mount.unhealed {
        text.push_str(&format!("    not healed: {place}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use wharf_node::supervisor::Ending;

    use super::*;

    #[test]
    fn a_mount_is_described_with_what_is_wrong_with_it() {
        let mut mount = renewal::tests::mount(None);
        assert_eq!(describe(&mount).lines().count(), 2);
        mount.last_exit = Some(Ending::Killed(9));
        mount.unhealed = vec!["mnt:[1] (process 2), /data: another mount covers it".into()];
        mount.renew_at_ms = Some(1);
        let text = describe(&mount);
        assert!(text.contains("were to be renewed"), "{text}");
        assert!(text.contains("signal 9") && text.contains("not healed: mnt:[1]"), "{text}");
    }
}
