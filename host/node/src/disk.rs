//! Block devices and what is on them: finding one, finding out what it holds, making, checking and
//! growing a file system.

pub(crate) mod check;
pub(crate) mod device;
pub(crate) mod file_system;
pub(crate) mod find;
pub(crate) mod format;
mod format_intent;
pub(crate) mod grow;
pub(crate) mod ownership;
pub(crate) mod probe;
pub(crate) mod queue;
mod superblock;
