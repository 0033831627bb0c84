//! Objects that are brought in parts.

use std::io::Read;

use md5::{Digest, Md5};

use super::body::{Digested, Digests};
use super::buckets::{most, owner};
use super::call::Context;
use super::document::{self, CompletePart, CompleteUpload, Document};
use super::error::OssError;
use super::listing::encoded;
use super::objects::{described, may_overwrite, object_record, pour};
use super::reply::Reply;
use super::request::Head;
use super::store::Upload;
use super::store::file::Draft;
use super::store::record::{Kind, ObjectRecord, PartRecord, UploadRecord};
use super::summary::iso8601_millis;
use crate::identifiers;

/// Highest number of a part, as at the real service.
const MOST_PARTS: u32 = 10_000;

/// Every part but the last is at least so long.
const SMALLEST_PART: u64 = 100 << 10;

type Answer = Result<Reply, OssError>;

pub(super) fn begin(context: &Context<'_>) -> Answer {
    let head = context.head;
    let random = identifiers::random(32).map_err(|error| OssError::internal(&error))?;
    let id = random.to_uppercase();
    let record = UploadRecord {
        id: id.clone(),
        key: head.key.clone(),
        begun: context.now(),
        described: described(context)?,
    };
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    may_overwrite(head, bucket)?;
    bucket.begin_upload(record)?;
    let mut answer = Document::new();
    answer.inside("InitiateMultipartUploadResult", |result| {
        names(result, head).field("UploadId", &id);
    });
    Ok(Reply::document(answer))
}

pub(super) fn upload_part(context: &Context<'_>, draft: Draft, digested: &Digested) -> Answer {
    let head = context.head;
    let (id, number) = (upload_id(head), part_number(head)?);
    let record = PartRecord { size: digested.size, etag: digested.etag(), modified: context.now() };
    let reply = Reply::empty(200)
        .with("etag", format!("\"{}\"", record.etag))
        .with("x-oss-hash-crc64ecma", digested.crc64.to_string());
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    bucket.upload(id, &head.key)?;
    bucket.put_part(id, number, draft, record)?;
    Ok(reply)
}

pub(super) fn abort(context: &Context<'_>) -> Answer {
    let head = context.head;
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    bucket.upload(upload_id(head), &head.key)?;
    bucket.end_upload(upload_id(head))?;
    Ok(Reply::empty(204))
}

pub(super) fn complete(context: &Context<'_>, body: &[u8]) -> Answer {
    let head = context.head;
    let id = upload_id(head);
    let asked: CompleteUpload = document::read(body)?;
    let takes_all = head.header("x-oss-complete-all").is_some_and(|value| value == "yes");
    let (upload, parts, files) = {
        let store = context.store();
        let bucket = store.bucket(head.bucket())?;
        let upload = bucket.upload(id, &head.key)?;
        let parts = if takes_all { all(upload) } else { chosen(upload, &asked.part)? };
        let files: Vec<_> = parts
            .iter()
            .map(|(number, _)| bucket.open_part(id, *number))
            .collect::<Result<_, _>>()?;
        (upload.record.clone(), parts, files)
    };
    let (mut draft, mut digests) = (context.draft()?, Digests::new());
    for ((_, part), file) in parts.iter().zip(files) {
        pour(file.take(part.size), &mut draft, &mut digests)
            .map_err(|error| OssError::internal(&error))?;
    }
    let digested = digests.finish();
    let (described, key) = (upload.described, upload.key);
    let record = object_record(key, &digested, context.now(), Kind::Multipart, described);
    let record = ObjectRecord { etag: etag(&parts), ..record };
    let (etag, crc64) = (record.etag.clone(), record.crc64);
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    bucket.upload(id, &head.key)?;
    may_overwrite(head, bucket)?;
    bucket.put(draft, record)?;
    bucket.end_upload(id)?;
    let mut answer = Document::new();
    answer.inside("CompleteMultipartUploadResult", |result| {
        let location = format!("http://{}{}", head.header("host").unwrap_or_default(), head.path);
        result.field("Location", &location);
        names(result, head).field("ETag", &format!("\"{etag}\""));
    });
    Ok(Reply::document(answer).with("x-oss-hash-crc64ecma", crc64.to_string()))
}

type Parts = Vec<(u32, PartRecord)>;

fn all(upload: &Upload) -> Parts {
    upload.parts.iter().map(|(number, part)| (*number, part.clone())).collect()
}

/// The parts that the client names, if they are what it thinks they are.
fn chosen(upload: &Upload, asked: &[CompletePart]) -> Result<Parts, OssError> {
    if asked.is_empty() {
        return Err(OssError::malformed_xml());
    }
    let mut parts = Parts::new();
    for part in asked {
        if parts.last().is_some_and(|(last, _)| *last >= part.part_number) {
            let message = "The list of parts was not in ascending order.";
            return Err(OssError::new(400, "InvalidPartOrder", message));
        }
        let etag = part.etag.trim_matches('"');
        let known = upload.parts.get(&part.part_number);
        let known = known.filter(|known| known.etag.eq_ignore_ascii_case(etag));
        let known = known.cloned().ok_or_else(|| {
            let message = "One or more of the specified parts could not be found or the specified \
                           entity tag might not have matched the part's entity tag.";
            OssError::new(400, "InvalidPart", message)
                .with("PartNumber", part.part_number.to_string())
                .with("UploadId", &upload.record.id)
        })?;
        parts.push((part.part_number, known));
    }
    let but_last = parts.len() - 1;
    if let Some((number, part)) =
        parts.iter().take(but_last).find(|(_, part)| part.size < SMALLEST_PART)
    {
        let message = "Your proposed upload smaller than the minimum allowed size.";
        return Err(OssError::new(400, "EntityTooSmall", message)
            .with("PartNumber", number.to_string())
            .with("ProposedSize", part.size.to_string())
            .with("MinSizeAllowed", SMALLEST_PART.to_string()));
    }
    Ok(parts)
}

/// MD5 of the parts' MD5s, and how many there are.
fn etag(parts: &Parts) -> String {
    let mut md5 = Md5::new();
    for (_, part) in parts {
        md5.update(const_hex::decode(&part.etag).unwrap_or_default());
    }
    format!("{}-{}", const_hex::encode_upper(md5.finalize()), parts.len())
}

pub(super) fn list_parts(context: &Context<'_>) -> Answer {
    let head = context.head;
    let most = most(head.number("max-parts")?, 1000)?;
    let marker = head.number("part-number-marker")?.unwrap_or(0);
    let store = context.store();
    let upload = store.bucket(head.bucket())?.upload(upload_id(head), &head.key)?;
    let mut found = upload.parts.iter().filter(|(number, _)| u64::from(**number) > marker);
    let page: Vec<_> = found.by_ref().take(most).collect();
    let is_truncated = found.next().is_some();
    let next = page.last().map_or(marker, |(number, _)| u64::from(**number));
    let mut answer = Document::new();
    answer.inside("ListPartsResult", |result| {
        names(result, head).field("UploadId", &upload.record.id);
        owner(result, &context.admitted.account);
        result.field("StorageClass", "Standard").field("PartNumberMarker", &marker.to_string());
        result.field("NextPartNumberMarker", &next.to_string());
        result.field("MaxParts", &most.to_string());
        result.field("IsTruncated", &is_truncated.to_string());
        for (number, part) in page {
            result.inside("Part", |one| {
                one.field("PartNumber", &number.to_string());
                one.field("LastModified", &iso8601_millis(part.modified));
                one.field("ETag", &format!("\"{}\"", part.etag));
                one.field("Size", &part.size.to_string());
            });
        }
    });
    Ok(Reply::document(answer))
}

fn names<'a>(document: &'a mut Document, head: &Head) -> &'a mut Document {
    let encoding = head.parameter("encoding-type");
    if let Some(encoding) = encoding {
        document.field("EncodingType", encoding);
    }
    document.field("Bucket", head.bucket()).field("Key", &encoded(&head.key, encoding))
}

fn upload_id(head: &Head) -> &str {
    head.parameter("uploadId").unwrap_or_default()
}

pub(super) fn part_number(head: &Head) -> Result<u32, OssError> {
    let text = head.parameter("partNumber").unwrap_or_default();
    let number = text.parse().ok().filter(|number| (1..=MOST_PARTS).contains(number));
    number.ok_or_else(|| {
        let message = "Part number must be an integer between 1 and 10000, inclusive.";
        OssError::argument("partNumber", text, message)
    })
}
