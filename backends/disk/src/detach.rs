//! `detach`: DetachDisk from the node that gives the disk up, then wait until the cloud does not name it any more.

use serde_json::Value;
use wharf_sdk::controller::DetachRequest;
use wharf_sdk::types::Pending;
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::disk_record::{Disk, State, observed};
use crate::serial::DiskId;

/// Detaching takes one to five seconds.
const LOOK_AFTER_MS: u32 = 500;

/// `controller.detach`.
///
/// # Errors
/// The cloud's.
pub fn detach(request: &DetachRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    let id = &request.volume_id;
    if DiskId::parse(id).is_none() {
        return Ok(Answer::Done(()));
    }
    match observed(progress, id)? {
        Some(disk) => decide(request, &disk),
        None => Ok(Answer::Done(())),
    }
}

fn decide(request: &DetachRequest, disk: &Disk) -> Result<Answer<()>, Error> {
    let id = &disk.disk_id;
    let holders = disk.holders();
    let holder = match &request.node_id {
        Some(node) => holders.iter().find(|holder| *holder == node),
        None => holders.first(),
    };
    match (disk.state(), holder) {
        // The cloud does not say to whom: it may be the node that is to give it up.
        (State::Attaching, _) => Ok(wait(format!("disk {id} is being attached"))),
        (_, None) => Ok(Answer::Done(())),
        (State::Detaching, Some(holder)) => Ok(wait(format!("disk {id} is being detached from {holder}"))),
        (State::InUse | State::Available | State::Creating | State::Reinitialising | State::Unknown, Some(holder)) => detach_now(id, holder),
    }
}

fn detach_now(id: &str, holder: &str) -> Result<Answer<()>, Error> {
    match Action::DetachDisk.call()?.with("InstanceId", holder).with("DiskId", id).send::<Value>() {
        Ok(_) => Ok(wait(format!("disk {id} is being detached from {holder}"))),
        Err(failure) if failure.is("InvalidDiskId.NotFound") => Ok(Answer::Done(())),
        // A released instance holds nothing; the cloud needs a moment to see that of its disks.
        Err(failure) if failure.is("InvalidInstanceId.NotFound") => Ok(wait(format!("instance {holder} is gone, and disk {id} is not free yet"))),
        Err(failure) => Err(Error::from(failure).context(format!("disk {id}, node {holder}"))),
    }
}

fn wait(reason: String) -> Answer<()> {
    Pending::after_ms(LOOK_AFTER_MS, reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::{disk, held_by, seen};
    use wharf_sdk::Pairs;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::Observation;

    fn run(disk: &Disk, node: Option<&str>) -> (Answer<()>, Vec<Option<String>>) {
        let host = FakeHost::install().with_config("region", "r").answering("DetachDisk", Response::new(200, "{}"));
        let answer = detach(&DetachRequest::new("d-1", node), &seen(disk)).unwrap();
        (answer, host.requests().iter().map(|request| request.query.value("InstanceId").map(str::to_owned)).collect())
    }

    #[test]
    fn only_the_node_that_is_named_loses_the_disk() {
        let held = disk(|disk| held_by(disk, &["i-1"]));
        let (answer, sent) = run(&held, Some("i-1"));
        assert!(matches!(answer, Answer::Pending(_)) && sent == [Some("i-1".to_owned())]);
        let (answer, sent) = run(&held, Some("i-2"));
        assert!(matches!(answer, Answer::Done(())) && sent.is_empty());
    }

    #[test]
    fn one_holder_of_several_is_detached() {
        let shared = disk(|disk| held_by(disk, &["i-1", "i-2"]));
        assert_eq!(run(&shared, Some("i-2")).1, [Some("i-2".to_owned())]);
        assert_eq!(run(&shared, None).1, [Some("i-1".to_owned())]);
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let leaving = disk(|disk| {
            held_by(disk, &["i-1"]);
            disk.status = "Detaching".into();
        });
        let coming = disk(|disk| disk.status = "Attaching".into());
        for state in [&leaving, &coming] {
            let (answer, sent) = run(state, Some("i-1"));
            assert!(matches!(answer, Answer::Pending(_)) && sent.is_empty());
        }
        assert!(matches!(run(&leaving, Some("i-2")).0, Answer::Done(())));
    }

    #[test]
    fn a_released_instance_gives_the_disk_up_by_itself() {
        let _host =
            FakeHost::install().with_config("region", "r").answering("DetachDisk", Response::new(404, r#"{"Code":"InvalidInstanceId.NotFound"}"#));
        let held = disk(|disk| held_by(disk, &["i-1"]));
        assert!(matches!(detach(&DetachRequest::new("d-1", Some("i-1")), &seen(&held)), Ok(Answer::Pending(_))));
    }

    #[test]
    fn what_is_free_or_missing_is_detached() {
        assert!(matches!(run(&disk(|_| {}), Some("i-1")).0, Answer::Done(())));
        let gone = Progress::observed([Observation::missing("d-1")]);
        assert!(matches!(detach(&DetachRequest::new("d-1", Some("i-1")), &gone), Ok(Answer::Done(()))));
        assert!(matches!(detach(&DetachRequest::new("other", None), &Progress::default()), Ok(Answer::Done(()))));
    }
}
