//! The steps that work on directories, on exports: see `scenes`.

use std::path::Path;
use std::time::Duration;

use wharf_core::plan::{DirectoryBase, DirectoryPath, MakeDirectory, MoveAside, RemoveTree, Step};
use wharf_core::{Error, ErrorKind};

use crate::bed::{Bed, Export, LONG, Server, VERSIONS, mount, scratch, sh};
use crate::scenes::{self, Place};
use wharf_testing::tests;

tests![
    every_scene_holds_out_of_sight_over_version_3,
    every_scene_holds_out_of_sight_over_version_4_0,
    every_scene_holds_on_the_calls_path_over_version_4_1,
    what_is_mounted_inside_an_export_stays,
    what_is_mounted_out_of_sight_is_in_no_mount_table,
    nothing_is_taken_away_from_an_export_that_is_gone_and_nothing_made,
];

struct OnExport {
    bed: Bed,
    export: Export,
    server: Server,
    version: &'static str,
    base: DirectoryBase,
}

impl OnExport {
    fn new(version: &'static str, base: DirectoryBase) -> Self {
        Self { bed: Bed::new(), export: Export::new(), server: Server::start(), version, base }
    }
}

impl Place for OnExport {
    fn root(&self) -> &Path {
        self.export.path()
    }

    fn base(&self) -> DirectoryBase {
        self.base.clone()
    }

    fn run(&self, time: Duration, step: Step) -> Result<(), Error> {
        let mounted = match self.base {
            DirectoryBase::Scratch => scratch(&self.server, self.root(), self.version),
            _ => mount(&self.server, self.root(), self.version).into(),
        };
        self.bed.run_within(time, vec![mounted, step], "a")
    }
}

fn every_scene_holds_out_of_sight_over_version_3() {
    scenes::all(&|| Box::new(OnExport::new(VERSIONS[0], DirectoryBase::Scratch)));
}

fn every_scene_holds_out_of_sight_over_version_4_0() {
    scenes::all(&|| Box::new(OnExport::new(VERSIONS[1], DirectoryBase::Scratch)));
}

fn every_scene_holds_on_the_calls_path_over_version_4_1() {
    scenes::all(&|| Box::new(OnExport::new(VERSIONS[2], DirectoryBase::Target)));
}

fn what_is_mounted_inside_an_export_stays() {
    for version in VERSIONS {
        let place = OnExport::new(version, DirectoryBase::Target);
        sh(&format!("mkdir -p {0}/v/a/b && touch {0}/v/a/file", place.root().display()));
        place.bed.run(vec![mount(&place.server, place.root(), version).into()], "a").unwrap();
        let inside = place.bed.path("a/v/a/b");
        sh(&format!("mount -t tmpfs none {0} && touch {0}/kept", inside.display()));
        let at = DirectoryPath { base: DirectoryBase::Target, path: "v".into() };
        let error = place.run(LONG, RemoveTree { at: at.clone() }.into()).unwrap_err();
        assert!(error.message.contains("/v/a/b is another mount"), "{error}");
        assert!(inside.join("kept").exists() && !place.root().join("v/a/file").exists());
        sh(&format!("umount {}", inside.display()));
        place.run(LONG, RemoveTree { at }.into()).unwrap();
        assert!(!place.root().join("v").exists());
    }
}

fn what_is_mounted_out_of_sight_is_in_no_mount_table() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    bed.run(vec![scratch(&server, export.path(), "vers=4.0")], "a").unwrap();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&server.address()) && !bed.path("a").exists(), "{table}");
}

fn nothing_is_taken_away_from_an_export_that_is_gone_and_nothing_made() {
    let (bed, export, server) = (Bed::new(), Export::new(), Server::start());
    let gone = export.path().join("gone");
    let at = |path: &str| DirectoryPath { base: DirectoryBase::Scratch, path: path.into() };
    for version in VERSIONS {
        let mounted = || scratch(&server, &gone, version);
        let moved = MoveAside { from: at("v"), to: ".removing-v".into() };
        let taken: Vec<Step> = vec![moved.into(), RemoveTree { at: at(".removing-v") }.into()];
        let steps: Vec<Step> = std::iter::once(mounted()).chain(taken.clone()).collect();
        bed.run(steps, "a").unwrap();
        let make = MakeDirectory { at: at("v"), mode: 0o700, uid: None, gid: None };
        for steps in [vec![mounted()], vec![mounted(), make.into()]] {
            assert_eq!(bed.run(steps, "a").unwrap_err().kind, ErrorKind::NotFound, "{version}");
        }
        assert!(!gone.exists(), "{version}");
    }
}
