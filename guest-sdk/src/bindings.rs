//! What `wit-bindgen` makes of the worlds in `wit/`. Nothing outside the SDK names this module: a
//! new major version of the generator, or of the contract, changes the SDK and not the backends.
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
        export_macro_name: "__export_identity",
        default_bindings_module: "wharf_sdk::bindings::backend",
        additional_derives: [PartialEq],
        additional_derives_ignore: ["perform", "outcome"],
        generate_all,
    });
}

/// A world that exports one interface; the types that it shares are those of `backend`.
macro_rules! world {
    ($module:ident, $world:literal, $export:literal, $bindings:literal $(, $plans:literal)?) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $bindings,
                additional_derives: [PartialEq],
                additional_derives_ignore: [
                    "create-answer",
                    "expand-answer",
                    "create-snapshot-answer",
                    "create-group-answer",
                ],
                with: {
                    "wharf:volume/types@0.1.0": crate::bindings::backend::wharf::volume::types,
                    $($plans: crate::bindings::backend::wharf::volume::plans,)?
                },
            });
        }
    };
}

world!(
    controller,
    "with-controller",
    "__export_controller",
    "wharf_sdk::bindings::controller",
    "wharf:volume/plans@0.1.0"
);
world!(
    snapshots,
    "with-snapshots",
    "__export_snapshots",
    "wharf_sdk::bindings::snapshots",
    "wharf:volume/plans@0.1.0"
);
world!(node, "with-node", "__export_node", "wharf_sdk::bindings::node", "wharf:volume/plans@0.1.0");
world!(legacy, "with-legacy", "__export_legacy", "wharf_sdk::bindings::legacy");

pub mod cloud_auth {
    wit_bindgen::generate!({
        path: "../wit",
        world: "cloud-auth",
        pub_export_macro: true,
        export_macro_name: "__export_authenticator",
        default_bindings_module: "wharf_sdk::bindings::cloud_auth",
        with: {
            "wharf:volume/types@0.1.0": crate::bindings::backend::wharf::volume::types,
            "wharf:volume/http@0.1.0": crate::bindings::backend::wharf::volume::http,
            "wharf:volume/log@0.1.0": crate::bindings::backend::wharf::volume::log,
        },
    });
}
