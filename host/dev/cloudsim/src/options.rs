//! What a region is made from. Every field has a default that suits a test; [`RegionOptions::new`]
//! gives them all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::faults::FaultRule;
use crate::limits::RateLimits;
use crate::policies::Policies;

/// What a region is made from.
#[derive(Debug, Clone)]
pub struct RegionOptions {
    /// Where the region lives: state, disk images, journal, the instances' directories. A second
    /// start over the same directory goes on where the first ended, killed or not.
    pub directory: PathBuf,
    /// The region id. Kept from the first start over a directory in so far as disks and instances
    /// name its zones.
    pub region: String,
    /// The zone ids; never empty.
    pub zones: Vec<String>,
    /// How many instances (nodes). A restart can add, never remove.
    pub instances: usize,
    /// The zone of the n-th instance. Missing entries mean the first zone, so that by default
    /// every disk can move to every instance.
    pub instance_zones: Vec<String>,
    /// The type of all instances.
    pub instance_type: String,
    /// `DiskQuantity` of that type: how many disks an instance takes, its system disk included.
    /// (That one is listed by `DescribeDisks`, with `Type` `system`, but has no bytes and is
    /// not among [`Region::disks`](crate::Region::disks).)
    pub disk_quantity: u32,
    /// How long the asynchronous parts take.
    pub delays: Delays,
    /// Faults from the start on.
    pub faults: Vec<FaultRule>,
    /// Request rates above which calls are refused.
    pub rate_limits: RateLimits,
    /// Whether a wrong, missing, old or repeated signature is refused. Without it the access key
    /// id alone says who calls.
    pub verify_signatures: bool,
    /// How much of everything there may be.
    pub quotas: Quotas,
    /// Whether `CreateSnapshot` refuses a disk that no instance ever had, as the API reference says
    /// and as the real cloud does not for the ESSD family: the csi-sanity of the cloud's own driver
    /// never attaches what it takes snapshots of, and passes there.
    pub snapshots_need_attachment: bool,
    /// Whether every new disk is `Creating` for a while. Otherwise an empty disk of the ESSD family
    /// is `Available` when `CreateDisk` answers, which the cloud's own driver relies on, and those
    /// of older categories and those made from snapshots are `Creating`.
    pub every_disk_is_creating: bool,
    /// Disk categories that a zone does not offer or has sold out.
    pub shortages: Vec<Shortage>,
    /// Whether the metadata service answers without a token (version 1).
    pub metadata_v1: bool,
    /// The RAM role that the instances carry; `None`: none, and the metadata service answers 404
    /// for its credentials.
    pub instance_role: Option<String>,
    /// What RAM users and roles may do; by default everything.
    pub policies: Policies,
    /// The permission groups of file storage that there are.
    pub access_groups: Vec<String>,
    /// What every mount target and access point is called, with `{}` for what the cloud would put
    /// there before the region (`1ca404a348-x1y2z`): `{}.nas.test` for names that a test host
    /// resolves, `127.0.0.1` for one server that has all exports. Absent: as the cloud calls them.
    /// With one name for all, the operations on mount targets mean the first of the file system.
    pub mount_target_domain: Option<String>,
    /// How long the recycle bins of file systems keep files, in days; 0: there are none. What is
    /// removed is removed at once either way.
    pub recycle_bin_days: u64,
    /// Identity providers that `AssumeRoleWithOIDC` knows.
    pub oidc_providers: Vec<OidcProvider>,
    /// The longest life of temporary keys, in seconds, whatever is asked for; `None`: as long as
    /// asked for, and six hours for an instance's role.
    pub session_seconds: Option<u64>,
    /// For so long temporary keys are taken after the end that was said, in seconds: 0 as the cloud
    /// has it, more where a test must not depend on how soon its machine renews them.
    pub session_grace_seconds: u64,
    /// Buckets that belong to other accounts: their names are taken, and they are closed.
    pub foreign_buckets: Vec<String>,
    /// Whether `/_region/…` answers on the `ecs` listener. It is on loopback and has no further
    /// lock; do not turn it on elsewhere.
    pub admin_api: bool,
    /// Whether ECS, NAS, STS and OSS speak TLS, with a certificate of an authority that is made for
    /// the region at its first start: `ca.pem` in its directory. Metadata services never do.
    pub tls: bool,
    /// Whether attached disks become block devices.
    pub devices: Devices,
    /// Also link attached disks into the machine's own `/dev/disk/by-id`. Off, because a machine
    /// then sees the disks of all instances.
    pub link_into_dev_disk: bool,
    /// Ports to listen on; what is absent is taken from the last start over the same directory if
    /// still free, else chosen by the system.
    pub ports: Ports,
}

impl RegionOptions {
    /// Two instances and two zones, short delays, signatures checked, no faults, no limits.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            region: "cn-wharf-1".to_owned(),
            zones: vec!["cn-wharf-1a".to_owned(), "cn-wharf-1b".to_owned()],
            instances: 2,
            instance_zones: Vec::new(),
            instance_type: "ecs.g7.large".to_owned(),
            disk_quantity: 17,
            delays: Delays::default(),
            faults: Vec::new(),
            rate_limits: RateLimits::none(),
            verify_signatures: true,
            quotas: Quotas::default(),
            snapshots_need_attachment: false,
            every_disk_is_creating: false,
            shortages: Vec::new(),
            metadata_v1: false,
            instance_role: Some("WharfNodeRole".to_owned()),
            policies: Policies::default(),
            access_groups: vec!["DEFAULT_VPC_GROUP_NAME".to_owned()],
            mount_target_domain: None,
            recycle_bin_days: 0,
            oidc_providers: Vec::new(),
            session_seconds: None,
            session_grace_seconds: 0,
            foreign_buckets: Vec::new(),
            admin_api: true,
            tls: false,
            devices: Devices::Loop,
            link_into_dev_disk: false,
            ports: Ports::default(),
        }
    }
}

/// How much of everything there may be: the default quotas of an ordinary account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Disks of the account (`QuotaExceed.PostPaidDisk`).
    pub disks: usize,
    /// Snapshots of one disk (`QuotaExceed.Snapshot`).
    pub snapshots: usize,
    /// File systems of the account (`QuotaExceed.FileSystem`).
    pub file_systems: usize,
    /// Mount targets of a standard file system (`QuotaExceed.MountTarget`); an extreme one has one.
    pub mount_targets: usize,
    /// Access points of a file system (`QuotaExceed.AccessPoint`).
    pub access_points: usize,
    /// Directories of a file system that have a quota (`QuotaExceed.DirQuota`).
    pub directory_quotas: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            disks: 500,
            snapshots: 256,
            file_systems: 20,
            mount_targets: 2,
            access_points: 1_000,
            directory_quotas: 500,
        }
    }
}

/// How long, in milliseconds, the cloud takes for what it does not do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// `Creating` until `Available`.
    pub create: u64,
    /// `Attaching` until `In_use`.
    pub attach: u64,
    /// `In_use` until the node sees the device.
    pub device: u64,
    /// `Detaching` until `Available`; the device goes at its end.
    pub detach: u64,
    /// After `AttachDisk` and `DetachDisk`, until `DescribeDisks` tells anything of them: it shows
    /// the disk as it was before the call.
    pub listing: u64,
    /// Snapshot `progressing` until `accomplished`.
    pub snapshot: u64,
    /// A change of category or performance level.
    pub modify: u64,
    /// File storage: until what is asked for is there, and until what is deleted is gone.
    pub nas: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            create: 20,
            attach: 50,
            device: 20,
            detach: 50,
            listing: 0,
            snapshot: 100,
            modify: 100,
            nas: 50,
        }
    }
}

impl Delays {
    /// Everything at once; the call that asks for it already sees it done.
    pub const fn none() -> Self {
        Self {
            create: 0,
            attach: 0,
            device: 0,
            detach: 0,
            listing: 0,
            snapshot: 0,
            modify: 0,
            nas: 0,
        }
    }

    /// About what a real region takes on a good day.
    pub fn real() -> Self {
        Self {
            create: 2_000,
            attach: 2_500,
            device: 500,
            detach: 2_500,
            listing: 0,
            snapshot: 20_000,
            modify: 30_000,
            nas: 10_000,
        }
    }
}

/// Whether attached disks become block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// A loop device and a by-id link for each; needs root.
    Loop,
    /// Neither; the API alone is simulated.
    Absent,
}

/// A disk category that cannot be had in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shortage {
    /// In which zone.
    pub zone: String,
    /// Which category.
    pub category: String,
    /// Sold out (403 `OperationDenied.NoStock`) and not merely never offered there (403
    /// `InvalidDataDiskCategory.NotSupported`).
    #[serde(default)]
    pub sold_out: bool,
}

/// An OIDC identity provider of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcProvider {
    /// `acs:ram::<account>:oidc-provider/<name>`.
    pub arn: String,
    /// The token's `iss`.
    pub issuer: String,
    /// Accepted values of the token's `aud`.
    pub audiences: Vec<String>,
    /// Role ARNs and the token's `sub` that may have them
    /// (`system:serviceaccount:kube-system:wharf`). Empty: every role for every subject.
    #[serde(default)]
    pub subjects: BTreeMap<String, String>,
}

/// Ports of the listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// ECS and `/_region`.
    pub ecs: Option<u16>,
    /// NAS.
    pub nas: Option<u16>,
    /// STS.
    pub sts: Option<u16>,
    /// OSS.
    pub oss: Option<u16>,
    /// Metadata services, in the order of the instances.
    pub metadata: Vec<u16>,
}
