//! A server that may not mount says so when it starts, and not only with the first volume. A
//! controller mounts too, where it makes and deletes directories of shares.

use crate::config::Config;

/// The capability's bit (capability.h).
const SYS_ADMIN: u32 = 21;

/// Warns where a backend's plans may mount and this process may not.
pub fn warn_if_not(config: &Config) {
    let mut steps = config.backend.values().flat_map(|backend| &backend.node.steps);
    let is_needed = steps.any(|step| step.starts_with("mount-"));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_needed && has_sys_admin(&status) == Some(false) {
        tracing::warn!(
            "this process may not mount, so every volume that needs a mount is refused, and so is \
             making or deleting a directory of a share: it needs the capability CAP_SYS_ADMIN \
             (`securityContext.capabilities.add: [SYS_ADMIN]`)"
        );
    }
}

/// `None`: the kernel does not say.
fn has_sys_admin(status: &str) -> Option<bool> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(bits & (1 << SYS_ADMIN) != 0)
}

#[cfg(test)]
mod tests {
    use super::has_sys_admin;

    #[test]
    fn a_process_has_what_is_in_its_effective_set() {
        assert_eq!(has_sys_admin("CapPrm:\tffffffffff\nCapEff:\t0000000000200000\n"), Some(true));
        assert_eq!(has_sys_admin("CapPrm:\tffffffffff\nCapEff:\tffffffffffdfffff\n"), Some(false));
        assert_eq!(has_sys_admin("Name:\twharf\n"), None);
    }
}
