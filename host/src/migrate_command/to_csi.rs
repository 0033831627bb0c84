//! How a volume of FlexVolume becomes one of CSI.
//!
//! What a PersistentVolume says of its source cannot be changed, and a claim stays with the volume
//! that it was bound to. So there is a second PersistentVolume for the same data and a second claim
//! for it, and the workload is pointed from one claim to the other. The first pair stays: it is the
//! way back. Both say Retain, so that the end of no object is the end of the data; and nothing that
//! is written here deletes, detaches or unmounts.

use wharf_core::types::Parameters;
use wharf_core::verbs::Translated;

use super::cluster::Bound;
use super::hidden::Hidden;
use super::judge::{CsiVolume, FlexVolume, Judge};
use super::objects::{Object, is_name};
use super::report::{Item, Verdict};
use super::volume_index::VolumeIndex;
use super::volumes::{Asked, access_mode, refused};

mod inline;
pub mod made;
pub mod steps;

pub use inline::plan_inline;
use steps::{InUse, afterwards, drain, new_claim, new_volume, point, retain, secret_of};

/// What is at the end of the names of new objects.
const SUFFIX: &str = "-csi";

/// Both pairs of objects.
pub struct Pair<'a> {
    /// The PersistentVolume.
    pub volume: &'a str,
    /// The one that is made.
    pub new_volume: String,
    /// Of both claims.
    pub namespace: &'a str,
    /// The claim.
    pub claim: &'a str,
    /// The one that is made.
    pub new_claim: String,
}

/// A volume that can be moved, with its claim; else what becomes of it, and why.
pub type Movable<'a> = Result<(Pair<'a>, Option<&'a Object>), (Verdict, String)>;

impl<'a> Pair<'a> {
    /// That of a bound volume. `suffix` ends the names of new objects, and `to` is where it is
    /// moved.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn of(
        asked: &Asked<'a>,
        volume: &'a Object,
        (suffix, to): (&str, &str),
    ) -> Result<Movable<'a>, String> {
        let person = |why: String| Ok(Err((Verdict::Person, format!("not moved to {to}: {why}"))));
        let (namespace, claim, object) = match asked.cluster.claim_of(volume)? {
            Bound::To { namespace, claim, object } => (namespace, claim, object),
            Bound::No => {
                return Ok(Err((
                    Verdict::Unchanged,
                    "no claim has it, so nothing uses it: there is nothing to move".to_owned(),
                )));
            }
            Bound::Unclear(why) => return person(why),
        };
        if volume.at("metadata.deletionTimestamp").is_some() {
            return person("it is being deleted".to_owned());
        }
        match volume.text("status.phase")? {
            None | Some("Bound") => {}
            Some(_) => return person("it is not Bound".to_owned()),
        }
        let new_volume = format!("{}{suffix}", volume.name);
        let new_claim = format!("{claim}{suffix}");
        Ok(Ok((Self { volume: &volume.name, new_volume, namespace, claim, new_claim }, object)))
    }
}

/// Writes the steps into the item, or why there are none.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn plan(
    asked: &Asked<'_>,
    index: &VolumeIndex<'_>,
    judge: &Judge<'_>,
    volume: &Object,
    flexvolume: &FlexVolume,
    translated: &Translated,
    item: &mut Item,
) -> Result<(), String> {
    let mut stop = |verdict, why: String| {
        item.verdict = verdict;
        item.says.push(why);
        Ok(())
    };
    let (pair, claim_object) = match Pair::of(asked, volume, (SUFFIX, "CSI"))? {
        Ok(pair) => pair,
        Err((verdict, why)) => return stop(verdict, why),
    };
    let place = format!("PersistentVolume {}", volume.name);
    if let Some((verdict, why)) = other_one(asked, index, judge, &pair, &place, translated)? {
        return stop(verdict, why);
    }
    let csi = match as_csi(judge, &pair, volume, flexvolume, translated)? {
        Ok(csi) => csi,
        Err(why) => {
            would_not_work(item, why);
            return Ok(());
        }
    };
    let secret = secret_of(judge, volume, flexvolume, &pair)?;
    let attaches = judge.attaches().map_err(|error| error.to_string())?;
    item.says.push(format!(
        "as a volume of CSI it is PersistentVolume {} with claim {}/{}{}",
        pair.new_volume,
        pair.namespace,
        pair.new_claim,
        if attaches {
            "; never let pods of both claims run at once: it is one and the same volume"
        } else {
            ""
        }
    ));
    let is_one_nodes = csi.modes.iter().all(|mode| !mode.is_multi_node());
    let description = judge.description().map_err(|error| error.to_string())?;
    if is_one_nodes && !attaches && description.can("attach") {
        item.says.push(
            "its access mode is one node's, which FlexVolume did not look at and Kubernetes does \
             for CSI: where pods of several nodes use it, write ReadWriteMany into both objects \
             below"
                .to_owned(),
        );
    }
    if attaches && csi.fs_type.is_empty() {
        item.says.push(
            "no file system is named, so it is mounted as what it is, and kubelet leaves out \
             `fsGroup`; where pods need that, write into `fsType` below what `blkid` says on the \
             node"
                .to_owned(),
        );
    }
    item.steps = vec![retain(volume, &pair)?];
    item.steps.extend(secret.step);
    let source = made::csi_source(judge, &csi, secret.reference);
    item.steps.push(new_volume(&pair, "CSI", made::volume(volume, &pair, ("csi", source))?));
    item.steps.push(new_claim(&pair, made::claim(volume, claim_object, &pair)?));
    if attaches {
        let in_use = InUse::over_flexvolume(&flexvolume.driver, pair.volume);
        let nodes = asked.cluster.nodes_of(&flexvolume.driver, pair.volume);
        item.steps.push(drain(asked, &pair, &in_use, (&nodes, &csi.handle)));
    }
    let in_use = attaches.then(|| InUse::over_csi(judge.driver, &csi.handle, &pair.new_volume));
    item.steps.push(point(&pair, in_use.as_ref(), &csi.handle));
    item.steps.push(afterwards(&pair));
    Ok(())
}

/// Another object that prevents it: one that shows the same volume, or has the name. `place`:
/// what shows it now, as messages name it.
fn other_one(
    asked: &Asked<'_>,
    index: &VolumeIndex<'_>,
    judge: &Judge<'_>,
    pair: &Pair<'_>,
    place: &str,
    translated: &Translated,
) -> Result<Option<(Verdict, String)>, String> {
    let person = |why: String| Ok(Some((Verdict::Person, format!("not moved to CSI: {why}"))));
    let id = translated.volume.as_str();
    if let Some(other) = index.elsewhere(judge.driver, id, place, &pair.new_volume) {
        return person(format!(
            "{other} shows the same volume; a person has to say which of them counts"
        ));
    }
    if let Some(other) = index.volume(&pair.new_volume) {
        if other.text("spec.csi.driver")? != Some(judge.driver) {
            return person(format!("the name {} is taken", other.name));
        }
        let nodes = asked.cluster.attached_to(&other.name);
        let used = if nodes.is_empty() {
            String::new()
        } else {
            format!(", in use on {}", nodes.join(", "))
        };
        let why = format!(
            "its PersistentVolume of CSI is there already: {}{used}. This one is the way back",
            other.name
        );
        return Ok(Some((Verdict::Unchanged, why)));
    }
    if asked.cluster.has_claim(pair.namespace, &pair.new_claim) {
        return person(format!("claim {}/{} is there already", pair.namespace, pair.new_claim));
    }
    if !is_name(&pair.new_volume) || !is_name(&pair.new_claim) {
        return person(format!("there is no room for `{SUFFIX}` in its name"));
    }
    Ok(None)
}

/// Notes why CSI does not have it.
fn would_not_work(item: &mut Item, why: Vec<String>) {
    item.verdict = Verdict::Person;
    item.says.push("not moved to CSI, where it would not work:".to_owned());
    item.says.extend(why);
}

/// The volume as CSI has it, if its component would take it; else why not.
fn as_csi(
    judge: &Judge<'_>,
    pair: &Pair<'_>,
    volume: &Object,
    flexvolume: &FlexVolume,
    translated: &Translated,
) -> Result<Result<CsiVolume, Vec<String>>, String> {
    let modes: Vec<_> =
        volume.texts("spec.accessModes")?.iter().filter_map(|mode| access_mode(mode)).collect();
    let only = &translated.only_over_flexvolume;
    let attributes: Parameters =
        translated.context.iter().filter(|(key, _)| !only.contains(key)).cloned().collect();
    let hidden = Hidden::of(&[&attributes, &flexvolume.options], &[]);
    if !Hidden::of(&[&attributes], &[]).is_empty() {
        return Ok(Err(vec![
            "keys stand among its options, and would stand among the attributes of \
                            the new PersistentVolume; put them into a Secret, and name it in \
                            `secretRef`"
                .to_owned(),
        ]));
    }
    if modes.is_empty() {
        return Ok(Err(vec!["it has no access mode that Kubernetes knows".to_owned()]));
    }
    let of_id = CsiVolume {
        handle: translated.volume.as_str().to_owned(),
        attributes,
        fs_type: flexvolume.fs_type.clone(),
        flags: Vec::new(),
        modes,
        is_block: false,
        is_read_only: flexvolume.is_read_only,
    };
    let plans = match judge.over_csi(&of_id) {
        Ok(plans) => plans,
        Err(error) => return Ok(Err(refused(&hidden, &error))),
    };
    // A handle has to be unique. Where any handle means the same, that is the object's own name;
    // several volumes may well show one share.
    let of_name = CsiVolume { handle: pair.new_volume.clone(), ..of_id.clone() };
    let csi = match judge.over_csi(&of_name) {
        Ok(same) if same == plans => of_name,
        Ok(_) | Err(_) => of_id,
    };
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-._:/#,=[]".contains(it);
    if !csi.handle.chars().all(is_plain) {
        return Ok(Err(vec!["its id has letters that no command here can hold".to_owned()]));
    }
    Ok(Ok(csi))
}
