//! Files that this process acts on as root: the configuration, component stores, volume state.
//! They are read only where nobody else can write them, and replaced so that a reader, or a crash,
//! finds the old content or the new one.
//!
//! What is left out: what the files mean, and their locks.

mod directory;
mod error;
mod permissions;

pub use crate::directory::{
    OwnDirectory, beside, make_private_directory, replace, replace_with_mode, sync,
};
pub use crate::error::FileError;
pub use crate::permissions::{Untrusted, check_metadata, check_path, check_writers};
