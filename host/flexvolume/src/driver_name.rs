//! `vendor/driver`, the name of a FlexVolume driver in the Kubernetes API, which is `vendor~driver`
//! on disk.

use std::fmt;

use serde::{Deserialize, Serialize};
use wharf_core::Error;

/// A FlexVolume driver's name: two parts, each of letters, digits, `-`, `_` and `.`, and neither
/// begins with a dot.
///
/// The vendor is required: without one, kube-controller-manager cannot detach after a crash (it
/// splits unique names into three parts).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DriverName {
    vendor: String,
    driver: String,
}

/// Kubernetes allows 253 for the vendor and 63 for the driver; a directory name on disk has to hold
/// both and the separator in 255.
const MAX_LENGTH: usize = 255;

impl DriverName {
    /// Reads `vendor/driver`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::split(text, '/').ok_or_else(|| {
            Error::invalid(format!("`{text}` is not the name of a FlexVolume driver"))
                .with_hint("it is written `vendor/driver`, of letters, digits, `-`, `_` and `.`")
        })
    }

    /// Reads the name of a directory in the plugin directory, `vendor~driver`.
    pub(crate) fn of_directory(directory: &str) -> Option<Self> {
        Self::split(directory, '~')
    }

    fn split(text: &str, separator: char) -> Option<Self> {
        let (vendor, driver) = text.split_once(separator)?;
        (text.len() <= MAX_LENGTH && is_part(vendor) && is_part(driver))
            .then(|| Self { vendor: vendor.to_owned(), driver: driver.to_owned() })
    }

    /// The part before the slash.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// The part after the slash: also the name of the executable.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The name of the directory in the plugin directory.
    pub fn directory(&self) -> String {
        format!("{}~{}", self.vendor, self.driver)
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.driver)
    }
}

impl TryFrom<String> for DriverName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<DriverName> for String {
    fn from(name: DriverName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_driver_in_the_api_and_on_disk() {
        let name = DriverName::parse("alicloud/disk").unwrap();
        assert_eq!(name.directory(), "alicloud~disk");
        assert_eq!(DriverName::of_directory("alicloud~disk"), Some(name));
    }

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for text in
            ["disk", "/disk", "alicloud/", "a/b/c", "../disk", "a/..", "a/.b", "a/b c", "a~b/c", ""]
        {
            assert!(DriverName::parse(text).is_err(), "{text}");
        }
    }
}
