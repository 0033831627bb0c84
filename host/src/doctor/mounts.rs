//! Mounts below kubelet's root that answer nobody: a helper or a server that is gone.

use std::io::ErrorKind;

use wharf_node::supervisor::{Client, Condition, Status};

use super::mount_table::read;
use super::{Environment, Finding};
use crate::renewal::{is_overdue, unix_millis};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let supervised = Client::new(&environment.config.run_directory(), None).list();
    let (supervised, now_ms) = (supervised.unwrap_or_default(), unix_millis());
    let mut findings: Vec<Finding> = supervised.iter().filter_map(of_supervised).collect();
    findings.extend(supervised.iter().filter_map(|mount| of_keys(mount, now_ms)));
    let roots = environment.config.roots();
    for mount in read(&environment.proc.join("self/mountinfo")) {
        let is_below = roots.iter().any(|root| mount.at.starts_with(root));
        if is_below && mount.kind.starts_with("fuse") && is_dead(&mount.at) {
            findings.push(Finding::new(
                format!("nobody serves the mount at {}", mount.at.display()),
                "the process that did has ended; pods that use it get \"Transport endpoint is not \
                 connected\"",
                format!(
                    "umount {}; and delete the pods that use it, which mounts it again",
                    mount.at.display()
                ),
            ));
        }
    }
    findings
}

/// As its supervisor says.
fn of_supervised(mount: &Status) -> Option<Finding> {
    let why = match mount.condition {
        Condition::Serving | Condition::Busy | Condition::Ending => return None,
        Condition::Dead => "its helper has ended and is started again",
        Condition::Partly => "some places still show a mount that is dead",
        Condition::Unproved => "what is mounted there is not proved to be it",
    };
    Some(Finding::new(
        format!("the mount at {} is not healthy: {why}", mount.target.display()),
        "pods that use it get errors",
        format!(
            "wharf mounts logs {}; wharf mounts list; restart pods that stay broken",
            mount.name
        ),
    ))
}

/// Keys that somebody should have renewed.
fn of_keys(mount: &Status, now_ms: u64) -> Option<Finding> {
    if !is_overdue(mount, now_ms) {
        return None;
    }
    let since = now_ms.saturating_sub(mount.renew_at_ms.unwrap_or(now_ms)) / 60_000;
    Some(Finding::new(
        format!(
            "the keys of the mount at {} were to be renewed {since} minutes ago",
            mount.target.display()
        ),
        "the bucket refuses its pods as soon as the keys that the helper has end",
        "wharf mounts renew, which says why that fails".to_owned(),
    ))
}

/// The kernel answers for a dead helper at once.
fn is_dead(path: &std::path::Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{on, put};
    use super::*;
    use crate::renewal::tests::mount;

    #[test]
    fn keys_that_were_not_renewed_are_found_and_those_that_are_just_due_are_not() {
        let of = |now_ms| -> Vec<_> { of_keys(&mount(Some(1)), now_ms).into_iter().collect() };
        assert_eq!(of(60_000), []);
        let words = ["/kubelet/volume", "renewed 5 minutes ago", "wharf mounts renew"];
        super::super::tests::finds(&of(300_001), &words);
        assert_eq!(of_keys(&mount(None), u64::MAX), None);
    }

    #[test]
    fn a_supervised_mount_that_pods_cannot_use_is_found_and_one_that_comes_or_goes_is_not() {
        let of = |condition| -> Vec<_> {
            of_supervised(&Status { condition, ..mount(None) }).into_iter().collect()
        };
        for (condition, said) in [
            (Condition::Dead, "is started again"),
            (Condition::Partly, "some places"),
            (Condition::Unproved, "not proved"),
        ] {
            super::super::tests::finds(
                &of(condition),
                &["/kubelet/volume", said, "wharf mounts logs m-1"],
            );
        }
        for condition in [Condition::Serving, Condition::Busy, Condition::Ending] {
            assert_eq!(of(condition), []);
        }
    }

    #[test]
    fn a_mount_without_its_process_is_found() {
        let Some((root, device)) = fuse_mount() else {
            println!("skipped: a_mount_without_its_process_is_found: it needs root and /dev/fuse");
            return;
        };
        let at = root.path().join("kubelet/volume");
        let line = format!("1 0 0:9 / {} rw - fuse x rw\n", at.display());
        put(root.path(), "proc/self/mountinfo", &line);
        drop(device);
        let found = on(root.path(), "", examine);
        let _ = rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH);
        super::super::tests::finds(&found, &["nobody serves the mount", "umount"]);
    }

    #[test]
    fn a_directory_and_other_mounts_are_not() {
        let root = tempfile::tempdir().unwrap();
        let line = format!(
            "1 0 0:9 / {0}/kubelet rw - fuse x rw\n2 1 8:1 / / rw - ext4 x rw\n",
            root.path().display()
        );
        put(root.path(), "proc/self/mountinfo", &line);
        std::fs::create_dir(root.path().join("kubelet")).unwrap();
        assert_eq!(on(root.path(), "", examine), []);
    }

    /// A mount of FUSE, whose process is this one as long as it holds the device.
    fn fuse_mount() -> Option<(tempfile::TempDir, std::fs::File)> {
        use std::os::fd::AsRawFd as _;
        let device = std::fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("kubelet/volume");
        std::fs::create_dir_all(&at).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::NOSUID;
        rustix::mount::mount("x", &at, "fuse", flags, options.as_c_str()).ok()?;
        Some((root, device))
    }
}
