//! A simulated Alibaba Cloud region on loopback: ECS disks and snapshots, file storage (NAS),
//! object storage (OSS, and an S3-compatible face of it), STS and the instance metadata service,
//! real enough that the cloud's own SDKs work against it with signature checks on, that an attached
//! disk is a block device, that a file system is a directory to export, and that a bucket can be
//! mounted.
//!
//! For tests, the demonstration and backend authors. It is not part of the product and nothing in
//! it is secret; it keeps real time, makes real loop devices (as root) and fails on purpose when a
//! [`FaultRule`] says so. What it leaves out: billing, networks, images, the bytes of system disks,
//! XML answers, RAM policies finer than by action, and every operation that a disk driver does not
//! call.
//!
//! ```no_run
//! use wharf_cloudsim::{Fault, FaultRule, Region, RegionOptions};
//!
//! let region = Region::start(RegionOptions::new("/var/tmp/region"))?;
//! println!("{}", region.description().endpoints.ecs);
//! region.set_faults(vec![FaultRule::new("AttachDisk", Fault::DropAnswer).times(1)]);
//! assert!(region.disks().is_empty());
//! region.stop()?;
//! # Ok::<(), wharf_cloudsim::RegionError>(())
//! ```
//!
//! A region's directory:
//!
//! | path | what |
//! |---|---|
//! | `region.json` | where it listens and with which keys it may be called ([`RegionDescription`]);
//! 0600 |
//! | `ca.pem` | with [`RegionOptions::tls`]: the authority that clients must trust |
//! | `state.json` | all it remembers; replaced by rename after every change |
//! | `journal.jsonl` | every call ([`JournalEntry`]), appended |
//! | `disks/<id>.img` | the bytes of a disk or a snapshot, sparse |
//! | `nas/<id>/` | the files of a file system, for a test host to export |
//! | `oss/` | buckets and objects |
//! | `<instance>/dev/disk/by-id/virtio-<serial>` | a disk that the instance has; points to its loop
//! device |

mod access;
mod answer;
mod clock;
mod control;
mod description;
mod devices;
mod directory;
mod ecs;
mod error;
mod faults;
mod holds;
mod identifiers;
mod journal;
mod limits;
mod loops;
mod metadata;
mod nas;
mod options;
mod oss;
mod pages;
mod params;
mod policies;
mod region;
mod server;
mod signature;
mod state;
mod sts;
mod text;
mod tls;
mod wire;
mod world;

pub use control::{DiskSummary, FileSystemSummary, InstanceCondition};
pub use description::{AccessKey, Endpoints, InstanceDescription, RegionDescription};
pub use error::{DeviceError, RegionError};
pub use faults::{Count, Fault, FaultRule, HoldPoint};
pub use holds::HeldRequest;
pub use journal::JournalEntry;
pub use limits::{Limit, RateLimits};
pub use options::{Delays, Devices, OidcProvider, Ports, Quotas, RegionOptions, Shortage};
pub use oss::{BucketSummary, ObjectSummary};
pub use policies::{Effect, Everything, Policies, Policy, Statement};
pub use region::Region;
