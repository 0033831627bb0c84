//! Finding what has been built: the binary and the components.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::BedError;

/// What a bed is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The `wharf` binary.
    pub wharf: PathBuf,
    /// The directory with `disk.wasm`, `auth.wasm` and `hello.wasm`.
    pub components: PathBuf,
}

const BINARY_FIX: &str = "build it with `cargo build --package wharf`, or name it in WHARF_BIN";
const COMPONENTS_FIX: &str =
    "build it with `cargo xtask build-backends`, or name its directory in WHARF_COMPONENTS";

impl Parts {
    /// `WHARF_BIN` and `WHARF_COMPONENTS`; what is not named there is looked for in the target
    /// directory: `CARGO_TARGET_DIR`, or the one that this program runs from.
    ///
    /// # Errors
    /// What is missing and how it is built.
    pub fn find() -> Result<Self, BedError> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let (wharf, components) = (named("WHARF_BIN"), named("WHARF_COMPONENTS"));
        let target = target();
        Self {
            wharf: wharf.unwrap_or_else(|| target.join("debug/wharf")),
            components: components.unwrap_or_else(|| target.join("wharf")),
        }
        .checked()
    }

    /// Both from this target directory.
    ///
    /// # Errors
    /// What is missing and how it is built.
    pub fn in_target(target: &Path) -> Result<Self, BedError> {
        Self { wharf: target.join("debug/wharf"), components: target.join("wharf") }.checked()
    }

    fn checked(self) -> Result<Self, BedError> {
        let unbuilt =
            |file: &Path, fix| BedError::Unbuilt { what: file.display().to_string(), fix };
        if !self.wharf.is_file() {
            return Err(unbuilt(&self.wharf, BINARY_FIX));
        }
        for component in ["disk", "auth"] {
            let file = self.component(component);
            if !file.is_file() {
                return Err(unbuilt(&file, COMPONENTS_FIX));
            }
        }
        Ok(self)
    }

    /// A component's file.
    pub fn component(&self, name: &str) -> PathBuf {
        self.components.join(format!("{name}.wasm"))
    }

    /// A newer build of the disk backend (`disk+<suffix>.wasm`), made by `cargo xtask
    /// build-backends` unless it is there.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn newer_disk(&self, suffix: &str) -> Result<PathBuf, BedError> {
        let file = self.component(&format!("disk+{suffix}"));
        let built = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
        if built(&file)
            .is_some_and(|newer| built(&self.component("disk")).is_none_or(|plain| newer >= plain))
        {
            return Ok(file);
        }
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // From the root and not as a package of its own: that would compile dependencies again,
        // with fewer features.
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../..")).args([
            "run",
            "--quiet",
            "--bin",
            "xtask",
            "--",
            "build-backends",
        ]);
        build.args(["--version-suffix", suffix, "--out"]).arg(&self.components);
        let output = build.output().map_err(BedError::system("start cargo"))?;
        if output.status.success() && file.is_file() {
            return Ok(file);
        }
        let command = format!("cargo xtask build-backends --version-suffix {suffix}");
        Err(BedError::Failed {
            command,
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// A test runs from `<target>/debug/deps/`, a binary from `<target>/debug/`.
fn target() -> PathBuf {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return target.into();
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let is_debug = |directory: &&Path| {
        directory.file_name().is_some_and(|name| name == "debug" || name == "release")
    };
    let target = executable.ancestors().find(is_debug).and_then(Path::parent);
    target.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target"),
        Path::to_owned,
    )
}
