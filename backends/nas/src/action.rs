//! Every API action that this backend uses. There is no other way to a request, so the manifest can
//! be compared with it.

use wharf_alicloud::{Api, RpcCall};

/// NAS.
const NAS: Api = Api::new("nas", "2017-06-26");

/// A NAS action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the quota of a directory.
    CancelDirQuota,
    /// Makes a directory with a name of its own on the network.
    CreateAccessPoint,
    /// Creates a file system.
    CreateFileSystem,
    /// Makes a file system reachable from a network.
    CreateMountTarget,
    /// Ends an access point; its directory stays.
    DeleteAccessPoint,
    /// Deletes a file system with all that is in it.
    DeleteFileSystem,
    /// Ends that.
    DeleteMountTarget,
    /// Looks at access points.
    DescribeAccessPoints,
    /// Looks at quotas.
    DescribeDirQuotas,
    /// Looks at file systems and their mount targets.
    DescribeFileSystems,
    /// Sets the quota of a directory.
    SetDirQuota,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CancelDirQuota,
        Self::CreateAccessPoint,
        Self::CreateFileSystem,
        Self::CreateMountTarget,
        Self::DeleteAccessPoint,
        Self::DeleteFileSystem,
        Self::DeleteMountTarget,
        Self::DescribeAccessPoints,
        Self::DescribeDirQuotas,
        Self::DescribeFileSystems,
        Self::SetDirQuota,
    ];

    /// The cloud's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CancelDirQuota => "CancelDirQuota",
            Self::CreateAccessPoint => "CreateAccessPoint",
            Self::CreateFileSystem => "CreateFileSystem",
            Self::CreateMountTarget => "CreateMountTarget",
            Self::DeleteAccessPoint => "DeleteAccessPoint",
            Self::DeleteFileSystem => "DeleteFileSystem",
            Self::DeleteMountTarget => "DeleteMountTarget",
            Self::DescribeAccessPoints => "DescribeAccessPoints",
            Self::DescribeDirQuotas => "DescribeDirQuotas",
            Self::DescribeFileSystems => "DescribeFileSystems",
            Self::SetDirQuota => "SetDirQuota",
        }
    }

    /// A call of this action. The endpoint is that of one region, so no region is named.
    pub fn call(self) -> RpcCall {
        match self {
            Self::DescribeAccessPoints | Self::DescribeDirQuotas | Self::DescribeFileSystems => {
                NAS.read(self.name())
            }
            Self::CancelDirQuota
            | Self::CreateAccessPoint
            | Self::CreateFileSystem
            | Self::CreateMountTarget
            | Self::DeleteAccessPoint
            | Self::DeleteFileSystem
            | Self::DeleteMountTarget
            | Self::SetDirQuota => NAS.mutate(self.name()),
        }
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
        let asked = |endpoint: &str, key: &str| -> BTreeSet<String> {
            let requests = manifest["request"].as_array().unwrap();
            let of_endpoint =
                |request: &&toml::Value| request["endpoint"].as_str() == Some(endpoint);
            let words = requests.iter().find(of_endpoint).unwrap()[key].as_array().unwrap();
            words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let used = Action::ALL.iter().map(|action| action.name().to_owned()).collect();
        assert_eq!(asked("nas", "actions"), used);
        let metadata =
            [format!("PUT {}", metadata::TOKEN_PATH), format!("GET {}", metadata::IDENTITY_PATH)];
        assert_eq!(asked("metadata", "paths"), metadata.into_iter().collect());
    }
}
