//! FlexVolume: the only crate that knows call-outs.
//!
//! Kubelet and kube-controller-manager execute `<plugins>/<vendor>~<driver>/<driver> <call-out> …`
//! and read one JSON object from a pipe that is both standard output and standard error. The
//! binary's `main` asks [`is_call_out`] first of all and then hands over to [`serve`]; everything
//! else here is reached from there, or from `wharf flexvolume install` through
//! [`install`](mod@install).
//!
//! What is left out: what a volume is and how it gets onto a node (`wharf-core`), mounts and
//! devices (`wharf-node`), components (`wharf-runtime`), the operator's configuration (the binary,
//! which writes what a call-out needs of it into a [`DriverFile`]). Nothing here is asynchronous.

mod answer;
mod call_log;
mod call_outs;
mod device;
mod driver_file;
mod driver_name;
pub mod install;
mod installed_driver;
mod names;
mod no_backend;
mod node_names;
mod object_name;
mod options;
mod paths;
mod process;
mod reply;
mod request;
mod services;
mod verb;

pub use answer::answer;
pub use driver_file::{Capabilities, DriverFile, LogLevel, NodeNameRule, NodeNames};
pub use driver_name::DriverName;
pub use node_names::LocalHost;
pub use options::chosen;
pub use process::{is_call_out, serve};
pub use services::{Open, Services, Teardown};
