//! The programs that granted steps start.

use std::path::Path;

use super::{Environment, Finding};

/// Programs by the step that starts them and the file system (empty: whichever), with Debian's
/// package.
const PROGRAMS: [(&str, &str, &str, &str); 8] = [
    ("mount-device", "", "blkid", "util-linux"),
    ("format", "ext4", "mkfs.ext4", "e2fsprogs"),
    ("format", "ext3", "mkfs.ext3", "e2fsprogs"),
    ("format", "xfs", "mkfs.xfs", "xfsprogs"),
    ("check", "ext4", "e2fsck", "e2fsprogs"),
    ("check", "ext3", "e2fsck", "e2fsprogs"),
    ("grow", "ext4", "resize2fs", "e2fsprogs"),
    ("grow", "xfs", "xfs_growfs", "xfsprogs"),
];

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for backend in environment.config.backend.values() {
        let granted = |list: &[String], word: &str| list.iter().any(|granted| granted == word);
        for (step, file_system, program, package) in PROGRAMS {
            let is_needed = granted(&backend.node.steps, step)
                && (file_system.is_empty() || granted(&backend.node.filesystems, file_system));
            if is_needed && !has(environment, program) && !missing.contains(&(program, package)) {
                missing.push((program, package));
            }
        }
    }
    let mut findings: Vec<_> = missing
        .into_iter()
        .map(|(program, package)| {
            Finding::new(
                format!("the program `{program}` is not installed"),
                "volumes of its file system are not made, checked or grown",
                format!("apt-get install {package} (in a pod: an image that has it)"),
            )
        })
        .collect();
    findings.extend(helpers(environment));
    findings
}

/// One helper that is there is enough: which one a volume asks for is its own choice.
fn helpers(environment: &Environment<'_>) -> Option<Finding> {
    let mut absent = Vec::new();
    for backend in environment.config.backend.values() {
        for (name, grant) in &backend.node.helpers {
            let shipped = wharf_node::supervisor::shipped_profile(name).ok().flatten();
            let Ok(profile) = grant.resolve(name, shipped) else { continue };
            if has(environment, &profile.program) {
                return None;
            }
            absent.push((name.clone(), profile.install));
        }
    }
    let (first, install) = absent.first()?;
    let names: Vec<_> = absent.iter().map(|(name, _)| name.as_str()).collect();
    Some(Finding::new(
        format!("none of the granted mount helpers is installed: {}", names.join(", ")),
        "no bucket can be mounted",
        format!("for `{first}`: {install}"),
    ))
}

fn has(environment: &Environment<'_>, program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).is_file();
    }
    environment.programs.iter().any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on, put};
    use super::examine;

    const XFS: &str = "[backend.b.node]\nsteps = [\"format\"]\nfilesystems = [\"xfs\"]\n";

    #[test]
    fn a_program_that_a_granted_step_needs_is_missed_until_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        finds(&on(root.path(), XFS, examine), &["`mkfs.xfs`", "apt-get install xfsprogs"]);
        put(root.path(), "bin/mkfs.xfs", "");
        assert_eq!(on(root.path(), XFS, examine), []);
    }

    #[test]
    fn one_helper_is_enough() {
        let root = tempfile::tempdir().unwrap();
        let text = "[backend.b.node]\nsteps = [\"mount-fuse\"]\n[backend.b.node.helpers]\nossfs = \
                    {}\ns3fs = {}\n";
        finds(&on(root.path(), text, examine), &["ossfs, s3fs", "no bucket"]);
        put(root.path(), "bin/s3fs", "");
        assert_eq!(on(root.path(), text, examine), []);
    }
}
