//! `wharf doctor`: looks at this machine for what would keep volumes from working, and says what
//! mends it. One file below `doctor/` for each examination, and a row in [`EXAMINATIONS`].
//!
//! Nothing is changed. Each examination runs in a process of its own with a bound on its time,
//! because a directory whose server is gone, or a name server that is, may hold up the examination.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::{Doctor, Output, Role};
use crate::config::Config;
use crate::output::{self, Failure};

mod capabilities;
mod children;
mod clock;
mod components;
mod configuration;
mod credentials;
mod directories;
mod endpoints;
mod events;
mod flexvolume;
mod fuse;
mod grants;
mod kubelet_root;
mod memory;
mod mount_table;
mod mounts;
mod nfs;
mod node_identity;
mod parallel;
mod programs;
mod propagation;
mod servers;
mod supervisor;
mod sysfs;

/// One thing that is examined.
struct Examination {
    name: &'static str,
    /// For the list of examinations.
    about: &'static str,
    /// Whose machine it is of; `All`: whoever's.
    of: Role,
    examine: fn(&Environment<'_>) -> Vec<Finding>,
}

/// All of them.
const EXAMINATIONS: &[Examination] = &[
    row("configuration", "what is allowed and hardly meant", Role::All, configuration::examine),
    row(
        "directories",
        "owners, modes and space of state, store and logs",
        Role::All,
        directories::examine,
    ),
    row("components", "what is installed and can be run", Role::All, components::examine),
    row("grants", "what components ask for and are not granted", Role::All, grants::examine),
    row("endpoints", "whether endpoints answer", Role::All, endpoints::examine),
    row("clock", "this machine's clock against the endpoints'", Role::All, clock::examine),
    row("events", "the right to make Kubernetes Events", Role::All, events::examine),
    row("memory", "the container's memory against what may be taken", Role::All, memory::examine),
    row("servers", "running servers, and what they wait for", Role::All, servers::examine),
    row("credentials", "whether the cloud takes the keys", Role::Controller, credentials::examine),
    row("node-identity", "which node the cloud takes this for", Role::Node, node_identity::examine),
    row("kubelet-root", "where kubelet keeps its directories", Role::Node, kubelet_root::examine),
    row("propagation", "whether kubelet sees mounts made here", Role::Node, propagation::examine),
    row("capabilities", "what this process may do", Role::Node, capabilities::examine),
    row("programs", "programs of file systems and of buckets", Role::Node, programs::examine),
    row("sysfs", "settings of block devices", Role::Node, sysfs::examine),
    row("nfs", "the kernel's NFS client", Role::Node, nfs::examine),
    row("fuse", "the kernel's FUSE, and bounds on helpers", Role::Node, fuse::examine),
    row("supervisor", "the supervisor of mounts", Role::Node, supervisor::examine),
    row("mounts", "mounts that answer nobody", Role::Node, mounts::examine),
    row("flexvolume", "installed FlexVolume drivers", Role::Node, flexvolume::examine),
];

const fn row(
    name: &'static str,
    about: &'static str,
    of: Role,
    examine: fn(&Environment<'_>) -> Vec<Finding>,
) -> Examination {
    Examination { name, about, of, examine }
}

/// How long one examination may take where nothing else is said: as long as a request to a cloud
/// that does not answer, and a little more.
pub const WITHIN_SECONDS: u64 = 20;

/// What would keep volumes from working.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What is wrong, with which object.
    pub problem: String,
    /// What comes of it.
    pub meaning: String,
    /// The command or the setting that mends it.
    pub mend: String,
}

impl Finding {
    fn new(
        problem: impl Into<String>,
        meaning: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { problem: problem.into(), meaning: meaning.into(), mend: mend.into() }
    }
}

/// What is examined.
pub struct Environment<'a> {
    /// The configuration's file.
    path: &'a Path,
    config: &'a Config,
    /// Where the kernel reports processes.
    proc: PathBuf,
    /// Where devices are.
    dev: PathBuf,
    /// Where control groups are.
    cgroup: PathBuf,
    /// Where programs are looked for.
    programs: Vec<PathBuf>,
    /// kubelet's plugin directory for FlexVolume.
    plugins: PathBuf,
}

impl<'a> Environment<'a> {
    /// This one.
    fn this(path: &'a Path, config: &'a Config) -> Self {
        Self {
            path,
            config,
            proc: "/proc".into(),
            dev: "/dev".into(),
            cgroup: "/sys/fs/cgroup".into(),
            programs: wharf_node::NodeOptions::default().program_path,
            plugins: "/usr/libexec/kubernetes/kubelet-plugins/volume/exec".into(),
        }
    }

    /// Whether a backend is granted one of these steps.
    fn grants_step(&self, words: &[&str]) -> bool {
        let mut granted = self.config.backend.values().flat_map(|backend| &backend.node.steps);
        granted.any(|step| words.contains(&step.as_str()))
    }
}

/// What one examination found.
struct Examined {
    name: &'static str,
    findings: Vec<Finding>,
}

/// Runs the examinations and prints what they found.
///
/// # Errors
/// The configuration cannot be used; there are findings, which are printed then.
pub fn run(path: &Path, command: &Doctor) -> Result<(), Failure> {
    if command.list {
        let rows = EXAMINATIONS.iter().map(|row| format!("{:<14} {}", row.name, row.about));
        return output::print(&rows.collect::<Vec<_>>().join("\n"));
    }
    let config = Config::load(path).map_err(|error| error.for_a_command())?;
    if let Some(name) = &command.only {
        let environment =
            Environment { plugins: command.dir.clone(), ..Environment::this(path, &config) };
        let Some(examination) = EXAMINATIONS.iter().find(|row| row.name == name) else {
            return Err(Failure::Message(format!(
                "there is no examination \"{name}\"; `wharf doctor --list` names all"
            )));
        };
        let findings = (examination.examine)(&environment);
        return print(&[Examined { name: examination.name, findings }], command.output);
    }
    let is_of = |row: &&Examination| {
        command.role == Role::All || row.of == Role::All || row.of == command.role
    };
    let names = EXAMINATIONS.iter().filter(is_of).map(|row| row.name);
    let bound = Duration::from_secs(command.within);
    let examined = children::run_all(names.collect(), bound, |name| {
        let mut arguments: Vec<std::ffi::OsString> = vec!["--config".into(), path.into()];
        arguments.extend(["doctor", "--only", name, "--output", "json", "--dir"].map(Into::into));
        arguments.push(command.dir.clone().into());
        arguments
    });
    print(&examined, command.output)
}

fn print(examined: &[Examined], output: Output) -> Result<(), Failure> {
    let count: usize = examined.iter().map(|examined| examined.findings.len()).sum();
    let printed = match output {
        Output::Json => {
            let findings = examined.iter().flat_map(|examined| {
                examined.findings.iter().map(move |finding| {
                    serde_json::json!({
                        "examination": examined.name, "problem": finding.problem,
                        "meaning": finding.meaning, "mend": finding.mend,
                    })
                })
            });
            let names: Vec<_> = examined.iter().map(|examined| examined.name).collect();
            let value = serde_json::json!({
                "well": count == 0, "examined": names, "findings": findings.collect::<Vec<_>>(),
            });
            output::print(&format!("{value:#}"))
        }
        Output::Text => output::print(&text(examined, count)),
    };
    printed.and(if count == 0 { Ok(()) } else { Err(Failure::Printed) })
}

fn text(examined: &[Examined], count: usize) -> String {
    let mut text = String::new();
    for Examined { name, findings } in examined {
        for Finding { problem, meaning, mend } in findings {
            text.push_str(&format!("{name}: {problem}\n    {meaning}\n    mend: {mend}\n"));
        }
    }
    let sum = match count {
        0 => "nothing is wrong".to_owned(),
        1 => "one finding".to_owned(),
        many => format!("{many} findings"),
    };
    let names: Vec<_> = examined.iter().map(|examined| examined.name).collect();
    text + &format!("{sum}; looked at: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::World;
    use wharf_modules::{Generation, State, Store};
    use wharf_testing::component::component_with;

    use super::*;

    /// A machine below a directory, with this configuration.
    pub(super) fn on(
        root: &Path,
        text: &str,
        examine: fn(&Environment<'_>) -> Vec<Finding>,
    ) -> Vec<Finding> {
        let path = root.join("wharf.toml");
        let base = format!(
            "state = \"{0}/state\"\nstore = \"{0}/store\"\nkubelet-root = \"{0}/kubelet\"\n",
            root.display()
        );
        let mut base = base;
        for key in ["state", "store", "kubelet-root"] {
            if text.lines().any(|line| line.starts_with(&format!("{key} = "))) {
                base = base
                    .lines()
                    .filter(|line| !line.starts_with(&format!("{key} = ")))
                    .map(|line| format!("{line}\n"))
                    .collect();
            }
        }
        std::fs::write(&path, base + text).unwrap();
        let config = Config::load(&path).unwrap();
        examine(&Environment {
            path: &path,
            config: &config,
            proc: root.join("proc"),
            dev: root.join("dev"),
            cgroup: root.join("cgroup"),
            programs: vec![root.join("bin")],
            plugins: root.join("plugins"),
        })
    }

    /// A checked generation of a backend called `disk`; `more` is what else its manifest says.
    pub(super) fn checked(store: &Store, more: &str) -> Generation {
        let component = component_with(&format!(
            r#"{{"name":"disk","version":"1.0.0","world":"backend","contract":"0.1.0"{more}}}"#
        ));
        let staged = store.install(World::Backend, None, &component, 1).unwrap();
        store.mark(&staged.id(), staged.number, State::Checked { description: None }).unwrap()
    }

    /// Writes a file, and the directories above it.
    pub(super) fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// There is one finding, and it says all of this.
    #[track_caller]
    pub(super) fn finds(findings: &[Finding], said: &[&str]) {
        let [Finding { problem, meaning, mend }] = findings else { panic!("{findings:#?}") };
        let text = format!("{problem}\n{meaning}\n{mend}");
        for said in said {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!meaning.is_empty() && !mend.is_empty(), "{text}");
    }

    #[test]
    fn findings_are_told_with_what_mends_them_and_every_examination_has_its_own_name() {
        let finding = Finding::new("a is b", "c fails", "run d");
        let examined = [Examined { name: "x", findings: vec![finding] }];
        let printed = text(&examined, 1);
        assert!(printed.contains("x: a is b\n    c fails\n    mend: run d\n"), "{printed}");
        let mut names: Vec<_> = EXAMINATIONS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EXAMINATIONS.len());
    }
}
