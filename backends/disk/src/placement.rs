//! Where a new disk goes: the zones of the topology requirement, preferred ones first, narrowed by
//! the class's own zones.

use wharf_sdk::types::{Segments, TopologyRequirement};
use wharf_sdk::{Error, Pairs};

use crate::serial::is_instance_id;

/// The instance; the key of the cloud's own driver, for disks that belong to one.
pub const INSTANCE: &str = "alibabacloud.com/ecs-instance-id";
/// The zone, under the key that existing PersistentVolumes use.
pub const PRIVATE_ZONE: &str = "topology.diskplugin.csi.alibabacloud.com/zone";
/// The zone, under Kubernetes' own key.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The region, under Kubernetes' own key.
pub const REGION: &str = "topology.kubernetes.io/region";

/// Zones to try, best first; empty: nothing was said, the backend's own zone will do.
///
/// # Errors
/// `resource-exhausted` when the class allows none of the zones that are required.
pub fn zones(
    requirement: Option<&TopologyRequirement>,
    of_class: &[String],
) -> Result<Vec<String>, Error> {
    let required = required(requirement);
    if required.is_empty() {
        return Ok(of_class.to_vec());
    }
    if of_class.is_empty() {
        return Ok(required);
    }
    let both: Vec<String> =
        required.iter().filter(|zone| of_class.contains(zone)).cloned().collect();
    if both.is_empty() {
        let message = format!(
            "the workload must be in {}, but the StorageClass allows only {}",
            required.join(", "),
            of_class.join(", ")
        );
        return Err(Error::exhausted(message).with_hint(
            "remove `zoneId` from the StorageClass, or use `allowedTopologies` in its place",
        ));
    }
    Ok(both)
}

/// Whether a disk in this zone satisfies the requirement.
pub fn is_reachable(requirement: Option<&TopologyRequirement>, zone: &str) -> bool {
    let required = required(requirement);
    required.is_empty() || required.iter().any(|allowed| allowed == zone)
}

/// The node that the scheduler has chosen, with its zone: what the provisioner prefers most.
pub fn selected_instance(requirement: Option<&TopologyRequirement>) -> Option<(&str, &str)> {
    let requirement = requirement?;
    let place = requirement.preferred.first().or_else(|| requirement.requisite.first())?;
    let instance = place.value(INSTANCE).filter(|instance| is_instance_id(instance))?;
    Some((instance, zone_of(place)?))
}

/// Zones of `preferred`, then of `requisite`, each once.
fn required(requirement: Option<&TopologyRequirement>) -> Vec<String> {
    let places = requirement
        .into_iter()
        .flat_map(|requirement| requirement.preferred.iter().chain(&requirement.requisite));
    let mut zones: Vec<String> = Vec::new();
    for zone in places.filter_map(zone_of) {
        if !zones.iter().any(|known| known == zone) {
            zones.push(zone.to_owned());
        }
    }
    zones
}

fn zone_of(place: &Segments) -> Option<&str> {
    place.value(PRIVATE_ZONE).or_else(|| place.value(ZONE)).filter(|zone| !zone.is_empty())
}

/// The place of a disk, as PersistentVolumes name it.
pub fn of_disk(zone: &str, region: &str, is_regional: bool) -> Segments {
    let (key, value) =
        if is_regional || zone.is_empty() { (REGION, region) } else { (PRIVATE_ZONE, zone) };
    vec![(key.to_owned(), value.to_owned())]
}

/// The place of a node, under every key that a volume may be asked for with.
pub fn of_node(instance: &str, zone: &str, region: &str) -> Segments {
    [(INSTANCE, instance), (PRIVATE_ZONE, zone), (ZONE, zone), (REGION, region)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn requirement(preferred: &[&str], requisite: &[&str]) -> TopologyRequirement {
        let places = |zones: &[&str]| zones.iter().map(|zone| pairs([(ZONE, *zone)])).collect();
        TopologyRequirement::new(places(requisite), places(preferred))
    }

    fn owned(zones: &[&str]) -> Vec<String> {
        zones.iter().map(|zone| (*zone).to_owned()).collect()
    }

    #[test]
    fn preferred_zones_come_first_and_each_once() {
        assert_eq!(
            zones(Some(&requirement(&["b", "a"], &["a", "b", "c"])), &[]).unwrap(),
            owned(&["b", "a", "c"])
        );
    }

    #[test]
    fn the_class_narrows_and_never_widens() {
        let both = requirement(&["b"], &["a", "b"]);
        assert_eq!(zones(Some(&both), &owned(&["a", "z"])).unwrap(), owned(&["a"]));
        let error = zones(Some(&both), &owned(&["z"])).unwrap_err();
        assert_eq!(error.kind, wharf_sdk::ErrorKind::ResourceExhausted);
        assert!(error.message.contains("b, a") && error.message.contains('z'));
    }

    #[test]
    fn no_zone_in_the_requirement_leaves_the_choice_to_the_class() {
        let elsewhere = TopologyRequirement::new(vec![pairs([("example.com/rack", "1")])], vec![]);
        assert_eq!(zones(Some(&elsewhere), &owned(&["a"])).unwrap(), owned(&["a"]));
        assert!(zones(None, &[]).unwrap().is_empty());
    }

    #[test]
    fn the_private_key_wins_over_kubernetes_own() {
        let place = TopologyRequirement::new(
            vec![pairs([(ZONE, "well-known"), (PRIVATE_ZONE, "private")])],
            vec![],
        );
        assert_eq!(zones(Some(&place), &[]).unwrap(), owned(&["private"]));
        assert!(is_reachable(Some(&place), "private") && !is_reachable(Some(&place), "well-known"));
    }

    #[test]
    fn every_place_of_a_disk_is_a_key_of_a_node() {
        let node = of_node("i-1", "z", "r");
        for disk in [of_disk("z", "r", false), of_disk("", "r", true)] {
            assert!(disk.iter().all(|pair| node.contains(pair)));
        }
    }
}
