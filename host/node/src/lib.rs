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
//! - Programs are started by argument vector with a cleared environment and a time bound; there is
//!   no shell.
//!
//! Left out: NFS and FUSE mounts. A plan that asks for one is refused as a whole, before its first
//! step.

#![deny(unsafe_code)]

mod check;
mod clock;
mod device;
mod format;
mod grow;
mod intent;
mod lock;
mod mkfs_arguments;
mod mount_options;
mod mount_table;
mod mounting;
mod node;
mod options;
mod paths;
mod probe;
mod program;
mod queue;
mod record_name;
mod records;
mod run;
mod superblock;
mod undo;
mod unmount;
mod usage;

pub use clock::SystemClock;

pub use node::LinuxNode;
pub use options::{NodeOptions, ProgramBounds};
