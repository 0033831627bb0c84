//! Operations on buckets themselves.

use super::call::Context;
use super::document::{self, CreateBucket, Document, Tagging};
use super::error::OssError;
use super::reply::Reply;
use super::request::Face;
use super::store::Bucket;
use super::store::record::{Acl, BucketRecord};
use super::summary::iso8601_millis;
use crate::world::Caller;

/// Storage classes that a bucket may have.
const STORAGE_CLASSES: &[&str] = &["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"];

/// Most tags of a bucket.
const MOST_TAGS: usize = 20;

type Answer = Result<Reply, OssError>;

pub(super) fn list(context: &Context<'_>) -> Answer {
    let head = context.head;
    let (prefix, marker) = (
        head.parameter("prefix").unwrap_or_default(),
        head.parameter("marker").unwrap_or_default(),
    );
    let most = most(head.number("max-keys")?, 100)?;
    let store = context.store();
    let mut found = store.buckets().filter(|bucket| {
        let name = bucket.record.name.as_str();
        name.starts_with(prefix) && name > marker
    });
    let page: Vec<&Bucket> = found.by_ref().take(most).collect();
    let is_truncated = found.next().is_some();
    let mut answer = Document::new();
    answer.inside("ListAllMyBucketsResult", |all| {
        owner(all, &context.admitted.account);
        all.field("Prefix", prefix).field("Marker", marker).field("MaxKeys", &most.to_string());
        all.field("IsTruncated", &is_truncated.to_string());
        if let Some(last) = page.last().filter(|_| is_truncated) {
            all.field("NextMarker", &last.record.name);
        }
        all.inside("Buckets", |list| {
            for bucket in page {
                list.inside("Bucket", |one| {
                    describe(one, &bucket.record, &context.admitted.region)
                });
            }
        });
    });
    Ok(Reply::document(answer))
}

/// Makes a bucket. The account itself may make the same one again, which changes its access list;
/// its users and roles may not, and cannot tell it from another account's.
pub(super) fn put(context: &Context<'_>, body: &[u8]) -> Answer {
    let name = context.head.bucket();
    let asked: CreateBucket = document::read(body)?;
    let storage_class = asked.storage_class.as_deref().unwrap_or("Standard");
    if !STORAGE_CLASSES.contains(&storage_class) {
        let message = "The specified storage class is not valid.";
        return Err(OssError::argument("StorageClass", storage_class, message));
    }
    let acl = asked_acl(context)?;
    let mut store = context.store();
    if let Ok(bucket) = store.bucket_mut(name) {
        if context.admitted.caller != Caller::Admin || bucket.record.storage_class != storage_class
        {
            return Err(OssError::bucket_exists(name));
        }
        bucket.change(|record| record.acl = acl.unwrap_or(record.acl))?;
    } else {
        store.create(BucketRecord {
            name: name.to_owned(),
            created: context.now(),
            acl: acl.unwrap_or(Acl::Private),
            storage_class: storage_class.to_owned(),
            tags: Vec::new(),
        })?;
    }
    Ok(Reply::empty(200).with("location", format!("/{name}")))
}

pub(super) fn delete(context: &Context<'_>) -> Answer {
    context.store().delete(context.head.bucket())?;
    Ok(Reply::empty(204))
}

pub(super) fn head(context: &Context<'_>) -> Answer {
    context.store().bucket(context.head.bucket())?;
    Ok(Reply::empty(200))
}

pub(super) fn info(context: &Context<'_>) -> Answer {
    let store = context.store();
    let record = &store.bucket(context.head.bucket())?.record;
    let mut answer = Document::new();
    answer.inside("BucketInfo", |info| {
        info.inside("Bucket", |bucket| {
            describe(bucket, record, &context.admitted.region);
            owner(bucket, &context.admitted.account);
            bucket.inside("AccessControlList", |list| {
                list.field("Grant", record.acl.name());
            });
            bucket.field("DataRedundancyType", "LRS").field("Comment", "");
            bucket.field("BlockPublicAccess", "false").field("AccessMonitor", "Disabled");
        });
    });
    Ok(Reply::document(answer))
}

pub(super) fn location(context: &Context<'_>) -> Answer {
    context.store().bucket(context.head.bucket())?;
    let mut answer = Document::new();
    answer.field("LocationConstraint", &location_of(&context.admitted.region));
    Ok(Reply::document(answer))
}

pub(super) fn stat(context: &Context<'_>) -> Answer {
    let store = context.store();
    let bucket = store.bucket(context.head.bucket())?;
    let storage: u64 = bucket.objects.values().map(|object| object.size).sum();
    let parts: usize = bucket.uploads.values().map(|upload| upload.parts.len()).sum();
    let mut answer = Document::new();
    answer.inside("BucketStat", |stat| {
        stat.field("Storage", &storage.to_string());
        stat.field("ObjectCount", &bucket.objects.len().to_string());
        stat.field("MultipartUploadCount", &bucket.uploads.len().to_string());
        stat.field("MultipartPartCount", &parts.to_string());
        stat.field("LastModifiedTime", &(context.now() / 1000).to_string());
        stat.field("StandardStorage", &storage.to_string());
        stat.field("StandardObjectCount", &bucket.objects.len().to_string());
    });
    Ok(Reply::document(answer))
}

pub(super) fn acl(context: &Context<'_>) -> Answer {
    let acl = context.store().bucket(context.head.bucket())?.record.acl;
    Ok(Reply::document(policy(context, acl.name())))
}

pub(super) fn put_acl(context: &Context<'_>) -> Answer {
    let message = "The request has no access list in its header.";
    let acl = asked_acl(context)?.ok_or_else(|| OssError::argument("acl", "", message))?;
    let mut store = context.store();
    store.bucket_mut(context.head.bucket())?.change(|record| record.acl = acl)?;
    Ok(Reply::empty(200))
}

pub(super) fn tags(context: &Context<'_>) -> Answer {
    let store = context.store();
    let tags = &store.bucket(context.head.bucket())?.record.tags;
    let mut answer = Document::new();
    answer.inside("Tagging", |tagging| {
        tagging.inside("TagSet", |set| {
            for (key, value) in tags {
                set.inside("Tag", |tag| {
                    tag.field("Key", key).field("Value", value);
                });
            }
        });
    });
    Ok(Reply::document(answer))
}

pub(super) fn put_tags(context: &Context<'_>, body: &[u8]) -> Answer {
    let asked: Tagging = document::read(body)?;
    let tags: Vec<_> = asked.tag_set.tag.into_iter().map(|tag| (tag.key, tag.value)).collect();
    if tags.len() > MOST_TAGS || tags.iter().any(|(key, _)| key.is_empty() || key.len() > 64) {
        return Err(OssError::new(400, "InvalidTag", "The Tagging you specified is not valid."));
    }
    let mut store = context.store();
    store.bucket_mut(context.head.bucket())?.change(|record| record.tags = tags)?;
    Ok(Reply::empty(200))
}

pub(super) fn delete_tags(context: &Context<'_>) -> Answer {
    let mut store = context.store();
    store.bucket_mut(context.head.bucket())?.change(|record| record.tags.clear())?;
    Ok(Reply::empty(204))
}

/// The access list of the request's header.
pub(super) fn asked_acl(context: &Context<'_>) -> Result<Option<Acl>, OssError> {
    let name = context.head.own_header("acl").or(context.head.own_header("object-acl"));
    match name {
        None | Some("default") => Ok(None),
        Some(name) => Acl::of(name).map(Some).ok_or_else(|| {
            OssError::argument("x-oss-acl", name, "no such bucket access control exists")
        }),
    }
}

/// An access list as a document.
pub(super) fn policy(context: &Context<'_>, grant: &str) -> Document {
    let account = &context.admitted.account;
    let mut answer = Document::new();
    answer.inside("AccessControlPolicy", |policy| {
        owner(policy, account);
        policy.inside("AccessControlList", |list| match context.head.face {
            Face::Native => {
                list.field("Grant", grant);
            }
            Face::S3 => {
                list.inside("Grant", |grant| {
                    grant.inside("Grantee", |grantee| {
                        grantee.field("ID", account);
                    });
                    grant.field("Permission", "FULL_CONTROL");
                });
            }
        });
    });
    answer
}

/// A page's size, between one and a thousand.
pub(super) fn most(asked: Option<u64>, usual: usize) -> Result<usize, OssError> {
    match asked.map(usize::try_from) {
        None => Ok(usual),
        Some(Ok(most)) if (1..=1000).contains(&most) => Ok(most),
        Some(most) => {
            let text = most.map_or_else(|_| String::new(), |most| most.to_string());
            Err(OssError::argument("max-keys", &text, "Argument max-keys must be in 1 to 1000."))
        }
    }
}

pub(super) fn owner(document: &mut Document, account: &str) {
    document.inside("Owner", |owner| {
        owner.field("ID", account).field("DisplayName", account);
    });
}

fn location_of(region: &str) -> String {
    format!("oss-{region}")
}

fn describe(document: &mut Document, record: &BucketRecord, region: &str) {
    let location = location_of(region);
    document.field("Name", &record.name).field("Location", &location);
    document.field("Region", region);
    document.field("CreationDate", &iso8601_millis(record.created));
    document.field("ExtranetEndpoint", &format!("{location}.aliyuncs.com"));
    document.field("IntranetEndpoint", &format!("{location}-internal.aliyuncs.com"));
    document.field("StorageClass", &record.storage_class);
    document.field("ResourceGroupId", "rg-default");
}
