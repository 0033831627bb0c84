//! Credential files: whose they are, how they change, and that they go with the mount.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wharf_core::ErrorKind;
use wharf_core::helper_profile::Rotation;
use wharf_node::supervisor::Spec;

use crate::bed::{Bed, Container, PATIENCE, credential, holds, kill, request, sh, until};

/// A helper that shows a copy of the key that it was started with.
fn showing_its_key(bed: &Bed) -> Spec {
    bed.script("a", "cp $(dirname $2)/credential/passwd $1/key; exec bindfs -f $1 $2")
}

fn file(bed: &Bed, spec: &Spec) -> PathBuf {
    bed.path("run").join(bed.status(spec).name).join("credential/passwd")
}

#[test]
fn credential_files_are_roots_alone_on_a_tmpfs_and_vanish_with_the_mount() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    sh(&format!("chmod 755 {}", bed.path("").display()));
    bed.client().mount(request(spec.clone(), Some(credential("c4n4ry-secret")))).unwrap();
    let path = file(&bed, &spec);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let stolen = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(!stolen.status.success() && stolen.stdout.is_empty());
    let (pid, name) = (bed.pid(&spec), bed.status(&spec).name);
    let table = crate::bed::mountinfo();
    let line = table.lines().find(|line| line.contains(&format!("run/{name} "))).unwrap();
    assert!(line.contains(" - tmpfs ") && !line.contains("shared:"), "{line}");
    let everywhere = [
        format!("/proc/{pid}/cmdline"),
        format!("/proc/{pid}/environ"),
        bed.path(&format!("state/mounts/{name}.json")).display().to_string(),
        bed.path("supervisor.log").display().to_string(),
    ];
    for place in everywhere {
        assert!(!std::fs::read_to_string(&place).unwrap().contains("c4n4ry"), "{place}");
    }
    kill(pid);
    until("it is healed", || holds(&spec.target.join("file"), "hello"));
    assert!(holds(&path, "c4n4ry-secret"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    assert!(!path.exists());
    bed.assert_clean();
}

#[test]
fn nobody_keeps_the_keys_of_a_mount_that_is_gone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.client().mount(request(spec.clone(), Some(credential("c4n4ry-secret")))).unwrap();
    let path = file(&bed, &spec);
    // As a pod that is shown the node's `/run` when it starts; and a shell that is in there.
    let container = Container::new(&bed, &format!("umount -l {}", spec.target.display()));
    let copy = container.path(&path);
    assert!(holds(&copy, "c4n4ry-secret"));
    let private = File::open(path.ancestors().nth(2).unwrap()).unwrap();
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    assert!(!copy.exists());
    let open = format!("/proc/self/fd/{}", private.as_raw_fd());
    let left: Vec<_> = std::fs::read_dir(open).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("credential")));
    drop(container);
    bed.assert_clean();
}

#[test]
fn a_helper_that_reads_its_keys_again_keeps_running() {
    let Some(bed) = Bed::new() else { return };
    let mut spec = bed.spec("a");
    spec.profile.rotation = Rotation::InPlace;
    bed.client().mount(request(spec.clone(), Some(credential("first")))).unwrap();
    let (pid, path) = (bed.pid(&spec), file(&bed, &spec));
    // A stage that is repeated brings new keys as well as an update does.
    bed.client().mount(request(spec.clone(), Some(credential("second")))).unwrap();
    assert!(holds(&path, "second"));
    bed.client().update(&spec.target, credential("third"), PATIENCE).unwrap();
    assert!(holds(&path, "third"));
    assert_eq!(bed.pid(&spec), pid);
    let mut other = credential("fourth");
    other.form = "token".into();
    let error = bed.client().update(&spec.target, other, PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    let gone = bed.client().update(&spec.target, credential("x"), PATIENCE).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound, "{gone}");
    bed.assert_clean();
}

#[test]
fn a_helper_that_does_not_is_replaced_without_an_error_for_whoever_reads() {
    let Some(bed) = Bed::new() else { return };
    let spec = showing_its_key(&bed);
    bed.client().mount(request(spec.clone(), Some(credential("first-key")))).unwrap();
    let stage = spec.target.display();
    let inside = bed.path("containers");
    let container = Container::new(&bed, &format!("mount --bind {stage} {}", inside.display()));
    let there = container.path(&inside);
    let pid = bed.pid(&spec);
    let mut open = std::fs::File::open(spec.target.join("file")).unwrap();
    bed.client().update(&spec.target, credential("second-key"), PATIENCE).unwrap();
    assert_ne!(bed.pid(&spec), pid);
    assert!(
        holds(&spec.target.join("key"), "second-key") && holds(&there.join("key"), "second-key")
    );
    let mut text = String::new();
    open.seek(SeekFrom::Start(0)).unwrap();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello", "the old helper serves what was open");
    drop(open);
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until("the old helper has ended, and is not even a zombie", || stat().is_empty());
    // The same keys again: nothing happens.
    let pid = bed.pid(&spec);
    bed.client().update(&spec.target, credential("second-key"), PATIENCE).unwrap();
    assert_eq!(bed.pid(&spec), pid);
    drop(container);
    sh(&format!("umount {stage}"));
    bed.assert_clean();
}

#[test]
fn keys_that_do_not_work_leave_the_old_helper_in_its_place() {
    let Some(bed) = Bed::new() else { return };
    let script = "grep -q good $(dirname $2)/credential/passwd || exit 5; exec bindfs -f $1 $2";
    let spec = bed.script("a", script);
    bed.client().mount(request(spec.clone(), Some(credential("good-key")))).unwrap();
    let pid = bed.pid(&spec);
    let error = bed.client().update(&spec.target, credential("bad-key"), PATIENCE).unwrap_err();
    assert!(error.to_string().contains("exit code 5"), "{error}");
    assert_eq!(bed.pid(&spec), pid);
    assert!(holds(&spec.target.join("file"), "hello"));
    bed.client().update(&spec.target, credential("good-key-2"), PATIENCE).unwrap();
    assert_ne!(bed.pid(&spec), pid);
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

/// What this user reads from a file, or nothing.
fn read_as(user: u32, path: &Path) -> String {
    let output = Command::new("setpriv")
        .args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "cat"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The key as the living helper finds it: by the path that its arguments have.
fn lent(bed: &Bed, spec: &Spec) -> PathBuf {
    let pid = bed.pid(spec);
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let key = line.split('\0').find(|argument| argument.ends_with("/passwd")).unwrap();
    PathBuf::from(format!("/proc/{pid}/fd/{}", key.strip_prefix("/dev/fd/").unwrap()))
}

#[test]
fn a_helper_without_privileges_reads_its_keys_and_no_other_user_does() {
    let Some(bed) = Bed::new() else { return };
    let (spec, other) = (bed.on_a_given_device("a"), bed.on_a_given_device("b"));
    bed.client().mount(request(spec.clone(), Some(credential("first-key")))).unwrap();
    bed.client().mount(request(other.clone(), Some(credential("other-key")))).unwrap();
    assert!(holds(&spec.target.join("file"), "first-key"));
    sh(&format!("chmod 755 {}", bed.path("run").display()));
    let (user, by_path, by_descriptor) = (bed.user(&spec), file(&bed, &spec), lent(&bed, &spec));
    assert_eq!(read_as(user, &by_descriptor), "first-key");
    for stranger in [65534, bed.user(&other)] {
        assert_eq!(read_as(stranger, &by_path), "", "{stranger}");
        assert_eq!(read_as(stranger, &by_descriptor), "", "{stranger}");
    }
    let log = by_path.parent().unwrap().with_file_name("log");
    assert!(log.exists() && read_as(user, &log).is_empty());
    bed.client().update(&spec.target, credential("second-key"), PATIENCE).unwrap();
    assert!(holds(&spec.target.join("file"), "second-key"));
    kill(bed.pid(&spec));
    until("it is healed", || holds(&spec.target.join("file"), "second-key"));
    for spec in [spec, other] {
        bed.client().unmount(&spec.target, PATIENCE).unwrap();
    }
    bed.assert_clean();
}

#[test]
fn a_helper_without_privileges_finds_new_keys_where_it_found_the_first_ones() {
    let Some(bed) = Bed::new() else { return };
    let mut spec = bed.on_a_given_device("a");
    spec.profile.rotation = Rotation::InPlace;
    bed.client().mount(request(spec.clone(), Some(credential("first-key")))).unwrap();
    let (user, key) = (bed.user(&spec), lent(&bed, &spec));
    for next in ["second-key", "third-key"] {
        bed.client().update(&spec.target, credential(next), PATIENCE).unwrap();
        assert_eq!(read_as(user, &key), next);
    }
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}
