//! What this process may do, and so what a server with the same rights may.

use super::{Environment, Finding};

/// Bits of `CapEff` (capability.h), with what cannot be done without each, and the steps for which
/// it matters.
const NEEDED: [(u32, &str, &str, &[&str]); 4] = [
    (21, "CAP_SYS_ADMIN", "nothing can be mounted", &[]),
    (24, "CAP_SYS_RESOURCE", "ext4 does not grow while it is mounted", &["grow"]),
    (
        1,
        "CAP_DAC_OVERRIDE",
        "directories of other users cannot be changed",
        &["make-directory", "remove-tree", "move-aside"],
    ),
    (
        0,
        "CAP_CHOWN",
        "directories cannot be given to another user",
        &["set-ownership", "make-directory"],
    ),
];

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Some(has) = effective(environment) else { return Vec::new() };
    let missing = NEEDED.iter().filter(|(bit, _, _, steps)| {
        let matters = steps.is_empty() || environment.grants_step(steps);
        matters && has & (1 << bit) == 0
    });
    missing
        .map(|(_, name, meaning, _)| {
            Finding::new(
                format!("this process has no {name}"),
                *meaning,
                format!(
                    "run as root, in a pod with `securityContext.capabilities.add: [{}]` (or \
                     `privileged: true`)",
                    name.trim_start_matches("CAP_")
                ),
            )
        })
        .collect()
}

fn effective(environment: &Environment<'_>) -> Option<u64> {
    let status = std::fs::read_to_string(environment.proc.join("self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_capability_is_missed_where_a_granted_step_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let with = |bits: u64, text: &str| {
            put(root.path(), "proc/self/status", &format!("Name:\tx\nCapEff:\t{bits:016x}\n"));
            on(root.path(), text, examine)
        };
        let grows = "[backend.b.node]\nsteps = [\"grow\"]\n";
        let all = (1 << 41) - 1;
        assert_eq!(with(all, grows), []);
        finds(&with(all & !(1 << 21), ""), &["CAP_SYS_ADMIN", "nothing can be mounted"]);
        finds(&with(all & !(1 << 24), grows), &["CAP_SYS_RESOURCE", "add: [SYS_RESOURCE]"]);
        assert_eq!(with(all & !(1 << 24), ""), [], "nothing that grows is granted");
        let removes = "[backend.b.node]\nsteps = [\"remove-tree\"]\n";
        finds(&with(all & !(1 << 1), removes), &["CAP_DAC_OVERRIDE", "add: [DAC_OVERRIDE]"]);
        assert_eq!(with(all & !(1 << 1), grows), []);
        let gives = "[backend.b.node]\nsteps = [\"set-ownership\"]\n";
        finds(&with(all & !1, gives), &["CAP_CHOWN", "another user", "add: [CHOWN]"]);
        assert_eq!(with(all & !1, removes), []);
    }
}
