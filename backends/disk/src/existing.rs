//! A disk that has the volume's name already: found by its tag, compared with what is asked for.

use wharf_sdk::Error;

use crate::action::Action;
use crate::create::Wish;
use crate::disk_record::{BATCH, Disk, Page};
use crate::tags::VOLUME_NAME;

/// The cloud's code for a client token that comes again with other parameters.
pub const MISMATCH: &str = "IdempotentParameterMismatch";

/// The disk whose tag has this name.
///
/// # Errors
/// The cloud's; `already-exists` when several disks have it.
pub fn find_by_name(name: &str) -> Result<Option<Disk>, Error> {
    let page: Page = Action::DescribeDisks
        .call()?
        .with("PageSize", BATCH)
        .with_tags([(VOLUME_NAME, name)])
        .send()?;
    let mut disks = page.into_disks();
    if disks.len() > 1 {
        let ids: Vec<_> = disks.iter().map(|disk| disk.disk_id.as_str()).collect();
        return Err(Error::already_exists(format!(
            "several disks have the tag {VOLUME_NAME}={name}: {}",
            ids.join(", ")
        ))
        .as_observed()
        .with_hint("delete the disks that hold no data, or remove the tag from them"));
    }
    Ok(disks.pop())
}

/// In what the disk differs from what is asked for, in words; `None`: in nothing. `zones`: those it
/// may be in.
pub fn differs(disk: &Disk, wish: &Wish<'_>, zones: &[String]) -> Option<String> {
    let asked = &wish.parameters;
    let kind = asked.categories.iter().find(|category| category.name == disk.category);
    let text = |key: &str, has: &str, wanted: &str| {
        (has != wanted).then(|| format!("{key} is `{has}`, asked for is `{wanted}`"))
    };
    let chosen = |key: &str, has: &str, wanted: &Option<String>| {
        wanted.as_ref().and_then(|wanted| text(key, has, wanted))
    };
    size(disk, wish)
        .or_else(|| kind.is_none().then(|| format!("its type is {}", disk.category)))
        .or_else(|| level(disk, wish))
        .or_else(|| {
            encrypted(disk, wish).then(|| {
                format!("encrypted is `{}`, asked for is `{}`", disk.encrypted, asked.encrypted)
            })
        })
        .or_else(|| chosen("kmsKeyId", &disk.kms_key_id, &asked.kms_key))
        .or_else(|| {
            text("multiAttach", bool_text(disk.is_multi_attach()), bool_text(asked.multi_attach))
        })
        .or_else(|| chosen("storageClusterId", &disk.storage_cluster_id, &asked.storage_cluster))
        .or_else(|| chosen("resourceGroupId", &disk.resource_group_id, &asked.resource_group))
        .or_else(|| {
            text(
                "its snapshot",
                &disk.source_snapshot_id,
                wish.snapshot.as_deref().unwrap_or_default(),
            )
        })
        .or_else(|| zone(disk, zones))
        .or_else(|| performance(disk, wish))
        .or_else(|| tag(disk, wish))
}

fn size(disk: &Disk, wish: &Wish<'_>) -> Option<String> {
    (!wish.size.allows(disk.size)).then(|| {
        let bound = |words: &str, gib: Option<u64>| {
            gib.map(|gib| format!("{words} {gib} GiB")).unwrap_or_default()
        };
        let (least, most) =
            (bound(" at least", wish.size.required), bound(" at most", wish.size.limit));
        format!("it has {} GiB, asked for are{least}{most}", disk.size)
    })
}

fn level(disk: &Disk, wish: &Wish<'_>) -> Option<String> {
    let levels = &wish.parameters.levels;
    let is_other = !levels.is_empty()
        && !disk.performance_level.is_empty()
        && !levels.iter().any(|level| level.name == disk.performance_level);
    // Only categories that have levels are made with one.
    let has_levels = wish
        .parameters
        .categories
        .iter()
        .any(|category| category.name == disk.category && !category.levels.is_empty());
    (is_other && has_levels).then(|| format!("its performance level is {}", disk.performance_level))
}

/// A disk made from a snapshot is encrypted if that is, unless it was asked for.
fn encrypted(disk: &Disk, wish: &Wish<'_>) -> bool {
    disk.encrypted != wish.parameters.encrypted
        && (wish.parameters.encrypted || wish.snapshot.is_none())
}

fn zone(disk: &Disk, zones: &[String]) -> Option<String> {
    let is_elsewhere = !disk.zone_id.is_empty() && !zones.contains(&disk.zone_id);
    is_elsewhere
        .then(|| format!("it is in zone {}, asked for is {}", disk.zone_id, zones.join(" or ")))
}

fn performance(disk: &Disk, wish: &Wish<'_>) -> Option<String> {
    wish.parameters
        .categories
        .iter()
        .find(|category| category.name == disk.category && category.has_provisioned_iops)?;
    let wanted = wish.parameters.provisioned_iops.unwrap_or(0);
    if disk.provisioned_iops != wanted {
        return Some(format!(
            "provisionedIops is {}, asked for are {wanted}",
            disk.provisioned_iops
        ));
    }
    (disk.bursting_enabled != wish.parameters.bursting)
        .then(|| format!("burstingEnabled is {}", disk.bursting_enabled))
}

fn tag(disk: &Disk, wish: &Wish<'_>) -> Option<String> {
    let has = disk.tags();
    let missing = wish
        .parameters
        .tags
        .iter()
        .find(|(key, value)| has.get(key.as_str()) != Some(&value.as_str()));
    missing.map(|(key, value)| format!("its tag {key} is not `{value}`"))
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
