use super::*;
use crate::create::create;
use serde_json::{Value, json};
use wharf_sdk::controller::{CreateRequest, DeleteRequest};
use wharf_sdk::http::Response;
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{Volume, VolumeCapability, pairs};
use wharf_sdk::{Answer, ErrorKind, Pairs as _, Progress};

const SERVER: &str = "0cd8-1.cn-x.nas.aliyuncs.com";
const DOMAIN: &str = "ap-1.0cd8-2.cn-x.nas.aliyuncs.com";

fn ask(parameters: &[(&str, &str)]) -> Result<Answer<Volume>, Error> {
    create(&request(parameters), &Progress::default())
}

fn ask_again(progress: &Progress) -> Answer<Volume> {
    create(&request(&[]), progress).unwrap()
}

fn request(parameters: &[(&str, &str)]) -> CreateRequest {
    let mut request = CreateRequest::new("pvc-1", VolumeCapability::mount(""));
    request.capacity.required_bytes = Some(20 << 30);
    request.parameters = pairs([("volumeAs", "accesspoint")]);
    request.parameters.insert_pair("server", format!("{SERVER}:/k8s"));
    for (key, value) in parameters {
        request.parameters.insert_pair(*key, *value);
    }
    request
}

fn listed(points: &Value) -> Response {
    Response::new(200, json!({ "AccessPoints": points }).to_string())
}

fn point(id: &str, status: &str) -> Value {
    json!({
        "AccessPointId": id,
        "DomainName": DOMAIN,
        "RootPath": "/k8s/pvc-1",
        "Status": status,
        "Tags": [{ "Key": VOLUME_NAME, "Value": "pvc-1" }],
    })
}

fn made() -> Response {
    Response::new(200, r#"{"AccessPoint":{"AccessPointId":"ap-1"}}"#)
}

fn network() -> Response {
    let target = json!({
        "MountTargetDomain": SERVER,
        "VpcId": "vpc-1",
        "VswId": "vsw-1",
        "AccessGroupName": "group-1",
        "Status": "Active",
    });
    let system = json!({ "FileSystemId": "0cd8", "MountTargets": { "MountTarget": [target] } });
    Response::new(200, json!({ "FileSystems": { "FileSystem": [system] } }).to_string())
}

fn is_pending(answer: Result<Answer<Volume>, Error>) -> bool {
    matches!(answer, Ok(Answer::Pending(_)))
}

#[test]
fn an_access_point_is_made_in_the_network_of_its_mount_target_and_waited_for() {
    let host = FakeHost::install()
        .answering("DescribeAccessPoints", listed(&json!([])))
        .answering("DescribeFileSystems", network())
        .answering("CreateAccessPoint", made())
        .answering("DescribeAccessPoints", listed(&json!([point("ap-1", "Pending")])))
        .answering("DescribeAccessPoints", listed(&json!([point("ap-1", "Active")])));
    assert!(is_pending(ask(&[("vers", "4.0")])));
    assert!(is_pending(ask(&[("vers", "4.0")])));
    let Ok(Answer::Done(volume)) = ask(&[("vers", "4.0"), ("mode", "750")]) else { panic!() };
    assert_eq!(volume.id, format!("subpath#{SERVER}#/k8s/pvc-1#archive,v4.0,point"));
    for (key, value) in [
        ("accesspoint", Some(DOMAIN)),
        ("path", Some("/")),
        ("vers", Some("4.0")),
        ("server", None),
        ("mode", None),
    ] {
        assert_eq!(volume.context.value(key), value, "{key}");
    }
    let asked = &host.requests()[2].query;
    for (key, value) in [
        ("FileSystemId", "0cd8"),
        ("RootDirectory", "/k8s/pvc-1"),
        ("VpcId", "vpc-1"),
        ("VswId", "vsw-1"),
        ("AccessGroup", "group-1"),
        ("OwnerUserId", "0"),
        ("Permission", "0777"),
        ("Tag.2.Value", "pvc-1"),
    ] {
        assert_eq!(asked.value(key), Some(value), "{key}");
    }
    assert_eq!(asked.value("PosixUserId"), None);
    let publish = wharf_sdk::node::PublishRequest {
        volume_context: volume.context,
        ..wharf_sdk::node::PublishRequest::new(volume.id, VolumeCapability::mount(""))
    };
    assert!(crate::plans::publish(&publish).is_ok());
}

#[test]
fn an_access_point_that_is_only_not_listed_yet_is_never_asked_for_twice() {
    let mut untagged = point("ap-1", "Pending");
    untagged["Tags"] = json!([]);
    let mut host = FakeHost::install()
        .answering("DescribeAccessPoints", listed(&json!([])))
        .answering("DescribeFileSystems", network())
        .answering("CreateAccessPoint", made());
    // Thrice by its tag; then by its tag, and among all of the file system.
    for _ in 0..4 {
        host = host.answering("DescribeAccessPoints", listed(&json!([])));
    }
    let host = host
        .answering("DescribeAccessPoints", listed(&json!([untagged])))
        .answering("DescribeAccessPoints", listed(&json!([point("ap-1", "Active")])));
    let mut progress = Progress::default();
    for token in ["0 0", "0 1", "0 2", "0 3", "0 4"] {
        let Answer::Pending(pending) = ask_again(&progress) else { panic!("{token}") };
        assert_eq!(pending.resume.as_deref(), Some(&*format!("ordered-point {token} ap-1")));
        progress = Progress::default().with_resume(pending.resume.unwrap());
    }
    assert!(matches!(ask_again(&progress), Answer::Done(_)));
    assert_eq!(host.left_over(), 0);
}

#[test]
fn access_points_that_are_gone_again_are_not_asked_for_without_bound() {
    let host = FakeHost::install()
        .answering("DescribeAccessPoints", listed(&json!([])))
        .answering("DescribeAccessPoints", listed(&json!([])));
    let progress = Progress::default().with_resume("ordered-point 7 3 ap-8");
    let error = create(&request(&[]), &progress).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert_eq!(host.actions(), ["DescribeAccessPoints", "DescribeAccessPoints"]);
}

#[test]
fn a_class_says_who_clients_are_and_where_they_are() {
    let of_class = [
        ("vpcId", "vpc-2"),
        ("vSwitchId", "vsw-2"),
        ("accessGroupName", "group-2"),
        ("posixUserId", "1000"),
        ("posixGroupId", "1001"),
        ("posixSecondaryGroupIds", "1,2"),
        ("mode", "0700"),
    ];
    let host = FakeHost::install()
        .answering("DescribeAccessPoints", listed(&json!([])))
        .answering("CreateAccessPoint", made());
    assert!(is_pending(ask(&of_class)));
    let asked = &host.requests()[1].query;
    for (key, value) in [
        ("VpcId", "vpc-2"),
        ("AccessGroup", "group-2"),
        ("OwnerUserId", "1000"),
        ("OwnerGroupId", "1001"),
        ("PosixUserId", "1000"),
        ("PosixGroupId", "1001"),
        ("PosixSecondaryGroupIds", "1,2"),
        ("Permission", "0700"),
    ] {
        assert_eq!(asked.value(key), Some(value), "{key}");
    }
}

#[test]
fn an_access_point_of_another_user_is_refused() {
    let mut other = point("ap-1", "Active");
    other["PosixUser"] = json!({ "PosixUserId": 1000, "PosixGroupId": 1000 });
    let _host = FakeHost::install().answering("DescribeAccessPoints", listed(&json!([other])));
    let refused = ask(&[("posixUserId", "1"), ("posixGroupId", "1")]).unwrap_err();
    assert_eq!((refused.kind, refused.observed), (ErrorKind::AlreadyExists, true));
}

#[test]
fn access_points_of_others_are_never_taken_nor_ended() {
    let mut elsewhere = point("ap-1", "Active");
    elsewhere["RootPath"] = json!("/k8s/pvc-10");
    let mut untagged = point("ap-2", "Active");
    untagged["Tags"] = json!([]);
    let others = json!([elsewhere, untagged]);
    let host = FakeHost::install()
        .answering("DescribeAccessPoints", listed(&others))
        .answering("DescribeFileSystems", network())
        .answering("CreateAccessPoint", made())
        .answering("DescribeAccessPoints", listed(&others));
    assert!(is_pending(ask(&[])));
    assert!(matches!(end(""), Answer::Perform(_)));
    assert_eq!(host.left_over(), 0);
}

fn end(words: &str) -> Answer<()> {
    let id = format!("subpath#{SERVER}#/k8s/pvc-1#archive{words},point");
    crate::delete::delete(&DeleteRequest::new(id), &Progress::default()).unwrap()
}

#[test]
fn the_quota_ends_first_then_every_access_point_and_then_the_directory() {
    let gone = Response::new(404, r#"{"Code":"NotFound","Message":"m"}"#);
    let both = json!([point("ap-1", "Active"), point("ap-2", "Active")]);
    let host = FakeHost::install()
        .answering("CancelDirQuota", Response::new(200, "{}"))
        .answering("DescribeAccessPoints", listed(&both))
        .answering("DeleteAccessPoint", Response::new(200, "{}"))
        .answering("DeleteAccessPoint", gone)
        .answering("CancelDirQuota", Response::new(200, "{}"))
        .answering("DescribeAccessPoints", listed(&json!([point("ap-1", "Deleting")])))
        .answering("CancelDirQuota", Response::new(200, "{}"))
        .answering("DescribeAccessPoints", listed(&json!([])));
    assert!(matches!(end(",quota"), Answer::Pending(_)));
    assert!(matches!(end(",quota"), Answer::Pending(_)));
    assert!(matches!(end(",quota"), Answer::Perform(_)));
    assert_eq!(host.left_over(), 0);
}

#[test]
fn a_listing_is_read_to_its_end() {
    let first = json!({ "AccessPoints": [], "NextToken": "next-100" }).to_string();
    let host = FakeHost::install()
        .answering("DescribeAccessPoints", Response::new(200, first))
        .answering("DescribeAccessPoints", listed(&json!([point("ap-1", "Active")])));
    assert!(matches!(ask(&[]), Ok(Answer::Done(_))));
    assert_eq!(host.requests()[1].query.value("NextToken"), Some("next-100"));
}

#[test]
fn bad_parameters_are_refused_by_name() {
    for (key, value) in [
        ("accesspointEnableRam", "true"),
        ("ownerUserId", "root"),
        ("posixUserId", "1"),
        ("posixSecondaryGroupIds", "a"),
        ("permission", "9"),
        ("fileSystemType", "cpfs"),
        ("color", "red"),
    ] {
        let refused = ask(&[(key, value)]).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{key}");
        assert!(refused.message.contains('`'), "{}", refused.message);
    }
    let mut unknown = CreateRequest::new("pvc-1", VolumeCapability::mount(""));
    unknown.parameters = pairs([("volumeAs", "accesspoint"), ("server", "10.0.0.1:/k8s")]);
    let refused = create(&unknown, &Progress::default()).unwrap_err();
    assert!(refused.message.contains("`server`") && refused.message.contains("fileSystemId"));
}
