//! Volumes that claims ask for: a directory of a bucket, and a bucket of their own.

use std::collections::BTreeMap;

use wharf_testing::player::{Access, PlayError, Retry, VolumeClass};

use super::cluster::{Cluster, GIB, read, write};

fn class(cluster: &Cluster, more: &[(&str, &str)]) -> VolumeClass {
    let parameters: BTreeMap<_, _> = cluster.attributes(more);
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
