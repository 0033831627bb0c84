//! Lists of objects and of uploads: by prefix, in groups, page by page.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::buckets::{most, owner};
use super::call::Context;
use super::document::Document;
use super::error::OssError;
use super::reply::Reply;
use super::request::{Face, Head};
use super::store::record::ObjectRecord;
use super::summary::iso8601_millis;
use crate::text::percent_encode;

type Answer = Result<Reply, OssError>;

/// What of a sorted list of keys is asked for.
#[derive(Debug)]
struct Asked<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    /// Only what comes after it.
    after: &'a str,
    most: usize,
}

/// A page of it.
#[derive(Debug)]
struct Page<T> {
    items: Vec<T>,
    groups: Vec<String>,
    /// The last key or group of the page, when there is more.
    next: Option<String>,
}

impl<'a> Asked<'a> {
    fn of(head: &'a Head, after: &'a str, most: usize) -> Self {
        let parameter = |name| head.parameter(name).unwrap_or_default();
        Self { prefix: parameter("prefix"), delimiter: parameter("delimiter"), after, most }
    }

    /// Nothing outside of it is asked for.
    fn range(&self) -> (Bound<&'a str>, Bound<&'a str>) {
        (Bound::Included(self.prefix.max(self.after)), Bound::Unbounded)
    }

    /// Takes the page out of all keys, which come in their order.
    fn page<T>(&self, all: impl Iterator<Item = (&'a str, T)>) -> Page<T> {
        let mut page = Page { items: Vec::new(), groups: Vec::new(), next: None };
        let mut last = String::new();
        for (key, item) in all {
            let Some(rest) = key.strip_prefix(self.prefix) else {
                // Keys with the prefix are next to each other.
                if key > self.prefix { break } else { continue }
            };
            let group = (!self.delimiter.is_empty())
                .then(|| rest.find(self.delimiter))
                .flatten()
                .and_then(|at| key.get(..self.prefix.len() + at + self.delimiter.len()));
            let name = group.unwrap_or(key);
            let is_known = group.is_some() && page.groups.last().is_some_and(|last| last == name);
            if name <= self.after || is_known {
                continue;
            }
            if page.items.len() + page.groups.len() == self.most {
                page.next = Some(last);
                break;
            }
            last = name.to_owned();
            match group {
                Some(group) => page.groups.push(group.to_owned()),
                None => page.items.push(item),
            }
        }
        page
    }
}

pub(super) fn objects(context: &Context<'_>) -> Answer {
    let head = context.head;
    let marker = head.parameter("marker").unwrap_or_default();
    let asked = Asked::of(head, marker, page_size(head)?);
    let store = context.store();
    let bucket = store.bucket(head.bucket())?;
    let objects = bucket.objects.range::<str, _>(asked.range());
    let page = asked.page(objects.map(|(key, object)| (key.as_str(), object)));
    let encoding = head.parameter("encoding-type");
    let mut answer = Document::new();
    answer.inside("ListBucketResult", |result| {
        begin(result, head, &asked, page.next.is_some());
        result.field("Marker", &encoded(marker, encoding));
        if let Some(next) = &page.next {
            result.field("NextMarker", &encoded(next, encoding));
        }
        for object in &page.items {
            entry(result, context, object, Some(&context.admitted.account));
        }
        groups(result, &page.groups, encoding);
    });
    Ok(Reply::document(answer))
}

pub(super) fn objects_v2(context: &Context<'_>) -> Answer {
    let head = context.head;
    let token = head.parameter("continuation-token").filter(|token| !token.is_empty());
    let start = head.parameter("start-after").unwrap_or_default();
    let from = token.map(|token| {
        let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
        let message = "The continuation token is not valid.";
        key.ok_or_else(|| OssError::argument("continuation-token", token, message))
    });
    let from = from.transpose()?;
    let asked = Asked::of(head, from.as_deref().unwrap_or(start), page_size(head)?);
    let store = context.store();
    let bucket = store.bucket(head.bucket())?;
    let objects = bucket.objects.range::<str, _>(asked.range());
    let page = asked.page(objects.map(|(key, object)| (key.as_str(), object)));
    let encoding = head.parameter("encoding-type");
    let tells_owner = head.parameter("fetch-owner") == Some("true");
    let account = tells_owner.then_some(context.admitted.account.as_str());
    let mut answer = Document::new();
    answer.inside("ListBucketResult", |result| {
        begin(result, head, &asked, page.next.is_some());
        if !start.is_empty() {
            result.field("StartAfter", &encoded(start, encoding));
        }
        if let Some(token) = token {
            result.field("ContinuationToken", token);
        }
        if let Some(next) = &page.next {
            result.field("NextContinuationToken", &URL_SAFE_NO_PAD.encode(next));
        }
        result.field("KeyCount", &(page.items.len() + page.groups.len()).to_string());
        for object in &page.items {
            entry(result, context, object, account);
        }
        groups(result, &page.groups, encoding);
    });
    Ok(Reply::document(answer))
}

pub(super) fn uploads(context: &Context<'_>) -> Answer {
    let head = context.head;
    let marker = head.parameter("key-marker").unwrap_or_default();
    let id_marker = head.parameter("upload-id-marker").unwrap_or_default();
    let most = most(head.number("max-uploads")?, 1000)?;
    let asked = Asked::of(head, "", most);
    let store = context.store();
    let uploads = &store.bucket(head.bucket())?.uploads;
    let mut records: Vec<_> = uploads.values().map(|upload| &upload.record).collect();
    records.sort_by(|one, other| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
    let after = |key: &str, id: &str| match key.cmp(marker) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => !id_marker.is_empty() && id > id_marker,
        std::cmp::Ordering::Greater => true,
    };
    let records = records.into_iter().filter(|one| after(&one.key, &one.id));
    let page = asked.page(records.map(|record| (record.key.as_str(), record)));
    let encoding = head.parameter("encoding-type");
    let last = page.items.last().filter(|_| page.next.is_some());
    let mut answer = Document::new();
    answer.inside("ListMultipartUploadsResult", |result| {
        encoding.into_iter().for_each(|encoding| {
            result.field("EncodingType", encoding);
        });
        result.field("Bucket", head.bucket()).field("KeyMarker", &encoded(marker, encoding));
        result.field("UploadIdMarker", id_marker);
        let next = last.map_or("", |last| last.key.as_str());
        result.field("NextKeyMarker", &encoded(next, encoding));
        result.field("NextUploadIdMarker", last.map_or("", |last| last.id.as_str()));
        result.field("Delimiter", asked.delimiter).field("Prefix", asked.prefix);
        result.field("MaxUploads", &most.to_string());
        result.field("IsTruncated", &page.next.is_some().to_string());
        for upload in &page.items {
            result.inside("Upload", |one| {
                one.field("Key", &encoded(&upload.key, encoding)).field("UploadId", &upload.id);
                one.field("StorageClass", "Standard");
                one.field("Initiated", &iso8601_millis(upload.begun));
            });
        }
        groups(result, &page.groups, encoding);
    });
    Ok(Reply::document(answer))
}

/// OSS gives a hundred objects to a client that does not say how many it wants, S3 a thousand.
fn page_size(head: &Head) -> Result<usize, OssError> {
    let usual = match head.face {
        Face::Native => 100,
        Face::S3 => 1000,
    };
    most(head.number("max-keys")?, usual)
}

fn begin(document: &mut Document, head: &Head, asked: &Asked<'_>, is_truncated: bool) {
    let encoding = head.parameter("encoding-type");
    document.field("Name", head.bucket());
    document.field("Prefix", &encoded(asked.prefix, encoding));
    document.field("MaxKeys", &asked.most.to_string());
    document.field("Delimiter", &encoded(asked.delimiter, encoding));
    if let Some(encoding) = encoding {
        document.field("EncodingType", encoding);
    }
    document.field("IsTruncated", &is_truncated.to_string());
}

fn entry(
    document: &mut Document,
    context: &Context<'_>,
    object: &Arc<ObjectRecord>,
    account: Option<&str>,
) {
    let encoding = context.head.parameter("encoding-type");
    let class = object.described.storage_class.as_deref().unwrap_or("Standard");
    document.inside("Contents", |one| {
        one.field("Key", &encoded(&object.key, encoding));
        one.field("LastModified", &iso8601_millis(object.modified));
        one.field("ETag", &format!("\"{}\"", object.etag));
        one.field("Type", object.kind.name()).field("Size", &object.size.to_string());
        one.field("StorageClass", class);
        if let Some(account) = account {
            owner(one, account);
        }
    });
}

fn groups(document: &mut Document, groups: &[String], encoding: Option<&str>) {
    for group in groups {
        document.inside("CommonPrefixes", |one| {
            one.field("Prefix", &encoded(group, encoding));
        });
    }
}

/// A key as the client wants it.
pub(super) fn encoded(key: &str, encoding: Option<&str>) -> String {
    match encoding {
        Some("url") => percent_encode(key),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pages of a listing: keys, and groups in angle brackets.
    fn pages(keys: &[&str], prefix: &str, delimiter: &str, most: usize) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let asked = Asked { prefix, delimiter, after: &after, most };
            let page = asked.page(keys.iter().map(|key| (*key, (*key).to_owned())));
            let groups = page.groups.iter().map(|group| format!("<{group}>"));
            pages.push(page.items.into_iter().chain(groups).collect());
            match page.next {
                Some(next) => after = next,
                None => return pages,
            }
        }
    }

    const KEYS: &[&str] = &["a", "a/", "a/1", "a/2", "b", "b/x/1", "b/x/2", "b0", "c"];

    #[test]
    fn a_listing_has_every_key_with_the_prefix_once_whatever_the_page_s_size() {
        for most in 1..10 {
            let all = pages(KEYS, "", "", most).concat();
            assert_eq!(all, KEYS, "{most}");
            assert_eq!(pages(KEYS, "b/", "", most).concat(), ["b/x/1", "b/x/2"]);
            assert!(pages(KEYS, "z", "", most).concat().is_empty());
        }
    }

    #[test]
    fn a_delimiter_makes_one_group_of_what_lies_below_it_on_any_page() {
        for most in 1..10 {
            let mut all = pages(KEYS, "", "/", most).concat();
            all.sort();
            assert_eq!(all, ["<a/>", "<b/>", "a", "b", "b0", "c"], "{most}");
            assert_eq!(pages(KEYS, "b/", "/", most).concat(), ["<b/x/>"]);
            assert_eq!(pages(KEYS, "a/", "/", most).concat(), ["a/", "a/1", "a/2"]);
        }
    }
}
