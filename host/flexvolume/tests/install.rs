//! Installing drivers where kubelet watches, and taking them away again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test speaks in assertions, its doubles and tables too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;
use wharf_flexvolume::install::{Change, install, uninstall};
use wharf_flexvolume::{Capabilities, DriverFile, DriverName, LogLevel, NodeNameRule, NodeNames};

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        bench.build("first");
        bench
    }

    /// A new build of the binary.
    fn build(&self, text: &str) {
        fs::write(self.binary(), text).unwrap();
    }

    fn binary(&self) -> PathBuf {
        self.directory.path().join("wharf")
    }

    fn plugins(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    fn executable(&self, driver: &str) -> PathBuf {
        self.plugins().join(format!("acme~{driver}/{driver}"))
    }

    fn install(&self, drivers: &[DriverFile]) -> Vec<Change> {
        install(&self.plugins(), &self.binary(), drivers)
            .into_iter()
            .map(|outcome| outcome.result.unwrap())
            .collect()
    }

    fn uninstall(&self, driver: &str) -> Change {
        let mut outcomes =
            uninstall(&self.plugins(), &[DriverName::parse(&format!("acme/{driver}")).unwrap()]);
        outcomes.remove(0).result.unwrap()
    }

    /// The names that kubelet's watch reports.
    fn visible(&self, driver: &str) -> BTreeSet<String> {
        let names = fs::read_dir(self.plugins().join(format!("acme~{driver}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

fn driver(name: &str) -> DriverFile {
    DriverFile {
        driver: DriverName::parse(&format!("acme/{name}")).unwrap(),
        csi_driver: "acme.example.com".into(),
        backend: "acme".into(),
        config: "/etc/wharf.toml".into(),
        version: "1".into(),
        state: "/var/lib/wharf".into(),
        roots: vec!["/var/lib/kubelet".into()],
        attachable: true,
        capabilities: Capabilities::of_disks(),
        nodes: NodeNames::default(),
        secret_options: Vec::new(),
        legacy_state: None,
        log: None,
        log_level: LogLevel::Info,
    }
}

/// Changes whenever kubelet would notice something.
fn identity(path: &Path) -> (u64, i64, i64, u64) {
    let file = fs::metadata(path).unwrap();
    (file.ino(), file.ctime(), file.ctime_nsec(), file.len())
}

#[test]
fn a_driver_is_an_executable_and_nothing_else_that_kubelet_sees() {
    let bench = Bench::new();
    assert_eq!(bench.install(&[driver("disk")]), [Change::Installed]);
    assert_eq!(bench.visible("disk"), BTreeSet::from(["disk".to_owned()]));
    assert_eq!(fs::read_to_string(bench.executable("disk")).unwrap(), "first");
    assert_eq!(fs::metadata(bench.executable("disk")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn installing_again_changes_nothing() {
    let bench = Bench::new();
    bench.install(&[driver("disk")]);
    let before = identity(&bench.executable("disk"));
    assert_eq!(bench.install(&[driver("disk")]), [Change::Unchanged]);
    assert_eq!(identity(&bench.executable("disk")), before);
}

#[test]
fn settings_change_without_kubelet_noticing_but_not_what_init_answers() {
    let bench = Bench::new();
    bench.install(&[driver("disk")]);
    let before = identity(&bench.executable("disk"));
    let mut changed = driver("disk");
    changed.nodes.node_name = NodeNameRule::Any;
    assert_eq!(bench.install(&[changed.clone()]), [Change::Reconfigured]);
    assert_eq!(identity(&bench.executable("disk")), before);
    changed.capabilities.fs_group = false;
    assert_eq!(bench.install(&[changed]), [Change::Updated]);
    assert_ne!(identity(&bench.executable("disk")), before);
}

#[test]
fn a_new_build_replaces_the_old_one_and_drivers_share_one_file() {
    let bench = Bench::new();
    let drivers = [driver("disk"), driver("nas")];
    assert_eq!(bench.install(&drivers), [Change::Installed; 2]);
    bench.build("second");
    assert_eq!(bench.install(&drivers), [Change::Updated; 2]);
    for name in ["disk", "nas"] {
        assert_eq!(fs::read_to_string(bench.executable(name)).unwrap(), "second");
    }
    assert_eq!(identity(&bench.executable("disk")).0, identity(&bench.executable("nas")).0);
    assert_ne!(
        identity(&bench.executable("disk")).0,
        identity(&bench.binary()).0,
        "a build that is overwritten in place must not reach kubelet"
    );
}

#[test]
fn there_is_an_executable_at_every_moment_of_an_update() {
    let bench = Bench::new();
    bench.install(&[driver("disk")]);
    let (executable, is_over) = (bench.executable("disk"), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) || looks == 0 {
                let text = fs::read_to_string(&executable).unwrap();
                assert!(text.starts_with("build ") || text == "first", "{text:?}");
                looks += 1;
            }
        });
        for build in 0..60 {
            bench.build(&format!("build {build}"));
            bench.install(&[driver("disk")]);
        }
        is_over.store(true, Ordering::Relaxed);
        watch.join().unwrap();
    });
}

#[test]
fn what_a_killed_installer_left_is_no_obstacle() {
    let bench = Bench::new();
    bench.install(&[driver("disk")]);
    let directory = bench.plugins().join("acme~disk");
    fs::write(directory.join(".disk.tmp"), "ha").unwrap();
    fs::write(directory.join(".wharf.json.tmp"), "{").unwrap();
    fs::write(directory.join(".wharf.json"), "{").unwrap();
    assert_eq!(bench.install(&[driver("disk")]), [Change::Updated]);
    assert_eq!(bench.install(&[driver("disk")]), [Change::Unchanged]);
    assert_eq!(bench.uninstall("disk"), Change::Removed);
}

#[test]
fn another_drivers_place_is_taken_over_and_given_back() {
    let bench = Bench::new();
    fs::create_dir_all(bench.plugins().join("acme~disk")).unwrap();
    fs::write(bench.executable("disk"), "older driver").unwrap();
    assert_eq!(bench.install(&[driver("disk")]), [Change::TookOver]);
    assert_eq!(fs::read_to_string(bench.executable("disk")).unwrap(), "first");
    bench.build("second");
    assert_eq!(bench.install(&[driver("disk")]), [Change::Updated]);
    assert_eq!(bench.uninstall("disk"), Change::Restored);
    assert_eq!(fs::read_to_string(bench.executable("disk")).unwrap(), "older driver");
    let mut left = fs::read_dir(bench.plugins().join("acme~disk")).unwrap();
    assert_eq!(left.by_ref().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["disk"]);
}

#[test]
fn only_what_wharf_installed_is_removed() {
    let bench = Bench::new();
    assert_eq!(bench.uninstall("disk"), Change::Absent);
    fs::create_dir_all(bench.plugins().join("acme~disk")).unwrap();
    fs::write(bench.executable("disk"), "somebody's driver").unwrap();
    let refused = uninstall(&bench.plugins(), &[DriverName::parse("acme/disk").unwrap()])
        .remove(0)
        .result
        .unwrap_err();
    assert!(refused.message.contains("was not installed by wharf"), "{refused}");
    assert!(bench.executable("disk").exists());
}

#[test]
fn a_removed_driver_leaves_no_directory() {
    let bench = Bench::new();
    bench.install(&[driver("disk"), driver("nas")]);
    assert_eq!(bench.uninstall("disk"), Change::Removed);
    assert_eq!(bench.uninstall("disk"), Change::Absent);
    assert!(!bench.plugins().join("acme~disk").exists());
    assert_eq!(fs::read_to_string(bench.executable("nas")).unwrap(), "first");
}

#[test]
fn one_driver_that_cannot_be_installed_does_not_keep_the_others_out() {
    let bench = Bench::new();
    fs::create_dir_all(bench.plugins()).unwrap();
    fs::write(bench.plugins().join("acme~disk"), "a file where the directory should be").unwrap();
    let outcomes = install(&bench.plugins(), &bench.binary(), &[driver("disk"), driver("nas")]);
    assert!(
        outcomes[0]
            .result
            .as_ref()
            .unwrap_err()
            .hint
            .as_deref()
            .unwrap()
            .contains("--volume-plugin-dir")
    );
    assert_eq!(*outcomes[1].result.as_ref().unwrap(), Change::Installed);
}
