//! sysfs: that it shows block devices, and lets their settings be written where that is granted.

use super::mount_table::{covering, read};
use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    if !environment.grants_step(&["find-device", "set-block-queue"]) {
        return Vec::new();
    }
    let sysfs = environment.config.node.sysfs.clone().unwrap_or_else(|| "/sys".into());
    let block = sysfs.join("block");
    if std::fs::read_dir(&block).is_err() {
        return vec![Finding::new(
            format!("{} cannot be read", block.display()),
            "disks are not recognised, because the kernel's account of them is hidden",
            "in a pod: mount the host's /sys, or run with `privileged: true`, which unmasks it",
        )];
    }
    let mounts = read(&environment.proc.join("self/mountinfo"));
    let is_read_only = covering(&mounts, &sysfs).is_some_and(|mount| mount.is_read_only);
    if !is_read_only || !environment.grants_step(&["set-block-queue"]) {
        return Vec::new();
    }
    vec![Finding::new(
        format!("{} is mounted read-only", sysfs.display()),
        "volumes with `sysConfig`, or any other setting of their device's queue, are not staged",
        "in a pod: run with `privileged: true`, or mount the host's /sys writable",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_masked_or_read_only_sysfs_is_found_where_it_is_needed() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().display().to_string();
        let text = format!(
            "[node]\nsysfs = \"{at}/sys\"\n[backend.b.node]\nsteps = [\"find-device\", \
             \"set-block-queue\"]\n"
        );
        finds(&on(root.path(), &text, examine), &["/sys/block cannot be read", "privileged"]);
        assert_eq!(on(root.path(), "", examine), [], "nothing needs it");
        std::fs::create_dir_all(root.path().join("sys/block")).unwrap();
        let table = |options: &str| {
            let line = format!("1 0 0:1 / {at}/sys {options} - sysfs sysfs rw\n");
            put(root.path(), "proc/self/mountinfo", &line);
            on(root.path(), &text, examine)
        };
        finds(&table("ro,nosuid"), &["is mounted read-only"]);
        assert_eq!(table("rw,nosuid"), []);
    }
}
