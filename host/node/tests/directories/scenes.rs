//! What the steps that work on directories do, wherever the directories are: on a local file system
//! (`linux`) and on exports (`nfs`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wharf_core::plan::{
    DirectoryBase, DirectoryPath, MakeDirectory, MoveAside, RemoveTree, SetOwnership, Step,
};
use wharf_core::{Error, ErrorKind};

/// Where the directories are.
pub trait Place: Sync {
    /// What a path is relative to, as the file system's owner sees it.
    fn root(&self) -> &Path;
    fn base(&self) -> DirectoryBase;
    fn run(&self, time: Duration, step: Step) -> Result<(), Error>;
}

const LONG: Duration = Duration::from_secs(60);
/// Too short for what is to be done, long enough for a mount on busy processors.
const SHORT: Duration = Duration::from_millis(800);
/// More than are removed in one of the short calls.
const FILES: usize = 2000;

macro_rules! named {
    ($($scene:ident),* $(,)?) => { [$((stringify!($scene), $scene as fn(&dyn Place))),*] };
}

/// Every scene, each in a place of its own.
pub fn all(place: &dyn Fn() -> Box<dyn Place>) {
    for (name, scene) in named![
        a_tree_with_every_kind_of_thing_is_removed_and_what_links_lead_to_stays,
        a_tree_that_is_deeper_than_any_path_is_removed,
        removing_that_ran_out_of_time_goes_on_with_the_next_call,
        files_that_appear_while_a_tree_is_removed_go_too,
        two_removers_at_once_both_end_well,
        the_base_itself_and_what_lies_beside_it_are_never_removed,
        a_directory_is_moved_once_and_overwrites_nothing,
        directories_are_made_with_mode_and_owner,
        ownership_is_set_on_the_directory_alone_or_on_all_that_is_in_it,
        ownership_that_ran_out_of_time_is_set_by_repetition,
        a_link_on_the_way_is_refused,
    ] {
        let start = std::time::Instant::now();
        scene(place().as_ref());
        println!("{name}: {:?}", start.elapsed());
    }
}

fn at(place: &dyn Place, path: &str) -> DirectoryPath {
    DirectoryPath { base: place.base(), path: path.to_owned() }
}

fn remove(place: &dyn Place, path: &str) -> Result<(), Error> {
    place.run(LONG, RemoveTree { at: at(place, path) }.into())
}

fn files(directory: &Path, count: usize) {
    std::fs::create_dir_all(directory).unwrap();
    for number in 0..count {
        std::fs::write(directory.join(number.to_string()), "").unwrap();
    }
}

fn sh(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn a_tree_with_every_kind_of_thing_is_removed_and_what_links_lead_to_stays(place: &dyn Place) {
    let root = place.root();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("kept"), "").unwrap();
    files(&root.join("beside"), 3);
    let tree = root.join("v");
    files(&tree.join("a/b"), 40);
    std::fs::create_dir_all(tree.join("empty/empty")).unwrap();
    symlink(outside.path(), tree.join("a/out")).unwrap();
    symlink("../../../../..", tree.join("a/up")).unwrap();
    symlink(root.join("beside"), tree.join("beside")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    for name in [&b"\xff\xfe not text"[..], b"new\nline", b"-rf", b" ", &[b'n'; 255]] {
        std::fs::create_dir(tree.join(OsStr::from_bytes(name))).unwrap();
        std::fs::write(tree.join("a").join(OsStr::from_bytes(name)), "x").unwrap();
    }
    sh(&tree, "mkfifo fifo; chmod 0 a/b; chmod 0 a/b/7; ln a/b/8 hard");
    std::fs::hard_link(tree.join("a/b/9"), root.join("beside/hard")).unwrap();
    for _ in 0..2 {
        remove(place, "v").unwrap();
        assert!(std::fs::symlink_metadata(&tree).is_err());
    }
    assert!(outside.path().join("kept").exists());
    assert_eq!(std::fs::read_dir(root.join("beside")).unwrap().count(), 4);
}

fn a_tree_that_is_deeper_than_any_path_is_removed(place: &dyn Place) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let root = place.root();
    // 150 levels with names of 30 bytes: beyond PATH_MAX, and beyond what is kept open.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    std::fs::create_dir(root.join("v")).unwrap();
    let mut directory = openat(CWD, root.join("v"), flags, Mode::empty()).unwrap();
    let long = "a-name-that-is-thirty-bytes-in";
    for _ in 0..150 {
        for name in [long, "another"] {
            mkdirat(&directory, name, Mode::RWXU).unwrap();
        }
        directory = openat(&directory, long, flags, Mode::empty()).unwrap();
    }
    drop(directory);
    set(place, LONG, true).unwrap();
    remove(place, "v").unwrap();
    assert!(!root.join("v").exists());
}

fn removing_that_ran_out_of_time_goes_on_with_the_next_call(place: &dyn Place) {
    let tree = place.root().join("v");
    files(&tree, FILES);
    let mut calls = 0;
    let mut left = FILES;
    loop {
        let step = RemoveTree { at: at(place, "v") };
        let result = place.run(SHORT, step.into());
        calls += 1;
        match result {
            Ok(()) => break,
            Err(error) => {
                assert!(
                    matches!(error.kind, ErrorKind::Aborted | ErrorKind::Unavailable),
                    "{error}"
                );
                let now = std::fs::read_dir(&tree).unwrap().count();
                assert!(now <= left);
                left = now;
            }
        }
        assert!(calls < 100);
    }
    assert!(!tree.exists());
}

fn files_that_appear_while_a_tree_is_removed_go_too(place: &dyn Place) {
    let tree = place.root().join("v");
    files(&tree.join("a"), 1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the directory itself is gone, or long enough for several readings.
            for number in 0..500 {
                if std::fs::write(tree.join(format!("a/new-{number}")), "").is_err() {
                    return;
                }
            }
        });
        remove(place, "v").unwrap();
    });
    assert!(!tree.exists());
}

fn two_removers_at_once_both_end_well(place: &dyn Place) {
    let tree = place.root().join("v");
    for number in 0..20 {
        files(&tree.join(format!("d{number}/e")), 30);
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| remove(place, "v"));
        remove(place, "v").unwrap();
        other.join().unwrap().unwrap();
    });
    assert!(!tree.exists());
}

fn the_base_itself_and_what_lies_beside_it_are_never_removed(place: &dyn Place) {
    files(&place.root().join("v"), 1);
    for path in ["", ".", "..", "../v", "v/..", "/", "/etc", "v/../../etc"] {
        let error = remove(place, path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{path}: {error}");
    }
    assert!(place.root().join("v/0").exists());
}

fn a_directory_is_moved_once_and_overwrites_nothing(place: &dyn Place) {
    let root = place.root();
    let aside = |from: &str, to: &str| {
        place.run(LONG, MoveAside { from: at(place, from), to: to.to_owned() }.into())
    };
    files(&root.join("v"), 2);
    std::fs::create_dir(root.join("archive")).unwrap();
    for _ in 0..2 {
        aside("v", "archive/v-1").unwrap();
        assert!(root.join("archive/v-1/1").exists() && !root.join("v").exists());
    }
    files(&root.join("v"), 1);
    std::fs::create_dir(root.join("archive/empty")).unwrap();
    std::fs::write(root.join("archive/file"), "").unwrap();
    symlink("nowhere", root.join("archive/link")).unwrap();
    for taken in ["v-1", "empty", "file", "link"] {
        let error = aside("v", &format!("archive/{taken}")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{taken}: {error}");
    }
    assert_eq!(aside("v", "missing/v").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(aside("archive/file", "x").unwrap_err().kind, ErrorKind::FailedPrecondition);
    assert!(root.join("v/0").exists() && root.join("archive/v-1/1").exists());
    assert_eq!(std::fs::read_dir(root.join("archive")).unwrap().count(), 4);
}

fn directories_are_made_with_mode_and_owner(place: &dyn Place) {
    let make = |mode, uid| {
        let at = at(place, "a/b/c");
        place.run(LONG, MakeDirectory { at, mode, uid, gid: Some(7) }.into()).unwrap();
        let stat = std::fs::metadata(place.root().join("a/b/c")).unwrap();
        (stat.mode() & 0o7777, stat.uid(), stat.gid())
    };
    assert_eq!(make(0o2775, Some(5)), (0o2775, 5, 7));
    assert_eq!(make(0o2775, Some(5)), (0o2775, 5, 7));
    assert_eq!(make(0o700, None), (0o700, 5, 7));
}

fn owner_of(path: &Path) -> (u32, u32) {
    let stat = std::fs::symlink_metadata(path).unwrap();
    (stat.mode() & 0o7777, stat.uid())
}

fn set(place: &dyn Place, time: Duration, recursive: bool) -> Result<(), Error> {
    let (mode, uid) = (Some(0o750), Some(77));
    place.run(time, SetOwnership { at: at(place, "v"), mode, uid, gid: None, recursive }.into())
}

fn ownership_is_set_on_the_directory_alone_or_on_all_that_is_in_it(place: &dyn Place) {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let tree = place.root().join("v");
    files(&tree.join("a/b"), 10);
    symlink(outside.path(), tree.join("a/out")).unwrap();
    set(place, LONG, false).unwrap();
    assert_eq!(owner_of(&tree), (0o750, 77));
    assert_eq!(owner_of(&tree.join("a/b/3")).1, 0);
    for _ in 0..2 {
        set(place, LONG, true).unwrap();
        for path in ["", "a", "a/b", "a/b/0", "a/b/9"] {
            assert_eq!(owner_of(&tree.join(path)), (0o750, 77), "{path}");
        }
        assert_eq!(owner_of(&tree.join("a/out")).1, 77);
        assert_eq!(owner_of(outside.path()), (0o600, 0));
    }
    assert_eq!(remove(place, "v"), Ok(()));
    assert_eq!(set(place, LONG, true).unwrap_err().kind, ErrorKind::NotFound);
}

fn ownership_that_ran_out_of_time_is_set_by_repetition(place: &dyn Place) {
    let tree = place.root().join("v");
    for number in 0..10 {
        files(&tree.join(format!("d{number}")), FILES / 10);
    }
    // However short a call is, the next one goes on where it ended: what is done is not looked at
    // again.
    let first = tree.join("d0/0");
    let (mut calls, mut is_marked) = (1, false);
    while let Err(error) = set(place, SHORT, true) {
        assert!(matches!(error.kind, ErrorKind::Aborted | ErrorKind::Unavailable), "{error}");
        if error.kind == ErrorKind::Aborted && owner_of(&first) == (0o750, 77) {
            std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o600)).unwrap();
            is_marked = true;
        }
        calls += 1;
        assert!(calls < 100, "{error}");
    }
    println!("{calls} calls set the owner");
    assert_eq!(owner_of(&first).0 == 0o600, is_marked);
    for number in 0..10 {
        for file in [1, 50, 99] {
            assert_eq!(owner_of(&tree.join(format!("d{number}/{file}"))), (0o750, 77));
        }
    }
}

fn a_link_on_the_way_is_refused(place: &dyn Place) {
    let root = place.root();
    files(&root.join("real/v"), 1);
    symlink("real", root.join("link")).unwrap();
    symlink("v", root.join("real/last")).unwrap();
    for path in ["link/v", "real/last"] {
        assert_eq!(remove(place, path).unwrap_err().kind, ErrorKind::FailedPrecondition, "{path}");
        let at = at(place, path);
        let step = SetOwnership { at, mode: None, uid: Some(9), gid: None, recursive: true };
        assert!(place.run(LONG, step.into()).is_err(), "{path}");
    }
    assert_eq!(owner_of(&root.join("real/v/0")).1, 0);
}
