//! `expand`: ResizeDisk, online where a node has the disk, then wait until the cloud shows the new
//! size.

use serde_json::Value;
use wharf_alicloud::Failure;
use wharf_sdk::controller::{ExpandRequest, Expanded};
use wharf_sdk::types::{AccessType, Pending};
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::asked;
use crate::category::{Category, Kind};
use crate::disk_record::{Disk, State, observed};
use crate::serial::DiskId;
use crate::size::Wanted;

/// A resize is an order, which the cloud processes in a few seconds.
const LOOK_AFTER_MS: u32 = 2000;
/// The resume token after ResizeDisk: this, the size in GiB, and the looks.
const REQUESTED: &str = "resize-requested:";
/// After so many looks at the old size the resize is asked for again.
const LOOKS_AT_THE_OLD_SIZE: u32 = 5;

/// `controller.expand`.
///
/// # Errors
/// `not-found`, `out-of-range`, or the cloud's.
pub fn expand(request: &ExpandRequest, progress: &Progress) -> Result<Answer<Expanded>, Error> {
    let id = &request.volume_id;
    let missing = || Error::not_found(format!("there is no disk {id}")).as_observed();
    DiskId::parse(id).ok_or_else(missing)?;
    let wanted = Wanted::read(&request.capacity)?;
    let disk = observed(progress, id)?.ok_or_else(missing)?;
    disk.need_data_disk()?;
    if wanted.limit.is_some_and(|limit| disk.size > limit) {
        return Err(Error::out_of_range(format!(
            "disk {id} has {} GiB already, and disks do not shrink",
            disk.size
        )));
    }
    let gib = wanted.required.unwrap_or(disk.size);
    if gib <= disk.size {
        return Ok(Answer::Done(Expanded::new(disk.bytes(), is_grown_on_a_node(request))));
    }
    check_size(&disk, wanted)?;
    match disk.state() {
        State::InUse | State::Available => resize(&disk, gib, progress.resume.as_deref()),
        State::Attaching
        | State::Detaching
        | State::Creating
        | State::Reinitialising
        | State::Unknown => {
            Ok(Pending::after_ms(LOOK_AFTER_MS, format!("disk {id} is in state {}", disk.status))
                .into())
        }
    }
}

fn check_size(disk: &Disk, wanted: Wanted) -> Result<(), Error> {
    let Some(category) = Category::named(&disk.category) else { return Ok(()) };
    wanted.for_kind(&Kind { category, level: category.level(&disk.performance_level) }).map(drop)
}

fn resize(disk: &Disk, gib: u64, resume: Option<&str>) -> Result<Answer<Expanded>, Error> {
    let id = &disk.disk_id;
    let what = format!("{REQUESTED}{gib}:");
    let resume = match asked::next_look(resume, &what, LOOKS_AT_THE_OLD_SIZE) {
        Some(looked) => looked,
        None => {
            ask(disk, gib).map_err(|error| error.context(format!("disk {id}")))?;
            asked::just_now(&what)
        }
    };
    let reason = format!("disk {id} is being resized from {} to {gib} GiB", disk.size);
    Ok(Pending::after_ms(LOOK_AFTER_MS, reason).watching(id).with_resume(resume).into())
}

fn ask(disk: &Disk, gib: u64) -> Result<(), Error> {
    let call = Action::ResizeDisk.call()?.with("DiskId", &disk.disk_id).with("NewSize", gib);
    let send = |how| call.clone().with("Type", how).send::<Value>();
    let answer = match send(if disk.state() == State::InUse { "online" } else { "offline" }) {
        // A stopped instance finds the new size when it starts.
        Err(failure) if failure.is("InvalidInstanceStatus.NotRunning") => send("offline"),
        answer => answer,
    };
    match answer {
        Err(failure) if !is_as_large_already(&failure) => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What was seen of the disk was old: it has been resized.
fn is_as_large_already(failure: &Failure) -> bool {
    let Failure::Refused(refusal) = failure else { return false };
    match refusal.code.as_str() {
        "InvalidDiskSize.TooSmall" => true,
        // Two codes that say other things as well.
        "InvalidDiskSize" => refusal.message.contains("less than or equal"),
        "InvalidDataDiskSize.ValueNotSupported" => {
            refusal.message.contains("larger than the original")
        }
        _ => false,
    }
}

fn is_grown_on_a_node(request: &ExpandRequest) -> bool {
    !matches!(&request.capability, Some(capability) if capability.access == AccessType::Block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::{disk, held_by, seen};
    use crate::size::GIB;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::{CapacityRange, VolumeCapability};
    use wharf_sdk::{ErrorKind, Pairs};

    fn to(gib: u64) -> ExpandRequest {
        ExpandRequest::new("d-1", gib * GIB)
    }

    fn refused(code: &str, message: &str) -> Response {
        Response::new(403, serde_json::json!({ "Code": code, "Message": message }).to_string())
    }

    #[test]
    fn a_disk_in_use_is_resized_online_and_a_free_one_offline() {
        for (state, how) in
            [(disk(|disk| held_by(disk, &["i-1"])), "online"), (disk(|_| {}), "offline")]
        {
            let host = FakeHost::install()
                .with_config("region", "r")
                .answering("ResizeDisk", Response::new(200, "{}"));
            let Answer::Pending(pending) = expand(&to(40), &seen(&state)).unwrap() else {
                panic!("it takes time")
            };
            let query = &host.requests()[0].query;
            assert_eq!((query.value("NewSize"), query.value("Type")), (Some("40"), Some(how)));
            let again =
                expand(&to(40), &seen(&state).with_resume(pending.resume.unwrap())).unwrap();
            assert!(matches!(again, Answer::Pending(_)));
            assert_eq!(host.requests().len(), 1, "asked for once");
        }
    }

    #[test]
    fn a_resize_that_has_happened_already_is_waited_for_to_be_seen() {
        for (code, message) in [
            ("InvalidDiskSize.TooSmall", ""),
            (
                "InvalidDiskSize",
                "The specified new disk size is less than or equal to the original disk size.",
            ),
            (
                "InvalidDataDiskSize.ValueNotSupported",
                "The specified disk size must be larger than the original size.",
            ),
        ] {
            let host = FakeHost::install()
                .with_config("region", "r")
                .answering("ResizeDisk", refused(code, message));
            let Answer::Pending(pending) = expand(&to(40), &seen(&disk(|_| {}))).unwrap() else {
                panic!("{code}")
            };
            assert!(matches!(
                expand(&to(40), &seen(&disk(|_| {})).with_resume(pending.resume.unwrap())),
                Ok(Answer::Pending(_))
            ));
            assert_eq!(host.requests().len(), 1, "{code}");
        }
        for code in ["InvalidDiskSize.NotSupported", "InvalidDataDiskSize.ValueNotSupported"] {
            let _host = FakeHost::install()
                .with_config("region", "r")
                .answering("ResizeDisk", refused(code, "beyond the permitted range"));
            assert_eq!(
                expand(&to(40), &seen(&disk(|_| {}))).unwrap_err().kind,
                ErrorKind::OutOfRange,
                "{code}"
            );
        }
    }

    #[test]
    fn a_disk_of_a_stopped_instance_is_resized_offline() {
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("ResizeDisk", refused("InvalidInstanceStatus.NotRunning", ""))
            .answering("ResizeDisk", Response::new(200, "{}"));
        assert!(matches!(
            expand(&to(40), &seen(&disk(|disk| held_by(disk, &["i-1"])))),
            Ok(Answer::Pending(_))
        ));
        let how: Vec<_> = host
            .requests()
            .iter()
            .map(|request| request.query.value("Type").unwrap().to_owned())
            .collect();
        assert_eq!(how, ["online", "offline"]);
    }

    #[test]
    fn large_enough_is_done_with_the_real_size() {
        let big = disk(|disk| disk.size = 100);
        let Answer::Done(expanded) = expand(&to(40), &seen(&big)).unwrap() else {
            panic!("nothing to do")
        };
        assert_eq!((expanded.capacity_bytes, expanded.node_expansion_required), (100 * GIB, true));
        let raw = ExpandRequest { capability: Some(VolumeCapability::block()), ..to(40) };
        let Answer::Done(expanded) = expand(&raw, &seen(&big)).unwrap() else {
            panic!("nothing to do")
        };
        assert!(!expanded.node_expansion_required);
    }

    #[test]
    fn a_size_that_no_such_disk_has_is_out_of_range() {
        assert_eq!(
            expand(&to(70_000), &seen(&disk(|_| {}))).unwrap_err().kind,
            ErrorKind::OutOfRange
        );
        let limited =
            ExpandRequest { capacity: CapacityRange::new(Some(GIB), Some(10 * GIB)), ..to(0) };
        assert_eq!(expand(&limited, &seen(&disk(|_| {}))).unwrap_err().kind, ErrorKind::OutOfRange);
    }

    #[test]
    fn a_missing_disk_is_not_found() {
        assert_eq!(
            expand(&ExpandRequest::new("x", GIB), &Progress::default()).unwrap_err().kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn an_order_that_is_still_processed_is_called_again() {
        let _host = FakeHost::install()
            .with_config("region", "r")
            .answering("ResizeDisk", Response::new(403, r#"{"Code":"LastOrderProcessing"}"#));
        assert_eq!(expand(&to(40), &seen(&disk(|_| {}))).unwrap_err().kind, ErrorKind::Aborted);
    }
}
