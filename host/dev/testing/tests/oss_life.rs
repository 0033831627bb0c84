//! Buckets as volumes: the real binary and the real backend, over CSI and over FlexVolume, with
//! Debian's `s3fs` for a helper and a simulated region's S3-compatible face behind it.
//!
//! One bed at a time: every test kills processes, and watches what others do about it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's own helpers meet fails the test"
)]

mod oss_life {
    pub mod cluster;
    mod csi;
    mod deaths;
    mod dynamic;
    mod errors;
    mod flexvolume;
    mod injection;
    mod namespaces;
    mod programs;
    mod secrets;
    mod takeover;
    mod tokens;
}
