//! The life of a component: kept, compiled, checked, made active, loaded, replaced.
//!
//! [`Store`] is the directory that says what is installed and which generation is active.
//! [`Installer`] is what an administrator, or the start of a container, does to it: no generation
//! becomes active before it was compiled in a process with limits and has described itself.
//! [`Loader`] is what calls meet: the active generation of each component, replaced under way.
//!
//! What is left out: what a component may do, which is the operator's configuration, and how it
//! runs, which is `wharf-runtime`'s. The binary parses words and prints results.

mod changes;
mod check;
mod compile;
mod installer;
mod loader;
mod provide;
mod store;
mod stored;
#[cfg(test)]
mod test_store;

pub use changes::{Changes, Components};
pub use compile::{COMPILE_COMMAND, compile_for_parent};
pub use installer::{InstallError, Installer};
pub use loader::{BEING_LOADED, Loader, NOT_NEEDED_YET, Serving};
pub use provide::Provided;
pub use store::{
    Active, ComponentId, Digest, Generation, Listing, MAX_COMPONENT_BYTES, Reason, Revision, State,
    Store, StoreError, Summary, read_manifest,
};
pub use stored::{StoredAuthenticator, StoredBackend};
