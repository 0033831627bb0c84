//! What the operator has set of the kernel's NFS client: how many requests a connection has on
//! their way, and how much is read ahead on a mount. A volume works without either, so what cannot
//! be set is logged and nothing more. Nothing here asks a server.

use std::path::Path;

use wharf_core::plan::MountNfs;
use wharf_core::policy::NfsPolicy;

use crate::mounts::table::Entry;

/// There once the kernel's client is loaded.
const SUNRPC: &str = "/proc/sys/sunrpc";

/// Before a mount: only a connection that is made later has as many.
pub(crate) fn set_slots(policy: &NfsPolicy) {
    let Some(slots) = policy.tcp_slot_table_entries else { return };
    let setting = |name: &str| Path::new(SUNRPC).join(name);
    // The kernel takes no number above its maximum.
    set(&setting("tcp_max_slot_table_entries"), slots, |is, wanted| is >= wanted);
    set(&setting("tcp_slot_table_entries"), slots, |is, wanted| is == wanted);
}

/// After a mount.
pub(crate) fn set_read_ahead(policy: &NfsPolicy, step: &MountNfs, entry: &Entry, sysfs: &Path) {
    let asked = step.read_ahead_kb().ok().flatten();
    let granted = asked.filter(|asked| *asked <= policy.max_read_ahead_kb);
    if let (Some(asked), None) = (asked, granted) {
        tracing::warn!(
            path = %entry.mount_point.display(),
            "the volume asks for {asked} KiB of read-ahead and is mounted without, for \
             `nfs.max-read-ahead-kb` is {}",
            policy.max_read_ahead_kb
        );
    }
    let Some(wanted) = granted.or(policy.read_ahead_kb) else { return };
    let (major, minor) = entry.device;
    let setting = sysfs.join(format!("class/bdi/{major}:{minor}/read_ahead_kb"));
    set(&setting, wanted, |is, wanted| is == wanted);
}

fn set(setting: &Path, wanted: u32, is_enough: fn(u32, u32) -> bool) {
    let is = std::fs::read_to_string(setting).map(|text| text.trim().parse::<u32>().ok());
    let done = match is {
        Ok(Some(is)) if is_enough(is, wanted) => Ok(()),
        Ok(_) => std::fs::write(setting, wanted.to_string()),
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        tracing::warn!(setting = %setting.display(), "cannot be set to {wanted}: {error}");
    }
}
