//! The operator's settings for this backend. Strings; each backend documents its own.

use crate::error::Error;
use crate::host;
use crate::types::Parameters;

/// The value of a setting; an empty one counts as absent.
pub fn get(key: &str) -> Option<String> {
    host::config_get(key).filter(|value| !value.is_empty())
}

/// Every setting.
pub fn all() -> Parameters {
    host::config_all()
}

/// A setting that is `true` or `false`; absent is `false`.
///
/// # Errors
/// Anything else, naming the setting.
pub fn flag(key: &str) -> Result<bool, Error> {
    match get(key).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::misconfigured(format!(
            "setting `{key}` of the backend is `{other}`, allowed: true or false"
        ))),
    }
}

/// A setting that is a number; absent is `None`.
///
/// # Errors
/// Anything that is not a number, naming the setting.
pub fn number(key: &str) -> Result<Option<u32>, Error> {
    get(key)
        .map(|value| {
            value.parse().map_err(|_| {
                Error::misconfigured(format!(
                    "setting `{key}` of the backend is `{value}`, allowed: a whole number"
                ))
            })
        })
        .transpose()
}
