//! Compiling a component, in a process of its own with limits: a component comes from outside, and the compiler is large.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};
use wharf_runtime::{Engine, EngineMode};
use wharf_store::{Generation, Store};

/// A Python guest takes 330 MB to compile; address space is counted, and the engine reserves some.
const COMPILE_ADDRESS_SPACE: u64 = 4 << 30;
/// A Python guest takes 9 s on one processor.
const COMPILE_CPU_SECONDS: u64 = 300;

/// Compiles a generation and keeps its code in the store's cache. Compiled already: nothing is done.
///
/// # Errors
/// What the compiler, or the system, says.
pub fn compile(store: &Store, engine: &Engine, generation: &Generation) -> Result<(), String> {
    let cache = store.cache(&engine.hash());
    if cache.get(&generation.digest).map_err(|error| error.to_string())?.is_some() {
        return Ok(());
    }
    let work = Workspace::new(store.root(), generation)?;
    let input = work.folder.join("component.wasm");
    let output = work.folder.join("component.cwasm");
    let bytes = store.read_component(generation).map_err(|error| error.to_string())?;
    fs::write(&input, bytes).map_err(|error| format!("cannot write {}: {error}", input.display()))?;
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let finished = Command::new(program).arg("compile-component").arg(&input).arg(&output).env_clear().stdin(Stdio::null()).output();
    let finished = finished.map_err(|error| format!("cannot start the compiler: {error}"))?;
    if !finished.status.success() {
        let said = String::from_utf8_lossy(&finished.stderr);
        return Err(format!("the component cannot be compiled ({}): {}", finished.status, said.trim().trim_start_matches("wharf: ")));
    }
    let code = fs::read(&output).map_err(|error| format!("cannot read {}: {error}", output.display()))?;
    cache.put(&generation.digest, &code).map_err(|error| error.to_string())
}

/// What the child does. Its limits are in place before it reads a byte.
///
/// # Errors
/// What the compiler says.
pub fn child(input: &Path, output: &Path) -> Result<(), String> {
    for (resource, bound) in [(Resource::As, COMPILE_ADDRESS_SPACE), (Resource::Cpu, COMPILE_CPU_SECONDS), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) }).map_err(|error| format!("cannot limit the compiler: {error}"))?;
    }
    let bytes = fs::read(input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    let code = Engine::new(EngineMode::OnDemand).and_then(|engine| engine.compile(&bytes)).map_err(|error| error.to_string())?;
    fs::write(output, code).map_err(|error| format!("cannot write {}: {error}", output.display()))
}

/// A private folder for one compilation, removed whatever happens. One left by a crash is emptied by the next compilation of the same process id.
struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    fn new(store: &Path, generation: &Generation) -> Result<Self, String> {
        let folder = store.join(format!("compiling-{}-{}", generation.digest, std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).recursive(true).create(&folder);
        made.map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        Ok(Self { folder })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
