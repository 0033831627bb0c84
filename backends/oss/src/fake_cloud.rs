//! Object storage as far as this backend asks for it, in memory, for its tests. The owner of the
//! keys is a user, who cannot distinguish his own buckets from others' by `PutBucket`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use wharf_alicloud::percent::{decode, encode};
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{Parameters, pairs};
use wharf_sdk::{Error, Pairs as _};

/// A bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) tags: Parameters,
    /// Keys, and the headers of each that are its own.
    pub(crate) objects: BTreeMap<String, Parameters>,
    /// Keys of unfinished uploads, and their ids.
    pub(crate) uploads: BTreeSet<(String, String)>,
}

impl Known {
    pub(crate) fn tagged(tags: &[(&str, &str)]) -> Self {
        Self { tags: pairs(tags.iter().copied()), ..Self::default() }
    }

    pub(crate) fn holding(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.objects.extend(keys.into_iter().map(|key| (key.into(), Parameters::new())));
        self
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }
}

pub(crate) type Buckets = Rc<RefCell<BTreeMap<String, Known>>>;

/// A cloud that does what it is asked for, and does not answer the `lost`th request.
pub(crate) fn cloud(buckets: &Buckets, lost: Option<usize>) -> FakeHost {
    let buckets = Rc::clone(buckets);
    let count = RefCell::new(0);
    FakeHost::install().with_config("region", "cn-x").handling(move |request| {
        *count.borrow_mut() += 1;
        let answer = answer(&buckets, request);
        let is_lost = Some(*count.borrow()) == lost;
        let lost = || Error::unavailable("no answer").with_unknown_effect();
        Some(if is_lost { Err(lost()) } else { Ok(answer) })
    })
}

/// A refusal.
pub(crate) fn no(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message>\
         <RequestId>R</RequestId></Error>"
    );
    Response::new(status, body)
}

fn ok(body: impl Into<Vec<u8>>) -> Response {
    Response::new(200, body)
}

fn answer(buckets: &Buckets, request: &Request) -> Response {
    assert_eq!((request.endpoint.as_str(), request.account.as_deref()), ("oss", Some("cloud")));
    assert_eq!(request.api.value("region"), Some("cn-x"));
    let name = request.subdomain.clone().unwrap();
    assert_eq!(request.api.value("bucket"), Some(name.as_str()));
    let mut buckets = buckets.borrow_mut();
    let key = decode(&request.path[1..]);
    let is = |method: &str, query: &str| {
        let has = query.is_empty() || request.query.value(query).is_some();
        request.method == method && has
    };
    if is("PUT", "") && key.is_empty() && !is("PUT", "tagging") {
        if buckets.contains_key(&name) {
            return no(409, "BucketAlreadyExists");
        }
        buckets.insert(name, Known::default());
        return ok("");
    }
    let Some(bucket) = buckets.get_mut(&name) else { return no(404, "NoSuchBucket") };
    if !key.is_empty() {
        return of_object(bucket, &key, request);
    }
    if is("GET", "tagging") {
        let tag = |(key, value): &(String, String)| {
            format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
        };
        let tags: String = bucket.tags.iter().map(tag).collect();
        return ok(format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"));
    }
    if is("PUT", "tagging") {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let keys = elements(&body, "Key").into_iter();
        bucket.tags = keys.zip(elements(&body, "Value")).collect();
        return ok("");
    }
    if is("GET", "uploads") {
        return ok(uploads(bucket, request));
    }
    if is("GET", "max-keys") {
        return ok(listing(bucket, request));
    }
    if is("POST", "delete") {
        let body = String::from_utf8(request.body.clone()).unwrap();
        for key in elements(&body, "Key") {
            bucket.objects.remove(&key.replace("&amp;", "&"));
        }
        return ok("");
    }
    assert_eq!((request.method.as_str(), request.query.len()), ("DELETE", 0));
    if !bucket.objects.is_empty() || !bucket.uploads.is_empty() {
        return no(409, "BucketNotEmpty");
    }
    buckets.remove(&name);
    Response::new(204, "")
}

fn of_object(bucket: &mut Known, key: &str, request: &Request) -> Response {
    match (request.method.as_str(), request.query.value("uploadId")) {
        ("GET", None) => bucket.objects.get(key).map_or(no(404, "NoSuchKey"), |headers| Response {
            headers: headers.clone(),
            ..ok("")
        }),
        ("PUT", None) => {
            bucket.objects.insert(key.to_owned(), request.headers.clone());
            ok("")
        }
        ("DELETE", None) => {
            bucket.objects.remove(key);
            Response::new(204, "")
        }
        ("DELETE", Some(id)) => match bucket.uploads.remove(&(key.to_owned(), id.to_owned())) {
            true => Response::new(204, ""),
            false => no(404, "NoSuchUpload"),
        },
        other => panic!("{other:?}"),
    }
}

fn listing(bucket: &Known, request: &Request) -> String {
    let prefix = request.query.value("prefix").unwrap_or_default();
    let most = request.query.value("max-keys").unwrap().parse().unwrap();
    let keys = bucket.objects.keys().filter(|key| key.starts_with(prefix)).take(most);
    let entry = |key: &String| format!("<Contents><Key>{}</Key></Contents>", encode(key));
    let entries: String = keys.map(entry).collect();
    format!("<ListBucketResult><Name>n</Name>{entries}</ListBucketResult>")
}

fn uploads(bucket: &Known, request: &Request) -> String {
    let prefix = request.query.value("prefix").unwrap_or_default();
    let most = request.query.value("max-uploads").unwrap().parse().unwrap();
    let found = bucket.uploads.iter().filter(|(key, _)| key.starts_with(prefix)).take(most);
    let entry = |(key, id): &(String, String)| {
        format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", encode(key))
    };
    let entries: String = found.map(entry).collect();
    format!("<ListMultipartUploadsResult>{entries}</ListMultipartUploadsResult>")
}

/// What stands between the tags of this name.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inside = |part: &str| part.split(&close).next().unwrap().to_owned();
    xml.split(&open).skip(1).map(inside).collect()
}
