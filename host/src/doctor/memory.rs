//! The memory of this control group against what the configuration lets components take.

use super::{Environment, Finding};

/// What a server takes besides its components: the process, its threads and buffers.
const SERVER_BYTES: u64 = 64 << 20;

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Some(bound) = bound(environment) else { return Vec::new() };
    let limits = &environment.config.limits;
    let call = limits.of_a_call();
    // All shares together are what may be taken at worst; one call of each is what surely is.
    let one = u64::try_from(call.memory_bytes.saturating_add(call.http_bytes)).unwrap_or(u64::MAX);
    let needed = one.saturating_add(SERVER_BYTES);
    if bound >= needed {
        return Vec::new();
    }
    vec![Finding::new(
        format!("this container may take {} MiB of memory", bound >> 20),
        format!(
            "one call of a component may take {} MiB; the kernel then ends the server in the middle \
             of its calls",
            one >> 20
        ),
        format!(
            "raise `resources.limits.memory` to {}Mi or more, or lower `limits.call.memory-mib` and \
             `limits.call.answers-mib`",
            needed >> 20
        ),
    )]
}

/// The bound of the group that is mounted as the root, in either version of the interface.
fn bound(environment: &Environment<'_>) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(environment.cgroup.join(name)).ok();
    let text = read("memory.max").or_else(|| read("memory/memory.limit_in_bytes"))?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_bound_that_one_call_can_reach_is_found_and_a_larger_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let with = |name: &str, bound: &str| {
            put(root.path(), name, bound);
            on(root.path(), "", examine)
        };
        assert_eq!(with("cgroup/memory.max", "max\n"), []);
        assert_eq!(with("cgroup/memory.max", "536870912\n"), []);
        finds(&with("cgroup/memory.max", "67108864\n"), &["64 MiB of memory", "144Mi or more"]);
    }
}
