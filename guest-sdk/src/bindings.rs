//! What `wit-bindgen` makes of the two worlds in `wit/`. Nothing outside the SDK names this module:
//! a new major version of the generator, or of the contract, changes the SDK and not the backends.
#![allow(
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated code is judged by its generator's own tests"
)]

pub mod backend {
    wit_bindgen::generate!({
        path: "../wit",
        world: "backend",
        pub_export_macro: true,
        export_macro_name: "__export_backend_world",
        default_bindings_module: "wharf_sdk::bindings::backend",
        additional_derives: [PartialEq],
        generate_all,
    });
}

pub mod cloud_auth {
    wit_bindgen::generate!({
        path: "../wit",
        world: "cloud-auth",
        pub_export_macro: true,
        export_macro_name: "__export_cloud_auth_world",
        default_bindings_module: "wharf_sdk::bindings::cloud_auth",
        with: {
            "wharf:volume/types@0.1.0": crate::bindings::backend::wharf::volume::types,
            "wharf:volume/http@0.1.0": crate::bindings::backend::wharf::volume::http,
            "wharf:volume/log@0.1.0": crate::bindings::backend::wharf::volume::log,
        },
    });
}
