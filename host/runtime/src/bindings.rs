//! Generated from `wit/`: both worlds. Only [`crate::convert`] and the host functions look inside.

/// The world `backend`.
pub(crate) mod backend {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "backend",
        imports: { default: trappable },
    });
}

/// The world `cloud-auth`; what both worlds share is the other one's.
pub(crate) mod auth {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "cloud-auth",
        imports: { default: trappable },
        with: {
            "wharf:volume/types": crate::bindings::backend::wharf::volume::types,
            "wharf:volume/http": crate::bindings::backend::wharf::volume::http,
            "wharf:volume/log": crate::bindings::backend::wharf::volume::log,
        },
    });
}

pub(crate) use backend::exports::wharf::volume as exports;
pub(crate) use backend::wharf::volume as imports;
