//! The only crate that touches the operating system: mounts, devices, file systems and the programs
//! that make them.
//!
//! [`LinuxNode`] is the real [`wharf_core::ports::Node`], [`SystemClock`] the real
//! [`wharf_core::ports::Clock`]. What must happen is decided in `wharf-core`; here is only how.
//! Rules that every file keeps:
//!
//! - A path from a caller or a backend is walked component by component from its root and no link
//!   is followed (`paths`).
//! - Whether something is mounted is read from the kernel's mount table, by exact path; nothing
//!   that is mounted is touched to find out, so a dead mount cannot hang a call.
//! - A device is found by its serial, and formatted only when it is provably blank.
//! - What may wait for a server that is gone, or for a disk that hangs, is asked in a process of
//!   its own, which can be killed or left behind: a few system calls in a forked one (`child`),
//!   work on directories and all about servers in this program, started again (`remote`).
//! - Programs are started by argument vector with a cleared environment and a time bound; there is
//!   no shell.
//!
//! `disk/` knows devices and file systems, `mounts/` the mount table, paths and mounting, `state/`
//! records and locks, `trees/` whole directories; `steps/` has a file for each step of a plan, and
//! `run.rs` runs a plan.

#![deny(unsafe_code)]

mod child;
mod clock;
mod context;
mod directories;
mod disk;
mod helper_keys;
mod mounts;
mod node;
mod options;
mod program;
mod remote;
mod run;
mod sent_error;
mod state;
mod steps;
pub mod supervisor;
mod survey;
mod trees;
mod undo;

pub use clock::SystemClock;
pub use helper_keys::{HelperKeys, RenderedKeys};
pub use node::LinuxNode;
pub use options::{NodeOptions, ProgramBounds};
pub use remote::{COMMAND as CHILD_COMMAND, answer_parent};
pub use survey::Survey;
