//! Lines for the host's log: at most 64 KiB a call, then dropped with a note. Never write a secret.

use crate::bindings::backend::wharf::volume::log::Level;
use crate::host;

/// For the author of the backend.
pub fn debug(message: impl AsRef<str>) {
    host::write(Level::Debug, message.as_ref());
}

/// For an operator who wants to know what happens.
pub fn info(message: impl AsRef<str>) {
    host::write(Level::Info, message.as_ref());
}

/// Something that an operator should look at some day.
pub fn warn(message: impl AsRef<str>) {
    host::write(Level::Warn, message.as_ref());
}

/// Something that an operator must look at now.
pub fn error(message: impl AsRef<str>) {
    host::write(Level::Error, message.as_ref());
}
