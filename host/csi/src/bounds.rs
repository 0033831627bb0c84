//! The bounds that CSI sets on every field, so that nothing larger reaches the core: strings 128
//! bytes, maps 4 KiB, unless a field says otherwise. A message as a whole is bounded by gRPC's 4
//! MiB. Messages name the field, never what was in it.

use std::collections::BTreeMap;

use wharf_core::Error;
use wharf_core::types::Parameters;

/// CSI, "Size Limits": any string.
pub(crate) const MAX_STRING: usize = 128;
/// CSI, "Size Limits": any map, and `mount_flags` together.
pub(crate) const MAX_MAP: usize = 4096;
/// A volume's `parameters`, beyond what CSI suggests for maps: a StorageClass may hold 256 KiB of
/// them, and the provisioner of Alibaba Cloud's clusters adds all annotations of the claim, which
/// may hold as much.
pub(crate) const MAX_PARAMETERS: usize = 512 << 10;
/// All secrets of one call: Kubernetes bounds a Secret object to 1 MiB, and no key is longer than
/// a certificate chain.
pub(crate) const MAX_SECRETS: usize = 64 << 10;
/// CSI: `node_id`.
pub(crate) const MAX_NODE_ID: usize = 256;

/// Mount flags: empty ones count nothing in [`MAX_MAP`], and no file system knows as many.
pub(crate) const MAX_FLAGS: usize = 256;
/// Ways to use one volume: every access mode with every kind of access and every file system.
pub(crate) const MAX_CAPABILITIES: usize = 128;
/// Places of a topology requirement: the provisioner lists one for each node where a driver's
/// topology names nodes, and Kubernetes has 5000 at most.
pub(crate) const MAX_PLACES: usize = 5000;

/// How many there are in a list.
pub(crate) fn count(field: &str, length: usize, max: usize) -> Result<(), Error> {
    if length > max {
        return Err(Error::invalid(format!(
            "{field} has {length} entries, at most {max} are allowed"
        )));
    }
    Ok(())
}

/// Text that must be there.
pub(crate) fn required(field: &str, value: String, max: usize) -> Result<String, Error> {
    if value.is_empty() {
        return Err(Error::invalid(format!("{field} is missing")));
    }
    optional(field, value, max)
}

/// Text that may be empty.
pub(crate) fn optional(field: &str, value: String, max: usize) -> Result<String, Error> {
    if value.len() > max {
        return Err(Error::invalid(format!(
            "{field} has {} bytes, at most {max} are allowed",
            value.len()
        )));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{field} contains control characters")));
    }
    Ok(value)
}

/// A map, in the order of its keys.
pub(crate) fn map(
    field: &str,
    value: BTreeMap<String, String>,
    max: usize,
) -> Result<Parameters, Error> {
    let size: usize = value.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > max {
        return Err(Error::invalid(format!("{field} has {size} bytes, at most {max} are allowed")));
    }
    Ok(value.into_iter().collect())
}

/// A size: never negative, zero means that none is given.
pub(crate) fn size(field: &str, value: i64) -> Result<Option<u64>, Error> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) => Err(Error::invalid(format!("{field} is negative"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_may_be_as_long_as_its_bound_and_no_longer() {
        assert!(required("name", "x".repeat(MAX_STRING), MAX_STRING).is_ok());
        let refused = required("name", "x".repeat(MAX_STRING + 1), MAX_STRING).unwrap_err();
        assert_eq!(refused.message, "name has 129 bytes, at most 128 are allowed");
    }

    #[test]
    fn bytes_are_counted_and_not_characters() {
        assert!(required("name", "盘".repeat(43), MAX_STRING).is_err());
        assert!(required("name", "盘".repeat(42), MAX_STRING).is_ok());
    }

    #[test]
    fn control_characters_and_emptiness_are_refused() {
        for name in ["a\nb", "a\0", "\u{85}"] {
            assert!(required("name", name.into(), MAX_STRING).is_err(), "{name:?}");
        }
        assert_eq!(
            required("name", String::new(), MAX_STRING).unwrap_err().message,
            "name is missing"
        );
    }

    #[test]
    fn keys_and_values_of_a_map_count_together_and_are_not_repeated_in_the_message() {
        let whole = BTreeMap::from([("k".repeat(96), "v".repeat(4000))]);
        assert!(map("volume_context", whole.clone(), MAX_MAP).is_ok());
        let mut over = whole;
        over.insert("x".into(), String::new());
        assert_eq!(
            map("volume_context", over, MAX_MAP).unwrap_err().message,
            "volume_context has 4097 bytes, at most 4096 are allowed"
        );
    }

    #[test]
    fn zero_is_no_size_and_less_is_refused() {
        assert_eq!(size("required_bytes", 0), Ok(None));
        assert_eq!(size("required_bytes", i64::MAX), Ok(Some(i64::MAX.unsigned_abs())));
        assert!(size("required_bytes", -1).is_err());
    }
}
