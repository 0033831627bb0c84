//! `DescribeDisks`: the filters and the shape of a disk.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Page, carries, show_tags};
use crate::answer::{Answer, ApiError, present};
use crate::clock::{Millis, iso8601};
use crate::devices::serial;
use crate::params::Params;
use crate::state::{Attachment, Disk, Instance, Phase};
use crate::world::World;

/// `DescribeDisks`: newest first. Unknown ids are left out and are no error.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of(params)?;
    let filter = Filter::of(params)?;
    let now = world.now();
    let system = world.system_disks().map(|(id, instance)| Cow::Owned(system_disk(id, instance)));
    let all = world.state.disks.values().map(|disk| disk.as_told(now)).chain(system);
    let mut disks: Vec<Cow<'_, Disk>> = all.filter(|disk| filter.passes(disk)).collect();
    disks.sort_by_key(|disk| std::cmp::Reverse(disk.number));
    let region = &world.options.region;
    Ok(page.answer(("Disks", "Disk"), &disks, |disk| show(disk, region)))
}

/// As the real API shows one; its operations are refused elsewhere.
fn system_disk(id: String, instance: &Instance) -> Disk {
    let attachment = Attachment {
        instance: instance.id.clone(),
        device: "/dev/xvda".to_owned(),
        phase: Phase::Attached,
        since: instance.created,
        visible_at: None,
    };
    Disk {
        id,
        system: true,
        zone: instance.zone.clone(),
        category: "cloud_essd".to_owned(),
        performance_level: "PL0".to_owned(),
        size_gib: 40,
        delete_with_instance: true,
        created: instance.created,
        attached: Some(instance.created),
        attachments: vec![attachment],
        ..Disk::default()
    }
}

impl Disk {
    /// The disk as listings know it: for a while after `AttachDisk` or `DetachDisk`, as before.
    fn as_told(&self, now: Millis) -> Cow<'_, Self> {
        match &self.told {
            Some((until, attachments)) if *until > now => {
                Cow::Owned(Self { attachments: attachments.clone(), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }
}

struct Filter<'a> {
    ids: Option<Vec<String>>,
    tags: Vec<(String, Option<String>)>,
    status: Option<&'a str>,
    encrypted: Option<bool>,
    multi_attach: Option<bool>,
    params: &'a Params,
}

impl<'a> Filter<'a> {
    fn of(params: &'a Params) -> Result<Self, ApiError> {
        let everything = |value: &&str| !value.eq_ignore_ascii_case("all");
        Ok(Self {
            ids: params.json_list("DiskIds", 100)?,
            tags: params.tags()?,
            status: params.get("Status").filter(everything),
            encrypted: params.boolean("Encrypted")?,
            multi_attach: params.get("MultiAttach").map(|value| value == "Enabled"),
            params,
        })
    }

    fn passes(&self, disk: &Disk) -> bool {
        let is =
            |name: &str, value: &str| self.params.get(name).is_none_or(|wanted| wanted == value);
        let in_category = self
            .params
            .get("Category")
            .is_none_or(|wanted| wanted == "all" || wanted == disk.category);
        let is_type = self
            .params
            .get("DiskType")
            .is_none_or(|wanted| wanted == "all" || wanted == kind(disk));
        let on_instance = |wanted: &str| {
            disk.attachments
                .iter()
                .any(|attachment| attachment.is_told() && attachment.instance == wanted)
        };
        self.ids.as_ref().is_none_or(|ids| ids.contains(&disk.id))
            && carries(&disk.tags, &self.tags)
            && self.status.is_none_or(|status| status.eq_ignore_ascii_case(disk.status()))
            && self.encrypted.is_none_or(|encrypted| encrypted == disk.encrypted)
            && self.multi_attach.is_none_or(|multi_attach| multi_attach == disk.multi_attach)
            && self.params.get("InstanceId").is_none_or(on_instance)
            && is_type
            && is("Portable", if disk.system { "false" } else { "true" })
            && in_category
            && is("ZoneId", &disk.zone)
            && is("DiskName", &disk.name)
            && is("SnapshotId", &disk.snapshot)
            && is("KMSKeyId", &disk.kms_key)
            && is("ResourceGroupId", &disk.resource_group)
    }
}

impl Attachment {
    /// Whether `InstanceId` and `Attachments` name it: from the end of attaching to the end of
    /// detaching.
    fn is_told(&self) -> bool {
        match self.phase {
            Phase::Attached | Phase::Detaching { .. } => true,
            Phase::Attaching { .. } => false,
        }
    }
}

fn kind(disk: &Disk) -> &'static str {
    if disk.system { "system" } else { "data" }
}

fn show(disk: &Disk, region: &str) -> Value {
    let told: Vec<&Attachment> =
        disk.attachments.iter().filter(|attachment| attachment.is_told()).collect();
    // A multi-attach disk names its instances in `Attachments` alone.
    let only = told.first().filter(|_| !disk.multi_attach);
    let attachments: Vec<Value> =
        told.iter().map(|attachment| show_attachment(attachment)).collect();
    present(json!({
        "DiskId": disk.id,
        "SerialNumber": serial(&disk.id),
        "DiskName": disk.name,
        "Description": disk.description,
        "RegionId": region,
        "ZoneId": disk.zone,
        "Type": kind(disk),
        "Category": disk.category,
        "PerformanceLevel": disk.performance_level,
        "Size": disk.size_gib,
        "Status": disk.status(),
        "InstanceId": only.map_or("", |attachment| &attachment.instance),
        "Device": only.map_or("", |attachment| &attachment.device),
        "Attachments": { "Attachment": attachments },
        "MultiAttach": if disk.multi_attach { "Enabled" } else { "Disabled" },
        "Portable": !disk.system,
        "Encrypted": disk.encrypted,
        "KMSKeyId": disk.kms_key,
        "SourceSnapshotId": disk.snapshot,
        "ResourceGroupId": disk.resource_group,
        "StorageClusterId": disk.storage_cluster,
        "ProvisionedIops": disk.provisioned_iops,
        "BurstingEnabled": disk.bursting,
        "DeleteWithInstance": disk.delete_with_instance,
        "DeleteAutoSnapshot": disk.delete_auto_snapshot,
        "EnableAutoSnapshot": disk.enable_auto_snapshot,
        "EnableAutomatedSnapshotPolicy": false,
        "DiskChargeType": "PostPaid",
        "CreationTime": iso8601(disk.created),
        "AttachedTime": disk.attached.map(iso8601).unwrap_or_default(),
        "DetachedTime": disk.detached.map(iso8601).unwrap_or_default(),
        "ExpiredTime": "2999-09-08T16:00Z",
        "ImageId": "",
        "ProductCode": "",
        "OperationLocks": { "OperationLock": if disk.in_arrears { vec![json!({ "LockReason": "financial" })] } else { Vec::new() } },
        "Tags": show_tags(&disk.tags),
    }))
}

fn show_attachment(attachment: &Attachment) -> Value {
    json!({ "InstanceId": attachment.instance, "AttachedTime": iso8601(attachment.since), "Device": attachment.device })
}
