//! The steps that work on directories, on a directory of this node: see `scenes`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::plan::{DirectoryBase, DirectoryPath, Plan, RemoveTree, SetOwnership, Step};
use wharf_core::ports::{Call, Clock, Performer};
use wharf_core::{Error, ErrorKind};
use wharf_node::SystemClock;

use crate::bed::{Bed, sh};
use crate::scenes::{self, Place};

struct Granted {
    bed: Bed,
    root: PathBuf,
}

// Each call makes a node of its own.
impl Place for Granted {
    fn root(&self) -> &Path {
        &self.root
    }

    fn base(&self) -> DirectoryBase {
        DirectoryBase::Granted("data".into())
    }

    fn run(&self, time: Duration, step: Step) -> Result<(), Error> {
        let plan = Plan { steps: vec![step], summary: String::new() };
        let call = Call::until(SystemClock.now() + time);
        self.bed.node().perform(&call, &plan, &self.bed.policy())
    }
}

#[test]
fn every_scene_holds_below_a_granted_directory() {
    if Bed::new().is_none() {
        return;
    }
    scenes::all(&|| {
        let bed = Bed::new().unwrap();
        let root = bed.root().join("granted");
        Box::new(Granted { bed, root })
    });
}

/// As many as a share of build results has; over NFS, in user-mode Linux, they take a minute.
#[test]
fn a_tree_of_a_hundred_thousand_files_is_removed() {
    let Some(bed) = Bed::new() else { return };
    let root = bed.root().join("granted");
    let wide = root.join("v/wide");
    std::fs::create_dir_all(&wide).unwrap();
    for number in 0..100_000 {
        std::fs::File::create(wide.join(number.to_string())).unwrap();
    }
    std::fs::create_dir(root.join("beside")).unwrap();
    let place = Granted { bed, root: root.clone() };
    let remove = RemoveTree { at: DirectoryPath { base: place.base(), path: "v".into() } };
    let begun = std::time::Instant::now();
    place.run(Duration::from_secs(300), remove.into()).unwrap();
    println!("removed in {:?}", begun.elapsed());
    let left: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(left.len() == 1 && left[0].file_name() == "beside", "{left:?}");
}

#[test]
fn nothing_is_removed_or_changed_on_what_is_mounted_inside() {
    let Some(bed) = Bed::new() else { return };
    let root = bed.root().join("granted");
    let tree = root.join("v");
    sh(&format!(
        "cd {0} && mkdir -p v/a/tmp v/a/bind v/a/same v/b beside && touch v/a/file v/b/file v/point \
         beside/kept && mount -t tmpfs none v/a/tmp && touch v/a/tmp/kept && \
         mount --bind /usr v/a/bind && mount --bind beside v/a/same && mount --bind beside/kept v/point",
        root.display()
    ));
    let place = Granted { bed, root: root.clone() };
    let at = || DirectoryPath { base: place.base(), path: "v".into() };
    let long = Duration::from_secs(60);
    let step = SetOwnership { at: at(), mode: None, uid: Some(9), gid: None, recursive: true };
    place.run(long, step.into()).unwrap();
    for _ in 0..2 {
        let error = place.run(long, RemoveTree { at: at() }.into()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message.contains("/v/"), "{error}");
        assert!(tree.join("a/tmp/kept").exists() && tree.join("a/bind/bin").exists());
        assert!(root.join("beside/kept").exists() && tree.join("a/same/kept").exists());
        // Everything else is gone.
        assert!(!tree.join("a/file").exists() && !tree.join("b").exists());
    }
    let owner = |path: &str| {
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(tree.join(path)).unwrap())
    };
    assert_eq!((owner("a"), owner("a/tmp/kept"), owner("a/same/kept")), (9, 0, 0));
    sh(&format!("cd {} && umount v/a/tmp v/a/bind v/a/same v/point", root.display()));
    place.run(long, RemoveTree { at: at() }.into()).unwrap();
    assert!(!tree.exists() && root.join("beside/kept").exists());
}
