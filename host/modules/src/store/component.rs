//! Reading what a component says of itself, without running it.

use wasmparser::{Encoding, Parser, Payload};
use wharf_core::manifest::{Manifest, SECTION};
use wharf_core::text;

use super::error::StoreError;

/// The largest component that is taken: a Python guest with its interpreter has 18 MB.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
/// The largest manifest: the disk backend's has 1 KiB.
const MAX_MANIFEST_BYTES: usize = 64 << 10;
/// Components in components: a Rust guest has two levels, a composed one a few more.
const MAX_DEPTH: u32 = 16;
/// Modules and components in one file, all levels together: a Rust guest has a dozen, an
/// interpreter that is linked from libraries some dozens. The compiler needs memory for each: it
/// took 4 GB for 0.2 MB of empty ones.
const MAX_PARTS: u32 = 512;
/// A sentence, and the name of something in the component.
const REFUSAL_BYTES: usize = 1 << 10;

/// The manifest in a component's custom section.
///
/// # Errors
/// [`StoreError::NotAComponent`] saying what it is instead, or what is missing.
pub fn read_manifest(bytes: &[u8]) -> Result<Manifest, StoreError> {
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(refused(format!(
            "it has {} bytes, at most {MAX_COMPONENT_BYTES} are taken",
            bytes.len()
        )));
    }
    let (mut depth, mut parts) = (0_u32, 0_u32);
    let mut manifest = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| refused(format!("it is not valid WebAssembly ({error})")))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(refused(
                    "it is a core module, not a component; build it with `cargo xtask \
                     build-backends`",
                ));
            }
            Payload::Version { .. } => {
                depth += 1;
                parts += 1;
                if depth > MAX_DEPTH || parts > MAX_PARTS {
                    return Err(refused(format!(
                        "it holds more than {MAX_PARTS} modules and components, or has them more \
                         than {MAX_DEPTH} deep"
                    )));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => {
                manifest = manifest.or(Some(section.data()));
            }
            _ => {}
        }
    }
    manifest.map_or_else(
        || {
            Err(refused(format!(
                "it has no manifest (custom section `{SECTION}`); build it with `cargo xtask \
                 build-backends`"
            )))
        },
        parse,
    )
}

fn parse(data: &[u8]) -> Result<Manifest, StoreError> {
    if data.len() > MAX_MANIFEST_BYTES {
        return Err(refused(format!(
            "its manifest has {} bytes, at most {MAX_MANIFEST_BYTES} are read",
            data.len()
        )));
    }
    serde_json::from_slice(data)
        .map_err(|error| refused(format!("its manifest cannot be read ({error})")))
}

/// Says why, in printable words: parsers quote what they found.
fn refused(why: impl AsRef<str>) -> StoreError {
    StoreError::NotAComponent(text::one_line(why.as_ref(), REFUSAL_BYTES))
}
