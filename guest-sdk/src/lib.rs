//! Placeholder.
#![allow(missing_docs)]
pub mod bindings { wit_bindgen::generate!({ path: "../wit", world: "backend", pub_export_macro: true, generate_all }); }
pub mod auth_bindings { wit_bindgen::generate!({ path: "../wit", world: "cloud-auth", pub_export_macro: true, generate_all }); }
