//! Errors that say that something is not there: where it was to end, it has ended.

use wharf_alicloud::Failure;
use wharf_sdk::{Error, ErrorKind};

/// The cloud says so of a mount target that is gone.
const NO_MOUNT_TARGET: &str = "InvalidParam.MountTargetDomain";

/// The answer; `None` where the cloud does not have what was asked about.
///
/// # Errors
/// All others.
pub fn gone<T>(answer: Result<T, Failure>) -> Result<Option<T>, Error> {
    match answer.map_err(Error::from) {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) if error.code.as_deref() == Some(NO_MOUNT_TARGET) => Ok(None),
        other => other.map(Some),
    }
}
