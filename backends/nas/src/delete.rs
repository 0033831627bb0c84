//! `delete`: the volume's directory is renamed inside the directory that it was made in, by the
//! host in a private mount, and then stays as an archive or is removed.
//!
//! What has no handle of Wharf's is not Wharf's to delete: it is done, and the data stays.

use wharf_alicloud::timestamp;
use wharf_sdk::controller::DeleteRequest;
use wharf_sdk::plan::{Directory, Plan};
use wharf_sdk::types::Perform;
use wharf_sdk::{Answer, Error, Progress, clock, log};

use crate::access_point;
use crate::file_system;
use crate::handle::{Deletion, Handle};
use crate::nfs_options::NfsOptions;
use crate::plans::existing_share;
use crate::quota;

/// The token of a directory that the host has moved or removed.
const GONE: &str = "gone";

/// `controller.delete`.
///
/// # Errors
/// Those of the cloud.
pub fn delete(request: &DeleteRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    if let Some(id) = file_system::to_delete(&request.volume_id) {
        return file_system::delete(id);
    }
    let Some(handle) = Handle::parse(&request.volume_id) else {
        log::warn(format!(
            "volume {} was not made by Wharf, so its data stays. If its PersistentVolume says \
             `volumeAs: filesystem`, its file system and mount target stay too, and cost money; if \
             `volumeAs: accesspoint`, its access point: look for them in the NAS console by what \
             its `server`, `fileSystemId` and `accesspoint` say",
            request.volume_id
        ));
        return Ok(Answer::Done(()));
    };
    if progress.resume.as_deref() == Some(GONE) {
        return Ok(Answer::Done(()));
    }
    // First: the quota is found by the path that the directory has now.
    if let Some(file_system) = &handle.quota {
        quota::cancel(file_system, &handle.path())?;
    }
    if let Some(file_system) = &handle.access_point
        && let Some(pending) = access_point::delete(file_system, &handle)?
    {
        return Ok(pending.into());
    }
    Ok(Perform::new(plan(&handle, clock::now_ms()), GONE).into())
}

/// Repeated after any interruption, the plan ends in the same state: what is aside already is not
/// looked for, and a name that is taken is never overwritten.
fn plan(handle: &Handle, now_ms: u64) -> Plan {
    let nfs = NfsOptions::plain(handle.version);
    let place = handle.path();
    let volume = Directory::in_scratch(&handle.name);
    // Where it is missing, nothing of the volume is left, and a delete makes nothing.
    let base = existing_share(&handle.server, &handle.base, &nfs);
    match handle.deletion {
        Deletion::Archive => Plan::new(format!("archive of {}", place.as_str()))
            .mount_nfs_in_scratch(base)
            .move_aside(volume, archive_name(&handle.name, now_ms)),
        Deletion::Remove => {
            // Hidden, so that no volume can have this name.
            let aside = format!(".removing-{}", handle.name);
            Plan::new(format!("removal of {}", place.as_str()))
                .mount_nfs_in_scratch(base)
                // What an interrupted removal of an earlier volume of this name left behind.
                .remove_tree(Directory::in_scratch(&aside))
                .move_aside(volume, &aside)
                .remove_tree(Directory::in_scratch(aside))
        }
    }
}

/// From which volume, and when, to the millisecond: a volume that is made and deleted twice in one
/// second has two archives.
fn archive_name(volume: &str, now_ms: u64) -> String {
    let digits = |letter: &char| letter.is_ascii_alphanumeric() && *letter != 'Z';
    let second: String = timestamp::format(now_ms).chars().filter(digits).collect();
    format!("archived-{volume}-{second}{:03}Z", now_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::http::Response;
    use wharf_sdk::plan::{MountPlace, Step};
    use wharf_sdk::testing::FakeHost;

    const SERVER: &str = "0cd8-1.cn-x.nas.aliyuncs.com";

    fn answer(words: &str) -> Answer<()> {
        let id = format!("subpath#{SERVER}#/k8s/pvc-1#{words}");
        delete(&DeleteRequest::new(id), &Progress::default()).unwrap()
    }

    fn planned(words: &str) -> Vec<Step> {
        match answer(words) {
            Answer::Perform(perform) => perform.plan.steps,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_archive_says_when_and_from_which_volume() {
        let _host = FakeHost::install().at_ms(1_700_000_000_007);
        let steps = planned("archive");
        let [mount, moved] = steps.as_slice() else { panic!("{steps:?}") };
        let Step::MountNfs { share, place: MountPlace::Scratch, .. } = mount else { panic!() };
        assert_eq!((share.path.as_str(), share.options[0].as_str()), ("/k8s", "vers=3"));
        assert_eq!(share.missing, None, "a delete makes nothing");
        let expected = Step::MoveAside {
            from: Directory::in_scratch("pvc-1"),
            to: "archived-pvc-1-20231114T221320007Z".to_owned(),
        };
        assert_eq!(moved, &expected);
    }

    #[test]
    fn a_removal_goes_by_a_name_that_no_volume_has() {
        let steps = planned("remove,v4.1");
        let [Step::MountNfs { share, .. }, first, moved, last] = steps.as_slice() else { panic!() };
        assert_eq!((share.options[0].as_str(), &share.missing), ("vers=4.1", &None));
        let aside = Directory::in_scratch(".removing-pvc-1");
        assert_eq!(first, &Step::RemoveTree { at: aside.clone() });
        assert_eq!(last, first);
        let to = aside.path;
        assert_eq!(moved, &Step::MoveAside { from: Directory::in_scratch("pvc-1"), to });
        assert_ne!(crate::handle::directory_name(".removing-pvc-1"), ".removing-pvc-1");
    }

    #[test]
    fn every_step_stays_below_the_directory_that_volumes_are_made_in() {
        for words in ["archive", "remove"] {
            for step in planned(words) {
                let touched = match step {
                    Step::MountNfs { .. } => continue,
                    Step::MoveAside { from, to } => vec![from.path, to],
                    Step::RemoveTree { at } => vec![at.path],
                    other => panic!("{other:?}"),
                };
                for path in touched {
                    assert!(!path.is_empty() && !path.contains('/') && path != "..", "{path}");
                }
            }
        }
    }

    #[test]
    fn what_the_host_has_moved_is_gone() {
        let id = format!("subpath#{SERVER}#/k8s/pvc-1#remove,quota");
        let progress = Progress::default().with_resume(GONE);
        assert_eq!(delete(&DeleteRequest::new(id), &progress).unwrap(), Answer::Done(()));
    }

    #[test]
    fn a_volume_that_wharf_did_not_make_keeps_its_data() {
        for id in ["pvc-1", "nas-static", "sharepath#pvc-1", "subpath#a#/#remove", "a:/b"] {
            let host = FakeHost::install();
            let answer = delete(&DeleteRequest::new(id), &Progress::default()).unwrap();
            assert_eq!((answer, host.lines().len()), (Answer::Done(()), 1), "{id}");
        }
    }

    #[test]
    fn a_quota_ends_before_its_directory_is_moved() {
        let refused = Response::new(403, r#"{"Code":"Forbidden.RAM","Message":"m"}"#);
        let host = FakeHost::install()
            .answering("CancelDirQuota", refused)
            .answering("CancelDirQuota", Response::new(200, "{}"));
        let id = format!("subpath#{SERVER}#/k8s/pvc-1#remove,quota");
        let error = delete(&DeleteRequest::new(id), &Progress::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionDenied);
        assert!(matches!(answer("remove,quota"), Answer::Perform(_)));
        assert_eq!(host.left_over(), 0);
    }
}
