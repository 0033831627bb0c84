//! Where a volume may go, and from where it can be reached: external-provisioner's
//! `GenerateAccessibilityRequirements` for immediate binding, and the scheduler's view of a
//! PersistentVolume's node affinity.

use std::collections::BTreeMap;

use wharf_csi::proto;

/// Labels of a place, all of which hold there.
pub type Segments = BTreeMap<String, String>;

/// What CreateVolume is told. `chosen` is what a scheduler or a StorageClass says, best first;
/// without it every place that has a node will do, and volumes are spread over them by their names.
/// `None`: nothing is known of any place.
pub(super) fn requirement(
    volume: &str,
    chosen: &[Segments],
    nodes: impl IntoIterator<Item = Segments>,
) -> Option<proto::TopologyRequirement> {
    let mut places = chosen.to_vec();
    if places.is_empty() {
        places = nodes.into_iter().filter(|place| !place.is_empty()).collect();
        places.sort();
        places.dedup();
    }
    let first = spread(volume).checked_rem(places.len())?;
    let topology =
        |place: &Segments| proto::Topology { segments: place.clone().into_iter().collect() };
    let requisite: Vec<_> = places.iter().map(topology).collect();
    let mut preferred = requisite.clone();
    if chosen.is_empty() {
        preferred.rotate_left(first);
    }
    Some(proto::TopologyRequirement { requisite, preferred })
}

/// FNV-1a, as external-provisioner has it.
fn spread(volume: &str) -> usize {
    volume
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        as usize
}

/// Whether the scheduler may send a pod to a node at `place` when the volume is accessible from
/// these. None: from everywhere.
pub(super) fn is_reachable(from: &[Segments], place: &Segments) -> bool {
    from.is_empty()
        || from.iter().any(|term| term.iter().all(|(key, value)| place.get(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Segments {
        BTreeMap::from([
            ("zone".to_owned(), name.to_owned()),
            ("region".to_owned(), "r".to_owned()),
        ])
    }

    fn zones(topologies: &[proto::Topology]) -> Vec<String> {
        topologies.iter().map(|topology| topology.segments["zone"].clone()).collect()
    }

    #[test]
    fn every_place_with_a_node_is_requisite_once_and_volumes_are_spread_over_them() {
        let nodes = || [zone("b"), zone("a"), zone("b"), Segments::new()];
        let mut firsts: Vec<String> = Vec::new();
        for volume in ["pvc-1", "pvc-2", "pvc-3", "pvc-4"] {
            let requirement = requirement(volume, &[], nodes()).unwrap();
            assert_eq!(zones(&requirement.requisite), ["a", "b"]);
            let preferred = zones(&requirement.preferred);
            assert_eq!(preferred.len(), 2);
            firsts.push(preferred[0].clone());
        }
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts, ["a", "b"]);
    }

    #[test]
    fn what_the_scheduler_chose_stays_in_its_order_and_without_any_place_nothing_is_asked() {
        let chosen = requirement("pvc", &[zone("c"), zone("a")], [zone("b")]).unwrap();
        assert_eq!(
            (zones(&chosen.requisite), zones(&chosen.preferred)),
            (vec!["c".to_owned(), "a".to_owned()], vec!["c".to_owned(), "a".to_owned()])
        );
        assert_eq!(requirement("pvc", &[], []), None);
    }

    #[test]
    fn a_volume_is_reached_where_all_labels_of_one_of_its_places_hold() {
        let only_zone = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        assert!(
            is_reachable(std::slice::from_ref(&only_zone), &zone("a"))
                && !is_reachable(&[only_zone], &zone("b"))
        );
        assert!(is_reachable(&[], &zone("b")) && !is_reachable(&[zone("a")], &Segments::new()));
    }
}
