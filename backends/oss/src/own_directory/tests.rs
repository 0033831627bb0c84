use super::*;
use std::collections::BTreeSet;

use wharf_sdk::controller::{CreateRequest, DeleteRequest, ValidateRequest};
use wharf_sdk::http::Response;
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{VolumeCapability, pairs};
use wharf_sdk::{ErrorKind, Pairs as _};

use crate::fake_cloud::{Buckets, Known, cloud};

const ID: &str = "directory:b-1/k8s/pvc-1";

fn class(more: &[(&str, &str)]) -> CreateRequest {
    let usual =
        [("bucket", "b-1"), ("url", "h.example"), ("path", "/k8s"), ("volumeAs", "subpath")];
    let class = usual.into_iter().filter(|(key, _)| more.iter().all(|(other, _)| other != key));
    CreateRequest {
        parameters: pairs(class.chain(more.iter().copied())),
        ..CreateRequest::new("pvc-1", VolumeCapability::mount(""))
    }
}

fn create(more: &[(&str, &str)]) -> Result<wharf_sdk::types::Volume, Error> {
    crate::create::create(&class(&[&[("DeleteObjects", "True")], more].concat()))
}

fn delete(id: &str) -> Result<Answer<()>, Error> {
    crate::create::delete(&DeleteRequest::new(id), &Progress::default())
}

/// A bucket with what others have in it, some of it with names that begin like the volume's.
fn shared() -> Buckets {
    let others = ["k8s/pvc-1", "k8s/pvc-10/a", "k8s/pvc-1.txt", "k8s/", "z"];
    let buckets = Buckets::default();
    buckets.borrow_mut().insert("b-1".to_owned(), Known::default().holding(others));
    buckets
}

fn keys(buckets: &Buckets) -> BTreeSet<String> {
    buckets.borrow()["b-1"].keys().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_directory_is_made_found_again_and_deleted_with_what_is_in_it_and_nothing_else() {
    let buckets = shared();
    let before = keys(&buckets);
    let _host = cloud(&buckets, None);
    let volume = create(&[]).unwrap();
    assert_eq!((volume.id.as_str(), volume.context.value("path")), (ID, Some("/k8s/pvc-1")));
    assert_eq!(volume.context.value_in_any_case("deleteObjects"), None);
    crate::attributes::Attributes::read(&volume.context).unwrap();
    assert_eq!(create(&[]).unwrap(), volume);
    let known = ValidateRequest::new(ID, VolumeCapability::mount(""));
    assert!(crate::create::validate(&known).unwrap().confirmed);
    {
        let mut buckets = buckets.borrow_mut();
        let bucket = buckets.remove("b-1").unwrap();
        let mut bucket = bucket.holding(["k8s/pvc-1/a", "k8s/pvc-1/b/c", "k8s/pvc-1/\u{1}"]);
        for key in ["k8s/pvc-1/u", "k8s/pvc-10/u"] {
            bucket.uploads.insert((key.to_owned(), "1".to_owned()));
        }
        buckets.insert("b-1".to_owned(), bucket);
    }
    // With something in it, it is still the volume's.
    assert_eq!(create(&[]).unwrap(), volume);
    for _ in 0..2 {
        assert_eq!(delete(ID).unwrap(), Answer::Done(()));
        assert_eq!(keys(&buckets), before);
    }
    assert_eq!(buckets.borrow()["b-1"].uploads.len(), 1);
    assert_eq!(crate::create::validate(&known).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn whichever_answer_is_lost_a_directory_is_made_and_deleted() {
    for lost in 1..=9 {
        let buckets = shared();
        let before = keys(&buckets);
        let disturbed = |call: &dyn Fn() -> Result<(), Error>| {
            let was_lost = {
                let _host = cloud(&buckets, Some(lost));
                call().is_err()
            };
            let _host = cloud(&buckets, None);
            call().unwrap();
            was_lost
        };
        let was_lost = disturbed(&|| create(&[]).map(drop));
        assert_eq!(was_lost, lost <= 3, "mark, list, make: answer {lost}");
        let held = buckets.borrow_mut().remove("b-1").unwrap().holding(["k8s/pvc-1/a"]);
        buckets.borrow_mut().insert("b-1".to_owned(), held);
        let was_lost = disturbed(&|| delete(ID).map(drop));
        assert_eq!(was_lost, lost <= 6, "mark, list, delete, list, uploads, itself: answer {lost}");
        assert_eq!(keys(&buckets), before);
    }
}

#[test]
fn a_directory_without_its_mark_is_neither_taken_nor_deleted() {
    let buckets = shared();
    let mut bucket = buckets.borrow_mut().remove("b-1").unwrap().holding(["k8s/pvc-1/a"]);
    for mark in [None, Some("directory%3Ab-1%2Fk8s%2Fpvc-2")] {
        if let Some(mark) = mark {
            let headers = pairs([("x-oss-meta-wharf-volume", mark)]);
            bucket.objects.insert("k8s/pvc-1/".to_owned(), headers);
        }
        buckets.borrow_mut().insert("b-1".to_owned(), bucket.clone());
        let _host = cloud(&buckets, None);
        assert_eq!(create(&[]).unwrap_err().kind, ErrorKind::AlreadyExists);
        let refused = delete(ID).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert!(refused.message.contains("x-oss-meta-wharf-volume"), "{}", refused.message);
        assert_eq!(buckets.borrow()["b-1"], bucket);
    }
}

#[test]
fn an_empty_directory_that_a_person_made_is_taken() {
    let buckets = shared();
    let held = buckets.borrow_mut().remove("b-1").unwrap().holding(["k8s/pvc-1/"]);
    buckets.borrow_mut().insert("b-1".to_owned(), held);
    let _host = cloud(&buckets, None);
    assert_eq!(create(&[]).unwrap().id, ID);
    assert_eq!(delete(ID).unwrap(), Answer::Done(()));
    assert!(!keys(&buckets).contains("k8s/pvc-1/"));
}

#[test]
fn without_the_bucket_nothing_is_made_and_everything_is_deleted() {
    let _host = cloud(&Buckets::default(), None);
    assert_eq!(create(&[]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(delete(ID).unwrap(), Answer::Done(()));
}

#[test]
fn what_volumes_share_is_not_deleted_with_one_of_them() {
    let host = FakeHost::install();
    for volume_as in ["direct", "sharepath"] {
        let refused = create(&[("volumeAs", volume_as)]).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidArgument);
        assert!(refused.message.contains("subpath"), "{}", refused.message);
    }
    let refused = crate::create::create(&class(&[("deleteObjects", "yes")])).unwrap_err();
    assert!(refused.message.contains("deleteObjects"), "{}", refused.message);
    let volume = crate::create::create(&class(&[("deleteObjects", "false")])).unwrap();
    assert_eq!(volume.id, "pvc-1");
    assert!(host.requests().is_empty());
}

#[test]
fn a_path_that_does_not_fit_into_an_id_is_refused_with_what_it_is_too_long() {
    let host = FakeHost::install();
    let refused = create(&[("path", &format!("/{}", "a".repeat(120)))]).unwrap_err();
    assert!(refused.message.contains("a path 12 bytes shorter"), "{}", refused.message);
    assert!(host.requests().is_empty());
}

#[test]
fn a_listing_of_what_was_not_asked_for_deletes_nothing() {
    let host = FakeHost::install().with_config("region", "cn-x").handling(|request| {
        let mut answer = Response::new(200, "");
        if request.query.value("prefix").is_some() {
            answer.body =
                "<ListBucketResult><Contents><Key>z</Key></Contents></ListBucketResult>".into();
        }
        answer.headers = pairs([("x-oss-meta-wharf-volume", encode(ID))]);
        Some(Ok(answer))
    });
    assert_eq!(delete(ID).unwrap_err().kind, ErrorKind::Unavailable);
    assert!(host.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn an_id_leads_back_to_its_directory() {
    let directory = Directory::of_id(ID).unwrap();
    assert_eq!((directory.id().as_str(), directory.key().as_str()), (ID, "k8s/pvc-1/"));
    assert_eq!(Directory::new("b-1", "/k8s/pvc-1").unwrap(), directory);
}
