//! What a test is told of buckets and objects without asking over HTTP.

use serde::{Deserialize, Serialize};

use crate::clock::{Millis, iso8601};

/// `2026-01-31T23:59:59.000Z`, the form of times in OSS's documents.
pub(super) fn iso8601_millis(at: Millis) -> String {
    iso8601(at).replace('Z', ".000Z")
}

/// A bucket, for assertions on the end state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSummary {
    /// Its name.
    pub name: String,
    /// `private`, `public-read` or `public-read-write`.
    pub acl: String,
    /// `Standard`, `IA`, …
    pub storage_class: String,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// In the order of their keys.
    pub objects: Vec<ObjectSummary>,
    /// Multipart uploads that are neither completed nor aborted.
    pub uploads: usize,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSummary {
    /// Its key.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// User metadata: without `x-oss-meta-`.
    pub metadata: std::collections::BTreeMap<String, String>,
}
