//! `cargo xtask dist`: what is put on nodes. The binary is linked statically and to fixed
//! addresses: a call-out then starts in a fraction of the time that a dynamic one needs, and it
//! runs in images that have nothing else in them (kube-controller-manager's, for one).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::build_backends;
use crate::command::{self, announce};
use crate::packages::{self, Need};
use crate::workspace::Workspace;

/// A C compiler for musl, for the native parts of dependencies.
const MUSL_COMPILER: Need = Need::of("musl-gcc", &["musl-tools"]);

/// Builds what is installed on nodes: the static `wharf` binary and the components, in
/// `target/dist`.
#[derive(Args)]
pub struct Options {
    /// With traces (OTLP): `[traces]` of the configuration then names a collector.
    #[arg(long)]
    otlp: bool,
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let features: &[&str] = if options.otlp { &["--features", "otlp"] } else { &[] };
    let binary = build_package(&workspace, "wharf", features)?;
    let components = build_backends::all(&workspace, None)?;
    let directory = workspace.target.join("dist");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let names = ["auth.wasm", "disk.wasm", "nas.wasm", "oss.wasm", "hello.wasm"];
    let files = std::iter::once(binary).chain(names.iter().map(|name| components.join(name)));
    for file in files {
        let copy = directory.join(file.file_name().context("a file without a name")?);
        fs::copy(&file, &copy)
            .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
        println!("    {}", copy.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the static binary and says where it is.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    build_package(workspace, "wharf", &[])
}

/// Builds the program of a package the same way, with these further arguments.
pub fn build_package(workspace: &Workspace, package: &str, more: &[&str]) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    packages::ensure(&[packages::C_COMPILER, MUSL_COMPILER])?;
    add_target(&target)?;
    announce(&format!("building {package} static, for release (many minutes the first time)"));
    let variable = target.replace('-', "_");
    let mut build = command::cargo();
    build
        .current_dir(&workspace.root)
        .env(
            format!("CARGO_TARGET_{}_RUSTFLAGS", variable.to_uppercase()),
            "-C relocation-model=static -C target-feature=+crt-static",
        )
        .env(format!("CC_{variable}"), MUSL_COMPILER.program)
        .args(["build", "--release", "--package", package, "--target", &target])
        .args(more);
    command::run(&mut build)?;
    let binary = workspace.target.join(&target).join("release").join(package);
    ensure!(binary.is_file(), "cargo built no {}", binary.display());
    Ok(binary)
}

fn add_target(target: &str) -> Result<()> {
    let libraries = command::output(Command::new("rustc").args([
        "--print",
        "target-libdir",
        "--target",
        target,
    ]))?;
    if PathBuf::from(libraries.trim()).is_dir() {
        return Ok(());
    }
    let rustup = command::find_program("rustup").with_context(|| {
        format!("the Rust target {target} is not installed, and there is no rustup to add it")
    })?;
    announce(&format!("adding the target {target} with rustup"));
    command::run(Command::new(rustup).args(["target", "add", target]))
}
