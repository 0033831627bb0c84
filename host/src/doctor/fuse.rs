//! FUSE, and the control groups that bound helpers, where buckets may be mounted.

use wharf_core::policy::HelperGrant;
use wharf_node::supervisor::shipped_profile;

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    if !environment.grants_step(&["mount-fuse"]) {
        return Vec::new();
    }
    let device = environment.dev.join("fuse");
    let mut findings = Vec::new();
    if !device.exists() {
        findings.push(Finding::new(
            format!("there is no {}", device.display()),
            "no helper can serve a mount, so no bucket is mounted",
            "modprobe fuse; in a pod: mount the host's /dev",
        ));
    }
    let mut helpers = environment.config.backend.values().flat_map(|backend| &backend.node.helpers);
    let bounded = helpers.find(|(name, grant)| has_bound(name, grant));
    if let Some((name, _)) = bounded.filter(|_| !can_bound_memory(environment)) {
        findings.push(Finding::new(
            format!("no control group can hold the memory of helper `{name}` to its bound here"),
            format!(
                "{} offers no memory controller: helpers get an error instead of more memory \
                 (RLIMIT_DATA), and `ossfs2` has no bound",
                environment.cgroup.display()
            ),
            "in a pod: mount the host's /sys/fs/cgroup writable",
        ));
    }
    findings
}

/// One that cannot be resolved has no mounts.
fn has_bound(name: &str, grant: &HelperGrant) -> bool {
    let shipped = shipped_profile(name).ok().flatten();
    grant.resolve(name, shipped).is_ok_and(|profile| profile.memory_mib.is_some())
}

fn can_bound_memory(environment: &Environment<'_>) -> bool {
    let controllers = std::fs::read_to_string(environment.cgroup.join("cgroup.controllers"));
    environment.cgroup.join("memory/cgroup.procs").is_file()
        || controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "memory"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    const FUSE: &str = "[backend.b.node]\nsteps = [\"mount-fuse\"]\n";

    #[test]
    fn a_machine_without_fuse_is_found_where_buckets_are_granted() {
        let root = tempfile::tempdir().unwrap();
        finds(&on(root.path(), FUSE, examine), &["dev/fuse", "modprobe fuse"]);
        assert_eq!(on(root.path(), "", examine), []);
        put(root.path(), "dev/fuse", "");
        assert_eq!(on(root.path(), FUSE, examine), []);
    }

    #[test]
    fn a_bound_that_cannot_be_kept_is_found() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "dev/fuse", "");
        let text = format!("{FUSE}[backend.b.node.helpers]\ns3fs = {{}}\n");
        finds(&on(root.path(), &text, examine), &["`s3fs`", "memory controller"]);
        put(root.path(), "cgroup/cgroup.controllers", "cpu memory\n");
        assert_eq!(on(root.path(), &text, examine), []);
    }
}
