//! What a test needs of the machine. A test that cannot run says so in the one form that `cargo
//! xtask test` counts, and fails where nothing may be left out (`CI=true`).

use std::io::Write;
use std::path::{Path, PathBuf};

/// Programs that stand for what [`machine`] needs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("mkfs.ext4", "e2fsprogs"),
    ("resize2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("blkid", "util-linux"),
    ("losetup", "mount"),
];

/// Whether this machine can play nodes: root, loop devices, and the programs that make and grow
/// file systems. `false`: the caller returns.
///
/// # Panics
/// In CI, when something is missing.
pub fn machine(test: &str) -> bool {
    is_met(test, &missing())
}

/// Whether this machine can mount buckets with `s3fs`: root, `/dev/fuse` and the program. `false`:
/// the caller returns.
///
/// # Panics
/// In CI, when something is missing.
pub fn buckets(test: &str) -> bool {
    let mut missing = Vec::new();
    if !nix::unistd::Uid::effective().is_root() {
        missing.push("not root".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        missing.push("no /dev/fuse".to_owned());
    }
    missing.extend(missing_programs(&[("s3fs", "s3fs")]));
    is_met(test, &missing)
}

/// Whether nothing is missing; says what is otherwise. `false`: the caller returns.
///
/// # Panics
/// In CI, when something is missing.
pub fn is_met(test: &str, missing: &[String]) -> bool {
    if missing.is_empty() {
        return true;
    }
    let why = missing.join(", ");
    assert!(!is_strict(), "{test} cannot run here and CI leaves nothing out: {why}");
    say(&format!("skipped: {test}: {why}"));
    false
}

/// A line on standard output that cargo does not swallow when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Whether this process may grow an ext4 file system that is mounted (`CAP_SYS_RESOURCE`), as a
/// privileged container may. Sandboxes often may not, and nothing can be installed to change that:
/// tests then look at what is said instead.
pub fn may_grow_mounted_ext4() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    effective
        .and_then(|bits| u64::from_str_radix(bits, 16).ok())
        .is_some_and(|bits| bits & CAP_SYS_RESOURCE != 0)
}

/// Said by a test that cannot do without that; `cargo xtask test` knows the words and counts it as
/// no defect of the machine.
pub const NO_MOUNTED_EXT4: &str = "skipped: growing a mounted ext4 needs CAP_SYS_RESOURCE";

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::Uid::effective().is_root() {
        missing.push("not root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        missing.push("no /dev/loop-control".to_owned());
    }
    missing.extend(missing_programs(PROGRAMS));
    missing
}

/// Those of these programs that are not there, with the packages that have them.
pub fn missing_programs<'a>(
    programs: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Vec<String> {
    programs
        .into_iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(program, package)| format!("no {program} (package {package})"))
        .collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn is_strict() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_debian_puts_it_even_without_sbin_in_the_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program"), None);
    }
}
