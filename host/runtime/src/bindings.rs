//! Generated from `wit/`: every interface of a backend, and the world `cloud-auth`. Only
//! [`crate::convert`], the verbs and the host functions look inside.

/// Every interface that a backend may export, so that one set of types serves all of them. Whether
/// a component has one is looked up in the component.
pub(crate) mod backend {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package wharf:host;
            world every-interface {
                include wharf:volume/backend@0.1.0;
                include wharf:volume/with-controller@0.1.0;
                include wharf:volume/with-snapshots@0.1.0;
                include wharf:volume/with-node@0.1.0;
                include wharf:volume/with-legacy@0.1.0;
            }
        ",
        world: "wharf:host/every-interface",
        imports: { default: trappable },
        with: {
            "wharf:volume/plans.plan": crate::plan_builder::PlanBuilder,
        },
    });
}

/// The world `cloud-auth`; what it shares with backends is theirs.
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
