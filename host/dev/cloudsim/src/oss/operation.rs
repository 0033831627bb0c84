//! Which operation a request means: its method, whether it names a bucket and a key, and its
//! sub-resource.

use super::error::OssError;
use super::request::Head;

/// An operation; the names are those of the API reference, in the journal and in fault rules too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    ListBuckets,
    PutBucket,
    DeleteBucket,
    HeadBucket,
    GetBucketInfo,
    GetBucketLocation,
    GetBucketStat,
    GetBucketAcl,
    PutBucketAcl,
    GetBucketTags,
    PutBucketTags,
    DeleteBucketTags,
    ListObjects,
    ListObjectsV2,
    ListMultipartUploads,
    DeleteMultipleObjects,
    PutObject,
    CopyObject,
    AppendObject,
    GetObject,
    HeadObject,
    GetObjectMeta,
    DeleteObject,
    GetObjectAcl,
    PutObjectAcl,
    InitiateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
}

/// What a caller without keys may need to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// A bucket or an object that everybody may read.
    Read,
    /// A bucket that everybody may write.
    Write,
    /// To be of the account.
    Own,
}

/// What an operation does with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// Looks at none.
    Absent,
    /// A small document.
    Document,
    /// The bytes of an object or a part.
    Bytes,
}

/// Sub-resources that the real service has and this one does not.
const NOT_SIMULATED: &[&str] = &[
    "accessPoint",
    "cors",
    "encryption",
    "inventory",
    "lifecycle",
    "logging",
    "policy",
    "referer",
    "replication",
    "requestPayment",
    "resourceGroup",
    "restore",
    "symlink",
    "transferAcceleration",
    "versioning",
    "versions",
    "website",
    "worm",
    "x-oss-process",
];

impl Operation {
    /// The operation that a request means.
    pub(crate) fn of(head: &Head) -> Result<Self, OssError> {
        if let Some(other) = NOT_SIMULATED.iter().find(|name| head.has(name)) {
            return Err(OssError::not_simulated(other));
        }
        let found = match (head.bucket.is_some(), head.key.is_empty()) {
            (false, _) => (head.method == "GET").then_some(Self::ListBuckets),
            (true, true) => Self::of_bucket(head),
            (true, false) => Self::of_object(head),
        };
        found.ok_or_else(|| {
            let message = "The specified method is not allowed against this resource.";
            OssError::new(405, "MethodNotAllowed", message).with("Method", &head.method)
        })
    }

    fn of_bucket(head: &Head) -> Option<Self> {
        Some(match head.method.as_str() {
            "GET" if head.has("acl") => Self::GetBucketAcl,
            "GET" if head.has("bucketInfo") => Self::GetBucketInfo,
            "GET" if head.has("location") => Self::GetBucketLocation,
            "GET" if head.has("stat") => Self::GetBucketStat,
            "GET" if head.has("tagging") => Self::GetBucketTags,
            "GET" if head.has("uploads") => Self::ListMultipartUploads,
            "GET" if head.parameter("list-type") == Some("2") => Self::ListObjectsV2,
            "GET" => Self::ListObjects,
            "HEAD" => Self::HeadBucket,
            "PUT" if head.has("acl") => Self::PutBucketAcl,
            "PUT" if head.has("tagging") => Self::PutBucketTags,
            "PUT" => Self::PutBucket,
            "POST" if head.has("delete") => Self::DeleteMultipleObjects,
            "DELETE" if head.has("tagging") => Self::DeleteBucketTags,
            "DELETE" => Self::DeleteBucket,
            _ => return None,
        })
    }

    fn of_object(head: &Head) -> Option<Self> {
        let copies = head.own_header("copy-source").is_some();
        Some(match head.method.as_str() {
            "GET" if head.has("acl") => Self::GetObjectAcl,
            "GET" if head.has("uploadId") => Self::ListParts,
            "GET" if head.has("objectMeta") => Self::GetObjectMeta,
            "GET" => Self::GetObject,
            "HEAD" if head.has("objectMeta") => Self::GetObjectMeta,
            "HEAD" => Self::HeadObject,
            "PUT" if head.has("acl") => Self::PutObjectAcl,
            "PUT" if head.has("uploadId") && copies => Self::UploadPartCopy,
            "PUT" if head.has("uploadId") => Self::UploadPart,
            "PUT" if copies => Self::CopyObject,
            "PUT" => Self::PutObject,
            "POST" if head.has("append") => Self::AppendObject,
            "POST" if head.has("uploads") => Self::InitiateMultipartUpload,
            "POST" if head.has("uploadId") => Self::CompleteMultipartUpload,
            "DELETE" if head.has("uploadId") => Self::AbortMultipartUpload,
            "DELETE" => Self::DeleteObject,
            _ => return None,
        })
    }

    /// As the journal and fault rules name it.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    /// As RAM policies name it, after `oss:`; some operations need the same right.
    pub(crate) fn ram_action(self) -> String {
        match self {
            Self::HeadObject | Self::GetObjectMeta => Self::GetObject.name(),
            Self::HeadBucket | Self::ListObjectsV2 => Self::ListObjects.name(),
            Self::DeleteMultipleObjects => Self::DeleteObject.name(),
            Self::CopyObject
            | Self::AppendObject
            | Self::InitiateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload => Self::PutObject.name(),
            Self::GetBucketTags => "GetBucketTagging".to_owned(),
            Self::PutBucketTags => "PutBucketTagging".to_owned(),
            Self::DeleteBucketTags => "DeleteBucketTagging".to_owned(),
            other => other.name(),
        }
    }

    /// What a caller without keys needs.
    pub(crate) fn right(self) -> Right {
        match self {
            Self::ListObjects
            | Self::ListObjectsV2
            | Self::HeadBucket
            | Self::GetObject
            | Self::HeadObject
            | Self::GetObjectMeta => Right::Read,
            Self::DeleteMultipleObjects
            | Self::PutObject
            | Self::CopyObject
            | Self::AppendObject
            | Self::DeleteObject
            | Self::InitiateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload
            | Self::AbortMultipartUpload
            | Self::ListParts
            | Self::ListMultipartUploads => Right::Write,
            Self::ListBuckets
            | Self::PutBucket
            | Self::DeleteBucket
            | Self::GetBucketInfo
            | Self::GetBucketLocation
            | Self::GetBucketStat
            | Self::GetBucketAcl
            | Self::PutBucketAcl
            | Self::GetBucketTags
            | Self::PutBucketTags
            | Self::DeleteBucketTags
            | Self::GetObjectAcl
            | Self::PutObjectAcl => Right::Own,
        }
    }

    pub(crate) fn body(self) -> BodyKind {
        match self {
            Self::PutObject | Self::AppendObject | Self::UploadPart => BodyKind::Bytes,
            Self::PutBucket
            | Self::PutBucketTags
            | Self::DeleteMultipleObjects
            | Self::CompleteMultipartUpload => BodyKind::Document,
            _ => BodyKind::Absent,
        }
    }
}
