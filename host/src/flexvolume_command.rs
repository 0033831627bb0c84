//! FlexVolume: what an installed driver opens for a call-out, and `wharf flexvolume
//! install|uninstall`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::ports::Call;
use wharf_core::{Error, ErrorKind};
use wharf_flexvolume::install::{self, Outcome};
use wharf_flexvolume::{
    Capabilities, DriverFile, DriverName, NodeNameRule, NodeNames, Open, Services, Teardown,
};
use wharf_node::{LinuxNode, NodeOptions, SystemClock};

use crate::assembly::{Assembly, Process};
use crate::cli::Flexvolume;
use crate::config::tree::{Source, Tree};
use crate::config::{Config, Loaded, mistake};
use crate::output::{self, Failure};

/// How long asking a backend who it is may take while drivers are installed.
const DESCRIBE_BOUND: std::time::Duration = std::time::Duration::from_secs(30);

/// Where call-outs log: they have no standard error of their own, so without it a failure leaves
/// nothing but kubelet's event. Bounded by the front end; not being able to write there is
/// harmless.
pub const DEFAULT_LOG: &str = "/var/log/wharf";

/// Opens the rooms for one call-out, from the configuration that `install` named.
pub struct OpenFromConfig;

impl Open for OpenFromConfig {
    fn open(&self, driver: &DriverFile) -> Result<Services, Error> {
        let config = load(driver)?;
        let assembly = Assembly::new(&config, &Process::OneCall)?;
        Ok(Services {
            controller: assembly.controller(&driver.csi_driver)?,
            node: assembly.node(&driver.csi_driver)?,
            clock: assembly.clock(),
        })
    }

    fn teardown(&self, driver: &DriverFile) -> Result<Teardown, Error> {
        let options = NodeOptions {
            state_directory: driver.state.clone(),
            roots: roots(driver)?,
            ..NodeOptions::default()
        };
        Ok(Teardown { node: Arc::new(LinuxNode::new(options)), clock: Arc::new(SystemClock) })
    }
}

fn load(driver: &DriverFile) -> Result<Config, Error> {
    Config::load(&driver.config).map_err(|error| Error::precondition(error.for_a_call_out()))
}

fn roots(driver: &DriverFile) -> Result<Vec<PathBuf>, Error> {
    if driver.roots.is_empty() { Ok(load(driver)?.roots()) } else { Ok(driver.roots.clone()) }
}

/// Installs or removes every FlexVolume driver of the configuration, and says what it did.
///
/// # Errors
/// What is wrong with the configuration, or the drivers that could not be installed.
pub fn run(path: &Path, command: &Flexvolume) -> Result<(), Failure> {
    let Loaded { config, tree } = Loaded::load(path).map_err(|error| error.for_a_command())?;
    let mut notes = String::new();
    let outcomes = match command {
        Flexvolume::Install { dir, copy_config } => {
            refuse_environment(path, &tree)?;
            let path = match copy_config {
                Some(copy) => copy_configuration(path, copy)?,
                None => path,
            };
            let program = std::env::current_exe()
                .map_err(|error| format!("cannot find this program: {error}"))?;
            for directory in [Some(&config.state), log_directory(&config).as_ref()] {
                directory
                    .map_or(Ok(()), |directory| wharf_files::check_path(directory))
                    .map_err(|untrusted| untrusted.to_string())?;
            }
            let files = driver_files(path, &config).map_err(|error| error.to_string())?;
            let outcomes = install::install(dir, &program, &files);
            let attaching = outcomes.iter().zip(&files).filter(|(_, file)| file.attachable);
            notes = note(&config.state, attaching.map(|(outcome, _)| outcome));
            outcomes
        }
        Flexvolume::Uninstall { force, dir } => {
            let names = config.driver.values().flat_map(|driver| &driver.flexvolume);
            let names: Vec<DriverName> = names
                .map(|name| DriverName::parse(name))
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?;
            if !force {
                refuse_mounted(&names)?;
            }
            install::uninstall(dir, &names)
        }
    };
    if outcomes.is_empty() {
        return Err(Failure::Message(
            "the configuration names no FlexVolume driver; add `flexvolume = \
             [\"vendor/driver\"]` to a [driver.…] section"
                .to_owned(),
        ));
    }
    report(&outcomes)?;
    output::write(notes.as_bytes())
}

/// A call-out is started by kubelet, and has its environment.
fn refuse_environment(path: &Path, tree: &Tree) -> Result<(), String> {
    let Some((setting, origin)) =
        tree.first_from(|origin| matches!(&*origin.source, Source::Environment(_)))
    else {
        return Ok(());
    };
    Err(format!(
        "`{}` comes from the {origin}, which kubelet does not have when it calls the driver; write \
         the value into {}, as `wharf config init` does",
        mistake::setting(&setting),
        path.display()
    ))
}

/// Puts the configuration where call-outs find it: whole or not at all, by a rename.
fn copy_configuration<'a>(from: &Path, to: &'a Path) -> Result<&'a Path, Failure> {
    let failed = |error: io::Error| {
        let (from, to) = (from.display(), to.display());
        format!(
            "cannot copy the configuration {from} to {to}: {error}; it must be a directory of the node that root may write"
        )
    };
    // It may name secrets, and nobody but kubelet's user has to read it.
    fs::read(from).and_then(|content| wharf_files::replace(to, &content)).map_err(failed)?;
    Ok(to)
}

/// What a person has to know about drivers whose volumes are attached, where one of these is new:
/// nothing in the cloud says which volume `detach` means by a name.
fn note<'a>(state: &Path, mut attaching: impl Iterator<Item = &'a Outcome>) -> String {
    let is_changed = attaching.any(|outcome| {
        matches!(outcome.result, Ok(install::Change::Installed | install::Change::TookOver))
    });
    if !is_changed {
        return String::new();
    }
    format!(
        "note: where kube-controller-manager attaches, keep {} over its restarts: `detach` gets \
         the PersistentVolume's name alone and finds there which volume that is, unless the name \
         is the volume's id\n",
        state.join("flexvolume").display()
    )
}

/// Where the mounts of this machine are listed: as this process sees them, and as the first process
/// does, which differ in a container.
const MOUNT_TABLES: [&str; 2] = ["/proc/self/mountinfo", "/proc/1/mountinfo"];
/// As many mounts as a message names.
const NAMED_MOUNTS: usize = 3;

fn refuse_mounted(drivers: &[DriverName]) -> Result<(), String> {
    let tables: Vec<String> =
        MOUNT_TABLES.iter().filter_map(|table| std::fs::read_to_string(table).ok()).collect();
    for driver in drivers {
        let mounted: std::collections::BTreeSet<PathBuf> =
            tables.iter().flat_map(|table| install::mounted(table, driver)).collect();
        let named: Vec<_> =
            mounted.iter().take(NAMED_MOUNTS).map(|path| path.display().to_string()).collect();
        if !named.is_empty() {
            return Err(format!(
                "{} mounts of {driver} are there, and without the driver kubelet cannot unmount \
                 them: {}{}; drain the node first, or say --force",
                mounted.len(),
                named.join(", "),
                if mounted.len() > NAMED_MOUNTS { ", …" } else { "" }
            ));
        }
    }
    Ok(())
}

fn report(outcomes: &[Outcome]) -> Result<(), Failure> {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let (driver, file) = (&outcome.driver, outcome.executable.display());
        match &outcome.result {
            Ok(change) => done.push(format!("{driver}: {} ({file})\n", words(*change))),
            Err(error) => failures.push(format!("{driver}: {error}")),
        }
    }
    let printed = output::write(done.concat().as_bytes());
    if failures.is_empty() { printed } else { Err(Failure::Message(failures.join("\n       "))) }
}

fn words(change: install::Change) -> &'static str {
    match change {
        install::Change::Installed => "installed",
        install::Change::TookOver => "installed; the driver that was there is kept beside it",
        install::Change::Updated => "updated; kubelet loads it anew",
        install::Change::Reconfigured => "settings changed; the next call follows them",
        install::Change::Unchanged => "already installed",
        install::Change::Removed => "removed",
        install::Change::Restored => "removed; the driver that was there before is back",
        install::Change::Absent => "was not installed",
    }
}

fn driver_files(path: &Path, config: &Config) -> Result<Vec<DriverFile>, Error> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::invalid(format!("{} is no path: {error}", path.display())))?;
    let assembly = Assembly::new(config, &Process::OneCall)?;
    let mut files = Vec::new();
    for (csi_driver, driver) in &config.driver {
        if driver.flexvolume.is_empty() {
            continue;
        }
        let call = Call::until(assembly.clock().now() + DESCRIBE_BOUND);
        let description =
            assembly.node(csi_driver)?.backend_description(&call).map_err(|error| {
                match error.kind {
                    ErrorKind::FailedPrecondition => error.with_hint(
                        "a driver's capabilities come from its backend: install that first",
                    ),
                    _ => error,
                }
            })?;
        let is_attachable = description.attaches();
        for name in &driver.flexvolume {
            files.push(DriverFile {
                driver: DriverName::parse(name)?,
                csi_driver: csi_driver.clone(),
                backend: driver.backend.clone(),
                config: absolute.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state: config.state.clone(),
                roots: config.roots(),
                attachable: is_attachable,
                capabilities: capabilities(name, is_attachable, config)?,
                nodes: node_names(config)?,
                secret_options: config.flexvolume.secret_options.clone(),
                legacy_state: config.flexvolume.legacy_state.get(name).cloned(),
                log: log_directory(config),
                log_level: config.flexvolume.log_level,
            });
        }
    }
    Ok(files)
}

/// What suits the backend, changed as the operator says.
fn capabilities(driver: &str, is_attachable: bool, config: &Config) -> Result<Capabilities, Error> {
    let usual = if is_attachable { Capabilities::of_disks() } else { Capabilities::of_shares() };
    let Some(said) = config.flexvolume.init.get(driver) else { return Ok(usual) };
    if is_attachable && said.attach == Some(false) {
        return Err(Error::invalid(format!(
            "[flexvolume.init.\"{driver}\"] says `attach = false`, and volumes of its backend \
             have to be attached"
        )));
    }
    Ok(Capabilities {
        attach: said.attach.unwrap_or(usual.attach),
        fs_group: said.fs_group.unwrap_or(usual.fs_group),
        ..usual
    })
}

/// An empty path is how a configuration says that there shall be none.
fn log_directory(config: &Config) -> Option<PathBuf> {
    let directory = config.flexvolume.log.clone().unwrap_or_else(|| DEFAULT_LOG.into());
    Some(directory).filter(|directory| !directory.as_os_str().is_empty())
}

fn node_names(config: &Config) -> Result<NodeNames, Error> {
    let node_name = match config.flexvolume.node_name.as_deref() {
        None | Some("match") => NodeNameRule::Match,
        Some("any") => NodeNameRule::Any,
        Some(other) => {
            return Err(Error::invalid(format!(
                "[flexvolume] node-name is \"{other}\"; allowed are \"match\" and \"any\""
            )));
        }
    };
    Ok(NodeNames {
        ids: config.flexvolume.nodes.clone(),
        id_prefixes: config.flexvolume.node_id_prefixes.clone(),
        node_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_flexvolume::install::Change;

    #[test]
    fn whoever_installs_a_driver_that_attaches_is_told_what_has_to_be_kept() {
        let printed = |change| {
            let outcome = Outcome {
                driver: DriverName::parse("alicloud/disk").unwrap(),
                executable: "/plugins/alicloud~disk/disk".into(),
                result: Ok(change),
            };
            note(Path::new("/var/lib/wharf/state"), [outcome].iter())
        };
        for new in [Change::Installed, Change::TookOver] {
            assert!(
                printed(new).contains("keep /var/lib/wharf/state/flexvolume over its restarts")
            );
        }
        assert_eq!(printed(Change::Updated), "");
        assert_eq!(note(Path::new("/state"), std::iter::empty()), "");
    }

    #[test]
    fn a_copied_configuration_replaces_the_one_before_and_is_root_s_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("wharf-copy-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (from, to) = (directory.join("wharf.toml"), directory.join("callouts.toml"));
        for text in ["state = \"/a\"\n", "state = \"/b\"\n"] {
            fs::write(&from, text).unwrap();
            assert_eq!(copy_configuration(&from, &to).unwrap(), to);
            assert_eq!(fs::read_to_string(&to).unwrap(), text);
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        let Err(Failure::Message(said)) = copy_configuration(&from, &directory.join("none/x.toml"))
        else {
            panic!("there is no such directory");
        };
        assert!(said.contains("none/x.toml") && said.contains("root may write"), "{said}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_operator_says_what_init_answers_but_not_that_disks_are_not_attached() {
        let said = |is_attachable: bool, lines: &str| {
            let mut config: Config = toml::from_str("").unwrap();
            config.flexvolume = toml::from_str(&format!("[init.\"a/b\"]\n{lines}")).unwrap();
            capabilities("a/b", is_attachable, &config)
        };
        let (shares, disks) = (Capabilities::of_shares(), Capabilities::of_disks());
        assert_eq!(said(false, "").unwrap(), shares);
        let both = Capabilities { attach: true, fs_group: true, ..shares };
        assert_eq!(said(false, "attach = true\nfs-group = true").unwrap(), both);
        let without = Capabilities { fs_group: false, ..disks };
        assert_eq!(said(true, "attach = true\nfs-group = false").unwrap(), without);
        let refused = said(true, "attach = false").unwrap_err();
        assert!(refused.message.contains("attach = false"), "{refused}");
    }
}
