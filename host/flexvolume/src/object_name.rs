//! Names of Kubernetes objects that arrive as arguments: PersistentVolumes, inline volumes, nodes.

use std::ffi::OsStr;
use std::fmt;

use wharf_core::Error;

/// Kubernetes allows 253; a file name may have 255, and a record's is the name and `.json`.
const MAX_LENGTH: usize = 250;

/// A name that is safe as a file name. Kubernetes guarantees more than that; what else arrives is
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName(String);

impl ObjectName {
    /// `what`: what is named, for the message.
    pub(crate) fn parse(what: &str, text: &OsStr) -> Result<Self, Error> {
        let name = Self::of_directory(what, text)?;
        if name.0.len() > MAX_LENGTH {
            return Err(Error::invalid(format!("the {what} is longer than {MAX_LENGTH} bytes")));
        }
        Ok(name)
    }

    /// The name of a directory, which may be longer than any record's: what an earlier driver
    /// mounted there has to be unmounted, and a path has a bound of its own.
    pub(crate) fn of_directory(what: &str, text: &OsStr) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::invalid(format!("the {what} {why}")));
        let Some(text) = text.to_str() else { return refuse("is not UTF-8") };
        match text {
            "" => refuse("is empty"),
            _ if text.starts_with('.')
                || text.contains('/')
                || text.chars().any(char::is_control) =>
            {
                refuse("is not a name that Kubernetes allows")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_reaches_out_of_its_directory() {
        for text in ["", ".", "..", ".hidden", "a/b", "../a", "a\nb", &"x".repeat(251)] {
            assert!(ObjectName::parse("volume name", OsStr::new(text)).is_err(), "{text:?}");
        }
        assert_eq!(
            ObjectName::parse("volume name", OsStr::new("d-2ze..1")).unwrap().as_str(),
            "d-2ze..1"
        );
    }
}
