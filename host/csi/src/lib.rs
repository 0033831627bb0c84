//! The CSI front end: the only crate that knows gRPC and CSI.
//!
//! A [`Driver`] is served on one unix socket by [`serve`]. Every call is parsed at the edge into
//! the core's types, run on a blocking thread behind a bound, and answered; errors become status
//! codes in one place ([`status`]). Kubelet learns of a driver by its [`Registration`]. What is
//! left out on purpose: deciding anything (`wharf-core` does), and touching the node or the cloud.
//!
//! Called by the binary (`wharf csi`). The generated clients in [`proto`] serve tests that play
//! kubelet and the sidecars.

mod accept;
mod authority;
mod bounds;
mod calls;
mod capabilities;
mod codec;
mod controller;
mod driver;
pub mod endpoint;
mod identity;
mod node;
mod observer;
mod paths;
mod probe;
pub mod proto;
mod registration;
mod request;
mod response;
mod server;
mod socket;
pub mod status;
mod subject;
mod timeout;

pub use calls::BLOCKING_THREADS;
pub use driver::{DEFAULT_DRAIN, Driver};
pub use observer::{Answered, CallObserver, Work, Working};
pub use probe::{Probed, probe};
pub use registration::{Registration, RegistrationState};
pub use server::{ServeError, serve};
pub use socket::{SocketError, SocketGuard, bind};
