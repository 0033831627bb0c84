use super::*;
use crate::disk_record::tests::{disk, held_by, seen};
use wharf_sdk::http::Response;
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::ResourceId;
use wharf_sdk::types::{AccessMode, Observation, VolumeCapability};
use wharf_sdk::{Effect, ErrorKind, Pairs};

fn ask(node: &str) -> AttachRequest {
    AttachRequest::new("d-1", node, VolumeCapability::mount("ext4"))
}

fn host() -> FakeHost {
    FakeHost::install().with_config("region", "r")
}

fn ok() -> Response {
    Response::new(200, r#"{"RequestId":"R"}"#)
}

fn run(disk: &Disk) -> Result<Answer<Attachment>, Error> {
    attach(&ask("i-1"), &seen(disk))
}

fn in_state(status: &str) -> Disk {
    disk(|disk| disk.status = status.into())
}

fn is_pending(answer: &Result<Answer<Attachment>, Error>) -> bool {
    matches!(answer, Ok(Answer::Pending(_)))
}

#[test]
fn a_free_disk_is_attached_and_waited_for() {
    let host = host().answering("AttachDisk", ok());
    let Answer::Pending(pending) = run(&in_state("Available")).unwrap() else {
        panic!("it takes time")
    };
    let query = &host.requests()[0].query;
    assert_eq!((query.value("InstanceId"), query.value("DiskId")), (Some("i-1"), Some("d-1")));
    assert_eq!(pending.watch, [ResourceId::volume("d-1")]);

    let stale = seen(&in_state("Available")).with_resume(pending.resume.unwrap());
    assert!(is_pending(&attach(&ask("i-1"), &stale)));
    assert_eq!(host.requests().len(), 1, "a stale listing is no reason to ask twice");

    let Answer::Done(attached) = run(&disk(|disk| held_by(disk, &["i-1"]))).unwrap() else {
        panic!("it is here")
    };
    assert_eq!(attached.publish_context.value(SERIAL), Some("1"));
}

#[test]
fn a_disk_that_stays_free_is_asked_for_again() {
    let host = host().answering("AttachDisk", ok());
    let tired = seen(&in_state("Available")).with_resume(format!("{REQUESTED}{LOOKS_WHILE_FREE}"));
    assert!(is_pending(&attach(&ask("i-1"), &tired)));
    assert_eq!(host.actions(), ["AttachDisk"]);
}

#[test]
fn attach_refuses_a_disk_held_by_another_node() {
    let host = host();
    let error = run(&disk(|disk| held_by(disk, &["i-7"]))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.message.contains("i-7"));
    assert!(host.requests().is_empty());
}

#[test]
fn an_operator_can_have_the_disk_taken() {
    let host = host()
        .with_config("force-detach", "true")
        .answering("DetachDisk", ok())
        .answering("AttachDisk", ok());
    assert!(is_pending(&run(&disk(|disk| held_by(disk, &["i-7"])))));
    assert_eq!(host.requests()[0].query.value("InstanceId"), Some("i-7"));
    assert!(is_pending(&run(&disk(|disk| {
        held_by(disk, &["i-7"]);
        disk.status = "Detaching".into();
    }))));
    assert_eq!(host.actions(), ["DetachDisk"], "only a free disk is attached");
    assert!(is_pending(&run(&in_state("Available"))));
    assert_eq!(host.actions(), ["DetachDisk", "AttachDisk"]);
    assert!(host.lines()[0].contains("i-7"));
}

#[test]
fn a_setting_that_is_neither_true_nor_false_takes_nothing() {
    let host = host().with_config("force-detach", "yes");
    let error = run(&disk(|disk| held_by(disk, &["i-7"]))).unwrap_err();
    assert!(error.message.contains("force-detach") && host.requests().is_empty());
}

#[test]
fn what_is_on_its_way_is_waited_for() {
    let host = host();
    for status in ["Attaching", "Detaching", "Creating", "ReIniting", "Migrating"] {
        assert!(is_pending(&run(&in_state(status))), "{status}");
    }
    assert!(is_pending(&run(&disk(|disk| {
        held_by(disk, &["i-1"]);
        disk.status = "Detaching".into();
    }))));
    assert!(host.requests().is_empty());
}

fn shared_by(holders: &[&str]) -> Disk {
    disk(|disk| {
        held_by(disk, holders);
        disk.multi_attach = "Enabled".into();
    })
}

fn ask_shared() -> AttachRequest {
    AttachRequest {
        capability: VolumeCapability::block().in_mode(AccessMode::MultiNodeMultiWriter),
        ..ask("i-1")
    }
}

#[test]
fn a_shared_disk_joins_its_other_holders() {
    let host = host().answering("AttachDisk", ok());
    assert!(is_pending(&attach(&ask_shared(), &seen(&shared_by(&["i-7"])))));
    assert_eq!(host.actions(), ["AttachDisk"]);
    assert!(matches!(
        attach(&ask_shared(), &seen(&shared_by(&["i-7", "i-1"]))),
        Ok(Answer::Done(_))
    ));
}

#[test]
fn a_volume_for_one_node_is_not_shared_although_its_disk_could_be() {
    for mode in [
        AccessMode::SingleNodeWriter,
        AccessMode::SingleNodeMultiWriter,
        AccessMode::SingleNodeReaderOnly,
    ] {
        for holders in [["i-7"].as_slice(), &["i-7", "i-1"]] {
            let host = host().with_config("force-detach", "true");
            let request = AttachRequest {
                capability: VolumeCapability::mount("ext4").in_mode(mode),
                ..ask("i-1")
            };
            let error = attach(&request, &seen(&shared_by(holders))).unwrap_err();
            assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{mode:?}");
            assert!(
                error.message.contains("i-7") && host.requests().is_empty(),
                "{}",
                error.message
            );
        }
    }
    assert!(matches!(run(&shared_by(&["i-1"])), Ok(Answer::Done(_))));
}

#[test]
fn who_only_reads_gets_an_ordinary_disk_on_one_node_at_a_time() {
    let host = host().with_config("force-detach", "true").answering("AttachDisk", ok());
    let request = AttachRequest {
        capability: VolumeCapability::mount("ext4").in_mode(AccessMode::MultiNodeReaderOnly),
        ..ask("i-1")
    };
    assert!(is_pending(&attach(&request, &seen(&in_state("Available")))));
    assert!(matches!(
        attach(&request, &seen(&disk(|disk| held_by(disk, &["i-1"])))),
        Ok(Answer::Done(_))
    ));
    let error = attach(&request, &seen(&disk(|disk| held_by(disk, &["i-7"])))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.message.contains("i-7"));
    assert_eq!(host.actions(), ["AttachDisk"]);
}

#[test]
fn a_disk_is_taken_with_one_request_however_often_its_old_holder_is_seen() {
    let host = host().with_config("force-detach", "true").answering("DetachDisk", ok());
    let held = disk(|disk| held_by(disk, &["i-7"]));
    let Ok(Answer::Pending(pending)) = run(&held) else { panic!("it takes time") };
    assert!(is_pending(&attach(&ask("i-1"), &seen(&held).with_resume(pending.resume.unwrap()))));
    assert_eq!(host.actions(), ["DetachDisk"]);
}

#[test]
fn what_is_missing_is_not_found() {
    let gone = seen_missing();
    assert_eq!(attach(&ask("i-1"), &gone).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(attach(&ask("node-1"), &gone).unwrap_err().kind, ErrorKind::NotFound);
    let odd = AttachRequest::new("vol", "i-1", VolumeCapability::mount(""));
    assert_eq!(attach(&odd, &Progress::default()).unwrap_err().kind, ErrorKind::NotFound);
}

fn seen_missing() -> Progress {
    Progress::observed([Observation::missing("d-1")])
}

#[test]
fn a_use_that_the_disk_does_not_allow_is_refused() {
    let free = seen(&in_state("Available"));
    let read_only = AttachRequest { read_only: true, ..ask("i-1") };
    assert_eq!(attach(&read_only, &free).unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(attach(&ask_shared(), &free).unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn a_disk_without_a_serial_is_refused_before_it_is_attached() {
    let host = host();
    let old = disk(|disk| disk.serial_number = String::new());
    let error = run(&old).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.hint.unwrap().contains("snapshot") && host.requests().is_empty());
}

#[test]
fn the_cloud_s_refusals_have_their_kind() {
    for (code, kind) in [
        ("InvalidInstanceId.NotFound", ErrorKind::NotFound),
        ("InstanceDiskLimitExceeded", ErrorKind::ResourceExhausted),
        ("ResourcesNotInSameZone", ErrorKind::FailedPrecondition),
        ("InvalidInstanceType.NotSupportDiskCategory", ErrorKind::FailedPrecondition),
        ("IncorrectDiskStatus", ErrorKind::Aborted),
        ("OperationConflict.DisksAttachingParallellyExceed", ErrorKind::Aborted),
        ("DiskInArrears", ErrorKind::FailedPrecondition),
    ] {
        let _host = host().answering(
            "AttachDisk",
            Response::new(403, format!(r#"{{"Code":"{code}","Message":"no"}}"#)),
        );
        let error = run(&in_state("Available")).unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{code}");
        assert!(error.message.contains("d-1") && error.message.contains("i-1"));
    }
}
