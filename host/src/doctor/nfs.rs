//! The kernel's NFS client, where exports may be mounted.

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    if !environment.grants_step(&["mount-nfs"]) {
        return Vec::new();
    }
    let Ok(known) = std::fs::read_to_string(environment.proc.join("filesystems")) else {
        return Vec::new();
    };
    let knows = |name: &str| known.split_whitespace().any(|word| word == name);
    if knows("nfs") || knows("nfs4") {
        return Vec::new();
    }
    vec![Finding::new(
        "the kernel has not loaded its NFS client",
        "the first mount of a share loads it where modules can be loaded, and fails elsewhere",
        "modprobe nfs; and write `nfs` into /etc/modules-load.d/nfs.conf",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    #[test]
    fn a_kernel_without_nfs_is_found_where_shares_are_granted() {
        let root = tempfile::tempdir().unwrap();
        let text = "[backend.b.node]\nsteps = [\"mount-nfs\"]\n";
        put(root.path(), "proc/filesystems", "nodev\tnfsd\n\text4\n");
        finds(&on(root.path(), text, examine), &["NFS client", "modprobe nfs"]);
        assert_eq!(on(root.path(), "", examine), []);
        put(root.path(), "proc/filesystems", "nodev\tnfs4\n\text4\n");
        assert_eq!(on(root.path(), text, examine), []);
    }
}
