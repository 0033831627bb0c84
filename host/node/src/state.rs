//! What outlives a process: records of volumes, and locks between processes.

pub(crate) mod lock;
pub(crate) mod record_name;
pub(crate) mod records;
