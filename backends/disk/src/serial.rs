//! Disk ids and the serials that their devices report.

use std::fmt;

/// The longest id that the cloud is asked about; real ones have 22 characters.
const LONGEST: usize = 64;

/// An id of the form `d-…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskId(String);

impl DiskId {
    /// Reads an id; `None` when no disk can have it.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("d-")?;
        let is_plain = !rest.is_empty()
            && text.len() <= LONGEST
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_plain.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The serial that the device of a disk made since June 2020 reports: the id without its
    /// beginning.
    pub fn serial(&self) -> &str {
        self.0.get(2..).unwrap_or_default()
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names of the device under `/dev/disk/by-id`: virtio first, then NVMe.
pub fn links(serial: &str) -> Vec<String> {
    vec![format!("virtio-{serial}"), format!("nvme-Alibaba_Cloud_Elastic_Block_Storage_{serial}")]
}

/// Whether this is an instance's id.
pub fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|rest| {
        !rest.is_empty()
            && text.len() <= LONGEST
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disk_ids_are_disk_ids() {
        assert_eq!(DiskId::parse("d-bp1abc").unwrap().serial(), "bp1abc");
        for text in
            ["", "d-", "vol-1", "d-a b", "d-\"]", "D-1", "d-中", &format!("d-{}", "x".repeat(63))]
        {
            assert_eq!(DiskId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn both_buses_have_a_name_for_the_device() {
        assert_eq!(links("bp1"), ["virtio-bp1", "nvme-Alibaba_Cloud_Elastic_Block_Storage_bp1"]);
    }
}
