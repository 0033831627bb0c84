//! Components that have nothing in them but what they say of themselves.

use wasm_encoder::{Component, CustomSection};
use wharf_core::manifest::SECTION;

/// A component with this manifest, which exports nothing.
pub fn component_with(manifest: &str) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&CustomSection { name: SECTION.into(), data: manifest.as_bytes().into() });
    component.finish()
}
