//! Why a component cannot be used. Every text is for the person who installs it.

/// Why a component cannot be compiled, loaded, linked or started.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The engine itself.
    #[error("the WebAssembly engine cannot be set up on this machine: {0}")]
    Engine(String),
    /// Not a component, or one that needs features that are off.
    #[error("this is not a WebAssembly component that Wharf can compile: {0}")]
    Compile(String),
    /// There is no memory or address space for it.
    #[error("this process gets no more memory for the component: {0}; raise its limits")]
    Memory(String),
    /// Precompiled by another engine.
    #[error(
        "the precompiled code was made by another build of Wharf and must be compiled again: {0}"
    )]
    Stale(String),
    /// Its imports or exports are not those of the contract.
    #[error("the component does not fit this build's contract: {}", .0.join("; "))]
    Contract(Vec<String>),
    /// It does not start, or its `describe` fails.
    #[error("{0}")]
    Check(wharf_core::Error),
    /// It says something else about itself than its manifest.
    #[error(
        "the component calls itself `{described}`, and its manifest says `{manifest}`: build it \
         again so that both agree"
    )]
    Name {
        /// What `describe` answered.
        described: String,
        /// What the manifest says.
        manifest: String,
    },
}
