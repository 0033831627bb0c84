//! What DescribeDisks says of a disk: read once, carried by the host as an observation, and decided
//! upon by the verbs.
//!
//! Every field has a default: an observation of an older build is read by a newer one, and the
//! other way round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wharf_sdk::types::{Observation, ResourceId};
use wharf_sdk::{Error, ErrorKind};

use crate::action::Action;
use crate::category::Category;
use crate::serial::DiskId;
use crate::size::GIB;

/// Ids that one DescribeDisks takes.
pub const BATCH: u32 = 100;

/// A disk, with the cloud's own field names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Disk {
    /// `d-…`.
    pub disk_id: String,
    /// The serial that the device reports; empty for disks made before June 2020.
    pub serial_number: String,
    /// The state, in the cloud's word; see [`Disk::state`].
    pub status: String,
    /// GiB.
    pub size: u64,
    /// Empty for regional disks.
    pub zone_id: String,
    /// The category.
    pub category: String,
    /// `PL0` … `PL3`, where the category has levels.
    pub performance_level: String,
    /// The holder of a disk that can have only one.
    pub instance_id: String,
    /// Every holder, from the end of attaching to the end of detaching.
    pub attachments: Attachments,
    /// `Enabled` or `Disabled`.
    pub multi_attach: String,
    /// Encrypted.
    pub encrypted: bool,
    /// With this key.
    #[serde(rename = "KMSKeyId")]
    pub kms_key_id: String,
    /// Made from this snapshot.
    pub source_snapshot_id: String,
    /// Resource group.
    pub resource_group_id: String,
    /// Dedicated storage cluster.
    pub storage_cluster_id: String,
    /// Provisioned IOPS.
    pub provisioned_iops: u64,
    /// Bursting.
    pub bursting_enabled: bool,
    /// `system` or `data`.
    pub r#type: String,
    /// Tags; left out of observations.
    #[serde(skip_serializing)]
    pub tags: Tags,
}

/// The cloud's list inside a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachments {
    /// One for each holder.
    pub attachment: Vec<Attachment>,
}

/// One holder of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attachment {
    /// `i-…`.
    pub instance_id: String,
}

/// The cloud's list inside a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tags {
    tag: Vec<Tag>,
}

/// Two spellings of the same: the API has both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tag {
    tag_key: String,
    tag_value: String,
    key: String,
    value: String,
}

/// What a disk is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Attached to at least one instance.
    InUse,
    /// Attached to none.
    Available,
    /// On the way to an instance; the cloud does not say which.
    Attaching,
    /// On the way from its holder.
    Detaching,
    /// Being made.
    Creating,
    /// Being reset.
    Reinitialising,
    /// A word that this build does not know.
    Unknown,
}

impl Disk {
    /// What the observation says, `None` when there is no such disk.
    ///
    /// # Errors
    /// `aborted` when a build wrote it that this one does not understand: it is observed again.
    pub fn seen(observation: &Observation) -> Result<Option<Self>, Error> {
        if !observation.found {
            return Ok(None);
        }
        serde_json::from_slice(&observation.state).map(Some).map_err(|_| {
            Error::aborted(format!(
                "what was seen of disk {} was written by another build",
                observation.of.id
            ))
        })
    }

    /// The state of the disk.
    pub fn state(&self) -> State {
        match self.status.as_str() {
            "In_use" => State::InUse,
            "Available" => State::Available,
            "Attaching" => State::Attaching,
            "Detaching" => State::Detaching,
            "Creating" => State::Creating,
            "ReIniting" => State::Reinitialising,
            _ => State::Unknown,
        }
    }

    /// Every instance that the cloud names as a holder, also one that is being detached.
    pub fn holders(&self) -> Vec<String> {
        let mut holders: Vec<String> = self
            .attachments
            .attachment
            .iter()
            .map(|attachment| attachment.instance_id.clone())
            .collect();
        if !self.instance_id.is_empty() && !holders.contains(&self.instance_id) {
            holders.push(self.instance_id.clone());
        }
        holders.retain(|holder| !holder.is_empty());
        holders
    }

    /// Whether it belongs to the first instance that it is attached to, and goes with it.
    pub fn is_of_one_instance(&self) -> bool {
        Category::named(&self.category).is_some_and(|category| category.is_of_one_instance)
    }

    /// Whether several instances may hold it.
    pub fn is_multi_attach(&self) -> bool {
        self.multi_attach == "Enabled"
    }

    /// Refuses the disk that an instance boots from: it is no volume, whatever is asked for. Every
    /// verb that would send a request about one disk asks this first.
    ///
    /// # Errors
    /// `failed-precondition`.
    pub fn need_data_disk(&self) -> Result<(), Error> {
        if self.r#type != "system" {
            return Ok(());
        }
        let id = &self.disk_id;
        Err(Error::precondition(format!(
            "disk {id} is the system disk of an instance, and no volume"
        ))
        .with_hint("name a data disk in the PersistentVolume"))
    }

    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.size.saturating_mul(GIB)
    }

    /// Tags by key.
    pub fn tags(&self) -> BTreeMap<&str, &str> {
        fn pair(tag: &Tag) -> (&str, &str) {
            if tag.tag_key.is_empty() {
                (&tag.key, &tag.value)
            } else {
                (&tag.tag_key, &tag.tag_value)
            }
        }
        self.tags.tag.iter().map(pair).collect()
    }

    fn state_of_observation(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self)
            .map_err(|error| Error::defect(format!("disk {}: {error}", self.disk_id)))
    }
}

/// One page of DescribeDisks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Page {
    disks: Disks,
    /// Where the next page starts; empty at the end.
    pub next_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Disks {
    disk: Vec<Disk>,
}

impl Page {
    /// The disks on it.
    pub fn into_disks(self) -> Vec<Disk> {
        self.disks.disk
    }
}

/// Looks at many disks with one request, and with none if no id can be a disk's.
///
/// # Errors
/// The cloud's.
pub fn observe(resources: Vec<ResourceId>) -> Result<Vec<Observation>, Error> {
    let ids = resources.iter().filter_map(|of| DiskId::parse(&of.id)).collect::<Vec<_>>();
    let disks = find(&ids)?;
    let one = |of: ResourceId| match disks.iter().find(|disk| disk.disk_id == of.id) {
        Some(disk) => Ok(Observation::of(of, disk.state_of_observation()?)),
        None => Ok(Observation::none_of(of)),
    };
    resources.into_iter().map(one).collect()
}

/// The disks of these ids that exist.
///
/// # Errors
/// The cloud's; `internal` for more ids than one request takes.
pub fn find(ids: &[DiskId]) -> Result<Vec<Disk>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    if ids.len() > BATCH as usize {
        return Err(Error::defect(format!("{} disks at once, the cloud takes {BATCH}", ids.len())));
    }
    let list: Value = ids.iter().map(|id| id.as_str()).collect();
    let page: Page =
        Action::DescribeDisks.call()?.with("DiskIds", list).with("PageSize", BATCH).send()?;
    Ok(page.into_disks())
}

/// The disk in the progress of an operation on it.
///
/// # Errors
/// `aborted` when the host has not looked at it yet: it looks and calls again.
pub fn observed(progress: &wharf_sdk::Progress, id: &str) -> Result<Option<Disk>, Error> {
    match progress.of(id) {
        Some(observation) => Disk::seen(observation),
        None => Err(Error::new(
            ErrorKind::Aborted,
            wharf_sdk::Blame::Host,
            format!("disk {id} was not observed yet"),
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use wharf_sdk::Pairs;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    /// A disk as an observation of it.
    pub(crate) fn seen(disk: &Disk) -> wharf_sdk::Progress {
        let state = disk.state_of_observation().unwrap();
        wharf_sdk::Progress::observed([Observation::found(&disk.disk_id, state)])
    }

    /// A free ESSD of 20 GiB, changed by the test.
    pub(crate) fn disk(change: impl FnOnce(&mut Disk)) -> Disk {
        let mut disk = Disk {
            disk_id: "d-1".into(),
            serial_number: "1".into(),
            status: "Available".into(),
            size: 20,
            zone_id: "z-a".into(),
            category: "cloud_essd".into(),
            performance_level: "PL1".into(),
            multi_attach: "Disabled".into(),
            r#type: "data".into(),
            ..Disk::default()
        };
        change(&mut disk);
        disk
    }

    /// Held by these instances.
    pub(crate) fn held_by(disk: &mut Disk, holders: &[&str]) {
        disk.status = "In_use".into();
        disk.attachments.attachment =
            holders.iter().map(|holder| Attachment { instance_id: (*holder).into() }).collect();
    }

    #[test]
    fn a_hundred_disks_are_one_request_and_odd_ids_are_none() {
        let answer = json!({ "Disks": { "Disk": [{ "DiskId": "d-2", "Status": "Available", "Size": 20 }] } }).to_string();
        let host = FakeHost::install()
            .with_config("region", "r")
            .answering("DescribeDisks", Response::new(200, answer));
        let seen = observe(["d-1", "vol-x", "d-2"].map(ResourceId::volume).to_vec()).unwrap();
        assert_eq!(
            seen.iter().map(|one| (one.of.id.as_str(), one.found)).collect::<Vec<_>>(),
            [("d-1", false), ("vol-x", false), ("d-2", true)]
        );
        let query = &host.requests()[0].query;
        assert_eq!(
            (query.value("DiskIds"), query.value("PageSize"), query.value("RegionId")),
            (Some(r#"["d-1","d-2"]"#), Some("100"), Some("r"))
        );
        observe(vec![ResourceId::volume("vol-x")]).unwrap();
        assert_eq!(host.requests().len(), 1);
    }

    #[test]
    fn an_observation_comes_back_as_it_went() {
        let held = disk(|disk| held_by(disk, &["i-1", "i-2"]));
        assert_eq!(observed(&seen(&held), "d-1").unwrap(), Some(held));
    }

    #[test]
    fn an_observation_of_another_build_is_made_again_or_read_with_defaults() {
        assert_eq!(
            Disk::seen(&Observation::found("d-1", *b"v9")).unwrap_err().kind,
            ErrorKind::Aborted
        );
        let older = Disk::seen(&Observation::found("d-1", *br#"{"DiskId":"d-1","Future":1}"#))
            .unwrap()
            .unwrap();
        assert_eq!((older.disk_id.as_str(), older.state()), ("d-1", State::Unknown));
    }

    #[test]
    fn no_verb_sends_a_request_about_a_system_disk() {
        use wharf_sdk::controller::{
            AttachRequest, CreateRequest, DeleteRequest, DetachRequest, ExpandRequest,
            ValidateRequest,
        };
        use wharf_sdk::types::{CapacityRange, VolumeCapability};
        let mount = || VolumeCapability::mount("ext4");
        for holders in [["i-1"].as_slice(), &["i-7"], &[]] {
            let system = seen(&disk(|disk| {
                if !holders.is_empty() {
                    held_by(disk, holders);
                }
                disk.r#type = "system".into();
            }));
            let page =
                json!({ "Disks": { "Disk": [{ "DiskId": "d-1", "Type": "system", "Size": 20 }] } });
            let host = FakeHost::install()
                .with_config("region", "r")
                .with_config("zone", "z-a")
                .with_config("force-detach", "true")
                .answering("DescribeDisks", Response::new(200, page.to_string()));
            let mut adopting = CreateRequest::new("pvc-1", mount());
            adopting.capacity = CapacityRange::new(Some(20 * GIB), None);
            adopting.parameters.insert_pair(crate::parameters::DISK_ID, "d-1");
            let node = holders.first().copied();
            let mut refused = vec![
                (
                    "attach",
                    crate::attach::attach(&AttachRequest::new("d-1", "i-1", mount()), &system)
                        .unwrap_err(),
                ),
                (
                    "expand",
                    crate::expand::expand(&ExpandRequest::new("d-1", 40 * GIB), &system)
                        .unwrap_err(),
                ),
                (
                    "expand",
                    crate::expand::expand(&ExpandRequest::new("d-1", GIB), &system).unwrap_err(),
                ),
                ("delete", crate::delete::delete(&DeleteRequest::new("d-1"), &system).unwrap_err()),
                ("create", crate::create::create(&adopting, &Default::default()).unwrap_err()),
            ];
            let detach = |node| crate::detach::detach(&DetachRequest::new("d-1", node), &system);
            if node.is_some() {
                refused.push(("detach", detach(node).unwrap_err()));
                refused.push(("detach", detach(None).unwrap_err()));
            }
            // Not there: nothing is to be done, and a PersistentVolume by mistake can go.
            assert!(matches!(detach(Some("i-2")), Ok(wharf_sdk::Answer::Done(()))));
            for (verb, error) in refused {
                assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{verb}");
                assert!(error.message.contains("system disk"), "{verb}: {}", error.message);
            }
            let asked = ValidateRequest::new("d-1", mount());
            assert!(!crate::usage_modes::validate(&asked, &system).unwrap().confirmed);
            assert_eq!(
                host.actions(),
                ["DescribeDisks"],
                "only the disk to be taken over is asked about"
            );
        }
    }

    #[test]
    fn tags_are_read_in_both_spellings() {
        let read: Disk = serde_json::from_value(json!({ "Tags": { "Tag": [{ "TagKey": "a", "TagValue": "1" }, { "Key": "b", "Value": "2" }, { "TagKey": "c", "TagValue": "3", "Key": "c", "Value": "3" }] } })).unwrap();
        assert_eq!(read.tags(), BTreeMap::from([("a", "1"), ("b", "2"), ("c", "3")]));
    }
}
