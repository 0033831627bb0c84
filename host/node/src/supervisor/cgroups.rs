//! Control groups of helpers: one each, so that whoever ends the supervisor's group (a service
//! manager, a container runtime) does not end them, and so that a helper without measure takes
//! nothing but its own memory. Both versions of the kernel's interface. Where neither can be
//! written, helpers stay in the supervisor's group.

use std::fs;
use std::path::{Path, PathBuf};

/// The parent of all groups made here.
const PARENT: &str = "wharf-mounts";
/// The supervisor's own group below it, when it leaves that of whoever started it. In the second
/// version only groups without children hold processes.
const SUPERVISOR: &str = "supervisor";
/// Hierarchies of the first version that matter here: that of systemd, which ends a service's
/// processes by it, and that of memory. The empty name is the second version's only one.
const HIERARCHIES: [&str; 4] = ["", "unified", "systemd", "memory"];

/// The mounted hierarchies.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    root: PathBuf,
}

impl Cgroups {
    /// Looks at nothing yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether a group can hold its processes' memory to a bound.
    pub fn can_bound_memory(&self) -> bool {
        let controllers = fs::read_to_string(self.root.join("cgroup.controllers"));
        self.root.join("memory/cgroup.procs").is_file()
            || controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "memory"))
    }

    /// Puts a process into a group of this name, with a bound on its memory if there is one.
    pub fn join(&self, name: &str, pid: i32, memory_bytes: Option<u64>) {
        for group in self.hierarchies().map(|hierarchy| hierarchy.join(PARENT).join(name)) {
            if fs::create_dir_all(&group).is_err() {
                continue;
            }
            if let Some(bytes) = memory_bytes {
                bound_memory(&group, bytes);
            }
            if let Err(error) = fs::write(group.join("cgroup.procs"), pid.to_string()) {
                tracing::debug!(%error, group = %group.display(), "a process stays in its group");
            }
        }
    }

    /// How many processes of a group the kernel has killed because its memory was used up.
    pub fn out_of_memory_kills(&self, name: &str) -> u64 {
        let groups = self.hierarchies().map(|hierarchy| hierarchy.join(PARENT).join(name));
        // The names of the second version and of the first.
        let files = groups
            .flat_map(|group| ["memory.events", "memory.oom_control"].map(|file| group.join(file)));
        let kills = |file: PathBuf| {
            let text = fs::read_to_string(file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        files.filter_map(kills).max().unwrap_or(0)
    }

    /// Takes the supervisor out of the groups of whoever started it.
    pub fn leave(&self) {
        self.join(SUPERVISOR, std::process::id().try_into().unwrap_or(0), None);
    }

    /// Removes a group that nobody is in any more.
    pub fn remove(&self, name: &str) {
        for parent in self.hierarchies().map(|hierarchy| hierarchy.join(PARENT)) {
            let _ = fs::remove_dir(parent.join(name));
            // Goes with the last one.
            let _ = fs::remove_dir(&parent);
        }
    }

    fn hierarchies(&self) -> impl Iterator<Item = PathBuf> {
        HIERARCHIES
            .iter()
            .map(|name| self.root.join(name))
            .filter(|hierarchy| hierarchy.join("cgroup.procs").is_file())
    }
}

fn bound_memory(group: &Path, bytes: u64) {
    // Second version: a parent hands the controller down first.
    for ancestor in group.ancestors().skip(1).take(2) {
        let _ = fs::write(ancestor.join("cgroup.subtree_control"), "+memory");
    }
    // The names of the second version and of the first; swap is memory too.
    for name in ["memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
        let file = group.join(name);
        if file.is_file()
            && let Err(error) = fs::write(&file, bytes.to_string())
        {
            tracing::warn!(%error, file = %file.display(), "a helper's memory has no bound");
        }
    }
}
