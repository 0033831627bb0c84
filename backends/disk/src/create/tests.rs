use super::*;
use crate::disk_record::tests::{disk, seen};
use serde_json::json;
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::ResourceId;
use wharf_sdk::types::{
    AccessMode, CapacityRange, Observation, TopologyRequirement, VolumeCapability, pairs,
};
use wharf_sdk::{Effect, ErrorKind, Pairs};

const GIB: u64 = 1 << 30;

fn ask(parameters: &[(&str, &str)]) -> CreateRequest {
    CreateRequest {
        parameters: pairs(parameters.iter().copied()),
        capacity: CapacityRange::new(Some(20 * GIB), None),
        ..CreateRequest::new("pvc-1", VolumeCapability::mount("ext4"))
    }
}

fn host() -> FakeHost {
    FakeHost::install()
        .with_config("region", "r")
        .with_config("zone", "z-a")
        .with_config("cluster-id", "c1")
}

fn created(id: &str) -> Response {
    Response::new(200, json!({ "DiskId": id, "RequestId": "R" }).to_string())
}

fn refused(code: &str) -> Response {
    Response::new(403, json!({ "Code": code, "Message": "no", "RequestId": "R" }).to_string())
}

fn found(disks: &[serde_json::Value]) -> Response {
    Response::new(200, json!({ "Disks": { "Disk": disks } }).to_string())
}

#[test]
fn what_a_node_would_refuse_is_refused_before_anything_is_created() {
    let host = host();
    let with_flags = |flags: &[&str]| {
        let mut options = VolumeCapability::mount("ext4");
        if let wharf_sdk::types::AccessType::Mount(options) = &mut options.access {
            options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
        CreateRequest { capabilities: vec![options], ..ask(&[]) }
    };
    for (request, key) in [
        (ask(&[("mkfsOptions", "-F -e panic")]), "mkfsOptions"),
        (ask(&[("mkfsOptions", "-epanic")]), "mkfsOptions"),
        (ask(&[("mkfsOptions", "-t ext2")]), "mkfsOptions"),
        // Right for xfs, and the capability says ext4.
        (ask(&[("mkfsOptions", "-d agcount=4")]), "mkfsOptions"),
        (with_flags(&["noatime, errors=panic"]), "mountOptions"),
    ] {
        let error = begin(&request).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error:?}");
        assert!(error.message.contains(key) && !error.message.contains("defect"), "{error:?}");
    }
    assert!(host.requests().is_empty());
}

fn tagged(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let mut disk = json!({ "DiskId": "d-1", "Status": "Available", "Size": 20, "ZoneId": "z-a", "Category": "cloud_essd", "PerformanceLevel": "PL1", "MultiAttach": "Disabled" });
    change(&mut disk);
    disk
}

fn begin(request: &CreateRequest) -> Result<Answer<Volume>, Error> {
    create(request, &Progress::default())
}

/// Calls again while there is another type or zone to try.
fn tried(request: &CreateRequest) -> Result<Answer<Volume>, Error> {
    let mut answer = begin(request);
    while let Ok(Answer::Pending(pending)) = &answer
        && pending.after_ms == 0
    {
        let resume = pending.resume.clone().unwrap();
        answer = create(request, &Progress::default().with_resume(resume));
    }
    answer
}

fn waiting(answer: Result<Answer<Volume>, Error>) -> Pending {
    match answer.unwrap() {
        Answer::Pending(pending) => pending,
        other => panic!("it does not wait: {other:?}"),
    }
}

fn sent(host: &FakeHost, key: &str) -> Vec<Option<String>> {
    host.requests()
        .iter()
        .filter(|request| request.action == "CreateDisk")
        .map(|request| value(request, key))
        .collect()
}

fn value(request: &Request, key: &str) -> Option<String> {
    request.query.value(key).map(str::to_owned)
}

#[test]
fn a_disk_is_asked_for_and_then_waited_for() {
    let host = host().answering("CreateDisk", created("d-1"));
    let request = ask(&[
        ("type", "cloud_essd"),
        ("performanceLevel", "PL1"),
        ("csi.storage.k8s.io/pvc/name", "claim"),
    ]);
    let pending = waiting(begin(&request));
    assert_eq!(pending.watch, [ResourceId::volume("d-1")]);
    let query = &host.requests()[0].query;
    for (key, expected) in [
        ("RegionId", "r"),
        ("ZoneId", "z-a"),
        ("DiskCategory", "cloud_essd"),
        ("PerformanceLevel", "PL1"),
        ("Size", "20"),
        ("DiskName", "pvc-1"),
        ("ClientToken", "n:pvc-1"),
        ("Tag.1.Key", "k8s.aliyun.com"),
        ("Tag.3.Value", "c1"),
        ("Tag.4.Key", "kubernetes.io/created-for/pvc/name"),
        ("Tag.5.Key", "csi.alibabacloud.com/volume-name"),
        ("Tag.5.Value", "pvc-1"),
    ] {
        assert_eq!(query.value(key), Some(expected), "{key}");
    }
    assert_eq!((query.value("Encrypted"), query.value("BurstingEnabled")), (Some("false"), None));

    let resume = pending.resume.unwrap();
    let creating = seen(&disk(|disk| disk.status = "Creating".into())).with_resume(&resume);
    assert_eq!(waiting(create(&request, &creating)).resume.as_deref(), Some(resume.as_str()));
    let there = seen(&disk(|_| {})).with_resume(&resume);
    let Answer::Done(volume) = create(&request, &there).unwrap() else {
        panic!("the disk is there")
    };
    assert_eq!((volume.id.as_str(), volume.capacity_bytes), ("d-1", 20 * GIB));
    assert_eq!(volume.topology, [pairs([(placement::PRIVATE_ZONE, "z-a")])]);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn everything_that_can_be_asked_for_reaches_the_cloud() {
    let host = host().answering("CreateDisk", created("d-1"));
    let request = CreateRequest {
        source: Some(VolumeSource::Snapshot("s-1".into())),
        ..ask(&[
            ("type", "cloud_auto"),
            ("encrypted", "yes"),
            ("kmsKeyId", "k-1"),
            ("multiAttach", "true"),
            ("provisionedIops", "1000"),
            ("burstingEnabled", "true"),
            ("resourceGroupId", "rg-1"),
            ("alibabacloud.com/createdisk-arn", r#"[{"Rolearn":"acs:a","RoleType":"user"}]"#),
        ])
    };
    waiting(begin(&request));
    let query = &host.requests()[0].query;
    for (key, expected) in [
        ("Encrypted", "true"),
        ("KMSKeyId", "k-1"),
        ("MultiAttach", "Enabled"),
        ("ProvisionedIops", "1000"),
        ("BurstingEnabled", "true"),
        ("ResourceGroupId", "rg-1"),
        ("SnapshotId", "s-1"),
        ("Arn.1.Rolearn", "acs:a"),
        ("Arn.1.RoleType", "user"),
    ] {
        assert_eq!(query.value(key), Some(expected), "{key}");
    }
    assert_eq!(query.value("Arn.1.AssumeRoleFor"), None);
}

#[test]
fn a_snapshot_says_itself_whether_it_is_encrypted() {
    let host = host().answering("CreateDisk", created("d-1"));
    waiting(begin(&ask(&[("csi.alibabacloud.com/disk-snapshot-id", "s-1")])));
    assert_eq!(host.requests()[0].query.value("Encrypted"), None);
    let encrypted = tagged(|disk| {
        disk.as_object_mut()
            .unwrap()
            .extend([("Encrypted".into(), true.into()), ("SourceSnapshotId".into(), "s-1".into())])
    });
    let _host = FakeHost::install()
        .with_config("region", "r")
        .with_config("zone", "z-a")
        .answering("CreateDisk", refused(existing::MISMATCH))
        .answering("DescribeDisks", found(&[encrypted]));
    let again =
        begin(&ask(&[("type", "cloud_essd"), ("csi.alibabacloud.com/disk-snapshot-id", "s-1")]));
    assert!(matches!(again, Ok(Answer::Done(_))), "{again:?}");
}

#[test]
fn out_of_stock_falls_through_types_and_then_zones() {
    let host = host()
        .answering("CreateDisk", refused("OperationDenied.NoStock"))
        .answering("CreateDisk", refused("InvalidDataDiskCategory.NotSupported"))
        .answering("CreateDisk", refused("Zone.NotOnSale"))
        .answering("CreateDisk", created("d-4"));
    let mut request = ask(&[("type", "cloud_essd,cloud_ssd")]);
    let place = |zone: &str| pairs([("topology.kubernetes.io/zone", zone)]);
    request.topology =
        Some(TopologyRequirement::new(vec![place("z-b"), place("z-c")], vec![place("z-c")]));
    assert_eq!(waiting(tried(&request)).watch, [ResourceId::volume("d-4")]);
    let tried: Vec<_> = sent(&host, "ZoneId")
        .into_iter()
        .zip(sent(&host, "DiskCategory"))
        .map(|(zone, kind)| format!("{} {}", zone.unwrap(), kind.unwrap()))
        .collect();
    assert_eq!(tried, ["z-c cloud_essd", "z-c cloud_ssd", "z-b cloud_essd", "z-b cloud_ssd"]);
}

fn stocked_only(zone: &'static str, kind: &'static str) -> FakeHost {
    host().handling(move |request| {
        let is = |key: &str, wanted: &str| request.query.value(key) == Some(wanted);
        Some(Ok(if is("ZoneId", zone) && is("DiskCategory", kind) {
            created("d-1")
        } else {
            refused("OperationDenied.NoStock")
        }))
    })
}

#[test]
fn one_call_sends_one_request_and_what_was_refused_is_not_tried_again() {
    let request = ask(&[
        ("type", "cloud_essd,cloud_ssd,cloud_efficiency,cloud_auto"),
        ("performanceLevel", "PL1,PL0"),
        ("zoneId", "z-a,z-b,z-c"),
    ]);
    let host = stocked_only("z-c", "cloud_auto");
    let (mut answer, mut calls) = (begin(&request), 1);
    while let Ok(Answer::Pending(pending)) = &answer
        && pending.watch.is_empty()
    {
        assert_eq!(host.requests().len(), calls, "one request a call");
        assert!(pending.reason.contains("NoStock") || pending.reason.contains("no"));
        let resume = pending.resume.clone().unwrap();
        answer = create(&request, &Progress::default().with_resume(resume));
        calls += 1;
    }
    assert_eq!(waiting(answer).watch, [ResourceId::volume("d-1")]);
    let attempts: Vec<_> = host
        .requests()
        .iter()
        .map(|request| {
            ["ZoneId", "DiskCategory", "PerformanceLevel"].map(|key| value(request, key))
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = attempts.iter().collect();
    assert_eq!((attempts.len(), distinct.len()), (15, 15));
}

#[test]
fn a_token_that_a_refused_attempt_has_bound_is_followed_by_the_next_attempt() {
    let bound = std::cell::RefCell::new(std::collections::BTreeMap::<String, String>::new());
    let host = host().handling(move |request| match request.action.as_str() {
        "DescribeDisks" => Some(Ok(found(&[]))),
        "CreateDisk" => {
            let [token, kind] =
                ["ClientToken", "DiskCategory"].map(|key| value(request, key).unwrap());
            let mut bound = bound.borrow_mut();
            let is_bound = bound.entry(token).or_insert_with(|| kind.clone()) != &kind;
            Some(Ok(match kind.as_str() {
                _ if is_bound => refused(existing::MISMATCH),
                "cloud_efficiency" => created("d-3"),
                _ => refused("OperationDenied.NoStock"),
            }))
        }
        _ => None,
    });
    let (volume, _) = drive(&ask(&[("type", "cloud_essd,cloud_ssd,cloud_efficiency")]), |_| true);
    assert_eq!(volume.unwrap().id, "d-3");
    assert_eq!(sent(&host, "DiskCategory").len(), 5);
}

#[test]
fn the_token_of_the_longest_round_fits_into_what_the_host_carries() {
    let long = "x".repeat(300);
    let zones: Vec<_> = (0..8).map(|number| format!("cn-wulanchabu-acdr-ut-{number}")).collect();
    let request = ask(&[
        ("type", "cloud_essd_xc0,cloud_essd_xc1,cloud_essd_entry"),
        ("zoneId", &zones.join(",")),
    ]);
    let request = CreateRequest { capacity: CapacityRange::new(Some(40 * GIB), None), ..request };
    let code = "InvalidDataDiskCategory.NotSupported";
    let host = host().handling(move |_| {
        let body = json!({ "Code": code, "Message": long, "RequestId": "R" });
        Some(Ok(Response::new(403, body.to_string())))
    });
    let mut answer = begin(&request);
    while let Ok(Answer::Pending(pending)) = &answer {
        let resume = pending.resume.clone().unwrap();
        assert!(resume.len() <= 4096, "{}", resume.len());
        answer = create(&request, &Progress::default().with_resume(resume));
    }
    let error = answer.unwrap_err();
    assert_eq!(host.requests().len(), 24);
    assert!(error.message.contains(code) && error.message.contains(&zones[7]), "{error:?}");
}

/// As the provisioner asks after the scheduler has chosen a node.
fn for_a_node(request: CreateRequest) -> CreateRequest {
    let node = |instance: &str, zone: &str| placement::of_node(instance, zone, "r");
    let nodes = [node("i-7", "z-b"), node("i-1", "z-a")];
    let topology = TopologyRequirement::new(nodes.to_vec(), nodes.to_vec());
    CreateRequest { topology: Some(topology), ..request }
}

#[test]
fn a_disk_of_one_instance_is_made_for_the_node_that_was_chosen() {
    let request = |types: &str| {
        for_a_node(CreateRequest {
            capacity: CapacityRange::new(Some(64 * GIB), None),
            ..ask(&[("type", types)])
        })
    };
    let types = "elastic_ephemeral_disk_standard,elastic_ephemeral_disk_premium";
    let host = host()
        .answering("CreateDisk", refused("OperationDenied.NoStock"))
        .answering("CreateDisk", created("d-2"));
    let pending = waiting(tried(&request(types)));
    assert_eq!(sent(&host, "ZoneId"), [Some("z-b".to_owned()), Some("z-b".to_owned())]);
    let there = seen(&disk(|disk| {
        disk.disk_id = "d-2".into();
        disk.category = "elastic_ephemeral_disk_premium".into();
        disk.zone_id = "z-b".into();
    }));
    let Answer::Done(volume) =
        create(&request(types), &there.with_resume(pending.resume.unwrap())).unwrap()
    else {
        panic!("the disk is there")
    };
    let place = [(placement::PRIVATE_ZONE, "z-b"), (placement::INSTANCE, "i-7")];
    assert_eq!(volume.topology, [pairs(place)]);

    let nowhere = CreateRequest { topology: None, ..request(types) };
    let error = tried(&nowhere).unwrap_err();
    assert!(error.message.contains("WaitForFirstConsumer"), "{}", error.message);
    assert_eq!(host.requests().len(), 2);
}

#[test]
fn what_is_about_one_type_or_zone_is_no_reason_to_stop() {
    for code in [
        "QuotaExceed.DiskCapacity",
        "InvalidPerformanceLevel.NotSupported",
        "InvalidParameter.EncryptedNotSupported",
        "InvalidParameter.DiskCategoryAndMultiAttachNotMatch",
        "OperationDenied.ZoneNotSupportMultiAttachDisk",
    ] {
        let _host =
            host().answering("CreateDisk", refused(code)).answering("CreateDisk", created("d-2"));
        assert_eq!(
            waiting(tried(&ask(&[("type", "cloud_essd,cloud_auto")]))).watch,
            [ResourceId::volume("d-2")],
            "{code}"
        );
    }
}

#[test]
fn a_wrong_value_is_not_taken_for_a_shortage() {
    let of = |codes: [&str; 2]| {
        let _host =
            codes.iter().fold(host(), |host, code| host.answering("CreateDisk", refused(code)));
        tried(&ask(&[("type", "cloud_essd,cloud_auto")])).unwrap_err()
    };
    let error =
        of(["InvalidParameter.EncryptedNotSupported", "InvalidProvisionedIops.LimitExceed"]);
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert!(
        error.message.contains("cloud_essd in z-a") && error.message.contains("cloud_auto in z-a"),
        "{}",
        error.message
    );
    assert_eq!(
        of(["InvalidDiskSize.NotSupported", "InvalidPerformanceLevel.Malformed"]).kind,
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        of(["OperationDenied.NoStock", "InvalidPerformanceLevel.Malformed"]).kind,
        ErrorKind::ResourceExhausted
    );
    assert_eq!(
        of(["InvalidDiskSize.NotSupported", "InvalidDiskSize.NotSupported"]).kind,
        ErrorKind::OutOfRange
    );
}

#[test]
fn when_nothing_is_left_every_reason_is_named() {
    let host = host().answering("CreateDisk", refused("OperationDenied.NoStock"));
    let error = tried(&ask(&[("type", "cloud_essd_xc0,cloud_ssd")])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceExhausted);
    assert!(
        error.message.contains("cloud_essd_xc0 has at least 40 GiB")
            && error.message.contains("cloud_ssd in z-a"),
        "{}",
        error.message
    );
    assert_eq!(error.code.as_deref(), Some("OperationDenied.NoStock"));
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_size_that_no_type_has_is_out_of_range_without_a_request() {
    let host = host();
    let small = CreateRequest {
        capacity: CapacityRange::new(Some(GIB), None),
        ..ask(&[("type", "cloud_essd")])
    };
    assert_eq!(begin(&small).unwrap_err().kind, ErrorKind::OutOfRange);
    let limited = CreateRequest {
        capacity: CapacityRange::new(Some(GIB), Some(2 * GIB)),
        ..ask(&[("volumeSizeAutoAvailable", "true")])
    };
    assert_eq!(begin(&limited).unwrap_err().kind, ErrorKind::OutOfRange);
    assert!(host.requests().is_empty());
}

#[test]
fn what_another_type_cannot_change_is_final_at_once() {
    for (code, kind) in [
        ("QuotaExceed.PostPaidDisk", ErrorKind::ResourceExhausted),
        ("Forbidden.RAM", ErrorKind::PermissionDenied),
        ("InvalidSnapshotId.NotFound", ErrorKind::NotFound),
        ("Throttling.User", ErrorKind::Throttled),
        ("InvalidAccountStatus.NotEnoughBalance", ErrorKind::FailedPrecondition),
    ] {
        let host = host().answering("CreateDisk", refused(code));
        let error = begin(&ask(&[])).unwrap_err();
        assert_eq!((error.kind, host.requests().len()), (kind, 1), "{code}");
    }
}

#[test]
fn an_unanswered_creation_is_of_unknown_effect_and_nothing_else_is_tried() {
    let host = host().failing("CreateDisk", Error::unavailable("reset").with_unknown_effect());
    assert_eq!(begin(&ask(&[])).unwrap_err().effect, Effect::Unknown);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn the_same_name_with_the_same_wishes_is_the_same_disk() {
    let host = host()
        .answering("CreateDisk", refused(existing::MISMATCH))
        .answering("DescribeDisks", found(&[tagged(|_| {})]));
    let Answer::Done(volume) = begin(&ask(&[("type", "cloud_ssd,cloud_essd")])).unwrap() else {
        panic!("the disk is there")
    };
    assert_eq!(volume.id, "d-1");
    let look = &host.requests()[1].query;
    assert_eq!(
        (look.value("Tag.1.Key"), look.value("Tag.1.Value")),
        (Some("csi.alibabacloud.com/volume-name"), Some("pvc-1"))
    );
}

#[test]
fn an_existing_disk_whose_size_lies_in_the_range_is_the_volume() {
    for (size, limit, is_it) in
        [(20, None, true), (30, Some(40), true), (40, Some(40), true), (41, Some(40), false)]
    {
        let _host = host()
            .answering("CreateDisk", refused(existing::MISMATCH))
            .answering("DescribeDisks", found(&[tagged(|disk| disk["Size"] = size.into())]));
        let request = CreateRequest {
            capacity: CapacityRange::new(Some(20 * GIB), limit.map(|limit: u64| limit * GIB)),
            ..ask(&[("type", "cloud_essd")])
        };
        let answer = begin(&request);
        assert_eq!(matches!(answer, Ok(Answer::Done(_))), is_it, "{size} {limit:?}: {answer:?}");
    }
}

#[test]
fn the_same_name_with_other_wishes_already_exists() {
    for (parameters, change, word) in [
        (vec![], json!({ "Size": 10 }), "GiB"),
        (vec![], json!({ "Category": "cloud_ssd" }), "type"),
        (vec![("performanceLevel", "PL0")], json!({}), "performance level"),
        (vec![("encrypted", "true")], json!({}), "encrypted"),
        (vec![("multiAttach", "true")], json!({}), "multiAttach"),
        (vec![("zoneId", "z-b")], json!({}), "zone"),
        (vec![("diskTags/team", "a")], json!({}), "team"),
        (vec![("resourceGroupId", "rg")], json!({}), "resourceGroupId"),
        (vec![], json!({ "SourceSnapshotId": "s-1" }), "snapshot"),
    ] {
        let disk = tagged(|disk| {
            disk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone())
        });
        let _host = host()
            .answering("CreateDisk", refused(existing::MISMATCH))
            .answering("DescribeDisks", found(&[disk]));
        let mut parameters = parameters;
        parameters.push(("type", "cloud_essd"));
        let error = begin(&ask(&parameters)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{word}");
        assert!(error.message.contains(word) && error.message.contains("d-1"), "{}", error.message);
    }
}

#[test]
fn two_disks_of_one_name_are_nobody_s() {
    let _host = host().answering("CreateDisk", refused(existing::MISMATCH)).answering(
        "DescribeDisks",
        found(&[tagged(|_| {}), tagged(|disk| disk["DiskId"] = "d-2".into())]),
    );
    let error = begin(&ask(&[])).unwrap_err();
    assert!(error.kind == ErrorKind::AlreadyExists && error.message.contains("d-1, d-2"));
}

/// Calls again until it does not wait any more, with a cloud that lists none of these disks;
/// answers how long that takes, too.
fn drive(request: &CreateRequest, listed: impl Fn(&str) -> bool) -> (Result<Volume, Error>, u32) {
    let (mut answer, mut waited) = (begin(request), 0);
    for _ in 0..100 {
        let pending = match answer {
            Ok(Answer::Pending(pending)) => pending,
            Ok(Answer::Done(volume)) => return (Ok(volume), waited),
            Ok(Answer::Perform(_)) => panic!("a disk is nothing for this machine"),
            Err(error) => return (Err(error), waited),
        };
        waited += pending.after_ms;
        let look = |ResourceId { id, .. }: &ResourceId| {
            let there = disk(|disk| disk.disk_id.clone_from(id));
            if listed(id) { seen(&there).observed } else { vec![Observation::missing(id)] }
        };
        let progress = Progress::observed(pending.watch.iter().flat_map(look).collect::<Vec<_>>());
        answer = create(request, &progress.with_resume(pending.resume.unwrap()));
    }
    panic!("it waits for ever");
}

/// A cloud that lists no disk by its tag and makes a new one for every new token.
fn forgetful(is_bound: bool) -> FakeHost {
    let tokens = std::cell::RefCell::new(vec!["n:pvc-1".to_owned()]);
    host().handling(move |request| match request.action.as_str() {
        "DescribeDisks" => Some(Ok(found(&[]))),
        "CreateDisk" => {
            let token = request.query.value("ClientToken").unwrap();
            let mut tokens = tokens.borrow_mut();
            if !tokens.iter().any(|known| known == token) {
                tokens.push(token.to_owned());
            }
            let number = tokens.iter().position(|known| known == token).unwrap() + 1;
            Some(Ok(if number == 1 && is_bound {
                refused(existing::MISMATCH)
            } else {
                created(&format!("d-{number}"))
            }))
        }
        _ => None,
    })
}

#[test]
fn a_token_whose_disk_is_gone_is_followed_by_the_same_next_one_each_time() {
    let tokens = || {
        let host = forgetful(true);
        let (volume, waited) = drive(&ask(&[]), |_| true);
        assert!((3_000..5_000).contains(&waited), "{waited}");
        assert_eq!(volume.unwrap().id, "d-2");
        sent(&host, "ClientToken")
    };
    let first = tokens();
    assert_eq!(first, tokens());
    assert_eq!((first.len(), first[0].as_deref()), (2, Some("n:pvc-1")));
    assert!(first[1].as_deref().unwrap().starts_with("r:"));
}

#[test]
fn a_disk_that_never_appears_is_created_again_once_under_another_token() {
    let host = forgetful(false);
    let (volume, waited) = drive(&ask(&[]), |id| id == "d-2");
    assert_eq!((volume.unwrap().id.as_str(), sent(&host, "ClientToken").len()), ("d-2", 2));
    assert!((3_000..5_000).contains(&waited), "{waited}");
}

#[test]
fn a_name_that_was_used_and_deleted_several_times_is_used_again() {
    let host = forgetful(false);
    let (volume, _) = drive(&ask(&[]), |id| id == "d-5");
    assert_eq!((volume.unwrap().id.as_str(), sent(&host, "ClientToken").len()), ("d-5", 5));
}

#[test]
fn no_more_disks_than_a_few_are_made_when_the_cloud_lists_none() {
    for is_bound in [false, true] {
        let host = forgetful(is_bound);
        let (refused, _) = drive(&ask(&[]), |_| false);
        let error = refused.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::Unknown));
        assert!(
            error.message.contains("d-9") && error.hint.unwrap().contains("DescribeDisks"),
            "{}",
            error.message
        );
        assert_eq!(sent(&host, "ClientToken").len(), 9);
    }
}

#[test]
fn a_disk_that_only_its_tag_finds_is_used() {
    let host = host()
        .answering("CreateDisk", created("d-1"))
        .answering("DescribeDisks", found(&[tagged(|_| {})]));
    let (volume, _) = drive(&ask(&[("type", "cloud_essd")]), |_| false);
    assert_eq!(
        (volume.unwrap().id.as_str(), host.actions()),
        ("d-1", vec!["CreateDisk".to_owned(), "DescribeDisks".to_owned()])
    );
}

#[test]
fn a_first_disk_that_appears_after_the_second_is_named_and_not_left() {
    let looks = std::cell::Cell::new(0);
    let _host = host().handling(move |request| match request.action.as_str() {
        "DescribeDisks" => {
            looks.set(looks.get() + 1);
            Some(Ok(found(&if looks.get() == 1 {
                vec![]
            } else {
                vec![tagged(|_| {}), tagged(|disk| disk["DiskId"] = "d-2".into())]
            })))
        }
        "CreateDisk" => {
            Some(Ok(created(if request.query.value("ClientToken") == Some("n:pvc-1") {
                "d-1"
            } else {
                "d-2"
            })))
        }
        _ => None,
    });
    let error = drive(&ask(&[("type", "cloud_essd")]), |id| id == "d-2").0.unwrap_err();
    assert!(
        error.kind == ErrorKind::AlreadyExists && error.message.contains("d-1, d-2"),
        "{}",
        error.message
    );
}

#[test]
fn a_token_of_another_build_leads_to_the_same_disk() {
    let host = host().answering("CreateDisk", created("d-1"));
    waiting(create(&ask(&[]), &Progress::default().with_resume("v9:unknown")));
    assert_eq!(sent(&host, "ClientToken"), [Some("n:pvc-1".to_owned())]);
}

#[test]
fn regional_disks_have_no_zone_and_are_tried_once() {
    let host = host().answering("CreateDisk", refused("OperationDenied.NoStock"));
    let error =
        begin(&ask(&[("type", "cloud_regional_disk_auto"), ("zoneId", "z-a,z-b")])).unwrap_err();
    assert_eq!((error.kind, sent(&host, "ZoneId")), (ErrorKind::ResourceExhausted, vec![None]));
}

#[test]
fn sharing_needs_the_class_to_say_so() {
    let _host = host();
    let shared = CreateRequest {
        capabilities: vec![VolumeCapability::block().in_mode(AccessMode::MultiNodeMultiWriter)],
        ..ask(&[])
    };
    assert!(begin(&shared).unwrap_err().message.contains("multiAttach"));
}

#[test]
fn a_source_that_cannot_be_is_refused() {
    let _host = host();
    let of = |source| begin(&CreateRequest { source: Some(source), ..ask(&[]) }).unwrap_err().kind;
    assert_eq!(of(VolumeSource::Snapshot("nope".into())), ErrorKind::NotFound);
    assert_eq!(of(VolumeSource::Volume("d-1".into())), ErrorKind::InvalidArgument);
}

#[test]
fn another_region_is_refused() {
    let _host = host();
    assert!(begin(&ask(&[("regionId", "other")])).unwrap_err().message.contains("regionId"));
    assert!(waits_in_the_same_region());
}

fn waits_in_the_same_region() -> bool {
    let _host = host().answering("CreateDisk", created("d-1"));
    matches!(begin(&ask(&[("regionId", "r")])), Ok(Answer::Pending(_)))
}

#[test]
fn a_disk_is_taken_over_when_it_fits() {
    let host = host()
        .answering("DescribeDisks", found(&[tagged(|_| {})]))
        .answering("TagResources", Response::new(200, "{}"));
    let Answer::Done(volume) = begin(&ask(&[(DISK_ID, "d-1"), ("diskTags/team", "a")])).unwrap()
    else {
        panic!("nothing is created")
    };
    assert_eq!((volume.id.as_str(), volume.context.value("type")), ("d-1", Some("cloud_essd")));
    let query = &host.requests()[1].query;
    for (key, expected) in [
        ("ResourceType", "disk"),
        ("ResourceId.1", "d-1"),
        ("Tag.3.Key", "ack.aliyun.com"),
        ("Tag.3.Value", "c1"),
        ("Tag.4.Key", "team"),
        ("Tag.5.Value", "pvc-1"),
    ] {
        assert_eq!(query.value(key), Some(expected), "{key}");
    }
}

#[test]
fn a_disk_that_has_its_tags_is_taken_over_without_a_change() {
    let tags: Vec<_> = tags::of_new_disk("pvc-1", Some("c1"), None, &Default::default())
        .into_iter()
        .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }))
        .collect();
    let host = host()
        .answering("DescribeDisks", found(&[tagged(|disk| disk["Tags"] = json!({ "Tag": tags }))]));
    assert!(matches!(begin(&ask(&[(DISK_ID, "d-1")])), Ok(Answer::Done(_))));
    assert_eq!(host.actions(), ["DescribeDisks"]);
}

#[test]
fn a_disk_that_does_not_fit_is_not_taken_over() {
    let _host =
        host().answering("DescribeDisks", found(&[tagged(|disk| disk["Size"] = 40.into())]));
    assert_eq!(begin(&ask(&[(DISK_ID, "d-1")])).unwrap_err().kind, ErrorKind::OutOfRange);

    let _host = host().answering("DescribeDisks", found(&[]));
    assert_eq!(begin(&ask(&[(DISK_ID, "d-1")])).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_name_that_the_cloud_does_not_take_stays_a_tag() {
    for (name, is_name) in [
        ("pvc-1", true),
        ("磁盘-1", true),
        ("1pvc", false),
        ("p", false),
        ("a b", false),
        ("a/b", false),
    ] {
        assert_eq!(tags::is_disk_name(name), is_name, "{name}");
    }
}
