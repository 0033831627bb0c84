//! How each verb of the core is asked of a component: what crosses into it, what comes back, and
//! what is checked. One file for each verb; [`WasmBackend`](crate::WasmBackend) calls all of them
//! in one way.

mod attach;
mod capacity;
mod create;
mod delete;
mod describe_node;
mod describe_volume;
mod detach;
mod expand;
mod list;
mod modify;
mod observe;
mod plan_expand;
mod plan_publish;
mod plan_stage;
mod read;
mod translate;
mod validate;

use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};
use wharf_core::Error;
use wharf_core::plan::Plan;
use wharf_core::types::{Caller, Progress};
use wharf_core::verbs::Verb;

use crate::host::HostCtx;
pub(crate) use crate::share::Network;

/// Whether an answer keeps the contract's bounds.
pub(crate) type Checked = Result<(), Error>;
/// An answer, or that the guest handed back a handle which is not its own.
pub(crate) type Lifted<T> = wasmtime::Result<T>;

/// A verb as a component's function.
pub(crate) trait WasmVerb: Verb {
    /// The interface of the contract that has it.
    const INTERFACE: &'static str;
    /// Whether it may send requests. The contract calls the others static or pure, and they are
    /// held to it.
    const NETWORK: Network;
    /// Its parameters in the contract's types.
    type Params: ComponentNamedList + Lower + Send + Sync + 'static;
    /// Its result in the contract's types, errors apart.
    type Wire: ComponentType + Lift + Send + Sync + 'static;

    /// Into the contract's types.
    fn lower(request: &Self::Request, progress: &Progress) -> Self::Params;

    /// Out of the contract's types. Handles are taken from the guest here.
    fn lift(wire: Self::Wire, ctx: &mut HostCtx) -> Lifted<Self::Answer>;

    /// Holds the answer against the contract's bounds and against what was asked.
    fn check(request: &Self::Request, answer: &Self::Answer) -> Checked;

    /// The plan in an answer, if there is one: its steps are compared with the manifest.
    fn plan(_answer: &Self::Answer) -> Option<&Plan> {
        None
    }

    /// Who asks, if the request says so.
    fn caller(_request: &Self::Request) -> Option<&Caller> {
        None
    }
}
