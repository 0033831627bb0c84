//! Copies of objects, and of parts of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use super::body::{Digests, MOST_BYTES};
use super::call::Context;
use super::conditions;
use super::document::Document;
use super::error::OssError;
use super::multipart::part_number;
use super::objects::{described, may_overwrite, object_record, pour};
use super::reply::Reply;
use super::request::{check_bucket_name, check_key};
use super::store::record::{Described, Kind, ObjectRecord, PartRecord};
use super::summary::iso8601_millis;
use crate::text::decode_path;
use crate::world::Caller;

type Answer = Result<Reply, OssError>;

/// Copies an object, with its metadata or with that of the request.
pub(super) fn object(context: &Context<'_>) -> Answer {
    let head = context.head;
    let (source, file) = source(context)?;
    let replaces = match head.own_header("metadata-directive") {
        None | Some("COPY") => false,
        Some("REPLACE") => true,
        Some(other) => {
            let message = "Unknown metadata directive.";
            return Err(OssError::argument("x-oss-metadata-directive", other, message));
        }
    };
    let asked = described(context)?;
    let kept = source.described.clone();
    let described = if replaces {
        asked
    } else {
        // Who may read it is never copied.
        let storage_class = asked.storage_class.or(kept.storage_class.clone());
        Described { acl: asked.acl, storage_class, ..kept }
    };
    let mut draft = context.draft()?;
    let mut digests = Digests::new();
    pour(file.take(source.size), &mut draft, &mut digests)
        .map_err(|error| OssError::internal(&error))?;
    let digested = digests.finish();
    let (modified, key) = (context.now(), head.key.clone());
    let record = object_record(key, &digested, modified, Kind::Normal, described);
    let (etag, crc64) = (record.etag.clone(), record.crc64);
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    may_overwrite(head, bucket)?;
    bucket.put(draft, record)?;
    Ok(copied("CopyObjectResult", &etag, modified)
        .with("x-oss-hash-crc64ecma", crc64.to_string())
        .with("etag", format!("\"{etag}\"")))
}

/// Makes a part from a range of an object.
pub(super) fn part(context: &Context<'_>) -> Answer {
    let head = context.head;
    let (id, number) = (head.parameter("uploadId").unwrap_or_default(), part_number(head)?);
    context.store().bucket(head.bucket())?.upload(id, &head.key)?;
    let (source, mut file) = source(context)?;
    let (from, length) = match head.own_header("copy-source-range") {
        None => (0, source.size),
        Some(range) => part_range(range, source.size)?,
    };
    let mut draft = context.draft()?;
    let mut digests = Digests::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| pour(file.take(length), &mut draft, &mut digests))
        .map_err(|error| OssError::internal(&error))?;
    let digested = digests.finish();
    let record = PartRecord { size: digested.size, etag: digested.etag(), modified: context.now() };
    let reply = copied("CopyPartResult", &record.etag, record.modified)
        .with("etag", format!("\"{}\"", record.etag));
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    bucket.upload(id, &head.key)?;
    bucket.put_part(id, number, draft, record)?;
    Ok(reply)
}

fn copied(name: &str, etag: &str, modified: u64) -> Reply {
    let mut answer = Document::new();
    answer.inside(name, |result| {
        result.field("ETag", &format!("\"{etag}\""));
        result.field("LastModified", &iso8601_millis(modified));
    });
    Reply::document(answer)
}

/// The object that is to be copied, and its bytes.
fn source(context: &Context<'_>) -> Result<(Arc<ObjectRecord>, File), OssError> {
    let head = context.head;
    let text = head.own_header("copy-source").unwrap_or_default();
    let path = decode_path(text.split_once("?versionId").map_or(text, |(path, _)| path));
    let refuse = || {
        OssError::argument(
            "x-oss-copy-source",
            text,
            "Copy Source must mention the \
        source bucket and key: /sourcebucket/sourcekey.",
        )
    };
    let (bucket, key) = path.trim_start_matches('/').split_once('/').ok_or_else(refuse)?;
    check_bucket_name(bucket)?;
    check_key(key)?;
    if key.is_empty() {
        return Err(refuse());
    }
    let store = context.store();
    let bucket = store.bucket(bucket)?;
    let is_private = bucket.record.acl == super::Acl::Private;
    if context.admitted.caller == Caller::Anonymous && is_private {
        let message = "You have no right to access this object because of bucket acl.";
        return Err(OssError::denied(message));
    }
    let object = Arc::clone(bucket.object(key)?);
    conditions::check(head, &format!("{}copy-source-", head.face.prefix()), &object)?;
    if object.size > MOST_BYTES {
        return Err(OssError::too_large(MOST_BYTES));
    }
    Ok((object, bucket.open_object(key)?))
}

/// `bytes=first-last`, which the source must have.
fn part_range(text: &str, size: u64) -> Result<(u64, u64), OssError> {
    let bounds = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let bounds =
        bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
    match bounds {
        Some((first, last)) if first <= last && last < size => Ok((first, last - first + 1)),
        _ => Err(OssError::argument("x-oss-copy-source-range", text, "The range is not valid.")),
    }
}
