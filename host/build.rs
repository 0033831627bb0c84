//! Builds the presets into the binary: every `backends/*/preset.toml`, by its directory's name.
//!
//! And links it to fixed addresses, as `cargo xtask dist` does: every call-out and every process
//! that asks a server is this program started again, and to move a debug build's hundred thousand
//! addresses takes longer than what most of them do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    println!("cargo::rustc-link-arg-bins=-no-pie");
    let backends = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backends");
    // A new one comes with a member of the workspace. (The directory itself would count every
    // source file below it.)
    println!("cargo::rerun-if-changed=../Cargo.toml");
    let mut presets: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&backends)? {
        let entry = entry?;
        let file = entry.path().join("preset.toml");
        if file.is_file() {
            presets.push((entry.file_name().to_string_lossy().into_owned(), file.canonicalize()?));
        }
    }
    presets.sort();
    let mut code = String::from("pub const PRESETS: &[(&str, &str)] = &[\n");
    for (name, file) in presets {
        println!("cargo::rerun-if-changed={}", file.display());
        let _ = writeln!(code, "    ({name:?}, include_str!({file:?})),");
    }
    code.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    std::fs::write(Path::new(&out).join("presets.rs"), code)
}
