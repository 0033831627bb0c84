//! Object storage (OSS): buckets and objects behind two faces on one listener. The native API takes
//! signatures V1 and V4, in headers and in the query; an S3-compatible face takes AWS signatures 2
//! and 4, for `s3fs`. What signed a request decides its face, the store behind both is one.
//!
//! A bucket is addressed by path (`http://127.0.0.1:40123/bucket/key`) or by host
//! (`bucket.oss-cn-wharf-1.aliyuncs.com`, which a client has to resolve to loopback by itself). As
//! at the real service, a name that is not an address refuses the path style.
//!
//! What it leaves out: versions, lifecycle, object tags, encryption (its headers are kept and given
//! back), policies, `aws-chunked` bodies (neither `s3fs` nor the official SDKs send them; they are
//! answered with `NotImplemented`), and every operation that [`operation::Operation`] does not
//! name. An access key of the account may do what the RAM policies let it, in all buckets.

mod access;
mod body;
mod buckets;
mod call;
mod conditions;
mod copy;
mod document;
mod error;
pub(crate) mod library;
mod listing;
mod multipart;
mod objects;
mod operation;
mod reply;
mod request;
mod signature;
mod store;
mod summary;

pub(crate) use call::answer;
pub(crate) use store::Store;
use store::record::Acl;
pub use summary::{BucketSummary, ObjectSummary};
