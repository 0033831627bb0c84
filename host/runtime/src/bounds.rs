//! What a guest's answer may be. The host keeps answers for a while and passes them on to protocols
//! that have bounds of their own, so an answer that is too large is the backend's defect, found
//! here and named.

use std::collections::HashSet;

use wharf_core::plan::{MAX_STEPS, Plan};
use wharf_core::types::{
    Answer, Description, NodeDescription, Observation, Parameters, Pending, ResourceId, Volume,
};
use wharf_core::verbs::{Available, Listed, Translated};
use wharf_core::{Blame, Error, ErrorKind};

/// A resume token; the contract's number. It is kept while an operation waits.
pub const RESUME_BYTES: usize = 4 << 10;
/// The state of one observation; the contract's number.
pub const STATE_BYTES: usize = 64 << 10;
/// Ids that one `pending` may ask to watch: an operation concerns one volume and what it hangs on.
pub const WATCHED_IDS: usize = 64;
/// A context or a topology, all pairs together: CSI's own bound on a map field.
pub const MAP_BYTES: usize = 4 << 10;
/// An id: FlexVolume and CSI put it into names and one-line fields; CSI suggests 128 bytes, clouds
/// stay below, resource names do not.
pub const ID_BYTES: usize = 256;
/// A text for people.
pub const TEXT_BYTES: usize = 4 << 10;
/// Places in a topology, drivers, capabilities, topology keys: lists that people wrote.
pub const SHORT_LIST: usize = 64;
/// Ids that one `observe` may be declared for.
pub const OBSERVE_BATCH: u32 = 1000;
/// All texts of a description, which the store keeps: the disk backend's has 400 bytes, and people
/// wrote each of them.
pub const DESCRIPTION_BYTES: usize = 16 << 10;
/// One text in a plan: a path, an option, a serial. The kernel's bound on a path.
pub const STEP_BYTES: usize = 4 << 10;

type Checked = Result<(), Error>;

pub(crate) fn description(it: &Description) -> Checked {
    text("description.name", &it.name, ID_BYTES)?;
    text("description.version", &it.version, ID_BYTES)?;
    list("description.drivers", it.drivers.len(), SHORT_LIST)?;
    list("description.capabilities", it.capabilities.len(), SHORT_LIST)?;
    list("description.topology-keys", it.topology_keys.len(), SHORT_LIST)?;
    it.capabilities
        .iter()
        .chain(&it.topology_keys)
        .try_for_each(|word| text("description", word, ID_BYTES))?;
    for driver in &it.drivers {
        text("driver.name", &driver.name, ID_BYTES)?;
        list("driver.flexvolume", driver.flexvolume.len(), SHORT_LIST)?;
        driver.flexvolume.iter().try_for_each(|name| text("driver.flexvolume", name, ID_BYTES))?;
    }
    let drivers = it.drivers.iter().flat_map(|it| it.flexvolume.iter().chain([&it.name]));
    let texts = drivers.chain(&it.capabilities).chain(&it.topology_keys);
    list("description (bytes)", texts.map(String::len).sum(), DESCRIPTION_BYTES)?;
    if it.observe_batch == 0 || it.observe_batch > OBSERVE_BATCH {
        return Err(defect(format!(
            "`description.observe-batch` is {}, it must be 1 to {OBSERVE_BATCH}",
            it.observe_batch
        )));
    }
    Ok(())
}

/// Exactly one observation for each resource that was asked for.
pub(crate) fn observations(asked: &[ResourceId], answered: &[Observation]) -> Checked {
    let wanted: HashSet<&ResourceId> = asked.iter().collect();
    let mut seen = HashSet::new();
    for observation in answered {
        if !wanted.contains(&observation.of) {
            return Err(defect(format!(
                "`observe` answered for `{}`, which was not asked about",
                short(&observation.of.id)
            )));
        }
        if !seen.insert(&observation.of) {
            return Err(defect(format!("`observe` answered twice for `{}`", observation.of.id)));
        }
        list("observation.state (bytes)", observation.state.len(), STATE_BYTES)?;
    }
    match wanted.iter().find(|of| !seen.contains(*of)) {
        Some(of) => Err(defect(format!("`observe` did not answer for `{}`", of.id))),
        None => Ok(()),
    }
}

pub(crate) fn listed(max_entries: u32, it: &Listed) -> Checked {
    list("listed.volumes", it.volumes.len(), usize::try_from(max_entries).unwrap_or(0))?;
    it.volumes.iter().try_for_each(volume)?;
    it.next_token.iter().try_for_each(|token| text("listed.next-token", token, RESUME_BYTES))
}

/// That a volume of some size can be made where any bytes are left, and none where none are:
/// Kubernetes' scheduler goes by the largest volume alone where it is given one.
pub(crate) fn available(it: &Available) -> Checked {
    let Available { bytes, minimum_volume_bytes, maximum_volume_bytes } = *it;
    let largest = maximum_volume_bytes.unwrap_or(bytes);
    if largest > bytes {
        return Err(defect(format!(
            "`available.maximum-volume-bytes` is {largest}, more than the {bytes} that are left"
        )));
    }
    match minimum_volume_bytes.filter(|smallest| bytes > 0 && *smallest > largest) {
        Some(smallest) => Err(defect(format!(
            "`available.minimum-volume-bytes` is {smallest}, more than the largest volume's \
             {largest}"
        ))),
        None => Ok(()),
    }
}

pub(crate) fn node_description(it: &NodeDescription) -> Checked {
    id("node-id", it.node_id.as_str())?;
    map("topology", &it.topology)
}

pub(crate) fn translated(it: &Translated) -> Checked {
    id("volume-id", it.volume.as_str())?;
    map("context", &it.context)
}

pub(crate) fn plan(it: &Plan) -> Checked {
    list("plan.steps", it.steps.len(), MAX_STEPS)?;
    text("plan.summary", &it.summary, TEXT_BYTES)?;
    // Serialised, every text and list of a step is counted at once and none is forgotten.
    let bytes = it.steps.iter().map(|step| format!("{step:?}").len()).max().unwrap_or(0);
    list("plan.step (bytes)", bytes, 4 * STEP_BYTES)
}

pub(crate) fn volume(it: &Volume) -> Checked {
    id("volume.id", it.id.as_str())?;
    map("volume.context", &it.context)?;
    list("volume.topology", it.topology.len(), SHORT_LIST)?;
    it.topology.iter().try_for_each(|segments| map("volume.topology", segments))?;
    list("volume.attached-to", it.attached_to.len(), SHORT_LIST)?;
    it.attached_to.iter().try_for_each(|node| id("volume.attached-to", node.as_str()))?;
    let message = it.condition.as_ref().map_or("", |condition| condition.message.as_str());
    text("volume.condition", message, TEXT_BYTES)
}

pub(crate) fn answer<T>(it: &Answer<T>, done: impl FnOnce(&T) -> Checked) -> Checked {
    match it {
        Answer::Done(value) => done(value),
        Answer::Pending(pending) => self::pending(pending),
        Answer::Perform(perform) => {
            plan(&perform.plan)?;
            resume(perform.resume.as_deref())
        }
    }
}

fn pending(it: &Pending) -> Checked {
    list("pending.watch", it.watch.len(), WATCHED_IDS)?;
    for watched in &it.watch {
        id("pending.watch", &watched.kind)?;
        id("pending.watch", &watched.id)?;
    }
    resume(it.resume.as_deref())?;
    text("pending.reason", &it.reason, TEXT_BYTES)
}

fn resume(token: Option<&str>) -> Checked {
    token.map_or(Ok(()), |token| text("resume", token, RESUME_BYTES))
}

pub(crate) fn map(name: &str, pairs: &Parameters) -> Checked {
    let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
    list(&format!("{name} (bytes)"), bytes, MAP_BYTES)?;
    let keys: HashSet<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    if keys.len() != pairs.len() {
        return Err(defect(format!("`{name}` has a key twice")));
    }
    Ok(())
}

fn id(name: &str, value: &str) -> Checked {
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(defect(format!("`{name}` is empty or has control characters")));
    }
    text(name, value, ID_BYTES)
}

pub(crate) fn text(name: &str, value: &str, bound: usize) -> Checked {
    list(&format!("{name} (bytes)"), value.len(), bound)
}

fn list(name: &str, length: usize, bound: usize) -> Checked {
    if length > bound {
        return Err(defect(format!("`{name}` is {length} long, at most {bound} is allowed")));
    }
    Ok(())
}

fn short(text: &str) -> &str {
    wharf_core::text::cut(text, ID_BYTES)
}

fn defect(message: String) -> Error {
    Error::new(ErrorKind::Internal, Blame::Backend, message)
        .with_hint("this is a defect of the backend; report it to its author")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::plan::{DeviceMatch, FindDevice, Step};
    use wharf_core::types::{NodeId, VolumeId};

    fn of(id: &str) -> ResourceId {
        ResourceId { kind: "volume".into(), id: id.into() }
    }

    fn observation(id: &str, bytes: usize) -> Observation {
        Observation { of: of(id), found: true, state: vec![0; bytes] }
    }

    fn answered(it: &Answer<()>) -> Checked {
        answer(it, |()| Ok(()))
    }

    fn waiting(watch: usize, resume: usize) -> Answer<()> {
        Answer::Pending(Pending {
            after_ms: 0,
            watch: vec![of("d"); watch],
            resume: Some("r".repeat(resume)),
            reason: String::new(),
        })
    }

    #[test]
    fn observe_answers_exactly_once_for_each_id() {
        let asked = [of("a"), of("b")];
        assert!(observations(&asked, &[observation("b", 1), observation("a", 1)]).is_ok());
        assert!(observations(&asked, &[observation("a", 1)]).unwrap_err().message.contains("`b`"));
        assert!(
            observations(&asked, &[observation("a", 1), observation("a", 1)])
                .unwrap_err()
                .message
                .contains("twice")
        );
        assert!(
            observations(&asked, &[observation("a", 1), observation("c", 1)])
                .unwrap_err()
                .message
                .contains("not asked")
        );
    }

    #[test]
    fn every_bound_holds_at_its_edge() {
        let asked = [of("a")];
        assert!(observations(&asked, &[observation("a", STATE_BYTES)]).is_ok());
        assert!(observations(&asked, &[observation("a", STATE_BYTES + 1)]).is_err());
        assert!(answered(&waiting(WATCHED_IDS, RESUME_BYTES)).is_ok());
        assert!(answered(&waiting(WATCHED_IDS + 1, 0)).is_err());
        assert!(answered(&waiting(0, RESUME_BYTES + 1)).is_err());
        let step = Step::FindDevice(FindDevice { matches: vec![], minimum_bytes: 0 });
        assert!(
            plan(&Plan { steps: vec![step.clone(); MAX_STEPS], summary: String::new() }).is_ok()
        );
        assert!(plan(&Plan { steps: vec![step; MAX_STEPS + 1], summary: String::new() }).is_err());
        let huge = Step::FindDevice(FindDevice {
            matches: vec![DeviceMatch::Serial("x".repeat(5 * STEP_BYTES))],
            minimum_bytes: 0,
        });
        assert!(plan(&Plan { steps: vec![huge], summary: String::new() }).is_err());
    }

    #[test]
    fn ids_and_maps_are_bounded() {
        let node = |id: &str, value: usize| NodeDescription {
            node_id: NodeId::new(id),
            topology: vec![("k".into(), "v".repeat(value))],
            max_volumes: None,
        };
        assert!(node_description(&node("i-1", 10)).is_ok());
        assert!(node_description(&node("", 10)).is_err());
        assert!(node_description(&node("i\n1", 10)).is_err());
        assert!(node_description(&node(&"i".repeat(ID_BYTES + 1), 10)).is_err());
        assert!(node_description(&node("i-1", MAP_BYTES)).is_err());
        let twice = Translated {
            volume: VolumeId::new("d"),
            context: vec![("a".into(), String::new()), ("a".into(), String::new())],
            only_over_flexvolume: Vec::new(),
        };
        assert!(translated(&twice).is_err());
    }

    #[test]
    fn the_largest_volume_is_no_more_than_what_is_left_and_no_less_than_the_smallest() {
        let of = |bytes, minimum_volume_bytes, maximum_volume_bytes| {
            available(&Available { bytes, minimum_volume_bytes, maximum_volume_bytes })
        };
        for told in [
            (0, None, None),
            (0, Some(20), None),
            (0, Some(20), Some(0)),
            (20, Some(20), Some(20)),
            (u64::MAX, None, Some(1)),
        ] {
            assert_eq!(of(told.0, told.1, told.2), Ok(()), "{told:?}");
        }
        for told in [(0, None, Some(1)), (20, None, Some(21)), (20, Some(21), None)] {
            let error = of(told.0, told.1, told.2).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Internal, Blame::Backend));
        }
        assert!(of(20, Some(11), Some(10)).unwrap_err().message.contains("`available.minimum"));
    }

    #[test]
    fn a_page_is_no_longer_than_it_was_asked_to_be() {
        let volume = Volume {
            id: VolumeId::new("d"),
            capacity_bytes: 0,
            context: vec![],
            topology: vec![],
            source: None,
            attached_to: vec![],
            condition: None,
        };
        let page = Listed { volumes: vec![volume; 3], next_token: None };
        assert!(listed(3, &page).is_ok());
        assert!(listed(2, &page).is_err());
    }
}
