//! A core module becomes a component: custom sections that nothing reads are dropped, the module is
//! wrapped by the contract that it was built against, and its manifest is appended. The same input
//! gives the same bytes. Called by `build-backends`.

use std::borrow::Cow;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use wasm_encoder::{ComponentSection, CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wharf_core::manifest;
use wit_component::ComponentEncoder;

/// Changes when the same input would give other bytes, so that earlier results are made again.
pub const RECIPE: &str = "2";

/// The types of the contract, as `wit-bindgen` leaves them for the encoder.
const CONTRACT_SECTION: &str = "component-type";

/// Wraps the module and appends the manifest.
pub fn componentize(module: &[u8], manifest_json: &[u8]) -> Result<Vec<u8>> {
    let module = without_custom_sections(module)?;
    let mut component = ComponentEncoder::default()
        .module(&module)
        .context("the module does not speak the contract")?
        .validate(true)
        .encode()
        .context("the module does not fit the contract")?;
    CustomSection { name: Cow::Borrowed(manifest::SECTION), data: Cow::Borrowed(manifest_json) }
        .append_to_component(&mut component);
    wasmparser::validate(&component).context("the component is not valid WebAssembly")?;
    Ok(component)
}

/// The SHA-256 of all parts, in hexadecimal. A part's length counts, so that moving bytes between
/// parts changes the result.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        if parts.len() > 1 {
            hash.update(part.len().to_le_bytes());
        }
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

/// Names, producers and target features are for debuggers; what the encoder needs stays.
fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    let mut kept = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("cargo built something that is not WebAssembly")?;
        match &payload {
            Payload::CustomSection(section) if !section.name().starts_with(CONTRACT_SECTION) => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
                    let data = module
                        .get(start..end)
                        .context("a section reaches past the end of the module")?;
                    kept.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(kept.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module_with(name: &'static str) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&CustomSection { name: name.into(), data: Cow::Borrowed(&[1, 2, 3]) });
        module.finish()
    }

    #[test]
    fn names_are_dropped_and_the_contract_stays() {
        assert_eq!(without_custom_sections(&module_with("name")).unwrap(), Module::new().finish());
        let contract = module_with("component-type:wharf");
        assert_eq!(without_custom_sections(&contract).unwrap(), contract);
    }

    #[test]
    fn a_file_that_is_not_webassembly_is_refused() {
        assert!(componentize(b"not wasm", b"{}").is_err());
    }

    #[test]
    fn a_digest_of_one_part_is_its_plain_sha_256_and_the_split_of_several_counts() {
        assert!(digest(&[b""]).starts_with("e3b0c44298fc1c14"));
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
