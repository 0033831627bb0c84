//! `modify`: what a VolumeAttributesClass names. Keys and values are those of the cloud's own
//! driver; what is not named stays as it is.
//!
//! First what the cloud is most likely to refuse (ModifyDiskSpec, a task that takes minutes), then
//! bursting, then tags: what is refused has changed nothing.

use std::collections::BTreeMap;

use serde_json::Value;
use wharf_alicloud::Failure;
use wharf_sdk::controller::ModifyRequest;
use wharf_sdk::types::{Parameters, Pending};
use wharf_sdk::{Answer, Error, Progress};

use crate::action::Action;
use crate::asked;
use crate::category::{Category, Kind, Level};
use crate::disk_record::{Disk, State, observed};
use crate::parameters::{self, MUTABLE};
use crate::serial::DiskId;
use crate::tags;

/// A change of category copies data in the background; nobody gains by looking more often.
const LOOK_AFTER_MS: u32 = 3000;
/// The resume token after ModifyDiskSpec: this, what was asked for, and the looks.
const REQUESTED: &str = "modify-requested:";
/// After so many looks at the old specification it is asked for again. While a task runs the cloud
/// says so, and nothing is asked twice.
const LOOKS_AT_THE_OLD_SPEC: u32 = 5;
/// The cloud's code while a task changes the disk.
const BEING_MODIFIED: &str = "InvalidStatus.DiskNotReady";
/// The same, to ModifyDiskAttribute.
const NO_BURSTING_MEANWHILE: &str = "BurstingEnabledForModifyingDiskUnsupported";
/// What was seen of the disk was old: it is like that already.
const NO_CHANGE: &str = "NoChangeInDiskCategoryAndPerformanceLevel";

/// `controller.modify`.
///
/// # Errors
/// `invalid-argument` naming the first key that is not known or whose value the disk cannot have,
/// `not-found`, or the cloud's.
pub fn modify(request: &ModifyRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    let id = &request.volume_id;
    let missing = || Error::not_found(format!("there is no disk {id}")).as_observed();
    DiskId::parse(id).ok_or_else(missing)?;
    let change = Change::read(&request.mutable_parameters)?;
    let disk = observed(progress, id)?.ok_or_else(missing)?;
    disk.need_data_disk()?;
    let spec = change.spec(&disk)?;
    if disk.state() != State::InUse && disk.state() != State::Available {
        return Ok(later(&disk, format!("disk {id} is in state {}", disk.status)).into());
    }
    if !spec.is_empty() {
        return spec.ask(&disk, progress.resume.as_deref());
    }
    if let Some(bursting) = change.bursting.filter(|wanted| *wanted != disk.bursting_enabled) {
        let answer = Action::ModifyDiskAttribute
            .call()?
            .with("DiskId", id)
            .with("BurstingEnabled", bursting)
            .send::<Value>();
        match answer {
            Err(failure) if failure.is(NO_BURSTING_MEANWHILE) => {
                return Ok(later(&disk, format!("disk {id} is being modified")).into());
            }
            answer => drop(answer.map_err(|failure| of(&disk, failure))?),
        }
    }
    change.tag(&disk)?;
    Ok(Answer::Done(()))
}

/// Whether the disk is like this already; `None`: it is. Tags are not part of what is seen of a
/// disk, so nobody can say it of them.
///
/// # Errors
/// As [`modify`].
pub fn differs(disk: &Disk, mutable: &Parameters) -> Result<Option<String>, Error> {
    let change = Change::read(mutable)?;
    let spec = change.spec(disk)?;
    let is_other = change.bursting.is_some_and(|wanted| wanted != disk.bursting_enabled);
    Ok(match () {
        () if !spec.is_empty() => Some(format!("it would be changed to {}", spec.label())),
        () if is_other => Some(format!("burstingEnabled is {}", disk.bursting_enabled)),
        () if change.has_tags() => Some("its tags were not looked at".to_owned()),
        () => None,
    })
}

/// What is named.
#[derive(Debug, Default)]
struct Change {
    /// Best first; empty: not named.
    categories: Vec<&'static Category>,
    /// Best first; empty: not named.
    levels: Vec<&'static Level>,
    provisioned_iops: Option<u64>,
    bursting: Option<bool>,
    added: BTreeMap<String, String>,
    removed: Vec<String>,
}

impl Change {
    fn read(mutable: &Parameters) -> Result<Self, Error> {
        let mut change = Self::default();
        for (key, value) in mutable.iter().filter(|(key, _)| !parameters::is_metadata(key)) {
            change.set(key, value)?;
        }
        Ok(change)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "type" => self.categories = parameters::categories(value)?,
            "performanceLevel" => self.levels = parameters::levels(value)?,
            "provisionedIops" => {
                self.provisioned_iops = Some(parameters::provisioned_iops(value)?);
            }
            "burstingEnabled" => self.bursting = Some(parameters::flag(key, value)?),
            _ => match (parameters::disk_tag(key), parameters::removed_disk_tag(key)) {
                (Some(tag), _) => {
                    need_foreign(key, value, tag)?;
                    self.added.insert(tag.to_owned(), value.to_owned());
                }
                (None, Some(tag)) => {
                    need_foreign(key, value, tag)?;
                    self.removed.push(tag.to_owned());
                }
                (None, None) => return Err(Error::unknown_key(key, value, MUTABLE)),
            },
        }
        Ok(())
    }

    fn has_tags(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// In what the disk's specification has to change, checked as far as that can be done here.
    fn spec(&self, disk: &Disk) -> Result<Spec, Error> {
        let is_named = |name: &str| self.categories.iter().any(|category| category.name == name);
        let category = self.categories.first().filter(|_| !is_named(&disk.category)).copied();
        let target = category.or_else(|| Category::named(&disk.category));
        let level = self.level(disk, target, category.is_some())?;
        self.check_auto(disk, target)?;
        let spec = Spec {
            category,
            level,
            iops: self
                .provisioned_iops
                .filter(|wanted| category.is_some() || *wanted != disk.provisioned_iops),
        };
        if let Some(category) = target.filter(|_| !spec.is_empty()) {
            let level = level.or_else(|| category.level(&disk.performance_level));
            check_size(disk, &Kind { category, level })?;
        }
        Ok(spec)
    }

    fn level(
        &self,
        disk: &Disk,
        target: Option<&'static Category>,
        is_other: bool,
    ) -> Result<Option<&'static Level>, Error> {
        let has = self.levels.iter().any(|level| level.name == disk.performance_level);
        let Some(first) = self.levels.first().filter(|_| is_other || !has) else {
            return Ok(None);
        };
        match target {
            Some(category) if category.levels.is_empty() => {
                let what = format!("nothing for {}, which has no levels", category.name);
                Err(Error::invalid("performanceLevel", first.name, what))
            }
            _ => Ok(Some(*first)),
        }
    }

    /// Provisioned operations and bursting exist for `cloud_auto` alone.
    fn check_auto(&self, disk: &Disk, target: Option<&Category>) -> Result<(), Error> {
        if target.is_some_and(|category| category.has_provisioned_iops) {
            return Ok(());
        }
        let name = target.map_or(disk.category.as_str(), |category| category.name);
        let what = format!("nothing for {name}, which has no such setting");
        if let Some(iops) = self.provisioned_iops.filter(|iops| *iops > 0) {
            return Err(Error::invalid("provisionedIops", &iops.to_string(), what));
        }
        match self.bursting {
            Some(true) => Err(Error::invalid("burstingEnabled", "true", what)),
            Some(false) | None => Ok(()),
        }
    }

    /// Both requests may be repeated, so nothing is looked at before.
    fn tag(&self, disk: &Disk) -> Result<(), Error> {
        let of_disk = |action: Action| {
            Ok::<_, Error>(
                action.call()?.with("ResourceType", "disk").with("ResourceId.1", &disk.disk_id),
            )
        };
        if !self.removed.is_empty() {
            let call = (1u32..)
                .zip(&self.removed)
                .fold(of_disk(Action::UntagResources)?, |call, (number, key)| {
                    call.with(&format!("TagKey.{number}"), key)
                });
            call.send::<Value>().map_err(|failure| of(disk, failure))?;
        }
        if !self.added.is_empty() {
            let added = self.added.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let call = of_disk(Action::TagResources)?.with_tags(added);
            call.send::<Value>().map_err(|failure| of(disk, failure))?;
        }
        Ok(())
    }
}

/// What ModifyDiskSpec is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Spec {
    category: Option<&'static Category>,
    level: Option<&'static Level>,
    iops: Option<u64>,
}

impl Spec {
    fn is_empty(&self) -> bool {
        self.category.is_none() && self.level.is_none() && self.iops.is_none()
    }

    /// `cloud_essd PL1 100`, as far as it is named.
    fn label(&self) -> String {
        let words = [
            self.category.map(|category| category.name.to_owned()),
            self.level.map(|level| level.name.to_owned()),
            self.iops.map(|iops| format!("{iops} provisioned IOPS")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn ask(&self, disk: &Disk, resume: Option<&str>) -> Result<Answer<()>, Error> {
        let what = format!("{REQUESTED}{}:", self.label());
        let resume = match asked::next_look(resume, &what, LOOKS_AT_THE_OLD_SPEC) {
            Some(looked) => looked,
            None => {
                self.send(disk)?;
                asked::just_now(&what)
            }
        };
        let reason = format!("disk {} is being changed to {}", disk.disk_id, self.label());
        Ok(later(disk, reason).with_resume(resume).into())
    }

    /// No parameter is sent empty: to the cloud that is a value.
    fn send(&self, disk: &Disk) -> Result<(), Error> {
        let mut call = Action::ModifyDiskSpec.call()?.with("DiskId", &disk.disk_id);
        if let Some(category) = self.category {
            call = call.with("DiskCategory", category.name);
        }
        if let Some(level) = self.level {
            call = call.with("PerformanceLevel", level.name);
        }
        if let Some(iops) = self.iops {
            call = call.with("ProvisionedIops", iops);
        }
        match call.send::<Value>() {
            Err(failure) if failure.is(BEING_MODIFIED) || failure.is(NO_CHANGE) => Ok(()),
            answer => answer.map(drop).map_err(|failure| of(disk, failure)),
        }
    }
}

fn check_size(disk: &Disk, kind: &Kind) -> Result<(), Error> {
    let (min, max) = kind.size_range();
    if (min..=max).contains(&disk.size) {
        return Ok(());
    }
    Err(Error::invalid_request(format!(
        "disk {} has {} GiB, and {} has {min} to {max}",
        disk.disk_id,
        disk.size,
        kind.label()
    ))
    .with_hint("expand the volume first, or choose another class"))
}

/// Tags by which disks are found again are not for a class to change.
fn need_foreign(key: &str, value: &str, tag: &str) -> Result<(), Error> {
    if tags::is_own(tag) {
        return Err(Error::invalid(key, value, "a tag that is not the driver's own"));
    }
    Ok(())
}

fn later(disk: &Disk, reason: String) -> Pending {
    Pending::after_ms(LOOK_AFTER_MS, reason).watching(&disk.disk_id)
}

fn of(disk: &Disk, failure: Failure) -> Error {
    Error::from(failure).context(format!("disk {}", disk.disk_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::{disk, seen};
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::pairs;
    use wharf_sdk::{ErrorKind, Pairs as _};

    fn to(parameters: &[(&str, &str)]) -> ModifyRequest {
        ModifyRequest::new("d-1", pairs(parameters.iter().copied()))
    }

    fn host() -> FakeHost {
        FakeHost::install().with_config("region", "r")
    }

    fn refused(code: &str) -> Response {
        Response::new(400, serde_json::json!({ "Code": code, "Message": "" }).to_string())
    }

    fn essd(level: &str) -> Disk {
        disk(|disk| {
            disk.category = "cloud_essd".into();
            disk.performance_level = level.into();
            disk.size = 40;
        })
    }

    fn auto() -> Disk {
        disk(|disk| {
            disk.category = "cloud_auto".into();
            disk.performance_level = String::new();
            disk.size = 40;
        })
    }

    #[test]
    fn a_change_is_asked_for_once_and_waited_for_to_be_seen() {
        let host = host().answering("ModifyDiskSpec", Response::new(200, "{}"));
        let request = to(&[("type", "cloud_auto"), ("provisionedIops", "100")]);
        let Answer::Pending(pending) = modify(&request, &seen(&essd("PL1"))).unwrap() else {
            panic!("it takes time")
        };
        let query = &host.requests()[0].query;
        assert_eq!(query.value("DiskCategory"), Some("cloud_auto"));
        assert_eq!(query.value("ProvisionedIops"), Some("100"));
        assert_eq!(query.value("PerformanceLevel"), None, "an empty one would be a value");
        let looked = seen(&essd("PL1")).with_resume(pending.resume.unwrap());
        assert!(matches!(modify(&request, &looked), Ok(Answer::Pending(_))));
        let changed = Disk { provisioned_iops: 100, ..auto() };
        assert!(matches!(modify(&request, &seen(&changed)), Ok(Answer::Done(()))));
        assert_eq!(host.requests().len(), 1);
    }

    #[test]
    fn a_change_under_way_is_waited_for_and_then_asked_for() {
        for code in [BEING_MODIFIED, NO_CHANGE] {
            let host = host().answering("ModifyDiskSpec", refused(code));
            let request = to(&[("performanceLevel", "PL0")]);
            let answer = modify(&request, &seen(&essd("PL1")));
            assert!(matches!(answer, Ok(Answer::Pending(_))), "{code}");
            assert_eq!(host.requests().len(), 1);
        }
    }

    #[test]
    fn what_is_so_already_asks_nothing() {
        for (disk, request) in [
            (
                essd("PL1"),
                to(&[("type", "cloud_auto,cloud_essd"), ("performanceLevel", "PL0,PL1")]),
            ),
            (auto(), to(&[("burstingEnabled", "false"), ("provisionedIops", "0")])),
            (essd("PL1"), to(&[("csi.storage.k8s.io/pvc/name", "a")])),
        ] {
            let host = host();
            assert!(matches!(modify(&request, &seen(&disk)), Ok(Answer::Done(()))), "{request:?}");
            assert!(host.requests().is_empty());
        }
    }

    #[test]
    fn bursting_and_tags_are_changed_at_once() {
        let host = host()
            .answering("ModifyDiskAttribute", Response::new(200, "{}"))
            .answering("UntagResources", Response::new(200, "{}"))
            .answering("TagResources", Response::new(200, "{}"));
        let request = to(&[("burstingEnabled", "true"), ("diskTags/a", "1"), ("-diskTags/b", "")]);
        assert!(matches!(modify(&request, &seen(&auto())), Ok(Answer::Done(()))));
        let requests = host.requests();
        assert_eq!(requests[0].query.value("BurstingEnabled"), Some("true"));
        assert_eq!(requests[1].query.value("TagKey.1"), Some("b"));
        assert_eq!(requests[2].query.value("Tag.1.Key"), Some("a"));
        assert_eq!(requests[2].query.value("Tag.1.Value"), Some("1"));
    }

    #[test]
    fn what_a_disk_cannot_be_is_refused_by_name_before_anything_is_asked() {
        for (disk, parameters, name) in [
            (essd("PL1"), [("diskTags/a", "1"), ("colour", "red")], "colour"),
            (auto(), [("diskTags/a", "1"), ("performanceLevel", "PL1")], "performanceLevel"),
            (essd("PL1"), [("diskTags/a", "1"), ("provisionedIops", "9")], "provisionedIops"),
            (essd("PL1"), [("diskTags/a", "1"), ("burstingEnabled", "true")], "burstingEnabled"),
            (essd("PL1"), [("diskTags/a", "1"), ("performanceLevel", "PL3")], "40 GiB"),
            (auto(), [("burstingEnabled", "true"), ("diskTags/createdby", "x")], "createdby"),
            (auto(), [("type", "cloud"), ("-diskTags/k8s.aliyun.com", "")], "k8s.aliyun.com"),
        ] {
            let host = host();
            let error = modify(&to(&parameters), &seen(&disk)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert!(error.message.contains(name), "{error:?}");
            assert!(host.requests().is_empty());
        }
    }

    #[test]
    fn a_missing_disk_is_not_found_and_a_system_disk_is_no_volume() {
        let request = to(&[("burstingEnabled", "false")]);
        let missing = ModifyRequest { volume_id: "x".into(), ..request.clone() };
        let error = modify(&missing, &Progress::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let system = disk(|disk| disk.r#type = "system".into());
        let error = modify(&request, &seen(&system)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    }

    #[test]
    fn a_disk_is_compared_with_a_class() {
        let differs = |parameters: &[(&str, &str)]| {
            differs(&essd("PL1"), &pairs(parameters.iter().copied())).unwrap()
        };
        assert_eq!(differs(&[("type", "cloud_essd"), ("performanceLevel", "PL1")]), None);
        assert!(differs(&[("performanceLevel", "PL0")]).unwrap().contains("PL0"));
        assert!(differs(&[("diskTags/a", "1")]).unwrap().contains("tags"));
    }
}
