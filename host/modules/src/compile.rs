//! Compiling a component, in a process of its own with limits: a component comes from outside, and
//! the compiler is large.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, nice, setrlimit};
use wharf_core::text;
use wharf_runtime::{Engine, EngineMode};

use crate::store::{Compiled, Generation, Reason, Store, read_manifest};

/// What this program is started with to compile one component: this word, the component's file, and
/// the file for its code. Not for people.
pub const COMPILE_COMMAND: &str = "compile-component";
/// This program, whatever has been put in its place since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// A Python guest takes 330 MB to compile. The threads below bound what else is reserved.
const COMPILE_ADDRESS_SPACE: u64 = 1 << 30;
/// An allocation that fails at this much is refused by the limit: what the compiler took since it
/// was looked at last, some milliseconds ago, is far less than the rest.
const NEAR_THE_LIMIT: u64 = COMPILE_ADDRESS_SPACE / 4 * 3;
/// What the allocator says before it ends the process.
const ALLOCATION_FAILED: &str = "memory allocation of ";
/// Code of the largest component (64 MiB) is a few times larger than it.
const COMPILE_FILE_BYTES: u64 = 512 << 20;
/// A Python guest takes 9 s on one processor.
const COMPILE_CPU_SECONDS: u64 = 300;
/// The same from outside, for a compiler that hangs or gets no processor.
const COMPILE_WALL: Duration = Duration::from_secs(300);
/// Each thread of the compiler reserves memory of its own; and the node has other work.
const COMPILE_THREADS: &str = "2";
/// Behind everything that serves.
const COMPILE_NICENESS: i32 = 10;
/// The first to go when memory is short: it is started again later.
const COMPILE_OOM_SCORE: &str = "1000";
/// How often the compiler, or whoever else compiles the same, is looked at: a small guest takes
/// 30 ms.
const POLL: Duration = Duration::from_millis(5);
/// What is read of a compiler's complaint.
const COMPLAINT_BYTES: u64 = 4 << 10;
/// What a complaint about the component itself begins with; others are about the machine.
const OF_THE_COMPONENT: &str = "component: ";

/// Why there is no compiled code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// The component cannot be compiled, however often it is tried.
    #[error("the component cannot be compiled: {0}")]
    Component(Reason),
    /// The machine could not compile it now.
    #[error("{0}")]
    Host(String),
    /// Somebody else compiles it, and it is not waited for any longer.
    #[error("it is being compiled by another call or process")]
    Busy,
}

/// The compiled code of a generation, made now unless the store's cache has it, or knows why there
/// is none. One compilation of each component at a time, among all threads and processes; another
/// one's is waited for as long as `may_wait` says.
///
/// # Errors
/// [`CompileError`].
pub(crate) fn compiled(
    store: &Store,
    engine: &Engine,
    generation: &Generation,
    may_wait: &dyn Fn() -> bool,
) -> Result<Compiled, CompileError> {
    let host = |error: &dyn std::fmt::Display| CompileError::Host(error.to_string());
    let (cache, digest) = (store.cache(&engine.hash()), &generation.digest);
    let get = || cache.get(digest).map_err(|error| host(&error));
    let turn = loop {
        if let Some(code) = get()? {
            return Ok(code);
        }
        if let Some(why) = cache.failure(digest).map_err(|error| host(&error))? {
            return Err(CompileError::Component(why));
        }
        match cache.try_lock(digest).map_err(|error| host(&error))? {
            Some(turn) => break turn,
            None if may_wait() => std::thread::sleep(POLL),
            None => return Err(CompileError::Busy),
        }
    };
    // The one before may have come to its end between the two looks.
    if let Some(code) = get()? {
        return Ok(code);
    }
    let bytes = store.read_component(generation).map_err(|error| host(&error))?;
    let manifest = read_manifest(&bytes).map_err(|error| host(&error))?;
    let workspace = turn.workspace().map_err(|error| host(&error))?;
    match in_a_child(workspace.directory(), &bytes) {
        Ok(code) => turn.put(&code, &manifest).map_err(|error| host(&error))?,
        Err(error) => {
            if let CompileError::Component(why) = &error {
                turn.put_failure(why).map_err(|error| host(&error))?;
            }
            return Err(error);
        }
    }
    get()?.ok_or_else(|| {
        let name = &generation.manifest.name;
        host(&format_args!("the compiled code of {name} vanished while it was written"))
    })
}

fn in_a_child(directory: &Path, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let [input, output, complaint] =
        ["component.wasm", "component.cwasm", "complaint"].map(|name| directory.join(name));
    let failed = |action: &str, path: &Path, error: std::io::Error| {
        CompileError::Host(format!("cannot {action} {}: {error}", path.display()))
    };
    fs::write(&input, bytes).map_err(|error| failed("write", &input, error))?;
    let said = File::create(&complaint).map_err(|error| failed("write", &complaint, error))?;
    let mut child = Command::new(THIS_PROGRAM);
    child.arg0("wharf").arg(COMPILE_COMMAND).arg(&input).arg(&output);
    child.env_clear().env("RAYON_NUM_THREADS", COMPILE_THREADS).env("MALLOC_ARENA_MAX", "2");
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let ended = wait(&mut child, COMPILE_WALL).map_err(CompileError::Host)?;
    if ended.status.success() {
        return fs::read(&output).map_err(|error| failed("read", &output, error));
    }
    let mut said = Vec::new();
    let _ =
        File::open(&complaint).and_then(|file| file.take(COMPLAINT_BYTES).read_to_end(&mut said));
    Err(judge(ended, &String::from_utf8_lossy(&said)))
}

/// Whose fault it is that the compiler failed. What is the component's is remembered, so in doubt
/// it is the machine's: then it is tried again.
fn judge(ended: Ended, said: &str) -> CompileError {
    let Ended { status, address_space } = ended;
    let said = text::lines(said.trim(), usize::MAX);
    if let Some(why) = said.strip_prefix(OF_THE_COMPONENT) {
        return CompileError::Component(why.to_owned().into());
    }
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        Some(Signal::XCPU) => CompileError::Component(
            format!("it takes more than {COMPILE_CPU_SECONDS} s of a processor").into(),
        ),
        Some(Signal::XFSZ) => CompileError::Component(
            format!("its code has more than {} MiB", COMPILE_FILE_BYTES >> 20).into(),
        ),
        // An allocation that fails ends the process. Far from the limit it is the machine that had
        // no memory to give.
        Some(Signal::ABORT | Signal::SEGV)
            if said.contains(ALLOCATION_FAILED)
                && address_space.saturating_add(wanted(&said)) < NEAR_THE_LIMIT =>
        {
            CompileError::Host(format!(
                "there was no memory for the compiler, which had {} MiB: {said}",
                address_space >> 20
            ))
        }
        // Near it the component takes too much. A stack that overflows ends the process so, too.
        Some(Signal::ABORT | Signal::SEGV) => CompileError::Component(
            format!(
                "it takes more than {} MiB of memory, or breaks the compiler ({status}): {said}",
                COMPILE_ADDRESS_SPACE >> 20
            )
            .into(),
        ),
        _ => CompileError::Host(format!("the compiler did not end well ({status}): {said}")),
    }
}

/// The bytes that could not be had: `memory allocation of 4096 bytes failed`.
fn wanted(said: &str) -> u64 {
    let (_, rest) = said.split_once(ALLOCATION_FAILED).unwrap_or_default();
    rest.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    /// The most that it was seen to have, in bytes: what [`COMPILE_ADDRESS_SPACE`] limits.
    address_space: u64,
}

/// Runs a program to its end, or to its bound.
fn wait(program: &mut Command, bound: Duration) -> Result<Ended, String> {
    let mut child =
        program.spawn().map_err(|error| format!("cannot start the compiler: {error}"))?;
    let end = Instant::now() + bound;
    // A process that has ended has none, so it is looked at while it runs.
    let mut address_space = 0;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Ended { status, address_space }),
            Ok(None) if Instant::now() < end => {
                address_space = peak_address_space(child.id()).unwrap_or(address_space);
                std::thread::sleep(POLL);
            }
            ended => {
                let why = ended.err().map_or_else(
                    || format!("it took longer than {} s", bound.as_secs_f32()),
                    |error| error.to_string(),
                );
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("the component cannot be compiled: {why}"));
            }
        }
    }
}

fn peak_address_space(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Compiles in the process that [`COMPILE_COMMAND`] started, whose arguments these are.
pub fn compile_for_parent(arguments: &[OsString]) -> ExitCode {
    let [_program, _command, input, output] = arguments else { return ExitCode::FAILURE };
    match compile_with_limits(Path::new(input), Path::new(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // A parent that does not listen any more needs no reason.
            let _ = std::io::stderr().write_all(why.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// The limits are in place before a byte is read. What is said about the component begins as
/// [`judge`] expects.
fn compile_with_limits(input: &Path, output: &Path) -> Result<(), String> {
    for (resource, bound) in [
        (Resource::As, COMPILE_ADDRESS_SPACE),
        (Resource::Fsize, COMPILE_FILE_BYTES),
        (Resource::Cpu, COMPILE_CPU_SECONDS),
    ] {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })
            .map_err(|error| format!("cannot limit the compiler: {error}"))?;
    }
    // A machine that refuses either compiles all the same.
    let _ = nice(COMPILE_NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", COMPILE_OOM_SCORE);
    let bytes =
        fs::read(input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    let engine = Engine::new(EngineMode::OnDemand).map_err(|error| error.to_string())?;
    let code = engine.compile(&bytes).map_err(|error| format!("{OF_THE_COMPONENT}{error}"))?;
    fs::write(output, code).map_err(|error| format!("cannot write {}: {error}", output.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_hangs_is_killed() {
        let start = Instant::now();
        let error = wait(Command::new("sleep").arg("3600"), Duration::from_millis(20)).unwrap_err();
        assert!(error.contains("longer than 0.02 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(600));
    }

    #[test]
    fn a_compiler_that_ends_is_not_waited_for_any_longer() {
        assert!(wait(&mut Command::new("true"), COMPILE_WALL).unwrap().status.success());
        assert!(!wait(&mut Command::new("false"), COMPILE_WALL).unwrap().status.success());
    }

    #[test]
    fn a_component_at_fault_is_told_from_a_machine_that_lacks_something() {
        let ended = |raw: i32, said: &str| {
            judge(Ended { status: ExitStatus::from_raw(raw), address_space: 0 }, said)
        };
        let is_component = |error| matches!(error, CompileError::Component(_));
        assert!(is_component(ended(1 << 8, "component: it is no component")));
        for signal in [Signal::XCPU, Signal::XFSZ, Signal::ABORT] {
            assert!(is_component(ended(signal.as_raw(), "")), "{signal:?}");
        }
        // The kernel when memory is short, an administrator, a full disk.
        assert!(!is_component(ended(Signal::KILL.as_raw(), "")));
        assert!(!is_component(ended(Signal::TERM.as_raw(), "")));
        assert!(!is_component(ended(1 << 8, "cannot write /x: No space left on device")));
    }

    #[test]
    fn memory_that_the_machine_did_not_have_is_not_the_components_fault() {
        let failed = |mib: u64, wanted: u64| {
            let status = ExitStatus::from_raw(Signal::ABORT.as_raw());
            let said = format!("memory allocation of {wanted} bytes failed\n");
            judge(Ended { status, address_space: mib << 20 }, &said)
        };
        for (mib, wanted) in [(100, 4096), (330, 64 << 20)] {
            let error = failed(mib, wanted);
            assert!(matches!(&error, CompileError::Host(_)), "{mib} MiB: {error}");
            assert!(error.to_string().contains("no memory for the compiler"), "{error}");
        }
        // The next allocation is beyond the limit, or nearly all of it is taken.
        for (mib, wanted) in [(400, 512 << 20), (900, 4096), (1, u64::MAX)] {
            let error = failed(mib, wanted);
            assert!(matches!(&error, CompileError::Component(_)), "{mib} MiB: {error}");
        }
    }

    #[test]
    fn the_address_space_of_a_program_is_seen_while_it_runs() {
        let mut program = Command::new("dd");
        program.args(["if=/dev/zero", "of=/dev/null", "bs=256M", "count=8"]);
        let ended = wait(program.stderr(Stdio::null()), COMPILE_WALL).unwrap();
        assert!(ended.status.success());
        assert!((256 << 20..512 << 20).contains(&ended.address_space), "{ended:?}");
    }
}
