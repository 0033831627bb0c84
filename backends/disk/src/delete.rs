//! `delete`: one DeleteDisk for a disk that nobody holds. A disk in use is refused and never
//! detached on the way.

use serde_json::Value;
use wharf_sdk::controller::DeleteRequest;
use wharf_sdk::types::Pending;
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::disk_record::{Disk, State, observed};
use crate::serial::DiskId;

/// The cloud prepares a new disk for a few seconds and does not delete it meanwhile.
const LOOK_AFTER_MS: u32 = 3000;

/// `controller.delete`.
///
/// # Errors
/// `failed-precondition` naming the holder; the cloud's.
pub fn delete(request: &DeleteRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    let id = &request.volume_id;
    if DiskId::parse(id).is_none() {
        return Ok(Answer::Done(()));
    }
    match observed(progress, id)? {
        Some(disk) => decide(&disk),
        None => Ok(Answer::Done(())),
    }
}

fn decide(disk: &Disk) -> Result<Answer<()>, Error> {
    disk.need_data_disk()?;
    let id = &disk.disk_id;
    match disk.state() {
        State::Detaching => Ok(wait(format!("disk {id} is being detached"))),
        State::Creating | State::Reinitialising => Ok(wait(format!("disk {id} is being prepared"))),
        State::Available => delete_now(id),
        State::InUse | State::Attaching => Err(in_use(disk)),
        State::Unknown if disk.holders().is_empty() => delete_now(id),
        State::Unknown => Err(in_use(disk)),
    }
}

fn delete_now(id: &str) -> Result<Answer<()>, Error> {
    match Action::DeleteDisk.call()?.with("DiskId", id).send::<Value>() {
        Ok(_) => Ok(Answer::Done(())),
        Err(failure) if failure.is("InvalidDiskId.NotFound") => Ok(Answer::Done(())),
        Err(failure) if failure.is("IncorrectDiskStatus.Initializing") => {
            Ok(wait(format!("disk {id} is being prepared")))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn wait(reason: String) -> Answer<()> {
    Pending::after_ms(LOOK_AFTER_MS, reason).into()
}

fn in_use(disk: &Disk) -> Error {
    let holders = match disk.holders() {
        holders if holders.is_empty() => "a node".to_owned(),
        holders => holders.join(", "),
    };
    Error::precondition(format!("disk {} is attached to {holders}", disk.disk_id))
        .as_observed()
        .with_hint(
            "stop the workloads that use the volume; the disk is deleted once it is detached",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::{disk, held_by, seen};
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::Observation;
    use wharf_sdk::{Effect, ErrorKind};

    fn run(host: &FakeHost, disk: &Disk) -> (Result<Answer<()>, Error>, usize) {
        (delete(&DeleteRequest::new("d-1"), &seen(disk)), host.requests().len())
    }

    fn in_state(status: &str) -> Disk {
        disk(|disk| disk.status = status.into())
    }

    #[test]
    fn every_state_has_its_answer() {
        for (status, requests, done) in [
            ("Available", 1, true),
            ("Creating", 0, false),
            ("Detaching", 0, false),
            ("ReIniting", 0, false),
        ] {
            let host = FakeHost::install()
                .with_config("region", "r")
                .answering("DeleteDisk", Response::new(200, "{}"));
            let (answer, sent) = run(&host, &in_state(status));
            assert_eq!(
                (matches!(answer.unwrap(), Answer::Done(())), sent),
                (done, requests),
                "{status}"
            );
        }
    }

    #[test]
    fn a_disk_in_use_is_refused_and_never_detached() {
        let host = FakeHost::install();
        for state in [
            disk(|disk| held_by(disk, &["i-7"])),
            in_state("Attaching"),
            disk(|disk| {
                held_by(disk, &["i-7"]);
                disk.status = "New".into();
            }),
        ] {
            let (answer, sent) = run(&host, &state);
            let error = answer.unwrap_err();
            assert_eq!((error.kind, sent), (ErrorKind::FailedPrecondition, 0));
        }
        assert!(
            run(&host, &disk(|disk| held_by(disk, &["i-7"])))
                .0
                .unwrap_err()
                .message
                .contains("i-7")
        );
    }

    #[test]
    fn what_is_missing_is_deleted() {
        let gone = Progress::observed([Observation::missing("d-1")]);
        assert!(matches!(delete(&DeleteRequest::new("d-1"), &gone), Ok(Answer::Done(()))));
        assert!(matches!(
            delete(&DeleteRequest::new("vol-x"), &Progress::default()),
            Ok(Answer::Done(()))
        ));
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("DeleteDisk", Response::new(404, r#"{"Code":"InvalidDiskId.NotFound"}"#));
        assert!(matches!(run(&host, &in_state("Available")).0, Ok(Answer::Done(()))));
    }

    #[test]
    fn a_disk_that_is_still_prepared_is_waited_for() {
        let host = FakeHost::install().with_config("region", "r").answering(
            "DeleteDisk",
            Response::new(403, r#"{"Code":"IncorrectDiskStatus.Initializing"}"#),
        );
        assert!(matches!(run(&host, &in_state("Available")).0, Ok(Answer::Pending(_))));
    }

    #[test]
    fn an_unanswered_deletion_is_of_unknown_effect() {
        let lost = Error::unavailable("connection reset").with_unknown_effect();
        let host = FakeHost::install().with_config("region", "r").failing("DeleteDisk", lost);
        assert_eq!(run(&host, &in_state("Available")).0.unwrap_err().effect, Effect::Unknown);
    }
}
