//! A folder that stands for kubelet's, loop devices that stand for disks, and the certainty that
//! both are gone afterwards.

use std::cell::RefCell;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use wharf_core::plan::{FindDevice, GrantedDirectory, Mount, MountSource, Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{Call, Node};
use wharf_core::{Error, ErrorKind};
use wharf_node::{LinuxNode, NodeOptions};

/// Everything below is taken away when this is dropped, also by a panic.
pub struct Bed {
    folder: TempDir,
    loops: RefCell<Vec<PathBuf>>,
    pub options: NodeOptions,
}

impl Bed {
    /// `None`, and a line that says so, without root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: loop devices and mounts need root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["kubelet", "links", "state", "images", "granted"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        let options = NodeOptions {
            state_directory: root.join("state"),
            device_links: root.join("links"),
            roots: vec![root.join("kubelet")],
            device_wait: Duration::ZERO,
            ..NodeOptions::default()
        };
        Some(Self { folder, loops: RefCell::default(), options })
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub fn node(&self) -> LinuxNode {
        LinuxNode::new(self.options.clone())
    }

    /// A path under kubelet's folder.
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
        self.loops.borrow_mut().push(device.clone());
        let link = self.root().join("links").join(format!("virtio-{serial}"));
        let _ = std::fs::remove_file(&link);
        symlink(&device, link).unwrap();
        device
    }

    pub fn detach(&self, device: &Path) {
        self.loops.borrow_mut().retain(|other| other != device);
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
        self.node().run(
            &forever(),
            &plan,
            &self.policy(),
            &self.path(destination),
            staged.as_deref(),
        )
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
            helpers: [].into(),
        }
    }

    /// This bed's lines of the mount table; other tests have theirs.
    pub fn mounts(&self) -> Vec<String> {
        let root = self.root().display().to_string();
        mountinfo().lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
    }

    /// Everything under a folder of the bed, with kinds.
    pub fn tree(&self, folder: &str) -> Vec<String> {
        let listed = sh(&format!(
            "cd {} && find . -printf '%p %y %m %U %G\\n' | sort",
            self.root().join(folder).display()
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
        for device in self.loops.borrow().iter() {
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
    Step::FindDevice(FindDevice {
        serial: serial.into(),
        links: vec![format!("virtio-{serial}")],
        minimum_bytes,
    })
}

pub fn format(fs_type: &str) -> Step {
    format_with(fs_type, &[])
}

pub fn format_with(fs_type: &str, arguments: &[&str]) -> Step {
    Step::Format {
        fs_type: fs_type.into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
    }
}

pub fn check(fs_type: &str) -> Step {
    Step::Check { fs_type: fs_type.into() }
}

pub fn grow(fs_type: &str) -> Step {
    Step::Grow { fs_type: fs_type.into() }
}

pub fn mount(fs_type: &str, flags: &[&str], read_only: bool) -> Step {
    Step::Mount(Mount {
        source: MountSource::Device,
        fs_type: fs_type.into(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        read_only,
    })
}

pub fn bind(read_only: bool) -> Step {
    Step::Mount(Mount {
        source: MountSource::Staged,
        fs_type: String::new(),
        flags: vec![],
        read_only,
    })
}

pub fn granted(path: &str) -> GrantedDirectory {
    GrantedDirectory { root: "data".into(), path: path.into() }
}

pub fn directory(path: &str) -> Step {
    Step::Mount(Mount {
        source: MountSource::Directory(granted(path)),
        fs_type: String::new(),
        flags: vec![],
        read_only: false,
    })
}

pub fn block(read_only: bool) -> Step {
    Step::BlockDevice { read_only }
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
