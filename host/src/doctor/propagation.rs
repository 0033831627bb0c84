//! Whether what is mounted here below kubelet's root is seen by kubelet and by pods.

use super::mount_table::{covering, read};
use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let mounts = read(&environment.proc.join("self/mountinfo"));
    let finding = |root: std::path::PathBuf| {
        let mount = covering(&mounts, &root)?;
        (!mount.is_shared).then(|| {
            Finding::new(
                format!(
                    "{} is on a mount ({}) whose mounts do not spread",
                    root.display(),
                    mount.at.display()
                ),
                "a volume that is mounted here is seen by nobody else: pods get an empty directory",
                format!(
                    "in a pod: `mountPropagation: Bidirectional` for the volume at {}; on the host: \
                     mount --make-rshared {}",
                    root.display(),
                    mount.at.display()
                ),
            )
        })
    };
    environment.config.roots().into_iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_root_on_a_private_mount_is_found_and_on_a_shared_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let table = |fields: &str| {
            let at = root.path().display();
            let line = format!(
                "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
                 2 1 8:1 / {at}/kubelet rw {fields}- ext4 /dev/a rw\n"
            );
            put(root.path(), "proc/self/mountinfo", &line);
            on(root.path(), "", examine)
        };
        finds(&table(""), &["do not spread", "Bidirectional", "make-rshared"]);
        finds(&table("master:1 "), &["do not spread"]);
        assert_eq!(table("shared:7 "), []);
    }
}
