use super::*;
use std::collections::{BTreeMap, BTreeSet};

use wharf_sdk::ErrorKind;
use wharf_sdk::controller::{CreateRequest, DeleteRequest};
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{VolumeCapability, pairs};

use crate::fake_cloud::{Buckets, Known, cloud, no};

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

/// The same with its objects.
fn emptying_class() -> CreateRequest {
    let mut request = class();
    request.parameters.insert_pair("deleteObjects", "true");
    request
}

fn tagged() -> Known {
    Known::tagged(&[("wharf-volume", "k8s-pvc-1")])
}

fn emptied() -> Known {
    Known::tagged(&[("wharf-volume", "k8s-pvc-1"), ("wharf-delete-objects", "true")])
}

fn delete(progress: &Progress) -> Result<Answer<()>, Error> {
    crate::create::delete(&DeleteRequest::new("bucket:k8s-pvc-1"), progress)
}

/// As the host calls.
fn delete_until_done() -> usize {
    let mut progress = Progress::default();
    for call in 1..1000 {
        match delete(&progress).unwrap() {
            Answer::Done(()) => return call,
            Answer::Pending(pending) => progress.resume = pending.resume,
            Answer::Perform(perform) => panic!("{perform:?}"),
        }
    }
    panic!("it does not end");
}

#[test]
fn a_volume_gets_a_bucket_of_its_own_and_gives_it_back() {
    let buckets = Buckets::default();
    let _host = cloud(&buckets, None);
    let volume = crate::create::create(&class()).unwrap();
    assert_eq!(volume.id, "bucket:k8s-pvc-1");
    assert_eq!(volume.context.value("bucket"), Some("k8s-pvc-1"));
    assert_eq!(buckets.borrow()["k8s-pvc-1"], tagged());
    assert_eq!(crate::create::create(&class()).unwrap(), volume);
    crate::attributes::Attributes::read(&volume.context).unwrap();
    delete_until_done();
    assert!(buckets.borrow().is_empty());
    delete_until_done();
    // One whose maker was interrupted before it had a tag.
    buckets.borrow_mut().insert("k8s-pvc-1".to_owned(), Known::default());
    crate::create::create(&class()).unwrap();
    delete_until_done();
}

#[test]
fn the_manifest_asks_for_every_request_and_no_other() {
    let buckets = Buckets::default();
    let host = cloud(&buckets, None);
    crate::create::create(&emptying_class()).unwrap();
    buckets.borrow_mut().insert("k8s-pvc-2".to_owned(), Known::default());
    let second = CreateRequest { name: "pvc-2".to_owned(), ..emptying_class() };
    crate::create::create(&second).unwrap();
    let bucket = buckets.borrow()["k8s-pvc-1"].clone();
    let mut bucket = bucket.holding(["k"]);
    bucket.uploads.insert(("u".to_owned(), "1".to_owned()));
    buckets.borrow_mut().insert("k8s-pvc-1".to_owned(), bucket);
    delete_until_done();
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
fn whichever_answer_is_lost_a_bucket_is_emptied_and_deleted_and_no_other() {
    let other = Known::default().holding(["x"]);
    for lost in 1..=9 {
        let mut bucket = emptied().holding(["a", "b\u{1}", "c&d"]);
        bucket.uploads.insert(("u".to_owned(), "1".to_owned()));
        let buckets = Buckets::default();
        let all = [("k8s-pvc-1".to_owned(), bucket), ("k8s-pvc-10".to_owned(), other.clone())];
        buckets.borrow_mut().extend(all);
        let was_lost = {
            let _host = cloud(&buckets, Some(lost));
            delete(&Progress::default()).is_err()
        };
        let _host = cloud(&buckets, None);
        delete_until_done();
        assert_eq!(*buckets.borrow(), [("k8s-pvc-10".to_owned(), other.clone())].into());
        // Tag, list, delete many, delete one, list, list of uploads, give up, delete.
        assert_eq!(was_lost, lost <= 8, "answer {lost}");
    }
}

#[test]
fn a_bucket_with_something_in_it_is_taken_for_nobody_s() {
    for tags in [&[][..], &[("wharf-volume", "k8s-other"), ("wharf-delete-objects", "true")]] {
        let foreign = Known::tagged(tags).holding(["k"]);
        let buckets = Buckets::default();
        buckets.borrow_mut().insert("k8s-pvc-1".into(), foreign.clone());
        let _host = cloud(&buckets, None);
        for class in [class(), emptying_class()] {
            let refused = crate::create::create(&class).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::AlreadyExists);
        }
        let refused = delete(&Progress::default()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert_eq!(buckets.borrow()["k8s-pvc-1"], foreign);
    }
}

#[test]
fn a_bucket_that_is_not_empty_is_not_deleted_unless_its_class_says_so() {
    let buckets = Buckets::default();
    buckets.borrow_mut().insert("k8s-pvc-1".into(), tagged().holding(["k"]));
    let _host = cloud(&buckets, None);
    let refused = delete(&Progress::default()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.message.contains("k8s-pvc-1 is not empty"), "{}", refused.message);
    assert!(refused.hint.unwrap().contains("deleteObjects: true"));
    assert_eq!(*buckets.borrow(), [("k8s-pvc-1".to_owned(), tagged().holding(["k"]))].into());
}

#[test]
fn a_bucket_is_found_again_by_a_class_that_says_the_same_of_its_objects() {
    for (known, class) in [(tagged(), emptying_class()), (emptied(), class())] {
        let buckets = Buckets::default();
        buckets.borrow_mut().insert("k8s-pvc-1".into(), known.clone());
        let _host = cloud(&buckets, None);
        let refused = crate::create::create(&class).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AlreadyExists);
        assert!(refused.message.contains("deleteObjects"), "{}", refused.message);
        assert_eq!(buckets.borrow()["k8s-pvc-1"], known);
    }
}

#[test]
fn a_large_bucket_is_emptied_in_many_calls_each_within_the_host_s_bounds() {
    let buckets = Buckets::default();
    let mut bucket = emptied().holding((0..9_500).map(|number| format!("{number:05}")));
    bucket.uploads.extend((0..100).map(|number| (format!("u{number}"), number.to_string())));
    buckets.borrow_mut().insert("k8s-pvc-1".into(), bucket);
    let host = cloud(&buckets, None);
    let calls = delete_until_done();
    assert_eq!(calls, 5, "4000, 4000, 1500 and 48 uploads, 48, 4");
    assert!(buckets.borrow().is_empty());
    assert!(host.requests().len() <= 5 * 64);
}

#[test]
fn an_object_that_comes_back_ends_the_deletion_with_its_name() {
    let _host = FakeHost::install().with_config("region", "cn-x").handling(|request| {
        let asks = |key: &str| request.query.value(key).is_some();
        Some(Ok(Response::new(200, match () {
            () if asks("tagging") => {
                "<Tagging><TagSet><Tag><Key>wharf-volume</Key><Value>k8s-pvc-1</Value></Tag>\
                 <Tag><Key>wharf-delete-objects</Key><Value>true</Value></Tag></TagSet></Tagging>"
            }
            () if asks("prefix") => {
                "<ListBucketResult><Contents><Key>kept%20one</Key></Contents></ListBucketResult>"
            }
            () => "",
        })))
    });
    let refused = delete(&Progress::default()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.message.contains("kept one"), "{}", refused.message);
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
    for id in [
        "pvc-1",
        "b-1:/x",
        "bucket:",
        "bucket:../x",
        "bucket:B",
        "directory:b-1",
        "directory:b-1/",
        "directory:b-1//x",
        "directory:b-1/x/../y",
        "directory:B/x",
    ] {
        let request = DeleteRequest::new(id);
        let answer = crate::create::delete(&request, &Progress::default()).unwrap();
        assert_eq!(answer, Answer::Done(()), "{id}");
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
        create("abc", false).unwrap_err()
    };
    assert_eq!(denied.kind, ErrorKind::PermissionDenied);
    assert!(denied.message.contains("abc") && denied.message.contains("PUT"), "{denied:?}");
    let _host = host(Response::new(502, "<html>"));
    let lost = create("abc", false).unwrap_err();
    assert_eq!((lost.kind, lost.effect), (ErrorKind::Unavailable, wharf_sdk::Effect::Unknown));
}

#[test]
fn buckets_are_made_where_the_operator_says_or_not_at_all() {
    let host = FakeHost::install();
    assert!(create("abc", false).unwrap_err().message.contains("region"));
    assert!(host.requests().is_empty());
    let host = FakeHost::install()
        .with_config("region", "cn-x")
        .with_config("addressing", "path")
        .handling(|_| Some(Ok(no(404, "NoSuchBucket"))));
    super::delete("abc", &Progress::default()).unwrap();
    assert_eq!(host.actions(), ["GET /abc/"]);
}
