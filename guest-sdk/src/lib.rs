//! Write a storage backend for Wharf.
//!
//! A backend is a WebAssembly component without files, sockets or root. It decides; the host does.
//! There are two halves:
//!
//! - **in the cloud** ([`controller`]): the host *observes* the resources through you, and asks for
//!   one step at a time. You answer [`Answer::Done`], [`Answer::Pending`] or an [`Error`], and
//!   never wait;
//! - **on a node** ([`node`]): you return a [`Plan`](plan::Plan) of typed steps. The host checks
//!   each one against what the operator granted, skips what is already true and undoes what it did
//!   when a later step fails.
//!
//! # A whole backend
//!
//! Volumes of this one are directories on the node, under a directory that the operator grants by
//! the name `volumes`:
//!
//! ```
//! use wharf_sdk::identity::{Description, Identity};
//! use wharf_sdk::node::{Node, NodeDescription, PublishRequest};
//! use wharf_sdk::plan::{Directory, Owner, Plan, Writing};
//! use wharf_sdk::types::VolumeCapability;
//! use wharf_sdk::{Error, config};
//!
//! struct Directories;
//!
//! impl Identity for Directories {
//!     fn describe() -> Description {
//!         Description::new("directories", "0.1.0").serves("directories.example.com", [])
//!     }
//! }
//!
//! impl Node for Directories {
//!     fn describe_node() -> Result<NodeDescription, Error> {
//!         let name = config::get("node-name")
//!             .ok_or_else(|| Error::misconfigured("setting `node-name` is missing"))?;
//!         Ok(NodeDescription::new(name))
//!     }
//!
//!     fn plan_publish(request: PublishRequest) -> Result<Plan, Error> {
//!         let path = &request.volume_id;
//!         Ok(Plan::new("a directory on this node")
//!             .make_directory(Directory::granted("volumes", path), 0o755, Owner::UNCHANGED)
//!             .mount_directory("volumes", path, Writing::unless_read_only(request.read_only)))
//!     }
//! }
//!
//! // What is exported besides `identity`; all else the host does not offer.
//! wharf_sdk::export_backend!(Directories: node);
//!
//! // A backend is ordinary Rust in a native build, and so are its tests.
//! let request = PublishRequest::new("data", VolumeCapability::mount(""));
//! let plan = Directories::plan_publish(request)?;
//! let words: Vec<_> = plan.steps.iter().map(|step| step.name()).collect();
//! assert_eq!(words, ["make-directory", "mount-directory"]);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Asking the cloud
//!
//! A request names an *endpoint* and an *account* of the operator's, never a URL and never a key.
//! The host resolves, signs and sends it. Say honestly whether a request may change something: an
//! unanswered `mutate` makes the outcome unknown, and the host never reports that as final.
//!
//! ```
//! use wharf_sdk::http::{Request, Response};
//! use wharf_sdk::testing::FakeHost;
//!
//! let answer = Response::new(200, r#"{"State":"free"}"#);
//! let host = FakeHost::install().answering("GetVolume", answer);
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "PascalCase")]
//! struct Answer {
//!     state: String,
//! }
//!
//! let request = Request::read("storage", "GET", "/")
//!     .signed("cloud", "GetVolume")
//!     .with_query("VolumeId", "v-1");
//! let answer: Answer = request.send()?.json()?;
//! assert_eq!(answer.state, "free");
//! assert_eq!(host.actions(), ["GetVolume"]);
//! # Ok::<(), wharf_sdk::Error>(())
//! ```
//!
//! # Taking time
//!
//! What takes the cloud a minute takes several calls of yours. Each gets fresh observations, and
//! what the last one left in [`Pending::resume`](types::Pending). Nothing else survives: every call
//! runs in a new instance, perhaps of a newer build, perhaps on another node.
//!
//! ```
//! use wharf_sdk::types::{Answer, Observation, Pending, Progress};
//!
//! fn next(progress: Progress) -> Answer<()> {
//!     match progress.of("v-1") {
//!         Some(seen) if seen.state == b"free" => Answer::Done(()),
//!         _ => Pending::after_ms(1000, "the cloud is still making v-1").watching("v-1").into(),
//!     }
//! }
//!
//! assert!(matches!(next(Progress::default()), Answer::Pending(_)));
//! let seen = Progress::observed([Observation::found("v-1", *b"free")]);
//! assert!(matches!(next(seen), Answer::Done(())));
//! ```
//!
//! # Working on a volume's files from the controller
//!
//! What no API of the cloud does (a directory in a file system that must be made, archived or
//! removed) a verb of the controller asks the host to do: it answers [`Perform`](types::Perform)
//! with a plan, the host runs it in a private mount on its own node, and calls again.
//!
//! # Building
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//! ```
//!
//! Beside `Cargo.toml`, `manifest.toml` says what the component asks for; the operator's grants cut
//! it down:
//!
//! ```toml
//! name = "directories"
//! world = "backend"                  # or "cloud-auth"
//! contract = "wharf:volume@0.1.0"
//!
//! [[request]]                        # one for each endpoint
//! endpoint = "storage"
//! signed = true                      # by an account
//! actions = ["GetVolume"]            # without actions: `paths = ["GET /volumes/*?key&other"]`
//!
//! [node]
//! steps = ["make-directory", "mount-directory"]
//! ```
//!
//! The target is `wasm32-unknown-unknown`, the profile `guest`. A panic becomes an error that
//! carries its text; nothing else is lost with it, since every call has an instance of its own.
//!
//! # Holding it against the contract
//!
//! `examples/conformance` is a crate outside of Wharf's workspace that loads a component and calls
//! every function of it twice and after a kill, as the contract allows a host to. Copy it, let its
//! paths lead to Wharf, and write into its test what your backend's volumes are:
//!
//! ```console
//! WHARF_COMPONENT=target/my-backend.wasm cargo test
//! ```

pub mod auth;
#[doc(hidden)]
pub mod bindings;
pub mod clock;
#[doc(hidden)]
pub mod component;
pub mod config;
pub mod controller;
pub mod error;
mod host;
pub mod http;
pub mod identity;
pub mod legacy;
pub mod log;
pub mod node;
pub mod plan;
pub mod random;
pub mod snapshots;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod types;

pub use error::{Blame, Effect, Error, ErrorKind};
pub use types::{Answer, Pairs, Progress};
