//! A machine with a kernel NFS client and server, for tests on machines that have none: the test
//! program runs itself again in user-mode Linux, a whole second kernel that is an ordinary program
//! (Debian package `user-mode-linux`). Its root is the host's, read-only, through `hostfs`; what it
//! writes is in its memory and gone with it. Where the kernel has both, the same is made of fresh
//! namespaces.
//!
//! [`run_tests`] is the `main` of test programs that need NFS. What it leaves out: exports and
//! mounts, which are the tests' own; the server is there, listens on 127.0.0.1, and exports
//! nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::statvfs::FsFlags;
use tempfile::TempDir;

use crate::bed::Reaper;
use crate::requirement;

/// What runs first in the machine.
const INIT: &str = include_str!("nfs_machine/init.sh");
/// Set for test programs whose tests in such machines are run by somebody else, at the same time.
pub const ELSEWHERE: &str = "WHARF_NFS_TESTS_ELSEWHERE";
/// Set in the machine.
const INSIDE: &str = "WHARF_NFS_MACHINE";
/// A test program with a whole tree of files in memory; the host gives what is touched.
const MEMORY: &str = "mem=1024M";
/// The same.
const MEMORY_BYTES: u64 = 1 << 30;
/// Booting and powering off, on two slow cores; it takes 5 s on idle ones.
const BOOT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// What is shown of the kernel's log when the machine fails: its end tells why.
const LOG_LINES: usize = 40;

/// Programs of the machine, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("rpc.nfsd", "nfs-kernel-server"),
    ("rpc.mountd", "nfs-kernel-server"),
    ("rpcbind", "rpcbind"),
    ("modprobe", "kmod"),
    ("ip", "iproute2"),
    ("pivot_root", "util-linux"),
    ("pkill", "procps"),
];

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub enum NfsMachineError {
    /// A program that it is made with.
    #[error("there is no machine with NFS here: {0}")]
    Missing(String),
    /// A file, or starting it.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The shell that cleans up.
    #[error(transparent)]
    Reaper(#[from] crate::bed::BedError),
    /// It ended without saying how the command ended.
    #[error("the NFS machine ended before its command did:\n{log}")]
    Died {
        /// The end of its log.
        log: String,
    },
}

/// A test of a program that runs in such a machine: its name, and what it does.
pub type Test = (&'static str, fn());

/// Names functions as tests of a program that runs in such a machine.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        /// The tests of this module.
        pub const TESTS: &[$crate::nfs_machine::Test] =
            &[$((concat!(module_path!(), "::", stringify!($test)), $test)),*];
    };
}

/// The `main` of a test program: runs its tests in such a machine. They must not take longer than
/// `limit` together.
pub fn run_tests(program: &str, limit: Duration, tests: &[&[Test]]) -> ExitCode {
    if let Some(ended) = enter(program, limit) {
        return ended;
    }
    let trials = tests.iter().copied().flatten().map(|(name, test)| {
        let test = *test;
        libtest_mimic::Trial::test(*name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials.collect()).exit_code()
}

/// For the `main` of a test program. `None`: this is a machine with NFS, go on. Otherwise the
/// program has run there, or cannot run, and this is how it ends.
///
/// Its tests must not take longer than `limit`.
fn enter(test: &str, limit: Duration) -> Option<ExitCode> {
    if is_here() {
        return None;
    }
    // Cargo and editors ask for the names alone.
    if std::env::args().any(|argument| argument == "--list") {
        return None;
    }
    if std::env::var_os(ELSEWHERE).is_some() {
        println!("{test}: {ELSEWHERE} is set, its tests run elsewhere");
        return Some(ExitCode::SUCCESS);
    }
    if !requirement::is_met(test, &missing()) {
        return Some(ExitCode::SUCCESS);
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    Some(match again(&arguments, limit) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{test}: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Whether this process runs in such a machine.
pub fn is_here() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this very program once more, in such a machine and with these arguments, as [`run`] does.
///
/// # Errors
/// When programs are missing that the machine is made with; as [`run`].
pub fn again(arguments: &[OsString], limit: Duration) -> Result<u8, NfsMachineError> {
    let missing = missing();
    if !missing.is_empty() {
        return Err(NfsMachineError::Missing(missing.join(", ")));
    }
    let program = still_there(std::env::current_exe().map_err(system("find this program"))?);
    let command: Vec<OsString> =
        std::iter::once(program.into()).chain(arguments.iter().cloned()).collect();
    run(&command, limit)
}

/// Cargo puts what it has linked anew in the place of a program that runs, and the kernel then says
/// of that program's path that it is deleted. What is in its place was built of the same sources.
fn still_there(program: PathBuf) -> PathBuf {
    let path = program.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    path.map(PathBuf::from).filter(|path| path.is_file()).unwrap_or(program)
}

/// Runs a command in such a machine, with this process's environment, directory and standard
/// output, and returns its exit code.
///
/// # Errors
/// When the machine does not come up, or does not end in time.
pub fn run(command: &[OsString], limit: Duration) -> Result<u8, NfsMachineError> {
    let scratch = tempfile::Builder::new()
        .prefix("wharf-nfs-machine-")
        .tempdir()
        .map_err(system("make a temporary directory"))?;
    write(&scratch.path().join("init"), INIT.as_bytes())?;
    make_executable(&scratch.path().join("init"))?;
    write(&scratch.path().join("command"), &script(command))?;
    let mut machine = Machine::start(scratch, limit)?;
    machine.wait(limit + BOOT)
}

fn missing() -> Vec<String> {
    let kernel =
        if has_kernel_nfs() { ("unshare", "util-linux") } else { ("linux.uml", "user-mode-linux") };
    requirement::missing_programs(PROGRAMS.iter().chain([&kernel]))
}

/// Whether this kernel can be NFS client and server itself, for root.
fn has_kernel_nfs() -> bool {
    let has = |name: &str, module: &str| {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known.lines().any(|line| line.split_whitespace().last() == Some(name))
            || Command::new("modprobe")
                .args(["--quiet", module])
                .status()
                .is_ok_and(|status| status.success())
    };
    nix::unistd::Uid::effective().is_root() && has("nfs", "nfs") && has("nfsd", "nfsd")
}

/// Where the file is made, and unlinked at once, that is the machine's memory. In memory where it
/// fits, because a disk would have it written back again and again; /dev/shm may be tiny, and a
/// kernel is executed from there.
fn memory_beside(directory: &Path) -> PathBuf {
    const IN_MEMORY: &str = "/dev/shm";
    let fits = nix::sys::statvfs::statvfs(IN_MEMORY).is_ok_and(|found| {
        let free = found.blocks_available().saturating_mul(found.fragment_size());
        free >= 2 * MEMORY_BYTES && !found.flags().contains(FsFlags::ST_NOEXEC)
    });
    if fits { PathBuf::from(IN_MEMORY) } else { directory.to_owned() }
}

/// The command as the machine's shell reads it.
fn script(command: &[OsString]) -> Vec<u8> {
    let mut script = Vec::new();
    for (name, value) in std::env::vars_os() {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name.as_bytes().iter().all(is_plain) && name != "TMPDIR" {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(name.as_bytes());
            script.push(b'=');
            script.extend(quoted(value.as_bytes()));
            script.push(b'\n');
        }
    }
    script.extend_from_slice(format!("export TMPDIR=/run/tmp {INSIDE}=1\n").as_bytes());
    if let Ok(directory) = std::env::current_dir() {
        script.extend_from_slice(b"cd ");
        script.extend(quoted(directory.as_os_str().as_bytes()));
        script.push(b'\n');
    }
    script.extend_from_slice(b"exec");
    for argument in command {
        script.push(b' ');
        script.extend(quoted(argument.as_bytes()));
    }
    script.push(b'\n');
    script
}

fn quoted(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word {
        if *byte == b'\'' {
            quoted.extend_from_slice(br"'\''");
        } else {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// A machine that runs.
struct Machine {
    process: Child,
    scratch: TempDir,
    /// For the directory alone: the machine itself sees that its standard input ends.
    reaper: Option<Reaper>,
}

impl Machine {
    fn start(scratch: TempDir, limit: Duration) -> Result<Self, NfsMachineError> {
        let directory = scratch.path();
        let reaper = Some(Reaper::watch(directory)?);
        let log = File::create(directory.join("log")).map_err(system("make the machine's log"))?;
        let init = directory.join("init");
        let mut command = if has_kernel_nfs() {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"]).arg(init);
            unshare.env("machine", "here");
            unshare
        } else {
            let mut kernel = Command::new("linux.uml");
            kernel.arg(MEMORY).args(["rootfstype=hostfs", "ro", "quiet", "loglevel=1"]);
            // The kernel's log and the script's words go to standard error, what the command prints
            // to standard output, and the end of standard input says that nobody waits.
            kernel.args(["con=null", "con0=null,fd:2", "con1=null,fd:1", "con2=fd:0,null"]);
            kernel.arg(argument("init=", &init)).arg(argument("uml_dir=", &directory.join("")));
            // What the kernel does not know becomes the environment of its first process.
            kernel.arg("machine=uml").arg(argument("scratch=", directory));
            kernel.arg(format!("limit={}", limit.as_secs()));
            kernel.env_clear().env("TMPDIR", memory_beside(directory));
            kernel
        };
        command.env("scratch", directory).env("limit", limit.as_secs().to_string());
        let process = command
            .stdin(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(system("start the NFS machine"))?;
        Ok(Self { process, scratch, reaper })
    }

    fn wait(&mut self, limit: Duration) -> Result<u8, NfsMachineError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.process.try_wait().map_err(system("wait for the NFS machine"))?.is_some() {
                return self.status();
            }
            std::thread::sleep(LOOK);
        }
        self.status()
    }

    fn status(&self) -> Result<u8, NfsMachineError> {
        let status = fs::read_to_string(self.scratch.path().join("status")).unwrap_or_default();
        status.trim().parse().map_err(|_| {
            let log = fs::read(self.scratch.path().join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<_> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
            NfsMachineError::Died { log: end.join("\n") }
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // User-mode Linux is several processes, and they are traced: one signal for all of them.
        if let Ok(group) = i32::try_from(self.process.id()) {
            let group = nix::unistd::Pid::from_raw(group);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.process.wait();
        self.reaper.take().into_iter().for_each(Reaper::dismiss);
    }
}

fn argument(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(name);
    argument.push(path);
    argument
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), NfsMachineError> {
    fs::write(path, bytes).map_err(system(format!("write {}", path.display())))
}

fn make_executable(path: &Path) -> Result<(), NfsMachineError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(system(format!("make {} executable", path.display())))
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NfsMachineError {
    let what = what.into();
    move |source| NfsMachineError::System { what, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn run_here(test: &str, script: &str, limit: Duration) -> Option<Result<u8, NfsMachineError>> {
        let command = ["sh", "-c", script].map(OsString::from);
        requirement::is_met(test, &missing()).then(|| run(&command, limit))
    }

    #[test]
    fn a_program_that_was_linked_anew_while_it_ran_is_found_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("xtask");
        let deleted = directory.path().join("xtask (deleted)");
        assert_eq!(still_there(deleted.clone()), deleted);
        fs::write(&program, "").unwrap();
        assert_eq!(still_there(deleted), program);
        assert_eq!(still_there(program.clone()), program);
    }

    #[test]
    fn words_reach_the_machine_as_they_are() {
        let word = OsString::from("it's $(id) \"a b\"");
        let said = Command::new("sh")
            .arg("-c")
            .arg(OsString::from_vec(script(&["printf".into(), "%s".into(), word.clone()])))
            .output()
            .unwrap();
        assert_eq!(OsString::from_vec(said.stdout), word);
    }

    #[test]
    fn the_machine_ends_with_the_exit_code_of_its_command() {
        let Some(ended) = run_here("exit code", "exit 7", BOOT) else { return };
        assert_eq!(ended.unwrap(), 7);
    }

    #[test]
    fn a_command_that_hangs_ends_with_the_machine_and_the_end_of_its_log_is_told() {
        let limit = Duration::from_secs(1);
        let Some(ended) = run_here("time limit", "sleep 1000", limit) else { return };
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("stopped after 1 s"), "{error}");
    }
}
