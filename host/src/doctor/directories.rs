//! The directories that Wharf writes to: whose they are, who may write there, and how much room
//! there is.

use std::path::Path;

use wharf_files::Untrusted;

use super::{Environment, Finding};

/// A record takes 4 KiB, a component and its code 10 MiB.
const MIN_FREE_BYTES: u64 = 64 << 20;

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let config = environment.config;
    let log = config.flexvolume.log.clone().filter(|log| !log.as_os_str().is_empty());
    let mut findings = Vec::new();
    for (what, path) in
        [("state", Some(&config.state)), ("store", Some(&config.store)), ("log", log.as_ref())]
    {
        let Some(path) = path else { continue };
        let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
        findings.extend(check_owner(what, path));
        findings.extend(check_space(what, path, existing));
    }
    findings
}

/// What is not there yet is made when it is needed, as it should be.
fn check_owner(what: &str, path: &Path) -> Option<Finding> {
    let metadata = path.metadata().ok()?;
    let shown = path.display();
    if !metadata.is_dir() {
        return Some(Finding::new(
            format!("the {what} directory {shown} is no directory"),
            "nothing can be written there, so no volume is staged",
            format!("name another one with `{what}` in the configuration, or remove the file"),
        ));
    }
    Some(match wharf_files::check_metadata(path, &metadata).err()? {
        Untrusted::Owner { user, .. } => Finding::new(
            format!("the {what} directory {shown} belongs to user {user}"),
            "that user can change what Wharf believes about volumes, or what it runs",
            format!("chown -R root {shown}"),
        ),
        Untrusted::Mode { .. } => Finding::new(
            format!("others may write the {what} directory {shown}"),
            "they can change what Wharf believes about volumes, or what it runs",
            format!("chmod go-w {shown}"),
        ),
    })
}

fn check_space(what: &str, path: &Path, existing: &Path) -> Option<Finding> {
    let space = rustix::fs::statvfs(existing).ok()?;
    let shown = path.display();
    if space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Some(Finding::new(
            format!("the {what} directory {shown} is on a file system that is read-only"),
            "nothing can be written there, so no volume is staged",
            format!("mount it writable (in a pod: a hostPath volume at {shown})"),
        ));
    }
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    (free < MIN_FREE_BYTES).then(|| {
        Finding::new(
            format!("the {what} directory {shown} has {} MiB left", free >> 20),
            "volumes are taken away without writing, and none is staged once it is full",
            format!("make room on the file system of {shown}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::{finds, on, put};
    use super::*;

    #[test]
    fn a_directory_that_others_may_write_is_found_and_one_that_is_not_there_is_not() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(on(root.path(), "", examine), []);
        let state = root.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
        finds(&on(root.path(), "", examine), &["others may write", "chmod go-w", "/state"]);
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(on(root.path(), "", examine), []);
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_found() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "store", "");
        finds(&on(root.path(), "", examine), &["store directory", "is no directory"]);
    }

    #[test]
    fn a_directory_of_another_user_is_found() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a_directory_of_another_user_is_found: it needs root");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        std::fs::create_dir(&store).unwrap();
        std::os::unix::fs::chown(&store, Some(12345), None).unwrap();
        finds(&on(root.path(), "", examine), &["belongs to user 12345", "chown -R root"]);
    }

    #[test]
    fn a_file_system_that_is_nearly_full_is_found() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let flags = rustix::mount::MountFlags::NOSUID;
        if rustix::mount::mount("full", &state, "tmpfs", flags, c"size=1m,mode=755").is_err() {
            println!("skipped: a_file_system_that_is_nearly_full_is_found: it needs root");
            return;
        }
        let found = on(root.path(), "", examine);
        let _ = rustix::mount::unmount(&state, rustix::mount::UnmountFlags::DETACH);
        finds(&found, &["the state directory", "has 1 MiB left", "make room"]);
    }

    #[test]
    fn a_file_system_on_which_nothing_can_be_written_is_found() {
        let sys = Path::new("/proc/sys");
        if !rustix::fs::statvfs(sys).is_ok_and(|it| it.f_bavail == 0) {
            println!("skipped: a_file_system_on_which_nothing_can_be_written_is_found: no /proc");
            return;
        }
        finds(&check_space("state", sys, sys).into_iter().collect::<Vec<_>>(), &["/proc/sys"]);
    }
}
