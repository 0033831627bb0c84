//! Compiling a component, in a process of its own with limits: a component comes from outside, and
//! the compiler is large.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use wharf_runtime::{Engine, EngineMode};
use wharf_store::{Compiled, Generation, Store, read_manifest};

/// This program, whatever has been put in its place since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// A Python guest takes 330 MB to compile; address space is counted, and the engine reserves some.
const COMPILE_ADDRESS_SPACE: u64 = 4 << 30;
/// A Python guest takes 9 s on one processor.
const COMPILE_CPU_SECONDS: u64 = 300;
/// The same from outside, for a compiler that hangs or gets no processor: others wait for it.
const COMPILE_WALL: Duration = Duration::from_secs(300);
/// How often the compiler is looked at: a small guest takes 30 ms.
const LOOK: Duration = Duration::from_millis(5);
/// What is read of a compiler's complaint.
const COMPLAINT_BYTES: u64 = 4 << 10;

/// The compiled code of a generation, made now unless the store's cache has it. One compilation at
/// a time, among all threads and processes.
///
/// # Errors
/// What the compiler, or the system, says.
pub fn compiled(
    store: &Store,
    engine: &Engine,
    generation: &Generation,
) -> Result<Compiled, String> {
    let cache = store.cache(&engine.hash());
    let get = || cache.get(&generation.digest).map_err(|error| error.to_string());
    if let Some(code) = get()? {
        return Ok(code);
    }
    let turn = cache.lock().map_err(|error| error.to_string())?;
    if let Some(code) = get()? {
        return Ok(code);
    }
    let bytes = store.read_component(generation).map_err(|error| error.to_string())?;
    let manifest = read_manifest(&bytes).map_err(|error| error.to_string())?;
    let workspace = turn.workspace().map_err(|error| error.to_string())?;
    let code = in_a_child(workspace.directory(), &bytes)?;
    turn.put(&generation.digest, &code, &manifest).map_err(|error| error.to_string())?;
    get()?.ok_or_else(|| {
        format!("the compiled code of {} vanished while it was written", generation.manifest.name)
    })
}

fn in_a_child(folder: &Path, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (input, output, complaint) =
        (folder.join("component.wasm"), folder.join("component.cwasm"), folder.join("complaint"));
    fs::write(&input, bytes)
        .map_err(|error| format!("cannot write {}: {error}", input.display()))?;
    let said = File::create(&complaint)
        .map_err(|error| format!("cannot write {}: {error}", complaint.display()))?;
    let mut child = Command::new(THIS_PROGRAM);
    child.arg0("wharf").arg("compile-component").arg(&input).arg(&output);
    child.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let status = wait(&mut child, COMPILE_WALL)?;
    if !status.success() {
        let mut said = Vec::new();
        let _ = File::open(&complaint)
            .and_then(|file| file.take(COMPLAINT_BYTES).read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        return Err(format!(
            "the component cannot be compiled ({status}): {}",
            said.trim().trim_start_matches("wharf: ")
        ));
    }
    fs::read(&output).map_err(|error| format!("cannot read {}: {error}", output.display()))
}

/// Runs a program to its end, or to its bound.
fn wait(program: &mut Command, bound: Duration) -> Result<ExitStatus, String> {
    let mut child =
        program.spawn().map_err(|error| format!("cannot start the compiler: {error}"))?;
    let end = Instant::now() + bound;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
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

/// What the child does. Its limits are in place before it reads a byte.
///
/// # Errors
/// What the compiler says.
pub fn child(input: &Path, output: &Path) -> Result<(), String> {
    for (resource, bound) in
        [(Resource::As, COMPILE_ADDRESS_SPACE), (Resource::Cpu, COMPILE_CPU_SECONDS)]
    {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })
            .map_err(|error| format!("cannot limit the compiler: {error}"))?;
    }
    let bytes =
        fs::read(input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    let code = Engine::new(EngineMode::OnDemand)
        .and_then(|engine| engine.compile(&bytes))
        .map_err(|error| error.to_string())?;
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
        assert!(wait(&mut Command::new("true"), COMPILE_WALL).unwrap().success());
        assert!(!wait(&mut Command::new("false"), COMPILE_WALL).unwrap().success());
    }
}
