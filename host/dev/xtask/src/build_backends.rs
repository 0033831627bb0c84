//! `cargo xtask build-backends`: every guest of the workspace becomes `target/wharf/<name>.wasm`,
//! ready for `wharf backend install`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde::Deserialize;

use crate::command::announce;
use crate::component::{self, componentize};
use crate::guests::{self, Guest};
use crate::wasm_target::Compiler;
use crate::workspace::Workspace;
use crate::{deadline, supervise};

/// Builds every backend and example into WebAssembly components.
///
/// A guest is a package with a `manifest.toml` beside its `Cargo.toml`. Adds the Wasm target to the
/// tool chain when it is missing, compiles all guests with one cargo call, wraps each by the
/// contract in `wit/`, embeds its manifest and writes it only if it changed.
#[derive(Args)]
pub struct Options {
    /// Build quickly and keep symbol names, for readable backtraces; larger and slower.
    #[arg(long)]
    debug: bool,
    /// Write here instead of to `target/wharf`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build `X` of the same version: adds `+X` to the version in the manifest and to the file's
    /// name.
    #[arg(long, value_name = "X")]
    version_suffix: Option<String>,
    /// Compile with Debian's own packages even if the usual tool chain could.
    #[arg(long)]
    debian_compiler: bool,
}

/// Builds what other commands need before they start, and returns the directory. With a suffix:
/// another build of everything, beside the plain one.
pub fn all(workspace: &Workspace, suffix: Option<&str>) -> Result<PathBuf> {
    build(
        workspace,
        &Options {
            debug: false,
            out: None,
            version_suffix: suffix.map(str::to_owned),
            debian_compiler: false,
        },
    )
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    build(&Workspace::load()?, options)?;
    Ok(ExitCode::SUCCESS)
}

fn build(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    let suffix = options.version_suffix.as_deref();
    if let Some(suffix) = suffix {
        check_suffix(suffix)?;
    }
    let guests = guests::find(workspace, suffix)?;
    let out = options.out.clone().unwrap_or_else(|| workspace.components());
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    if guests.is_empty() {
        println!("no package has a manifest.toml: there is nothing to build");
        return Ok(out);
    }
    let compiler = if options.debian_compiler { Compiler::debian()? } else { Compiler::find()? };
    announce(&format!("compiling {} guests for WebAssembly", guests.len()));
    let compiled = compile(workspace, &compiler, &guests, options.debug)?;
    let mut broken = Vec::new();
    for guest in &guests {
        match compiled.modules.get(&guest.package) {
            Some(module) => write(guest, module, &out, suffix)
                .with_context(|| format!("while making a component of {}", guest.package))?,
            None => broken.push(guest.package.as_str()),
        }
    }
    ensure!(compiled.succeeded, "these guests do not compile: {}", broken.join(", "));
    ensure!(
        broken.is_empty(),
        "cargo built no .wasm for {}: its Cargo.toml needs `[lib] crate-type = [\"cdylib\", \
         \"rlib\"]`",
        broken.join(", ")
    );
    Ok(out)
}

/// Semantic versioning allows these after a plus sign, and file systems do too.
fn check_suffix(suffix: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    ensure!(
        !suffix.is_empty() && suffix.bytes().all(plain),
        "--version-suffix {suffix:?}: use letters, digits, dashes and dots"
    );
    Ok(())
}

/// A line of cargo's JSON output, as far as it concerns us.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// What cargo made. One broken guest does not keep the others from becoming components.
struct Compiled {
    succeeded: bool,
    /// By package name.
    modules: BTreeMap<String, PathBuf>,
}

/// Cargo's progress and diagnostics go to the terminal, its messages come back.
fn compile(
    workspace: &Workspace,
    compiler: &Compiler,
    guests: &[Guest],
    debug: bool,
) -> Result<Compiled> {
    let mut cargo = compiler.build(&workspace.root);
    cargo.args([
        "--lib",
        "--keep-going",
        "--profile",
        if debug { "dev" } else { "guest" },
        "--message-format",
        "json-render-diagnostics",
    ]);
    guests.iter().for_each(|guest| {
        cargo.args(["--package", &guest.package]);
    });
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut stdout = child.stdout.take().context("cargo has no output")?;
    let reading = std::thread::spawn(move || {
        let mut messages = Vec::new();
        stdout.read_to_end(&mut messages).map(|_| messages)
    });
    let status = supervise::wait(&mut child, deadline::left()).context("compiling guests")?;
    let messages = reading.join().map_err(|_| anyhow!("cargo's output was not read"))??;
    let mut modules = BTreeMap::new();
    for line in String::from_utf8_lossy(&messages).lines() {
        let message: CargoMessage =
            serde_json::from_str(line).context("cannot read what cargo printed")?;
        let package =
            workspace.packages.iter().find(|package| package.manifest() == message.manifest_path);
        let module = message
            .filenames
            .into_iter()
            .find(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        if let (true, Some(package), Some(module)) =
            (message.reason == "compiler-artifact", package, module)
        {
            modules.insert(package.name.clone(), module);
        }
    }
    Ok(Compiled { succeeded: status.success(), modules })
}

/// Writes the component unless the one that is there was made of the same input.
fn write(guest: &Guest, module: &Path, out: &Path, suffix: Option<&str>) -> Result<()> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let manifest = serde_json::to_vec(&guest.manifest)?;
    let name = suffix.map_or_else(
        || guest.manifest.name.to_string(),
        |suffix| format!("{}+{suffix}", guest.manifest.name),
    );
    let target = out.join(format!("{name}.wasm"));
    let made_from = out.join(format!(".{name}.made-from"));
    let input = component::digest(&[component::RECIPE.as_bytes(), &module, &manifest]);

    let old = fs::read(&target).unwrap_or_default();
    let mut record = format!("{input} {}\n", component::digest(&[&old]));
    let known = fs::read_to_string(&made_from).is_ok_and(|text| text == record);
    let component = if known { old } else { componentize(&module, &manifest)? };
    let digest = component::digest(&[&component]);
    if !known {
        replace(&target, &component)?;
        record = format!("{input} {digest}\n");
        replace(&made_from, record.as_bytes())?;
    }
    let state = if known { "unchanged" } else { "written" };
    let kilobytes = component.len().div_ceil(1024);
    println!(
        "    {name:<24} {:<14} {kilobytes:>5} KiB  sha256:{:.12}  {state}",
        guest.manifest.version, digest
    );
    Ok(())
}

/// In one step, so that a reader (a watched directory, say) sees the old file or the new one; a
/// file with the same content is left alone.
fn replace(target: &Path, content: &[u8]) -> Result<()> {
    if fs::read(target).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let directory = target.parent().context("a file without a directory")?;
    let name = target.file_name().context("a file without a name")?.to_string_lossy();
    let partial = directory.join(format!(".{name}.{}.partial", std::process::id()));
    fs::write(&partial, content).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, target)
        .with_context(|| format!("cannot put {} in place", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_same_content_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disk.wasm");
        replace(&file, b"one").unwrap();
        let first = file.metadata().unwrap().ino();
        replace(&file, b"one").unwrap();
        assert_eq!(file.metadata().unwrap().ino(), first);
        replace(&file, b"two").unwrap();
        assert_ne!(file.metadata().unwrap().ino(), first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_suffix_that_is_no_build_metadata_is_refused() {
        assert!(check_suffix("demo-2").is_ok());
        for bad in ["", "a/b", "a b", "a+b"] {
            assert!(check_suffix(bad).is_err(), "{bad:?}");
        }
    }
}
