//! A helper's mount at a target that the supervisor did not make: where an earlier driver mounted
//! the very volume that is asked for, its pods go on with that, and nothing is mounted over it.
//!
//! The mount table does not name the bucket of such a mount (`ossfs` is its own source there), but
//! the command line of the process that serves it does, as the earlier drivers write it: source and
//! mount point, one after the other. A supervisor that does not see that process, without `hostPID`
//! or after its end, has no proof.
//!
//! Left out: healing it and giving it new keys, for which one has to have started its process.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wharf_core::{Blame, Error, ErrorKind};

use super::protocol::Spec;
use super::repair::ask_root;
use crate::mounts::table::{Entry, MountTable};

/// How long it is given to answer one question.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether the target shows what is asked for, by a helper that is not the supervisor's. Nothing
/// there: it does not.
///
/// # Errors
/// `FailedPrecondition` for anything that is not proved to be that, `AlreadyExists` when it is and
/// one of the two is read-only, `Unavailable` when it does not answer. Each names what is there.
pub(crate) fn is_shown(spec: &Spec) -> Result<bool, Error> {
    let table = MountTable::read()?;
    let Some(entry) = table.top(&spec.target) else { return Ok(false) };
    let there = || {
        let (source, fs_type) = (entry.source.to_string_lossy(), &entry.fs_type);
        format!("{} has {source} ({fs_type}) mounted on it", spec.target.display())
    };
    let delete_pods = "unmount it first: delete the pods on this node that use the volume, and it \
                       is mounted anew for the next one";
    let refused = |why: String| Err(Error::precondition(why).with_hint(delete_pods));
    let program = Path::new(&spec.profile.program).file_name().unwrap_or_default();
    if !is_of_program(entry, &program.to_string_lossy()) {
        let why = format!("{}, which is no mount of {}", there(), program.display());
        return Err(Error::precondition(why).with_hint("unmount it first"));
    }
    let sources = sources_at(&spec.target, program.as_bytes());
    let is_same = |source: &String| without_root(source) == without_root(&spec.source);
    if let Some(other) = sources.iter().find(|source| !is_same(source)) {
        return refused(format!("{}, and its process shows `{other}` there", there()));
    }
    if sources.is_empty() {
        return refused(format!(
            "{}, and no process that the supervisor of mounts sees says that it is `{}`",
            there(),
            spec.source
        ));
    }
    if entry.is_read_only() != spec.read_only {
        let is = if spec.read_only { "writable" } else { "read-only" };
        let why = format!("{}, {is}, as an earlier driver mounted it", there());
        let error = Error::new(ErrorKind::AlreadyExists, Blame::User, why);
        return Err(error.with_hint(delete_pods));
    }
    ask_root(&spec.target, ANSWER).map_err(|error| {
        Error::unavailable(format!(
            "{}, by an earlier driver, and its helper is not started again: {}",
            there(),
            error.message
        ))
        .with_hint(delete_pods)
    })?;
    tracing::info!(target = %spec.target.display(), source = spec.source, "an earlier driver's mount is left as it is");
    Ok(true)
}

/// A program that does not say who it is makes mounts of the type `fuse`.
fn is_of_program(entry: &Entry, program: &str) -> bool {
    let is_type = entry.fs_type == "fuse" || entry.fs_type.strip_prefix("fuse.") == Some(program);
    is_type && entry.root == Path::new("/")
}

/// What the processes of a program show at a mount point, as their command lines have it.
fn sources_at(mountpoint: &Path, program: &[u8]) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter_map(|line| source_of(&line, mountpoint, program)).collect()
}

fn source_of(line: &[u8], mountpoint: &Path, program: &[u8]) -> Option<String> {
    let mut words = line.split(|byte| *byte == 0);
    let own = words.next()?.rsplit(|byte| *byte == b'/').next()?;
    let words: Vec<_> = words.collect();
    let mut pairs = words.windows(2);
    let [source, _] = pairs.find(|pair| pair.last() == Some(&mountpoint.as_os_str().as_bytes()))?
    else {
        return None;
    };
    (own == program).then(|| String::from_utf8_lossy(source).into_owned())
}

/// `bucket:/` is all of a bucket, and so is `bucket`.
fn without_root(source: &str) -> &str {
    source.strip_suffix(":/").unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_shows_stands_before_its_mount_point() {
        let shown = |line: &str| {
            source_of(line.replace(' ', "\0").as_bytes(), Path::new("/a/globalmount"), b"ossfs")
        };
        for line in [
            "ossfs b:/p /a/globalmount -ourl=x -f",
            "/usr/local/bin/ossfs b:/p /a/globalmount",
            "ossfs -o ro,url=x b:/p /a/globalmount -f",
        ] {
            assert_eq!(shown(line).as_deref(), Some("b:/p"), "{line}");
        }
        for line in
            ["", "ossfs", "ossfs b:/p /a", "cat b:/p /a/globalmount", "ossfs2 b /a/globalmount"]
        {
            assert_eq!(shown(line), None, "{line}");
        }
    }

    #[test]
    fn the_whole_bucket_has_two_names() {
        assert_eq!(without_root("b:/"), without_root("b"));
        assert_ne!(without_root("b:/p"), without_root("b"));
        assert_ne!(without_root("b:/p"), without_root("b:/p/"));
    }
}
