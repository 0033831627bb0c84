//! What is remembered of buckets, objects and parts beside their bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Who besides the account may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acl {
    /// Nobody.
    Private,
    /// Everybody reads.
    PublicRead,
    /// Everybody reads and writes.
    PublicReadWrite,
}

impl Acl {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Private, Self::PublicRead, Self::PublicReadWrite]
            .into_iter()
            .find(|acl| acl.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
        }
    }
}

/// A bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    pub(crate) name: String,
    pub(crate) created: Millis,
    pub(crate) acl: Acl,
    pub(crate) storage_class: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// How an object came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Normal,
    Multipart,
    Appendable,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Multipart => "Multipart",
            Self::Appendable => "Appendable",
        }
    }
}

/// What a client says about an object when it makes one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Described {
    /// Standard headers that are given back: content type, cache control, …
    pub(crate) headers: BTreeMap<String, String>,
    /// User metadata: without `x-oss-meta-` or `x-amz-meta-`.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) storage_class: Option<String>,
    /// Absent: the bucket's.
    pub(crate) acl: Option<Acl>,
}

/// An object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ObjectRecord {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Upper-case hexadecimal, without quotes.
    pub(crate) etag: String,
    pub(crate) crc64: u64,
    pub(crate) modified: Millis,
    pub(crate) kind: Kind,
    pub(crate) described: Described,
}

/// A multipart upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) begun: Millis,
    pub(crate) described: Described,
}

/// A part of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) modified: Millis,
}
