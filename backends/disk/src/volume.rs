//! A disk as a volume: handle, context, place.

use serde_json::json;
use wharf_sdk::types::{Observation, Volume, VolumeSource};
use wharf_sdk::{Error, Pairs};

use crate::category::Category;
use crate::create::Wish;
use crate::disk_record::Disk;
use crate::parameters::is_metadata;
use crate::placement;

/// The cloud's forked provisioner lifts what is under these into labels and annotations of the
/// PersistentVolume.
const LABEL: &str = "csi.alibabacloud.com/label-prefix/";
const ANNOTATION: &str = "csi.alibabacloud.com/annotation-prefix/";
/// The driver's own region label.
const PRIVATE_REGION: &str = "topology.diskplugin.csi.alibabacloud.com/region";

/// The volume that was wished for, as this disk.
pub fn of_wish(disk: &Disk, wish: &Wish<'_>) -> Volume {
    let (parameters, region) = (&wish.request.parameters, &wish.region);
    let mut volume = of_disk(disk, region);
    volume.context = parameters.iter().filter(|(key, _)| is_for_the_node(key)).cloned().collect();
    let level = level(disk);
    volume.context.insert_pair("type", &disk.category);
    // As the cloud's own driver: a level that nobody asked for is not in the context.
    if !level.is_empty() && !wish.parameters.levels.is_empty() {
        volume.context.insert_pair("performanceLevel", level);
    }
    if disk.is_of_one_instance()
        && let Some(instance) = disk.holders().into_iter().next().or_else(|| wish.instance())
    {
        for place in &mut volume.topology {
            place.insert_pair(placement::INSTANCE, &instance);
        }
    }
    volume.context.insert_pair(format!("{LABEL}{PRIVATE_REGION}"), region);
    if !disk.zone_id.is_empty() {
        volume.context.insert_pair(format!("{LABEL}{}", placement::PRIVATE_ZONE), &disk.zone_id);
    }
    let label =
        if level.is_empty() { disk.category.clone() } else { format!("{}.{level}", disk.category) };
    volume.context.insert_pair(format!("{LABEL}csi.alibabacloud.com/disktype"), label);
    volume.context.insert_pair(
        format!("{ANNOTATION}csi.alibabacloud.com/volume-topology"),
        affinity(&disk.category),
    );
    volume.source = wish.snapshot.clone().map(VolumeSource::Snapshot);
    volume
}

/// The disk that an observation shows. Its region is not known here, so its place is left out:
/// what nobody asked for has no topology to give to a workload.
///
/// # Errors
/// `not-found` when the observation shows none.
pub fn of_observation(observed: &Observation) -> Result<Volume, Error> {
    let id = &observed.of.id;
    let disk = Disk::seen(observed)?
        .ok_or_else(|| Error::not_found(format!("there is no disk {id}")).as_observed())?;
    let mut volume = Volume::new(id, disk.bytes());
    volume.attached_to = disk.holders();
    Ok(volume)
}

/// A disk that nobody asks for in particular.
pub fn of_disk(disk: &Disk, region: &str) -> Volume {
    let is_regional = Category::named(&disk.category).is_some_and(|category| category.is_regional);
    let mut volume = Volume::new(&disk.disk_id, disk.bytes()).reachable_from(placement::of_disk(
        &disk.zone_id,
        region,
        is_regional,
    ));
    volume.attached_to = disk.holders();
    volume
}

/// The cloud leaves the level of an ESSD out when it is the usual one.
fn level(disk: &Disk) -> &str {
    match (disk.category.as_str(), disk.performance_level.as_str()) {
        ("cloud_essd", "") => "PL1",
        (_, level) => level,
    }
}

fn is_for_the_node(key: &str) -> bool {
    !is_metadata(key) || key == "csi.storage.k8s.io/fstype"
}

/// Nodes that can hold this category, by the labels that the cloud's own driver gives them.
fn affinity(category: &str) -> String {
    let expression = json!({ "key": format!("node.csi.alibabacloud.com/disktype.{category}"), "operator": "In", "values": ["available"] });
    json!({ "nodeSelectorTerms": [{ "matchExpressions": [expression] }] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::disk;
    use wharf_sdk::controller::CreateRequest;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::{Parameters, VolumeCapability, pairs};

    fn volume(disk: &Disk, parameters: Parameters) -> Volume {
        let _host = FakeHost::install().with_config("region", "r");
        let request = CreateRequest {
            parameters,
            ..CreateRequest::new("pvc-1", VolumeCapability::mount(""))
        };
        of_wish(disk, &Wish::read(&request).unwrap())
    }

    #[test]
    fn the_context_has_the_keys_of_the_cloud_s_own_driver() {
        let parameters = pairs([
            ("type", "cloud_essd,cloud_ssd"),
            ("mkfsOptions", "-m1"),
            ("csi.storage.k8s.io/pvc/name", "claim"),
            ("example.com/team", "a"),
            ("allowVolumeExpansion", "true"),
        ]);
        let volume = volume(&disk(|_| {}), parameters);
        assert_eq!((volume.id.as_str(), volume.capacity_bytes), ("d-1", 20 << 30));
        let value = |key: &str| volume.context.value(key);
        assert_eq!(
            (value("type"), value("performanceLevel"), value("mkfsOptions")),
            (Some("cloud_essd"), None, Some("-m1"))
        );
        assert_eq!(
            value("csi.alibabacloud.com/label-prefix/csi.alibabacloud.com/disktype"),
            Some("cloud_essd.PL1")
        );
        assert_eq!(
            value(
                "csi.alibabacloud.com/label-prefix/topology.diskplugin.csi.alibabacloud.com/zone"
            ),
            Some("z-a")
        );
        assert!(
            value("csi.alibabacloud.com/annotation-prefix/csi.alibabacloud.com/volume-topology")
                .unwrap()
                .contains("disktype.cloud_essd")
        );
        assert_eq!(
            (
                value("csi.storage.k8s.io/pvc/name"),
                value("example.com/team"),
                value("allowVolumeExpansion")
            ),
            (None, None, None)
        );
        assert_eq!(volume.topology, [pairs([(placement::PRIVATE_ZONE, "z-a")])]);
    }

    #[test]
    fn a_level_is_in_the_context_where_one_was_asked_for() {
        for (asked, has, level) in
            [("PL1,PL0", "PL0", Some("PL0")), ("PL1", "", Some("PL1")), ("", "PL1", None)]
        {
            let essd = disk(|disk| disk.performance_level = has.into());
            let made = volume(&essd, pairs([("performanceLevel", asked)]));
            assert_eq!(made.context.value("performanceLevel").filter(|it| !it.is_empty()), level);
            let label = made
                .context
                .value("csi.alibabacloud.com/label-prefix/csi.alibabacloud.com/disktype");
            assert_eq!(label, Some(if has == "PL0" { "cloud_essd.PL0" } else { "cloud_essd.PL1" }));
        }
    }

    #[test]
    fn a_regional_disk_is_reachable_from_its_region() {
        let regional = disk(|disk| {
            disk.category = "cloud_regional_disk_auto".into();
            disk.zone_id = String::new();
        });
        assert_eq!(of_disk(&regional, "r").topology, [pairs([(placement::REGION, "r")])]);
    }
}
