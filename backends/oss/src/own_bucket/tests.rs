use super::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use wharf_sdk::controller::{CreateRequest, DeleteRequest};
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{VolumeCapability, pairs};
use wharf_sdk::{ErrorKind, Pairs as _};

/// A bucket's tag, and whether there is an object in it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    tag: Option<String>,
    has_objects: bool,
}

type Buckets = Rc<RefCell<BTreeMap<String, Known>>>;

fn no(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message>\
         <RequestId>R</RequestId></Error>"
    );
    Response::new(status, body)
}

/// What object storage answers; the owner of the keys is a user, who cannot tell his own buckets
/// from others' by PutBucket.
fn answer(buckets: &Buckets, request: &Request) -> Response {
    assert_eq!((request.endpoint.as_str(), request.account.as_deref()), ("oss", Some("cloud")));
    assert_eq!(request.api.value("region"), Some("cn-x"));
    let name = request.subdomain.clone().unwrap();
    assert_eq!(request.api.value("bucket"), Some(name.as_str()));
    let mut buckets = buckets.borrow_mut();
    let is_tagging = request.query.value("tagging").is_some();
    if request.method == "PUT" && !is_tagging {
        if buckets.contains_key(&name) {
            return no(409, "BucketAlreadyExists");
        }
        buckets.insert(name, Known::default());
        return Response::new(200, "");
    }
    let Some(bucket) = buckets.get_mut(&name) else { return no(404, "NoSuchBucket") };
    match (request.method.as_str(), is_tagging) {
        ("GET", true) => {
            let tag = bucket.tag.as_ref().map_or(String::new(), |tag| {
                format!("<Tag><Key>wharf-volume</Key><Value>{tag}</Value></Tag>")
            });
            Response::new(200, format!("<Tagging><TagSet>{tag}</TagSet></Tagging>"))
        }
        ("PUT", true) => {
            let body = String::from_utf8(request.body.clone()).unwrap();
            let tag = body.split("<Value>").nth(1).unwrap().split('<').next().unwrap();
            bucket.tag = Some(tag.to_owned());
            Response::new(200, "")
        }
        ("GET", false) => {
            let object = if bucket.has_objects { "<Contents><Key>k</Key></Contents>" } else { "" };
            let list = format!("<ListBucketResult><Name>n</Name>{object}</ListBucketResult>");
            Response::new(200, list)
        }
        ("DELETE", false) if bucket.has_objects => no(409, "BucketNotEmpty"),
        ("DELETE", false) => {
            buckets.remove(&name);
            Response::new(204, "")
        }
        other => panic!("{other:?}"),
    }
}

/// A cloud that does what it is asked for, and does not answer the `lost`th request.
fn cloud(buckets: &Buckets, lost: Option<usize>) -> FakeHost {
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

fn class() -> CreateRequest {
    CreateRequest {
        parameters: pairs([
            ("volumeAs", "Bucket"),
            ("bucketPrefix", "k8s-"),
            ("url", "oss-cn-x.aliyuncs.com"),
        ]),
        ..CreateRequest::new("pvc-1", VolumeCapability::mount(""))
    }
}

fn tagged() -> Known {
    Known { tag: Some("k8s-pvc-1".into()), has_objects: false }
}

#[test]
fn a_volume_gets_a_bucket_of_its_own_and_gives_it_back() {
    let buckets = Buckets::default();
    let host = cloud(&buckets, None);
    let volume = crate::create::create(&class()).unwrap();
    assert_eq!(volume.id, "bucket:k8s-pvc-1");
    assert_eq!(volume.context.value("bucket"), Some("k8s-pvc-1"));
    assert_eq!(buckets.borrow()["k8s-pvc-1"], tagged());
    assert_eq!(crate::create::create(&class()).unwrap(), volume);
    crate::attributes::Attributes::read(&volume.context).unwrap();
    let delete = || crate::create::delete(&DeleteRequest::new(&volume.id));
    delete().unwrap();
    assert!(buckets.borrow().is_empty());
    delete().unwrap();
    // One whose maker was interrupted before it had a tag.
    buckets.borrow_mut().insert("k8s-pvc-1".to_owned(), Known::default());
    crate::create::create(&class()).unwrap();
    delete().unwrap();
    // The manifest asks for nothing else.
    let manifest: toml::Table = toml::from_str(include_str!("../../manifest.toml")).unwrap();
    let requests = manifest["request"].as_array().unwrap();
    let asked = requests.iter().find(|one| one["endpoint"].as_str() == Some("oss")).unwrap();
    let asked = asked["paths"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    assert_eq!(granted_as(&host.requests()), asked.collect::<Vec<_>>());
}

/// Grants of these requests, one for each method, sorted.
fn granted_as(requests: &[Request]) -> Vec<String> {
    let mut keys = BTreeMap::<&str, BTreeSet<&str>>::new();
    for request in requests {
        let asked = request.query.iter().map(|(key, _)| key.as_str());
        keys.entry(&request.method).or_default().extend(asked);
    }
    let grant = |(method, keys): (&str, BTreeSet<&str>)| {
        let keys: Vec<_> = keys.into_iter().collect();
        let query = if keys.is_empty() { String::new() } else { format!("?{}", keys.join("&")) };
        format!("{method} *{query}")
    };
    keys.into_iter().map(grant).collect()
}

#[test]
fn whichever_answer_is_lost_the_same_bucket_is_found() {
    for lost in 1..=3 {
        let buckets = Buckets::default();
        {
            let _host = cloud(&buckets, Some(lost));
            assert!(crate::create::create(&class()).is_err(), "answer {lost}");
        }
        let _host = cloud(&buckets, None);
        crate::create::create(&class()).unwrap();
        assert_eq!(*buckets.borrow(), [("k8s-pvc-1".to_owned(), tagged())].into());
    }
}

#[test]
fn a_bucket_with_something_in_it_is_taken_for_nobody_s() {
    for tag in [None, Some("k8s-other".to_owned())] {
        let foreign = Known { tag, has_objects: true };
        let buckets = Buckets::default();
        buckets.borrow_mut().insert("k8s-pvc-1".into(), foreign.clone());
        let _host = cloud(&buckets, None);
        let refused = crate::create::create(&class()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AlreadyExists);
        let refused = delete("k8s-pvc-1").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert_eq!(buckets.borrow()["k8s-pvc-1"], foreign);
    }
}

#[test]
fn a_bucket_that_is_not_empty_is_not_deleted() {
    let buckets = Buckets::default();
    buckets.borrow_mut().insert("k8s-pvc-1".into(), Known { has_objects: true, ..tagged() });
    let _host = cloud(&buckets, None);
    let refused = delete("k8s-pvc-1").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.message.contains("k8s-pvc-1 is not empty"), "{}", refused.message);
    assert_eq!(buckets.borrow().len(), 1);
}

#[test]
fn a_name_that_no_bucket_can_have_is_replaced_by_its_hash() {
    let names = ["PVC-1", "pvc_1", &"a".repeat(128), "pvc-1"].map(|volume| {
        let made = name("k8s-", volume).unwrap();
        assert_eq!(name("k8s-", volume).unwrap(), made);
        assert!(names::bucket("bucket", &made).is_ok(), "{made}");
        made
    });
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert_eq!(names[3], "k8s-pvc-1");
    for prefix in ["K8S-", "k8s_", "-", &"k".repeat(64)] {
        assert!(name(prefix, "pvc-1").unwrap_err().message.contains("bucketPrefix"), "{prefix}");
    }
}

#[test]
fn deleting_any_other_volume_asks_for_nothing() {
    let host = FakeHost::install();
    for id in ["pvc-1", "b-1:/x", "bucket:", "bucket:../x", "bucket:B"] {
        crate::create::delete(&DeleteRequest::new(id)).unwrap();
    }
    assert!(host.requests().is_empty());
}

#[test]
fn a_class_with_a_bucket_of_its_own_names_no_other() {
    let host = FakeHost::install();
    for (key, value) in [("bucket", "b-1"), ("path", "/x"), ("bucketPrefix", "K8S_")] {
        let mut request = class();
        request.parameters.insert_pair(key, value);
        let refused = crate::create::create(&request).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidArgument);
        assert!(refused.message.contains(key), "{}", refused.message);
    }
    assert!(host.requests().is_empty());
}

#[test]
fn a_refusal_is_named_and_an_answer_without_a_code_leaves_the_effect_open() {
    let host = |response: Response| {
        FakeHost::install().with_config("region", "cn-x").handling(move |request| {
            let is_first = request.method == "GET";
            Some(Ok(if is_first { no(404, "NoSuchBucket") } else { response.clone() }))
        })
    };
    let denied = {
        let _host = host(no(403, "AccessDenied"));
        create("abc").unwrap_err()
    };
    assert_eq!(denied.kind, ErrorKind::PermissionDenied);
    assert!(denied.message.contains("abc") && denied.message.contains("PUT"), "{denied:?}");
    let _host = host(Response::new(502, "<html>"));
    let lost = create("abc").unwrap_err();
    assert_eq!((lost.kind, lost.effect), (ErrorKind::Unavailable, wharf_sdk::Effect::Unknown));
}

#[test]
fn buckets_are_made_where_the_operator_says_or_not_at_all() {
    let host = FakeHost::install();
    assert!(create("abc").unwrap_err().message.contains("region"));
    assert!(host.requests().is_empty());
    let host = FakeHost::install()
        .with_config("region", "cn-x")
        .with_config("addressing", "path")
        .handling(|_| Some(Ok(no(404, "NoSuchBucket"))));
    delete("abc").unwrap();
    assert_eq!(host.actions(), ["GET /abc/"]);
}
