use super::*;
use crate::attributes::Attributes;
use crate::create::create;
use serde_json::{Value, json};
use wharf_sdk::http::Response;
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{VolumeCapability, pairs};
use wharf_sdk::{ErrorKind, Progress};

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
        "FileSystemType": "standard",
        "StorageType": "Performance",
        "ProtocolType": "NFS",
        "ZoneId": "z",
        "Capacity": 10240,
        "EncryptType": 0,
        "Status": status,
        "MountTargets": { "MountTarget": targets },
        "Tags": { "Tag": [{ "Key": VOLUME_NAME, "Value": "pvc-1" }] },
    })
}

fn target(status: &str) -> Value {
    json!({
        "MountTargetDomain": "fs1-a.cn-x.nas.aliyuncs.com",
        "VpcId": "vpc-1",
        "VswId": "vsw-1",
        "AccessGroupName": "DEFAULT_VPC_GROUP_NAME",
        "Status": status,
    })
}

fn ask(parameters: &[(&str, &str)]) -> Answer<Volume> {
    create(&request(parameters), &Progress::default()).unwrap()
}

fn made() -> Response {
    Response::new(200, r#"{"FileSystemId":"fs1"}"#)
}

/// The next looks find the mount target on its way, and then there.
fn showing_its_target(host: FakeHost) -> FakeHost {
    ["Pending", "Active"].into_iter().fold(host, |host, status| {
        let systems = json!([system("Running", &json!([target(status)]))]);
        host.answering("DescribeFileSystems", listed(&systems))
    })
}

#[test]
fn a_file_system_is_made_then_its_mount_target_and_both_are_waited_for() {
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("CreateFileSystem", made())
        .answering("DescribeFileSystems", listed(&json!([system("Pending", &json!([]))])))
        .answering("DescribeFileSystems", listed(&json!([system("Running", &json!([]))])))
        .answering("CreateMountTarget", Response::new(200, "{}"));
    let host = showing_its_target(host);
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
fn a_name_that_is_used_anew_gets_a_file_system_of_its_own() {
    let gone = || Response::new(404, r#"{"Code":"InvalidFileSystem.NotFound","Message":"m"}"#);
    let nothing = || listed(&json!([]));
    let mut host = FakeHost::install()
        .answering("DescribeFileSystems", nothing())
        .answering("CreateFileSystem", made());
    // What the cloud promises for the old token is looked for thrice, then by its id.
    for _ in 0..4 {
        host = host.answering("DescribeFileSystems", nothing());
    }
    let host = host
        .answering("DescribeFileSystems", gone())
        .answering("CreateFileSystem", Response::new(200, r#"{"FileSystemId":"fs2"}"#))
        .answering("DescribeFileSystems", nothing());
    let mut progress = Progress::default();
    let mut reasons = Vec::new();
    for _ in 0..6 {
        match create(&request(&[]), &progress).unwrap() {
            Answer::Pending(pending) => {
                reasons.push(pending.resume.clone().unwrap());
                progress = Progress::default().with_resume(pending.resume.unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons.last().unwrap(), "ordered 1 1 fs2");
    assert_eq!(host.left_over(), 0);
    let requests = host.requests();
    let tokens: Vec<_> = requests.iter().filter_map(|r| r.query.value("ClientToken")).collect();
    assert!(tokens.len() == 2 && tokens[0] != tokens[1] && tokens[1].len() <= 64, "{tokens:?}");
}

#[test]
fn a_file_system_that_is_only_not_listed_yet_is_never_asked_for_twice() {
    let ordering =
        Response::new(403, r#"{"Code":"InvalidFileSystemStatus.Ordering","Message":"m"}"#);
    for by_id in [listed(&json!([system("Pending", &json!([]))])), ordering] {
        let host = FakeHost::install()
            .answering("DescribeFileSystems", listed(&json!([])))
            .answering("DescribeFileSystems", by_id);
        let progress = Progress::default().with_resume("ordered 0 3 fs1");
        let answer = create(&request(&[]), &progress).unwrap();
        assert!(matches!(answer, Answer::Pending(_)));
        assert_eq!(host.actions(), ["DescribeFileSystems", "DescribeFileSystems"]);
    }
}

#[test]
fn a_mount_target_that_is_only_not_listed_yet_is_never_asked_for_twice() {
    let bare = || listed(&json!([system("Running", &json!([]))]));
    let domain = r#"{"MountTargetDomain":"fs1-a.cn-x.nas.aliyuncs.com"}"#;
    let mut host = FakeHost::install()
        .answering("DescribeFileSystems", bare())
        .answering("CreateMountTarget", Response::new(200, domain));
    // Thrice by the name of the volume; then by that, and by the id of the file system.
    for _ in 0..4 {
        host = host.answering("DescribeFileSystems", bare());
    }
    let host = showing_its_target(host);
    let mut progress = Progress::default();
    for _ in 0..5 {
        let answer = create(&request(&[]), &progress).unwrap();
        let Answer::Pending(pending) = answer else { panic!("{answer:?}") };
        progress = Progress::default().with_resume(pending.resume.unwrap());
    }
    let expected = "ordered-target 0 4 fs1-a.cn-x.nas.aliyuncs.com";
    assert_eq!(progress.resume.as_deref(), Some(expected));
    assert!(matches!(create(&request(&[]), &progress).unwrap(), Answer::Done(_)));
    assert_eq!(host.left_over(), 0);
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
    let mut there = system("Running", &json!([target("Active")]));
    there["FileSystemType"] = json!("extreme");
    there["StorageType"] = json!("standard");
    there["Capacity"] = json!(100);
    let host = FakeHost::install()
        .answering("DescribeFileSystems", listed(&json!([])))
        .answering("CreateFileSystem", made())
        .answering("DescribeFileSystems", listed(&json!([there])));
    assert!(matches!(ask(&of_class), Answer::Pending(_)));
    let order = &host.requests()[1].query;
    let sent = ["Capacity", "StorageType", "ZoneId"].map(|key| order.value(key).unwrap());
    assert_eq!(sent, ["100", "standard", "z"]);
    let Answer::Done(volume) = ask(&of_class) else { panic!("it is active") };
    assert_eq!((volume.context.value("path"), volume.capacity_bytes), (Some("/share"), 100 << 30));
    assert_eq!(volume.id, "filesystem#fs1#keep");
}

#[test]
fn an_extreme_one_of_a_size_that_there_is_not_is_refused_before_it_is_asked_for() {
    let mut request = request(&[("fileSystemType", "extreme"), ("zoneId", "z")]);
    request.capacity.limit_bytes = Some(50 << 30);
    let host = FakeHost::install();
    let refused = create(&request, &Progress::default()).unwrap_err();
    assert_eq!((refused.kind, host.requests().len()), (ErrorKind::OutOfRange, 0));
}

#[test]
fn a_file_system_that_is_another_one_than_is_asked_for_is_refused() {
    let is_taken = |key: &str, value: Value, parameters: &[(&str, &str)]| {
        let mut there = system("Running", &json!([target("Active")]));
        there[key] = value;
        let _host = FakeHost::install().answering("DescribeFileSystems", listed(&json!([there])));
        match create(&request(parameters), &Progress::default()) {
            Ok(answer) => matches!(answer, Answer::Done(_)),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error:?}");
                assert!(error.observed && error.message.contains("fs1"), "{error:?}");
                false
            }
        }
    };
    assert!(is_taken("ZoneId", json!("z"), &[]));
    assert!(is_taken("ZoneId", json!("z"), &[("zoneId", "z")]));
    assert!(is_taken("StorageType", json!("performance"), &[]));
    for (key, value, parameters) in [
        ("FileSystemType", json!("extreme"), &[][..]),
        ("StorageType", json!("Capacity"), &[]),
        ("EncryptType", json!(1), &[]),
        ("EncryptType", json!(0), &[("encryptType", "1")]),
        ("ProtocolType", json!("SMB"), &[]),
        ("ZoneId", json!("y"), &[("zoneId", "z")]),
    ] {
        assert!(!is_taken(key, value, parameters), "{key}");
    }
    for key in ["VpcId", "VswId", "AccessGroupName"] {
        let mut other = target("Active");
        other[key] = json!("other");
        assert!(!is_taken("MountTargets", json!({ "MountTarget": [other] }), &[]), "{key}");
    }
}

#[test]
fn an_extreme_one_of_another_size_is_refused() {
    let mut there = system("Running", &json!([target("Active")]));
    there["FileSystemType"] = json!("extreme");
    there["StorageType"] = json!("standard");
    there["Capacity"] = json!(200);
    for (gib, limit, fits) in
        [(200, None, true), (150, None, true), (201, None, false), (100, Some(150), false)]
    {
        let _host = FakeHost::install().answering("DescribeFileSystems", listed(&json!([there])));
        let mut request = request(&[("fileSystemType", "extreme"), ("zoneId", "z")]);
        request.capacity.required_bytes = Some(gib << 30);
        request.capacity.limit_bytes = limit.map(|gib: u64| gib << 30);
        match create(&request, &Progress::default()) {
            Ok(Answer::Done(volume)) => {
                assert_eq!((volume.capacity_bytes, fits), (200 << 30, true));
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!((error.kind, fits), (ErrorKind::AlreadyExists, false)),
        }
    }
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
        ("mode", "rwx"),
        ("modeType", "all"),
        ("servr", "a"),
    ] {
        let refused = create(&request(&[(key, value)]), &Progress::default()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{key}");
        let named = format!("`{}`", key.to_lowercase());
        assert!(refused.message.to_lowercase().contains(&named), "{}", refused.message);
    }
}

#[test]
fn a_class_may_say_the_mode_of_the_root_which_is_the_volume_s_own() {
    let there = || listed(&json!([system("Running", &json!([target("Active")]))]));
    let host = FakeHost::install().answering("DescribeFileSystems", there());
    let of_class = [("mode", "750"), ("modeType", "recursive"), ("path", "/k8s"), ("server", "a")];
    let Answer::Done(volume) = ask(&of_class) else { panic!("it is active") };
    assert_eq!(host.left_over(), 0);
    assert_eq!(volume.context.value("path"), Some("/"));
    let read = Attributes::read(&volume.context, &[], Defaults::Csi).unwrap();
    assert_eq!(read.mode, Some(Mode { bits: 0o750, is_recursive: true }));
}

#[test]
fn an_inactive_mount_target_is_named_and_not_waited_for() {
    let with = |targets: &Value| {
        let there = listed(&json!([system("Running", targets)]));
        let _host = FakeHost::install().answering("DescribeFileSystems", there);
        create(&request(&[]), &Progress::default())
    };
    let refused = with(&json!([target("Inactive")])).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.message.contains("fs1-a.cn-x.nas.aliyuncs.com"), "{refused:?}");
    // Another one that is active does.
    let both = json!([target("Inactive"), target("Active")]);
    assert!(matches!(with(&both).unwrap(), Answer::Done(_)));
}

#[test]
fn whatever_state_a_mount_target_is_in_it_is_no_reason_to_wait_for_ever() {
    for (status, orders) in
        [("Active", 1), ("Inactive", 1), ("Hibernated", 1), ("Pending", 0), ("Deleting", 0)]
    {
        let there = listed(&json!([system("Running", &json!([target(status)]))]));
        let host = FakeHost::install()
            .answering("DescribeFileSystems", there)
            .answering("DeleteMountTarget", Response::new(200, "{}"));
        assert!(matches!(delete("fs1").unwrap(), Answer::Pending(_)));
        assert_eq!(host.requests().len(), 1 + orders, "{status}");
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
