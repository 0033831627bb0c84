use super::*;
use crate::create::create;
use serde_json::{Value, json};
use wharf_sdk::http::Response;
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{VolumeCapability, pairs};
use wharf_sdk::{Pairs as _, Progress};

fn request(parameters: &[(&str, &str)]) -> CreateRequest {
    let mut request = CreateRequest::new("pvc-1", VolumeCapability::mount(""));
    request.parameters =
        pairs([("volumeAs", "filesystem"), ("vpcId", "vpc-1"), ("vSwitchId", "vsw-1")]);
    for (key, value) in parameters {
        request.parameters.insert_pair(*key, *value);
    }
    request
}

fn listed(systems: &Value) -> Response {
    Response::new(200, json!({ "FileSystems": { "FileSystem": systems } }).to_string())
}

fn system(status: &str, targets: &Value) -> Value {
    json!({
        "FileSystemId": "fs1",
        "Status": status,
        "MountTargets": { "MountTarget": targets },
        "Tags": { "Tag": [{ "Key": VOLUME_NAME, "Value": "pvc-1" }] },
    })
}

fn target(status: &str) -> Value {
    json!({ "MountTargetDomain": "fs1-a.cn-x.nas.aliyuncs.com", "Status": status })
}

fn ask(parameters: &[(&str, &str)]) -> Answer<Volume> {
    create(&request(parameters), &Progress::default()).unwrap()
}

fn made() -> Response {
    Response::new(200, r#"{"FileSystemId":"fs1"}"#)
}

#[test]
fn a_file_system_is_made_then_its_mount_target_and_both_are_waited_for() {
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("CreateFileSystem", made())
        .answering("DescribeFileSystems", listed(&json!([system("Pending", &json!([]))])))
        .answering("DescribeFileSystems", listed(&json!([system("Running", &json!([]))])))
        .answering("CreateMountTarget", Response::new(200, "{}"))
        .answering(
            "DescribeFileSystems",
            listed(&json!([system("Running", &json!([target("Pending")]))])),
        )
        .answering(
            "DescribeFileSystems",
            listed(&json!([system("Running", &json!([target("Active")]))])),
        );
    for _ in 0..4 {
        assert!(matches!(ask(&[("deleteVolume", "true")]), Answer::Pending(_)));
    }
    let Answer::Done(volume) = ask(&[("deleteVolume", "true")]) else { panic!("it is active") };
    assert_eq!(volume.id, "filesystem#fs1#delete");
    assert_eq!(volume.context.value("server"), Some("fs1-a.cn-x.nas.aliyuncs.com"));
    assert_eq!(volume.context.value("path"), Some("/"));
    assert_eq!(host.left_over(), 0);
    let order = &host.requests()[1].query;
    assert_eq!(order.value("Tag.2.Value"), Some("pvc-1"));
    assert_eq!(order.value("StorageType"), Some("Performance"));
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_token() {
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([])))
        .failing("CreateFileSystem", Error::unavailable("lost").with_unknown_effect())
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("CreateFileSystem", made());
    assert!(create(&request(&[]), &Progress::default()).is_err());
    assert!(matches!(ask(&[]), Answer::Pending(_)));
    let requests = host.requests();
    let token = |index: usize| requests[index].query.value("ClientToken").unwrap().to_owned();
    assert_eq!(token(1), token(3));
    assert!(token(1).len() <= 64);
    assert_eq!(requests[1].query, requests[3].query);
}

#[test]
fn a_file_system_of_another_volume_is_never_taken() {
    let mut other = system("Running", &json!([target("Active")]));
    other["Tags"]["Tag"][0]["Value"] = json!("pvc-2");
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([other])))
        .answering("CreateFileSystem", made());
    assert!(matches!(ask(&[]), Answer::Pending(_)));
    assert_eq!(host.left_over(), 0);
}

#[test]
fn an_extreme_one_has_a_size_and_its_share() {
    let of_class = [("fileSystemType", "extreme"), ("zoneId", "z")];
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("CreateFileSystem", made())
        .answering(
            "DescribeFileSystems",
            listed(&json!([system("Running", &json!([target("Active")]))])),
        );
    assert!(matches!(ask(&of_class), Answer::Pending(_)));
    let order = &host.requests()[1].query;
    let sent = ["Capacity", "StorageType", "ZoneId"].map(|key| order.value(key).unwrap());
    assert_eq!(sent, ["100", "standard", "z"]);
    let Answer::Done(volume) = ask(&of_class) else { panic!("it is active") };
    assert_eq!((volume.context.value("path"), volume.capacity_bytes), (Some("/share"), 100 << 30));
    assert_eq!(volume.id, "filesystem#fs1#keep");
}

#[test]
fn bad_parameters_are_refused_by_name() {
    for (key, value) in [
        ("vpcId", ""),
        ("vSwitchId", ""),
        ("fileSystemType", "cpfs"),
        ("storageType", "fast"),
        ("encryptType", "2"),
        ("protocolType", "SMB"),
        ("networkType", "classic"),
        ("deleteVolume", "maybe"),
        ("vers", "5"),
        ("archiveOnDelete", "true"),
        ("mode", "755"),
    ] {
        let refused = create(&request(&[(key, value)]), &Progress::default()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{key}");
        let named = format!("`{}`", key.to_lowercase());
        assert!(refused.message.to_lowercase().contains(&named), "{}", refused.message);
    }
}

#[test]
fn mount_targets_end_before_their_file_system() {
    let host = FakeHost::install()
        .answering(
            "DescribeFileSystems",
            listed(&json!([system("Running", &json!([target("Active")]))])),
        )
        .answering("DeleteMountTarget", Response::new(200, "{}"))
        .answering(
            "DescribeFileSystems",
            listed(&json!([system("Running", &json!([target("Deleting")]))])),
        )
        .answering("DescribeFileSystems", listed(&json!([system("Running", &json!([]))])))
        .answering("DeleteFileSystem", Response::new(200, "{}"));
    let id = to_delete("filesystem#fs1#delete").unwrap();
    assert!(matches!(delete(id).unwrap(), Answer::Pending(_)));
    assert!(matches!(delete(id).unwrap(), Answer::Pending(_)));
    assert_eq!(delete(id).unwrap(), Answer::Done(()));
    assert_eq!(host.left_over(), 0);
}

#[test]
fn a_file_system_that_is_gone_is_done() {
    let gone = || Response::new(404, r#"{"Code":"InvalidFileSystem.NotFound","Message":"m"}"#);
    let _host = FakeHost::install()
        .answering("DescribeFileSystems", gone())
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("DescribeFileSystems", listed(&json!([system("Running", &json!([]))])))
        .answering("DeleteFileSystem", gone());
    for _ in 0..3 {
        assert_eq!(delete("fs1").unwrap(), Answer::Done(()));
    }
}

#[test]
fn a_file_system_that_was_made_for_no_volume_stays() {
    let mut foreign = system("Running", &json!([]));
    foreign["Tags"] = json!({ "Tag": [] });
    let host = FakeHost::install().answering("DescribeFileSystems", listed(&json!([foreign])));
    assert_eq!(delete("fs1").unwrap_err().kind, ErrorKind::FailedPrecondition);
    assert_eq!(host.actions(), ["DescribeFileSystems"]);
}

#[test]
fn a_file_system_that_is_to_be_kept_is_not_looked_at() {
    for handle in ["filesystem#fs1#keep", "filesystem##delete", "fs1", "filesystem#a#b#delete"] {
        assert_eq!(to_delete(handle), None);
    }
}
