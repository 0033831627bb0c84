//! Components at work: the only crate that knows wasmtime.
//!
//! It plays the core's port `Backend` with a component ([`WasmBackend`]), signs with another
//! ([`WasmAuthenticator`] behind [`Accounts`]), and is the way out for both ([`HttpEgress`]). It
//! knows nothing of files beyond the code it is handed, of protocols, and of clouds: where
//! components lie, and which of them serves, is `wharf-modules`'.
//!
//! One call is one store and one instance, whatever the call: traps, leaks, hangs, cancellation and
//! hot swap need no further thought. All calls block the thread they come from.

mod account;
mod authenticator;
mod backend;
mod bindings;
mod bounds;
mod check;
mod component_error;
mod contract;
mod convert;
mod egress;
mod engine;
mod guest;
mod guest_log;
mod host;
mod limits;
mod measure;
mod observer;
mod on_demand;
mod plan_builder;
mod share;
mod ticker;
mod verbs;
mod wasi;

pub use account::{
    Account, Accounts, AuthDescription, Authenticator, CALL_SOURCE, Credential, CredentialFile,
    Rendered, Reserved, Signature, Signer, Source, SourceReader, Unsigned,
};
pub use authenticator::{AuthCode, AuthPorts, WasmAuthenticator};
pub use backend::{BackendCode, BackendPorts, WasmBackend};
pub use check::{Checked, check_component};
pub use component_error::ComponentError;
pub use contract::VERSION as CONTRACT_VERSION;
pub use egress::{
    Budget, Egress, Endpoint, EndpointError, Grants, HttpEgress, OwnHttp, OwnRequest, PaceOfAction,
    PaceOfSite, Probed, REQUESTS_AT_ONCE, Request, RequestEffect, Requester, Response, Scope,
    Spent,
};
pub use engine::{Engine, EngineMode, MEMORY_BYTES};
pub use guest::CallPorts;
pub use limits::Limits;
pub use measure::{Measured, measure};
pub use observer::{CallEvent, Outcome, RequestEvent, RuntimeObserver};
pub use share::{CALLS_AT_ONCE, SHARE_BYTES, Share, ShareLimits, ShareUse};
pub use wasmtime::component::Component;
