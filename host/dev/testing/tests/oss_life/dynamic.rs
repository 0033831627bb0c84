//! Volumes that claims ask for: a directory of a bucket, and a bucket of their own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::player::{Access, CLAIM_METADATA, PlayError, Retry, VolumeClass};

use super::cluster::{Cluster, GIB, read, write};

fn class(cluster: &Cluster, more: &[(&str, &str)]) -> VolumeClass {
    let parameters: BTreeMap<_, _> = cluster.attributes(&[more, &CLAIM_METADATA].concat());
    let class = VolumeClass::file_system("", &[]);
    VolumeClass { parameters, access: Access::ManyNodes, ..class }
}

#[test]
fn a_claim_gets_a_directory_of_the_class_s_bucket() {
    let Some(cluster) = Cluster::of("a_claim_gets_a_directory_of_the_class_s_bucket") else {
        return;
    };
    let (csi, nodes) = (&cluster.csi, &cluster.nodes);
    let class = class(&cluster, &[("path", "/k8s"), ("volumeAs", "subpath")]);
    let mut volume = csi.provision("pvc-dir", GIB, &class).unwrap();
    assert_eq!(csi.provision("pvc-dir", GIB, &class).unwrap().handle, volume.handle);
    volume.publish_secret = cluster.keys();
    let target = csi.start_pod(&mut volume, &nodes[0], "pod").unwrap();
    write(&target, "data", "mine");
    let object = cluster.bed.region().object("shared", "k8s/pvc-dir/data").unwrap();
    assert_eq!(object.as_deref(), Some(&b"mine"[..]));
    csi.end_pod(&volume, &nodes[0], "pod").unwrap();
    let target = csi.start_pod(&mut volume, &nodes[1], "pod").unwrap();
    assert_eq!(read(&target, "data"), "mine");
    csi.end_pod(&volume, &nodes[1], "pod").unwrap();
    csi.delete(&volume).unwrap();
    // As with the earlier driver, what is in the bucket stays.
    assert!(cluster.bed.region().object("shared", "k8s/pvc-dir/data").unwrap().is_some());
    cluster.assert_empty();
}

#[test]
fn a_claim_gets_a_bucket_of_its_own_which_is_deleted_once_it_is_empty() {
    const TEST: &str = "a_claim_gets_a_bucket_of_its_own_which_is_deleted_once_it_is_empty";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut class = class(&cluster, &[("volumeAs", "bucket"), ("bucketPrefix", "k8s-")]);
    class.parameters.remove("bucket");
    let mut volume = csi.provision("pvc-own", GIB, &class).unwrap();
    assert_eq!(csi.provision("pvc-own", GIB, &class).unwrap().handle, volume.handle);
    let bucket =
        |name: &str| cluster.bed.region().buckets().into_iter().any(|bucket| bucket.name == name);
    assert!(bucket("k8s-pvc-own"));
    volume.publish_secret = cluster.keys();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "mine");
    csi.unpublish(&volume, node, "pod").unwrap();
    csi.unstage(&volume, node).unwrap();
    csi.detach(&volume, node).unwrap();
    let refused = csi.clone().with_retry(Retry::never()).delete(&volume).unwrap_err();
    assert!(
        matches!(&refused, PlayError::Refused { code, .. } if code == "FailedPrecondition"),
        "{refused}"
    );
    assert!(refused.to_string().contains("k8s-pvc-own is not empty"), "{refused}");
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    assert_eq!(read(&target, "data"), "mine");
    std::fs::remove_file(target.join("data")).unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
    }
    assert!(!bucket("k8s-pvc-own"));
    cluster.assert_empty();
}

/// The next answer to each of these actions is lost.
fn lose_answers(cluster: &Cluster, actions: &[&str]) {
    let lost = |action: &&str| FaultRule::new(*action, Fault::DropAnswer).times(1);
    cluster.bed.region().set_faults(actions.iter().map(lost).collect());
}

#[test]
fn a_claim_s_directory_is_deleted_with_what_is_in_it_where_its_class_says_so() {
    const TEST: &str = "a_claim_s_directory_is_deleted_with_what_is_in_it_where_its_class_says_so";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    let others = ["k8s/pvc-mine", "k8s/pvc-mine-too/data", "k8s/pvc-mine.txt", "other"];
    for key in others {
        region.put_object("shared", key, b"of others").unwrap();
    }
    let more = [("path", "/k8s"), ("volumeAs", "subpath"), ("deleteObjects", "true")];
    let class = class(&cluster, &more);
    lose_answers(&cluster, &["GetObject", "ListObjects", "PutObject"]);
    let mut volume = csi.provision("pvc-mine", GIB, &class).unwrap();
    assert_eq!(csi.provision("pvc-mine", GIB, &class).unwrap().handle, volume.handle);
    volume.publish_secret = cluster.keys();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    // As a directory that nobody has made is shown.
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o777);
    write(&target, "data", "mine");
    std::fs::create_dir(target.join("a directory")).unwrap();
    write(&target, "a directory/<&> data", "mine");
    assert!(region.object("shared", "k8s/pvc-mine/a directory/<&> data").unwrap().is_some());
    csi.end_pod(&volume, node, "pod").unwrap();
    let deleting = ["GetObject", "ListObjects", "DeleteMultipleObjects", "DeleteObject"];
    lose_answers(&cluster, &deleting);
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
    }
    let left = region.buckets().into_iter().find(|bucket| bucket.name == "shared").unwrap();
    let left: Vec<_> = left.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(left, others);
    cluster.assert_empty();
}

#[test]
fn a_claim_s_bucket_is_emptied_and_deleted_where_its_class_says_so() {
    const TEST: &str = "a_claim_s_bucket_is_emptied_and_deleted_where_its_class_says_so";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, region) = (&cluster.csi, cluster.bed.region());
    let more = [("volumeAs", "bucket"), ("bucketPrefix", "k8s-"), ("deleteObjects", "true")];
    let mut class = class(&cluster, &more);
    class.parameters.remove("bucket");
    lose_answers(&cluster, &["GetBucketTags", "PutBucket", "PutBucketTags"]);
    let volume = csi.provision("pvc-full", GIB, &class).unwrap();
    // More than one page.
    for number in 0..1_005 {
        region.put_object("k8s-pvc-full", &format!("{number}"), b"").unwrap();
    }
    region.put_object("shared", "data", b"of others").unwrap();
    lose_answers(
        &cluster,
        &["ListObjects", "DeleteMultipleObjects", "ListMultipartUploads", "DeleteBucket"],
    );
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
    }
    let left: Vec<_> = region.buckets().into_iter().map(|bucket| bucket.name).collect();
    assert_eq!(left, ["shared"]);
    assert!(region.object("shared", "data").unwrap().is_some());
    cluster.assert_empty();
}
