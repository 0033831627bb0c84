//! A cargo that can build for `wasm32-unknown-unknown`. The usual one is taken when it has the
//! target, or when rustup can add it; else Debian's own compiler, which builds the standard library
//! itself. Called by `build-backends`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, announce};
use crate::packages;

/// What guests are built for: no WASI, so that nothing is imported but the contract.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The default shadow stack of 1 MiB would make every instance 17 pages large; plans and requests
/// need a fraction of this one.
const STACK_BYTES: u32 = 128 * 1024;

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// How guests are compiled on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// The toolchain that built this command, with the target in it.
    Usual,
    /// Debian's packages, with this linker.
    Debian {
        /// A `wasm-ld-*` program.
        linker: PathBuf,
    },
}

impl Compiler {
    /// Finds one, installing what is missing where that is possible.
    pub fn find() -> Result<Self> {
        if has_target()? {
            return Ok(Self::Usual);
        }
        if let Some(rustup) = command::find_program("rustup") {
            announce(&format!("adding the target {TARGET} with rustup"));
            match command::run(Command::new(rustup).args(["target", "add", TARGET])) {
                Ok(()) if has_target()? => return Ok(Self::Usual),
                Ok(()) => println!(
                    "    rustup added it to another toolchain than the one in use; going on with \
                     Debian's compiler"
                ),
                Err(error) => println!("    {error:#}; going on with Debian's compiler"),
            }
        }
        Self::debian()
    }

    /// Debian's compiler, installed if it is not there.
    pub fn debian() -> Result<Self> {
        let complete = || {
            Path::new(DEBIAN_CARGO).is_file()
                && Path::new(DEBIAN_RUSTC).is_file()
                && debian_sources()
        };
        if !complete() || newest_linker(Path::new("/usr/bin")).is_none() {
            let mut wanted: Vec<String> = DEBIAN_PACKAGES.map(String::from).to_vec();
            if newest_linker(Path::new("/usr/bin")).is_none() {
                // Where nothing can be installed, nothing is asked of the package lists either:
                // this one brings the distribution's own.
                wanted.push(if packages::can_install() {
                    newest_linker_package()?
                } else {
                    "lld".to_owned()
                });
            }
            packages::install(&wanted)?;
            announce(
                "Debian's own compiler for WebAssembly makes the standard library at its first \
                 build, about a minute",
            );
        }
        match newest_linker(Path::new("/usr/bin")) {
            Some(linker) if complete() => Ok(Self::Debian { linker }),
            _ => bail!(
                "no compiler for {TARGET}: run `rustup target add {TARGET}`, or install {} and lld",
                DEBIAN_PACKAGES.join(", ")
            ),
        }
    }

    /// `cargo build` for the target; the caller adds packages and a profile. `root` is the
    /// workspace's directory.
    pub fn build(&self, root: &Path) -> Command {
        let mut build = match self {
            Self::Usual => command::cargo(),
            Self::Debian { linker } => debian_cargo(linker),
        };
        build.current_dir(root).arg("build");
        if matches!(self, Self::Debian { .. }) {
            build.arg("-Zbuild-std=std,panic_abort");
        }
        // The encoded form wins over every other way to set flags, so a user's RUSTFLAGS for native
        // code do no harm here.
        build.args(["--target", TARGET]).env("CARGO_ENCODED_RUSTFLAGS", flags(root).join("\u{1f}"));
        build
    }
}

/// Paths of this machine are cut out of panic messages, so that the same source gives the same
/// bytes everywhere.
fn flags(root: &Path) -> Vec<String> {
    let mut flags = vec![
        format!("-Clink-arg=-zstack-size={STACK_BYTES}"),
        format!("--remap-path-prefix={}=wharf", root.display()),
    ];
    if let Some(registry) = cargo_home() {
        flags.push(format!(
            "--remap-path-prefix={}=registry",
            registry.join("registry/src").display()
        ));
    }
    flags
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// The cargo and rustc of a rustup toolchain must not be found by Debian's, nor its choice of
/// toolchain.
fn debian_cargo(linker: &Path) -> Command {
    let mut cargo = Command::new(DEBIAN_CARGO);
    cargo
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    cargo
}

/// Whether the usual compiler has a standard library for the target.
fn has_target() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let directory =
        command::output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
            .context("cannot ask the compiler for its targets")?;
    Ok(Path::new(directory.trim()).is_dir())
}

fn debian_sources() -> bool {
    command::output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).is_ok_and(|sysroot| {
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").is_dir()
    })
}

/// `wasm-ld-22` before `wasm-ld-9`: Debian names the program after its LLVM version.
fn newest_linker(directory: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = newest(names.filter_map(|name| name.strip_prefix("wasm-ld-")?.parse().ok()))?;
    Some(directory.join(format!("wasm-ld-{newest}")))
}

fn newest_linker_package() -> Result<String> {
    packages::update_lists()?;
    let listed = command::output(Command::new("apt-cache").args([
        "search",
        "--names-only",
        "^lld-[0-9]+$",
    ]))?;
    let versions = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.strip_prefix("lld-")?.parse().ok());
    newest(versions)
        .map(|version| format!("lld-{version}"))
        .context("Debian's package lists have no lld")
}

fn newest(versions: impl Iterator<Item = u32>) -> Option<u32> {
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_with_the_highest_version_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["wasm-ld-9", "wasm-ld-22", "wasm-ld", "ld-99", "wasm-ld-old"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(newest_linker(directory.path()), Some(directory.path().join("wasm-ld-22")));
    }

    #[test]
    fn debians_compiler_builds_the_standard_library_with_its_own_linker_and_ignores_rustup() {
        let build =
            Compiler::Debian { linker: "/usr/bin/wasm-ld-22".into() }.build(Path::new("/src"));
        assert_eq!(
            command::shown(&build),
            format!("cargo build -Zbuild-std=std,panic_abort --target {TARGET}")
        );
        let environment: Vec<_> = build.get_envs().collect();
        assert!(environment.contains(&(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER".as_ref(),
            Some("/usr/bin/wasm-ld-22".as_ref())
        )));
        assert!(environment.contains(&("RUSTUP_TOOLCHAIN".as_ref(), None)));
    }

    #[test]
    fn every_build_bounds_the_shadow_stack() {
        let build = Compiler::Usual.build(Path::new("/src"));
        let flags = build
            .get_envs()
            .find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS")
            .and_then(|(_, value)| value)
            .unwrap();
        assert!(
            flags
                .to_str()
                .unwrap()
                .split('\u{1f}')
                .any(|flag| flag == "-Clink-arg=-zstack-size=131072")
        );
    }
}
