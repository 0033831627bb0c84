//! A directory that stands for kubelet's, loop devices that stand for disks, and the certainty that
//! both are gone afterwards.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_core::plan::{
    BlockDevice, Check, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, Format,
    GrantedDirectory, Grow, MakeDirectory, MountDevice, MountDirectory, MountStaged, Plan,
    SetBlockQueue, Step,
};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{Call, CallSecrets, FoundDevice, Node, PlanRun, StageRecord, Usage};
use wharf_core::types::{AccessMode, AccessType, Capability, VolumeId};
use wharf_core::{Error, ErrorKind};
use wharf_node::{LinuxNode, NodeOptions};

use crate::child;

/// Far more than the bounds that are looked at, and far less than the deadlines that are not.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whose volumes the bed's are.
pub const DRIVER: &str = "a";

/// Everything below is taken away when this is dropped, also by a panic.
pub struct Bed {
    directory: TempDir,
    loops: Mutex<Vec<PathBuf>>,
    pub options: NodeOptions,
}

impl Bed {
    /// `None`, and a line that says so, without root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: loop devices and mounts need root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["kubelet", "links", "state", "images", "granted"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        // The kernel's own, but for the serials that loop devices do not have.
        std::fs::create_dir_all(root.join("sys/block")).unwrap();
        symlink("/sys/dev", root.join("sys/dev")).unwrap();
        let options = NodeOptions {
            sysfs: root.join("sys"),
            state_directory: root.join("state"),
            device_links: root.join("links"),
            device_paths: root.join("paths"),
            roots: vec![root.join("kubelet")],
            device_wait: Duration::ZERO,
            child_command: child::command(),
            ..NodeOptions::default()
        };
        Some(Self { directory, loops: Mutex::default(), options })
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn node(&self) -> LinuxNode {
        LinuxNode::new(self.options.clone())
    }

    /// Space of what is mounted there.
    pub fn usage(&self, path: &str) -> Usage {
        self.node().stats(&forever(), &self.path(path)).unwrap().usage.unwrap()
    }

    /// A path under kubelet's directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join("kubelet").join(relative)
    }

    /// A blank disk of so many MiB that its serial's link leads to.
    pub fn disk(&self, serial: &str, mebibytes: u64) -> PathBuf {
        let image = self.image(serial);
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        self.attach(serial)
    }

    pub fn image(&self, serial: &str) -> PathBuf {
        self.root().join("images").join(serial)
    }

    /// Puts the image on a loop device, as attaching a disk would.
    pub fn attach(&self, serial: &str) -> PathBuf {
        let device = (0..50)
            .find_map(|_| {
                let output = Command::new("losetup")
                    .args(["--find", "--show", "--partscan"])
                    .arg(self.image(serial))
                    .output()
                    .unwrap();
                output
                    .status
                    .success()
                    .then(|| PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
            })
            .expect("a free loop device");
        self.loops.lock().unwrap().push(device.clone());
        self.give_serial(&device, serial);
        let link = self.root().join("links").join(format!("virtio-{serial}"));
        let _ = std::fs::remove_file(&link);
        symlink(&device, link).unwrap();
        device
    }

    /// What the device reports from now on; empty: it has none.
    pub fn give_serial(&self, device: &Path, serial: &str) {
        let directory = self.root().join("sys/block").join(device.file_name().unwrap());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("serial"), serial).unwrap();
    }

    pub fn detach(&self, device: &Path) {
        let reported = self.root().join("sys/block").join(device.file_name().unwrap());
        let _ = std::fs::remove_dir_all(reported);
        self.loops.lock().unwrap().retain(|other| other != device);
        sh(&format!("losetup --detach {}", device.display()));
    }

    pub fn run(&self, steps: Vec<Step>, destination: &str) -> Result<Option<PathBuf>, Error> {
        self.run_staged(steps, destination, None)
    }

    pub fn run_staged(
        &self,
        steps: Vec<Step>,
        destination: &str,
        staged: Option<&str>,
    ) -> Result<Option<PathBuf>, Error> {
        let plan = Plan { steps, summary: String::new() };
        let staged = staged.map(|staged| self.path(staged));
        let found =
            self.run_plan(&forever(), &plan, "d-1", &self.path(destination), staged.as_deref());
        Ok(found?.map(|found| found.path))
    }

    /// With other grants than the bed's.
    pub fn run_granted(
        &self,
        policy: &NodePolicy,
        plan: &Plan,
        destination: &str,
    ) -> Result<Option<PathBuf>, Error> {
        let run = PlanRun {
            plan,
            policy,
            driver: DRIVER,
            volume: &VolumeId::new("d-1"),
            destination: &self.path(destination),
            staged: None,
            secrets: CallSecrets::NONE,
        };
        Ok(self.node().run(&forever(), &run)?.map(|found| found.path))
    }

    /// As a call for this volume would.
    pub fn run_plan(
        &self,
        call: &Call,
        plan: &Plan,
        volume: &str,
        destination: &Path,
        staged: Option<&Path>,
    ) -> Result<Option<FoundDevice>, Error> {
        let run = PlanRun {
            plan,
            policy: &self.policy(),
            driver: DRIVER,
            volume: &VolumeId::new(volume),
            destination,
            staged,
            secrets: CallSecrets::NONE,
        };
        self.node().run(call, &run)
    }

    /// The record that a stage would leave.
    pub fn record(&self, volume: &str, staged: &str, device: Option<FoundDevice>) -> StageRecord {
        let record = StageRecord {
            driver: DRIVER.into(),
            volume: VolumeId::new(volume),
            staging_path: self.path(staged),
            capability: Capability {
                access: AccessType::Block,
                mode: AccessMode::SingleNodeWriter,
            },
            context: vec![],
            publish_context: vec![],
            device: device.as_ref().map(|device| device.path.clone()),
            serial: device.as_ref().and_then(|device| device.serial.clone()),
            plan: None,
            complete: true,
            targets: vec![],
        };
        self.node().save(&record).unwrap();
        record
    }

    pub fn policy(&self) -> NodePolicy {
        let words = [
            "find-device",
            "format",
            "check",
            "grow",
            "mount-device",
            "mount-staged",
            "mount-directory",
            "mount-nfs",
            "make-directory",
            "set-ownership",
            "move-aside",
            "remove-tree",
            "set-block-queue",
            "block-device",
        ];
        NodePolicy {
            steps: words.map(str::to_owned).to_vec(),
            filesystems: ["ext3", "ext4", "xfs", "btrfs"].map(str::to_owned).to_vec(),
            block_queue: ["read_ahead_kb", "no_such_setting", "nr_requests"]
                .map(str::to_owned)
                .to_vec(),
            directories: [("data".to_owned(), self.root().join("granted"))].into(),
            ..NodePolicy::default()
        }
    }

    /// This bed's lines of the mount table; other tests have theirs.
    pub fn mounts(&self) -> Vec<String> {
        let root = self.root().display().to_string();
        mountinfo().lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
    }

    /// Everything under a directory of the bed, with kinds.
    pub fn tree(&self, directory: &str) -> Vec<String> {
        let listed = sh(&format!(
            "cd {} && find . -printf '%p %y %m %U %G\\n' | sort",
            self.root().join(directory).display()
        ));
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Options of the top mount at a path.
    pub fn options_of(&self, path: &str) -> String {
        let path = self.path(path).display().to_string();
        let table = mountinfo();
        let line =
            table.lines().rfind(|line| line.split(' ').nth(4) == Some(&path)).expect("a mount");
        line.split(' ').nth(5).unwrap().to_owned()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let root = self.root().display().to_string();
        for line in mountinfo().lines().rev() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            if point.starts_with(&root) {
                let _ = rustix::mount::unmount(
                    point.replace("\\040", " "),
                    rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
                );
            }
        }
        for device in self.loops.lock().unwrap().iter() {
            let _ = Command::new("losetup").arg("--detach").arg(device).output();
        }
    }
}

pub fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

pub fn forever() -> Call {
    Call::until(Duration::from_secs(3600))
}

/// For what only a test does; fails the test when the command fails.
pub fn sh(script: &str) -> Output {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn find(serial: &str) -> Step {
    find_sized(serial, 0)
}

pub fn find_sized(serial: &str, minimum_bytes: u64) -> Step {
    let link = format!("virtio-{serial}");
    find_by(vec![DeviceMatch::Serial(serial.into()), DeviceMatch::ById(link)], minimum_bytes)
}

pub fn find_by(matches: Vec<DeviceMatch>, minimum_bytes: u64) -> Step {
    FindDevice { matches, minimum_bytes }.into()
}

pub fn format(fs_type: &str) -> Step {
    format_with(fs_type, &[])
}

pub fn format_with(fs_type: &str, arguments: &[&str]) -> Step {
    Format {
        fs_type: fs_type.into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
    }
    .into()
}

pub fn check(fs_type: &str) -> Step {
    Check { fs_type: fs_type.into() }.into()
}

pub fn grow(fs_type: &str) -> Step {
    Grow { fs_type: fs_type.into() }.into()
}

pub fn mount(fs_type: &str, flags: &[&str], read_only: bool) -> Step {
    MountDevice {
        fs_type: fs_type.into(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        read_only,
    }
    .into()
}

pub fn bind(read_only: bool) -> Step {
    MountStaged { flags: vec![], read_only }.into()
}

pub fn directory(path: &str) -> Step {
    let at = GrantedDirectory { root: "data".into(), path: path.into() };
    MountDirectory { at, flags: vec![], read_only: false }.into()
}

pub fn make(path: &str, mode: u32, uid: Option<u32>, gid: Option<u32>) -> Step {
    let at = DirectoryPath { base: DirectoryBase::Granted("data".into()), path: path.into() };
    MakeDirectory { at, mode, uid, gid }.into()
}

pub fn set_queue(key: &str, value: &str) -> Step {
    SetBlockQueue { key: key.into(), value: value.into() }.into()
}

pub fn block(read_only: bool) -> Step {
    BlockDevice { read_only }.into()
}

/// What a backend's stage plan looks like.
pub fn stage(serial: &str, fs_type: &str) -> Vec<Step> {
    vec![
        find(serial),
        check(fs_type),
        format(fs_type),
        mount(fs_type, &["noatime", "nosuid"], false),
        grow(fs_type),
    ]
}

pub fn assert_kind(result: Result<Option<PathBuf>, Error>, kind: ErrorKind, words: &str) -> Error {
    let error = result.expect_err("an error");
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    error
}

/// Waits for what comes by itself.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
