//! Directories, a supervisor in a process of its own, helpers that show a directory of the bed, and
//! containers: processes in private mount namespaces. All of it is gone when the bed is.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_core::helper_profile::{FuseDevice, HelperProfile, Rotation};
use wharf_core::plan::Readiness;
use wharf_node::supervisor::{
    Client, Credential, CredentialFile, MountRequest, Spec, StartCommand, Status,
};

use crate::process::file_system;

/// Nothing here takes a second; a machine that is busy with other things may take many.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bed {
    directory: TempDir,
    supervisors: RefCell<Vec<Child>>,
}

impl Bed {
    /// `None`, and a line that says so, without root or without the helper.
    pub fn new() -> Option<Self> {
        let lacks = if !rustix::process::geteuid().is_root() {
            "FUSE mounts need root"
        } else if !Path::new("/usr/bin/bindfs").exists() {
            "bindfs is not installed (Debian package `bindfs`)"
        } else if !Path::new("/dev/fuse").exists() {
            "the kernel has no FUSE (/dev/fuse)"
        } else {
            let bed =
                Self { directory: tempfile::tempdir().unwrap(), supervisors: RefCell::default() };
            for name in ["run", "state", "data", "targets", "containers"] {
                std::fs::create_dir(bed.path(name)).unwrap();
            }
            std::fs::create_dir(bed.path("data/sub")).unwrap();
            std::fs::write(bed.path("data/file"), "hello").unwrap();
            std::fs::write(bed.path("data/sub/inner"), "inner").unwrap();
            bed.start();
            return Some(bed);
        };
        assert!(std::env::var_os("CI").is_none(), "{lacks}");
        eprintln!("skipped: {lacks}");
        None
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(relative)
    }

    /// Starts a supervisor, and waits until it answers.
    pub fn start(&self) {
        self.start_by(&[]);
    }

    /// The same by a command that executes another one, with its arguments.
    pub fn start_by(&self, command: &[&str]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("supervisor.log"))
            .unwrap();
        let start = supervise(&self.path(""));
        let own = std::iter::once(start.program.as_os_str());
        let own = own.chain(start.arguments.iter().skip(1).map(|argument| argument.as_os_str()));
        let mut words = command.iter().map(OsStr::new).chain(own);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.supervisors.borrow_mut().push(child);
        // `list` alone would take nobody for an empty list.
        until("the supervisor answers", || {
            self.client().log("").is_err_and(|error| error.kind == wharf_core::ErrorKind::NotFound)
        });
    }

    /// The supervisor's process.
    pub fn supervisor(&self) -> i32 {
        self.supervisors.borrow().last().unwrap().id().try_into().unwrap()
    }

    /// As `kill -9` does.
    pub fn kill_supervisor(&self) {
        let mut child = self.supervisors.borrow_mut().pop().unwrap();
        // A tracer may have been faster with both.
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn client(&self) -> Client {
        Client::new(&self.path("run"), None)
    }

    pub fn starting_client(&self) -> Client {
        Client::new(&self.path("run"), Some(supervise(&self.path(""))))
    }

    /// What the supervisor said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("supervisor.log")).unwrap_or_default()
    }

    /// A directory to mount on.
    pub fn target(&self, name: &str) -> PathBuf {
        let path = self.path("targets").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// bindfs, which shows the bed's data.
    pub fn spec(&self, target: &str) -> Spec {
        Spec {
            target: self.target(target),
            helper: "bindfs".into(),
            profile: bindfs(),
            source: self.path("data").to_str().unwrap().to_owned(),
            arguments: vec![],
            ready: Readiness::Answers,
            read_only: false,
        }
    }

    /// A helper that is this script: `$1` is the source, `$2` the mount point.
    pub fn script(&self, target: &str, script: &str) -> Spec {
        let path = self.path("helper.sh");
        let text = format!("#!/bin/sh\n# {}\n{script}\n", self.path("").display());
        std::fs::write(&path, text).unwrap();
        Spec {
            profile: HelperProfile {
                program: "/bin/sh".into(),
                arguments: [path.to_str().unwrap(), "{source}", "{mountpoint}", "{options}"]
                    .map(str::to_owned)
                    .to_vec(),
                ..bindfs()
            },
            ..self.spec(target)
        }
    }

    /// This very program as a helper that is handed an open `/dev/fuse`.
    pub fn on_a_given_device(&self, target: &str) -> Spec {
        // Another user may not walk to where cargo builds.
        let program = self.path("helper");
        if !program.exists() {
            std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        }
        sh(&format!("chmod 755 {} {}", self.path("").display(), program.display()));
        let key = format!("{{credentials}}{}", file_system::KEY);
        Spec {
            profile: HelperProfile {
                program: program.to_str().unwrap().to_owned(),
                arguments: [file_system::TEST, "{mountpoint}", "--exact"]
                    .map(str::to_owned)
                    .to_vec(),
                credentials: [("passwd".to_owned(), vec![key])].into(),
                device: FuseDevice::Given,
                ..bindfs()
            },
            ..self.spec(target)
        }
    }

    /// Whom the living helper runs as.
    pub fn user(&self, spec: &Spec) -> u32 {
        std::fs::metadata(format!("/proc/{}", self.pid(spec))).unwrap().uid()
    }

    pub fn mount(&self, spec: &Spec) -> Result<(), wharf_core::Error> {
        self.client().mount(request(spec.clone(), None)).map(drop)
    }

    pub fn status(&self, spec: &Spec) -> Status {
        let all = self.client().list().unwrap();
        all.into_iter().find(|status| status.target == spec.target).expect("a mount")
    }

    /// The living helper's process.
    pub fn pid(&self, spec: &Spec) -> i32 {
        // While somebody works on the mount it has none to tell.
        until("there is a helper", || self.status(spec).pid.is_some());
        self.status(spec).pid.unwrap()
    }

    /// This bed's lines of the mount table, its helpers' private directories included.
    pub fn mounts(&self) -> Vec<String> {
        let root = self.path("").display().to_string();
        mountinfo().lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
    }

    /// Processes whose arguments name something of this bed, supervisors and containers aside.
    pub fn processes(&self) -> Vec<String> {
        let root = self.path("").display().to_string();
        let is_ours = |line: &String| {
            line.contains(&root) && !line.contains(SUPERVISOR_TEST) && !line.contains("unshare")
        };
        all_command_lines().into_iter().map(|(_, line)| line).filter(is_ours).collect()
    }

    /// Nothing is left but what the bed was made with.
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !(self.mounts().is_empty() && self.processes().is_empty()) {
            let left = (self.mounts(), self.processes());
            assert!(Instant::now() < deadline, "left over: {left:?}");
            std::thread::yield_now();
        }
        let list = |path: &str| -> Vec<String> {
            let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        until("every private directory and record is gone", || {
            let run = list("run");
            run.iter().all(|name| name == "lock" || name.starts_with("supervisor."))
                && list("state/mounts").is_empty()
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the supervisor said:\n{}", self.log());
        }
        let root = self.path("").display().to_string();
        for child in self.supervisors.borrow_mut().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for (pid, line) in all_command_lines() {
            if line.contains(&root) && pid != std::process::id().cast_signed() {
                kill(pid);
            }
        }
        for line in mountinfo().lines().rev() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            if point.starts_with(&root) {
                let flags =
                    rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
                let _ = rustix::mount::unmount(point.replace("\\040", " "), flags);
            }
        }
    }
}

/// A container: a process in a private mount namespace.
pub struct Container {
    child: Child,
}

impl Container {
    /// Runs these commands of a shell in a new namespace, and stays in it. Mounts of other beds,
    /// which it got copies of, are none of its business.
    pub fn new(bed: &Bed, commands: &str) -> Self {
        let script = format!(
            "set -e\nothers=\nwhile read -r _ _ _ _ at _; do case \"$at\" in \
             {0}*) ;; /tmp/.tmp*) others=\"$at $others\" ;; esac; done </proc/self/mountinfo\n\
             [ -z \"$others\" ] || umount -l $others 2>/dev/null || true\n{commands}\n\
             echo ready\nexec sleep 4242",
            bed.path("").display()
        );
        let mut child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{commands}");
        Self { child }
    }

    /// Its mount namespace.
    pub fn namespace(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/ns/mnt", self.child.id())).to_owned()
    }

    /// A path as its processes see it.
    pub fn path(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.child.id())).join(path.strip_prefix("/").unwrap())
    }

    pub fn mountinfo(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.child.id())).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn bindfs() -> HelperProfile {
    HelperProfile {
        program: "bindfs".into(),
        install: "apt-get install bindfs".into(),
        arguments: ["-f", "{options}", "{source}", "{mountpoint}"].map(str::to_owned).to_vec(),
        read_only: vec!["-oro".into()],
        credentials: [("passwd".to_owned(), vec![])].into(),
        rotation: Rotation::Restart,
        device: FuseDevice::Opens,
        user: None,
        memory_mib: Some(256),
        reserves_memory: false,
        options: ["fsname", "attr_timeout", "-n"].map(str::to_owned).to_vec(),
        noise: vec![],
        start_seconds: 60,
    }
}

/// A helper's script: bindfs, but not while this file is there.
pub fn bindfs_unless(broken: &Path) -> String {
    format!("[ -e {} ] && exec false; exec bindfs -f $1 $2", broken.display())
}

pub fn request(spec: Spec, credential: Option<Credential>) -> MountRequest {
    MountRequest { spec, credential, wait_millis: 60_000 }
}

pub fn credential(content: &str) -> Credential {
    let file = CredentialFile { name: "passwd".into(), content: content.into() };
    Credential { form: "passwd".into(), files: vec![file], renew_at_ms: None }
}

/// The test that is the supervisor where this names a bed's directory.
pub const BED: &str = "WHARF_TEST_SUPERVISOR";
const SUPERVISOR_TEST: &str = "process::this_test_is_the_supervisor_of_a_bed";

/// This very program, started again as the supervisor of a bed. Its directory is an argument too
/// (a filter that matches nothing), so that the bed finds the process again.
fn supervise(bed: &Path) -> StartCommand {
    let mut setting = std::ffi::OsString::from(format!("{BED}="));
    setting.push(bed);
    let this = std::env::current_exe().unwrap();
    StartCommand {
        program: "/usr/bin/env".into(),
        arguments: vec![
            "env".into(),
            setting,
            this.into(),
            SUPERVISOR_TEST.into(),
            bed.into(),
            "--exact".into(),
            "--nocapture".into(),
        ],
    }
}

pub fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

pub fn all_command_lines() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).into_owned()))
    })
    .collect()
}

pub fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Looks again until it is so.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(until_within(PATIENCE, is_so), "not within {PATIENCE:?}: {what}");
}

/// Looks again until it is so, or the time is over.
pub fn until_within(bound: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        // What is waited for needs the processor too.
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

pub fn sh(script: &str) {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a file holds this text; `false` too while its file system is dead.
pub fn holds(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found == text)
}
