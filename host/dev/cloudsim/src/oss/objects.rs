//! Operations on objects, but for copies and multipart uploads.

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::body::{Digested, Digests, MOST_BYTES};
use super::buckets::{asked_acl, policy};
use super::call::Context;
use super::document::{self, Delete, Document};
use super::error::OssError;
use super::listing::encoded;
use super::reply::{Content, Reply};
use super::request::{Face, Head, check_key};
use super::store::file::Draft;
use super::store::record::{Described, Kind, ObjectRecord};
use super::{conditions, store};
use crate::clock::Millis;

/// Standard headers that are kept and given back, and what they are called in a signed URL.
const KEPT: &[(&str, &str)] = &[
    ("cache-control", "response-cache-control"),
    ("content-disposition", "response-content-disposition"),
    ("content-encoding", "response-content-encoding"),
    ("content-language", "response-content-language"),
    ("content-type", "response-content-type"),
    ("expires", "response-expires"),
];

/// Headers about encryption, which is not done but told.
const ENCRYPTION: &[&str] = &[
    "x-oss-server-side-encryption",
    "x-oss-server-side-encryption-key-id",
    "x-oss-server-side-data-encryption",
];

/// Most objects of one `DeleteMultipleObjects`.
const MOST_DELETED: usize = 1000;

type Answer = Result<Reply, OssError>;

pub(super) fn put(context: &Context<'_>, draft: Draft, digested: &Digested) -> Answer {
    let head = context.head;
    let (described, key) = (described(context)?, head.key.clone());
    let record = object_record(key, digested, context.now(), Kind::Normal, described);
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    may_overwrite(head, bucket)?;
    let reply = Reply::empty(200)
        .with("etag", format!("\"{}\"", record.etag))
        .with("x-oss-hash-crc64ecma", record.crc64.to_string())
        .with("content-md5", STANDARD.encode(digested.md5));
    bucket.put(draft, record)?;
    Ok(reply)
}

/// Whether the request may replace what is there.
pub(super) fn may_overwrite(head: &Head, bucket: &store::Bucket) -> Result<(), OssError> {
    let forbids = head.header("x-oss-forbid-overwrite").is_some_and(|value| value == "true")
        || head.header("if-none-match").is_some_and(|value| value == "*");
    if !forbids || !bucket.objects.contains_key(&head.key) {
        Ok(())
    } else if head.face == Face::S3 {
        Err(OssError::precondition("If-None-Match"))
    } else {
        let message = "The object you specified already exists and can not be overwritten.";
        Err(OssError::new(409, "FileAlreadyExists", message).with("Key", &head.key))
    }
}

/// Adds bytes to the end of an object that only grows: it is written anew, so that whoever reads it
/// has all of it before or after.
pub(super) fn append(context: &Context<'_>, added: Draft, digested: &Digested) -> Answer {
    let head = context.head;
    let position = head.number("position")?.unwrap_or(0);
    let known = {
        let store = context.store();
        let bucket = store.bucket(head.bucket())?;
        let known = bucket.objects.get(&head.key).cloned();
        known.map(|known| Ok((known, bucket.open_object(&head.key)?))).transpose()?
    };
    let (known, file) = known.unzip();
    check_append(known.as_ref(), position)?;
    if position.saturating_add(digested.size) > MOST_BYTES {
        return Err(OssError::too_large(MOST_BYTES));
    }
    let (whole, all) = joined(file.map(|file| file.take(position)), added, context.draft()?)
        .map_err(|error| OssError::internal(&error))?;
    let described = match &known {
        Some(known) => known.described.clone(),
        None => described(context)?,
    };
    let (modified, key) = (context.now(), head.key.clone());
    let record = object_record(key, &all, modified, Kind::Appendable, described);
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    check_append(bucket.objects.get(&head.key), position)?;
    check_still(bucket, &head.key, known.as_ref())?;
    let reply = Reply::empty(200)
        .with("etag", format!("\"{}\"", record.etag))
        .with("x-oss-hash-crc64ecma", record.crc64.to_string())
        .with("x-oss-next-append-position", record.size.to_string());
    bucket.put(whole, record)?;
    Ok(reply)
}

fn joined(
    before: Option<impl Read>,
    mut added: Draft,
    mut whole: Draft,
) -> std::io::Result<(Draft, Digested)> {
    let mut digests = Digests::new();
    if let Some(before) = before {
        pour(before, &mut whole, &mut digests)?;
    }
    pour(added.reader()?, &mut whole, &mut digests)?;
    Ok((whole, digests.finish()))
}

/// The record of an object whose bytes are known.
pub(super) fn object_record(
    key: String,
    digested: &Digested,
    modified: Millis,
    kind: Kind,
    described: Described,
) -> ObjectRecord {
    let (size, etag, crc64) = (digested.size, digested.etag(), digested.crc64);
    ObjectRecord { key, size, etag, crc64, modified, kind, described }
}

fn check_append(known: Option<&Arc<ObjectRecord>>, position: u64) -> Result<(), OssError> {
    let size = known.map_or(0, |known| known.size);
    if known.is_some_and(|known| known.kind != Kind::Appendable) {
        let message = "The object is not appendable.";
        return Err(OssError::new(409, "ObjectNotAppendable", message));
    }
    if position != size {
        let message = "Position is not equal to file length.";
        return Err(OssError::new(409, "PositionNotEqualToLength", message)
            .with_header("x-oss-next-append-position", size.to_string()));
    }
    Ok(())
}

/// Whether an object is still the one that a call began with.
fn check_still(
    bucket: &store::Bucket,
    key: &str,
    known: Option<&Arc<ObjectRecord>>,
) -> Result<(), OssError> {
    let is_same = match (bucket.objects.get(key), known) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    if is_same { Ok(()) } else { Err(OssError::replaced(key)) }
}

/// Copies bytes into a draft while digests are made of them.
pub(super) fn pour(
    mut from: impl Read,
    into: &mut Draft,
    digests: &mut Digests,
) -> std::io::Result<()> {
    let mut piece = vec![0; 128 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => {
                let bytes = piece.get(..read).unwrap_or_default();
                into.write_all(bytes)?;
                digests.add(bytes);
            }
        }
    }
}

pub(super) fn get(context: &Context<'_>) -> Answer {
    let head = context.head;
    let (object, file) = {
        let store = context.store();
        let bucket = store.bucket(head.bucket())?;
        (Arc::clone(bucket.object(&head.key)?), bucket.open_object(&head.key)?)
    };
    conditions::check(head, "", &object)?;
    let reply = described_reply(context, &object);
    Ok(match conditions::range(head, object.size)? {
        None => reply.containing(Content::File { file, from: 0, length: object.size }),
        Some((from, length)) => {
            let last = from.saturating_add(length).saturating_sub(1);
            let mut reply = reply
                .with("content-range", format!("bytes {from}-{last}/{}", object.size))
                .containing(Content::File { file, from, length });
            reply.status = 206;
            reply
        }
    })
}

pub(super) fn head(context: &Context<'_>) -> Answer {
    let head = context.head;
    let object = Arc::clone(context.store().bucket(head.bucket())?.object(&head.key)?);
    conditions::check(head, "", &object)?;
    Ok(described_reply(context, &object).containing(Content::Unsent(object.size)))
}

fn described_reply(context: &Context<'_>, object: &ObjectRecord) -> Reply {
    let head = context.head;
    let mut reply = Reply::empty(200)
        .with("etag", format!("\"{}\"", object.etag))
        .with("last-modified", conditions::http_date(object.modified))
        .with("accept-ranges", "bytes")
        .with("x-oss-object-type", object.kind.name())
        .with("x-oss-hash-crc64ecma", object.crc64.to_string());
    let kept = &object.described.headers;
    for (name, parameter) in KEPT {
        let usual = (*name == "content-type").then_some("application/octet-stream");
        let value = head.parameter(parameter).or(kept.get(*name).map(String::as_str)).or(usual);
        reply = value.map(|value| (*name, value)).into_iter().fold(reply, with);
    }
    let encryption = ENCRYPTION.iter().filter_map(|name| Some((*name, kept.get(*name)?.as_str())));
    reply = encryption.fold(reply, with);
    // Without keys nobody can tell through which face it is looked at: both are served.
    let is_anonymous = head.header("authorization").is_none();
    for (name, value) in &object.described.metadata {
        for face in [Face::Native, Face::S3] {
            if face == head.face || is_anonymous {
                reply = reply.with(format!("{}meta-{name}", face.prefix()), value);
            }
        }
    }
    let class = object.described.storage_class.as_deref().unwrap_or("Standard");
    let class = if head.face == Face::S3 { class.to_uppercase() } else { class.to_owned() };
    reply.with(format!("{}storage-class", head.face.prefix()), class)
}

fn with(reply: Reply, (name, value): (&str, &str)) -> Reply {
    reply.with(name, value)
}

pub(super) fn delete(context: &Context<'_>) -> Answer {
    let mut store = context.store();
    store.bucket_mut(context.head.bucket())?.remove(&context.head.key)?;
    Ok(Reply::empty(204))
}

pub(super) fn delete_many(context: &Context<'_>, body: &[u8]) -> Answer {
    let asked: Delete = document::read(body)?;
    if asked.object.is_empty() || asked.object.len() > MOST_DELETED {
        return Err(OssError::malformed_xml());
    }
    let encoding = context.head.parameter("encoding-type");
    let mut answer = Document::new();
    let mut store = context.store();
    let bucket = store.bucket_mut(context.head.bucket())?;
    let mut deleted = Vec::new();
    for object in asked.object {
        check_key(&object.key)?;
        bucket.remove(&object.key)?;
        deleted.push(object.key);
    }
    answer.inside("DeleteResult", |result| {
        encoding.into_iter().for_each(|encoding| {
            result.field("EncodingType", encoding);
        });
        for key in deleted.iter().filter(|_| !asked.quiet) {
            result.inside("Deleted", |one| {
                one.field("Key", &encoded(key, encoding));
            });
        }
    });
    Ok(Reply::document(answer))
}

pub(super) fn acl(context: &Context<'_>) -> Answer {
    let head = context.head;
    let acl = context.store().bucket(head.bucket())?.object(&head.key)?.described.acl;
    Ok(Reply::document(policy(context, acl.map_or("default", |acl| acl.name()))))
}

pub(super) fn put_acl(context: &Context<'_>) -> Answer {
    let head = context.head;
    let acl = asked_acl(context)?;
    let (known, file) = {
        let store = context.store();
        let bucket = store.bucket(head.bucket())?;
        (Arc::clone(bucket.object(&head.key)?), bucket.open_object(&head.key)?)
    };
    let mut draft = context.draft()?;
    std::io::copy(&mut file.take(known.size), &mut draft)
        .map_err(|error| OssError::internal(&error))?;
    let record = ObjectRecord::clone(&known);
    let described = Described { acl, ..record.described.clone() };
    let mut store = context.store();
    let bucket = store.bucket_mut(head.bucket())?;
    check_still(bucket, &head.key, Some(&known))?;
    bucket.put(draft, ObjectRecord { described, ..record })?;
    Ok(Reply::empty(200))
}

/// What the request says about the object that it makes.
pub(super) fn described(context: &Context<'_>) -> Result<Described, OssError> {
    let head = context.head;
    let names = KEPT.iter().map(|(name, _)| *name).chain(ENCRYPTION.iter().copied());
    let headers =
        names.filter_map(|name| Some((name.to_owned(), head.header(name)?.to_owned()))).collect();
    let prefix = format!("{}meta-", head.face.prefix());
    let metadata = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())))
        .collect();
    let storage_class = head.own_header("storage-class").map(native_class);
    Ok(Described { headers, metadata, storage_class, acl: asked_acl(context)? })
}

/// S3 shouts its storage classes.
fn native_class(class: &str) -> String {
    if class == "STANDARD" { "Standard".to_owned() } else { class.to_owned() }
}
