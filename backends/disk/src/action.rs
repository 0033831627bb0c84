//! Every API action that this backend uses. There is no other way to a request, so the manifest can
//! be compared with it.

use wharf_alicloud::{Api, RpcCall};
use wharf_sdk::Error;

use crate::settings;

/// An ECS action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Attaches a disk to an instance.
    AttachDisk,
    /// Creates a disk.
    CreateDisk,
    /// Deletes a disk.
    DeleteDisk,
    /// Looks at what a zone sells.
    DescribeAvailableResource,
    /// Looks at disks.
    DescribeDisks,
    /// Looks at what an instance type can hold.
    DescribeInstanceTypes,
    /// Detaches a disk from an instance.
    DetachDisk,
    /// Switches a disk's bursting.
    ModifyDiskAttribute,
    /// Changes a disk's category, performance level or provisioned operations.
    ModifyDiskSpec,
    /// Makes a disk larger.
    ResizeDisk,
    /// Tags a disk.
    TagResources,
    /// Takes tags from a disk.
    UntagResources,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AttachDisk,
        Self::CreateDisk,
        Self::DeleteDisk,
        Self::DescribeAvailableResource,
        Self::DescribeDisks,
        Self::DescribeInstanceTypes,
        Self::DetachDisk,
        Self::ModifyDiskAttribute,
        Self::ModifyDiskSpec,
        Self::ResizeDisk,
        Self::TagResources,
        Self::UntagResources,
    ];

    /// The cloud's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttachDisk => "AttachDisk",
            Self::CreateDisk => "CreateDisk",
            Self::DeleteDisk => "DeleteDisk",
            Self::DescribeAvailableResource => "DescribeAvailableResource",
            Self::DescribeDisks => "DescribeDisks",
            Self::DescribeInstanceTypes => "DescribeInstanceTypes",
            Self::DetachDisk => "DetachDisk",
            Self::ModifyDiskAttribute => "ModifyDiskAttribute",
            Self::ModifyDiskSpec => "ModifyDiskSpec",
            Self::ResizeDisk => "ResizeDisk",
            Self::TagResources => "TagResources",
            Self::UntagResources => "UntagResources",
        }
    }

    /// A call of this action, in the region of the settings.
    ///
    /// # Errors
    /// The region is neither set nor known to the metadata service.
    pub fn call(self) -> Result<RpcCall, Error> {
        Ok(self.call_in(&settings::region()?))
    }

    /// A call of this action in a region.
    pub fn call_in(self, region: &str) -> RpcCall {
        let call = match self {
            Self::DescribeAvailableResource | Self::DescribeDisks | Self::DescribeInstanceTypes => {
                Api::ecs().read(self.name())
            }
            Self::AttachDisk
            | Self::CreateDisk
            | Self::DeleteDisk
            | Self::DetachDisk
            | Self::ModifyDiskAttribute
            | Self::ModifyDiskSpec
            | Self::ResizeDisk
            | Self::TagResources
            | Self::UntagResources => Api::ecs().mutate(self.name()),
        };
        call.with("RegionId", region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wharf_alicloud::metadata;

    #[test]
    fn the_manifest_asks_for_exactly_the_actions_that_are_used() {
        let manifest: toml::Table = toml::from_str(include_str!("../manifest.toml")).unwrap();
        let asked = |endpoint: &str| -> BTreeSet<String> {
            let requests = manifest["request"].as_array().unwrap();
            let request = requests
                .iter()
                .find(|request| request["endpoint"].as_str() == Some(endpoint))
                .unwrap();
            let key = if request["signed"].as_bool().unwrap() { "actions" } else { "paths" };
            request[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|action| action.as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            asked("ecs"),
            Action::ALL.iter().map(|action| action.name().to_owned()).collect()
        );
        let metadata =
            [format!("PUT {}", metadata::TOKEN_PATH), format!("GET {}", metadata::IDENTITY_PATH)];
        assert_eq!(asked("metadata"), metadata.into_iter().collect());
    }
}
