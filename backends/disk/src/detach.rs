//! `detach`: DetachDisk from the node that gives the disk up, then wait until the cloud does not
//! name it any more.
//!
//! A listing may show a disk as free for a moment after AttachDisk. So a disk that was not seen
//! with its holder is looked at several times before it counts as free: else the attach that was
//! under way would leave it on a node that nobody detaches it from.

use serde_json::Value;
use wharf_sdk::controller::DetachRequest;
use wharf_sdk::types::Pending;
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::asked;
use crate::attach::LOOKS_WHILE_FREE;
use crate::disk_record::{Disk, State, observed};
use crate::serial::DiskId;

/// Detaching takes one to five seconds.
const LOOK_AFTER_MS: u32 = 500;
/// A disk may be listed with its holder for a moment after DetachDisk; after so many looks it is
/// asked for again.
const LOOKS_WHILE_HELD: u32 = 3;
/// The resume token after DetachDisk: this, the holder, and the looks.
const REQUESTED: &str = "detach-requested:";
/// The resume token of a disk that was listed as free and not seen otherwise: this, and the looks.
const LISTED_FREE: &str = "listed-free:";
/// What the cloud says of a disk that is gone, is not on that instance any more or is leaving it,
/// or whose instance is gone: the next look shows the disk without that holder, and until then
/// there is nothing to do. (A released instance holds nothing; the cloud needs a moment to see that
/// of its disks.)
const NOTHING_TO_DETACH: [&str; 5] = [
    "DependencyViolation",
    "InvalidDisk.AlreadyDetached",
    "InvalidDiskId.NotFound",
    "InvalidInstanceId.NotFound",
    "InvalidOperation.DiskDetachingFromThisEcs",
];

/// `controller.detach`.
///
/// # Errors
/// `failed-precondition` for a system disk; the cloud's.
pub fn detach(request: &DetachRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    let id = &request.volume_id;
    if DiskId::parse(id).is_none() {
        return Ok(Answer::Done(()));
    }
    match observed(progress, id)? {
        Some(disk) => decide(request, &disk, progress.resume.as_deref()),
        None => Ok(Answer::Done(())),
    }
}

fn decide(request: &DetachRequest, disk: &Disk, resume: Option<&str>) -> Result<Answer<()>, Error> {
    let id = &disk.disk_id;
    let holders = disk.holders();
    let holder = match &request.node_id {
        Some(node) => holders.iter().find(|holder| *holder == node),
        None => holders.first(),
    };
    if holder.is_some() {
        disk.need_data_disk()?;
    }
    match (disk.state(), holder) {
        // The cloud does not say to whom: it may be the node that is to give it up.
        (State::Attaching, _) => {
            Ok(Pending::after_ms(LOOK_AFTER_MS, format!("disk {id} is being attached")).into())
        }
        (_, None) => Ok(not_held(disk, resume)),
        (State::Detaching, Some(holder)) => Ok(leaving(id, holder).into()),
        (
            State::InUse
            | State::Available
            | State::Creating
            | State::Reinitialising
            | State::Unknown,
            Some(holder),
        ) => Ok(detach_from(disk, holder, resume)?.into()),
    }
}

/// The cloud names no such holder: it may be free, or an attach that was sent shows only later.
fn not_held(disk: &Disk, resume: Option<&str>) -> Answer<()> {
    let was_seen_held = resume.is_some_and(|token| token.starts_with(REQUESTED));
    // A disk for one holder that has another one is not on its way to this one.
    let can_be_coming = disk.holders().is_empty() || disk.is_multi_attach();
    if was_seen_held || !can_be_coming || disk.need_data_disk().is_err() {
        return Answer::Done(());
    }
    let looked = asked::next_look(resume, LISTED_FREE, LOOKS_WHILE_FREE);
    let is_settled = looked.is_none() && resume.is_some_and(|token| token.starts_with(LISTED_FREE));
    if is_settled {
        return Answer::Done(());
    }
    let reason = format!(
        "disk {} is listed as free; an attach that is under way would show only later",
        disk.disk_id
    );
    Pending::after_ms(LOOK_AFTER_MS, reason)
        .with_resume(looked.unwrap_or_else(|| asked::just_now(LISTED_FREE)))
        .into()
}

/// The same knowledge as after DetachDisk: it was seen with its holder.
fn leaving(id: &str, holder: &str) -> Pending {
    Pending::after_ms(LOOK_AFTER_MS, format!("disk {id} is being detached from {holder}"))
        .with_resume(asked::just_now(&format!("{REQUESTED}{holder}:")))
}

/// DetachDisk, unless it was sent a moment ago; either way, the next look shows more.
///
/// # Errors
/// The cloud's.
pub fn detach_from(disk: &Disk, holder: &str, resume: Option<&str>) -> Result<Pending, Error> {
    let id = &disk.disk_id;
    let what = format!("{REQUESTED}{holder}:");
    let resume = match asked::next_look(resume, &what, LOOKS_WHILE_HELD) {
        Some(looked) => looked,
        None => match Action::DetachDisk
            .call()?
            .with("InstanceId", holder)
            .with("DiskId", id)
            .with_some("DeleteWithInstance", disk.is_of_one_instance().then_some(true))
            .send::<Value>()
        {
            Err(failure) if !NOTHING_TO_DETACH.iter().any(|code| failure.is(code)) => {
                return Err(Error::from(failure).context(format!("disk {id}, node {holder}")));
            }
            Ok(_) | Err(_) => asked::just_now(&what),
        },
    };
    Ok(Pending::after_ms(LOOK_AFTER_MS, format!("disk {id} is being detached from {holder}"))
        .with_resume(resume))
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
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("DetachDisk", Response::new(200, "{}"));
        let answer = detach(&DetachRequest::new("d-1", node), &seen(disk)).unwrap();
        (
            answer,
            host.requests()
                .iter()
                .map(|request| request.query.value("InstanceId").map(str::to_owned))
                .collect(),
        )
    }

    #[test]
    fn what_belongs_to_an_instance_says_so_when_it_is_attached_and_detached() {
        use wharf_sdk::controller::AttachRequest;
        use wharf_sdk::types::VolumeCapability;
        for (category, said) in
            [("elastic_ephemeral_disk_premium", Some("true")), ("cloud_essd", None)]
        {
            let host = FakeHost::install()
                .with_config("region", "r")
                .with_config("force-detach", "true")
                .handling(|_| Some(Ok(Response::new(200, "{}"))));
            let of = |holders: &[&str]| {
                seen(&disk(|disk| {
                    if !holders.is_empty() {
                        held_by(disk, holders);
                    }
                    disk.category = category.into();
                }))
            };
            let attach = |progress: &Progress| {
                let request = AttachRequest::new("d-1", "i-1", VolumeCapability::mount("ext4"));
                crate::attach::attach(&request, progress)
            };
            attach(&of(&[])).unwrap();
            detach(&DetachRequest::new("d-1", Some("i-1")), &of(&["i-1"])).unwrap();
            for request in host.requests() {
                assert_eq!(request.query.value("DeleteWithInstance"), said, "{category}");
            }
            assert_eq!(host.requests().len(), 2);
            let is_refused = attach(&of(&["i-2"])).is_err();
            assert_eq!(
                (is_refused, host.requests().len()),
                (said.is_some(), 2 + usize::from(said.is_none()))
            );
        }
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
    fn a_stale_listing_is_no_reason_to_ask_twice() {
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("DetachDisk", Response::new(200, "{}"));
        let (request, held) =
            (DetachRequest::new("d-1", None::<&str>), disk(|disk| held_by(disk, &["i-1", "i-2"])));
        let Ok(Answer::Pending(first)) = detach(&request, &seen(&held)) else {
            panic!("it takes time")
        };
        let Ok(Answer::Pending(_)) =
            detach(&request, &seen(&held).with_resume(first.resume.as_deref().unwrap()))
        else {
            panic!("it takes time")
        };
        assert_eq!(host.requests().len(), 1);
        let next = disk(|disk| held_by(disk, &["i-2"]));
        assert!(
            detach(&request, &seen(&next).with_resume(first.resume.unwrap())).is_err(),
            "the other holder is asked at once"
        );
        assert_eq!(host.requests()[1].query.value("InstanceId"), Some("i-2"));
    }

    #[test]
    fn what_is_gone_already_is_waited_for_to_be_seen() {
        for code in NOTHING_TO_DETACH {
            let refused = Response::new(403, format!(r#"{{"Code":"{code}","Message":"no"}}"#));
            let _host =
                FakeHost::install().with_config("region", "r").answering("DetachDisk", refused);
            let held = disk(|disk| held_by(disk, &["i-1"]));
            assert!(
                matches!(
                    detach(&DetachRequest::new("d-1", Some("i-1")), &seen(&held)),
                    Ok(Answer::Pending(_))
                ),
                "{code}"
            );
        }
    }

    /// Looks at a disk in this state until detaching is done, and says after how many.
    fn looks_until_done(disk: &Disk, node: Option<&str>) -> usize {
        let _host = FakeHost::install();
        let mut resume: Option<String> = None;
        for looks in 1..20 {
            let mut progress = seen(disk);
            progress.resume = resume;
            match detach(&DetachRequest::new("d-1", node), &progress).unwrap() {
                Answer::Done(()) => return looks,
                Answer::Pending(pending) => resume = pending.resume,
                Answer::Perform(_) => panic!("a disk is nothing for this machine"),
            }
        }
        panic!("it is never done")
    }

    #[test]
    fn the_first_free_is_not_believed_since_a_listing_lags_behind_an_attach() {
        let enough = LOOKS_WHILE_FREE as usize + 2;
        let shared = disk(|disk| {
            held_by(disk, &["i-2"]);
            disk.multi_attach = "Enabled".into();
        });
        for state in [&disk(|_| {}), &shared] {
            assert_eq!(looks_until_done(state, Some("i-1")), enough);
        }
        assert_eq!(looks_until_done(&disk(|_| {}), None), enough);
    }

    #[test]
    fn an_attach_that_shows_late_is_undone() {
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("DetachDisk", Response::new(200, "{}"));
        let request = DetachRequest::new("d-1", Some("i-1"));
        let attached = disk(|disk| held_by(disk, &["i-1"]));
        let mut progress = seen(&disk(|_| {}));
        for state in [disk(|_| {}), attached] {
            let Ok(Answer::Pending(pending)) = detach(&request, &progress) else {
                panic!("an attach may be under way")
            };
            progress = seen(&state);
            progress.resume = pending.resume;
        }
        assert!(matches!(detach(&request, &progress), Ok(Answer::Pending(_))));
        assert_eq!(host.actions(), ["DetachDisk"]);
    }

    #[test]
    fn a_disk_that_was_seen_with_its_holder_is_free_at_the_first_look() {
        let states = [
            disk(|disk| held_by(disk, &["i-1"])),
            disk(|disk| {
                held_by(disk, &["i-1"]);
                disk.status = "Detaching".into();
            }),
        ];
        for state in states {
            let (Answer::Pending(pending), _) = run(&state, Some("i-1")) else {
                panic!("it takes time")
            };
            let free = seen(&disk(|_| {})).with_resume(pending.resume.unwrap());
            let answer = detach(&DetachRequest::new("d-1", Some("i-1")), &free);
            assert!(matches!(answer, Ok(Answer::Done(()))), "{}", state.status);
        }
    }

    #[test]
    fn what_is_missing_is_detached() {
        let gone = Progress::observed([Observation::missing("d-1")]);
        assert!(matches!(
            detach(&DetachRequest::new("d-1", Some("i-1")), &gone),
            Ok(Answer::Done(()))
        ));
        assert!(matches!(
            detach(&DetachRequest::new("other", None), &Progress::default()),
            Ok(Answer::Done(()))
        ));
    }
}
