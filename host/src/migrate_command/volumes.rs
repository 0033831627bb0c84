//! PersistentVolumes.

use wharf_core::types::{AccessMode, Parameters};
use wharf_core::verbs::Translated;
use wharf_core::{Error, ErrorKind};

use super::cluster::Cluster;
use super::hidden::Hidden;
use super::judge::{CsiVolume, FlexVolume, Judge};
use super::objects::Object;
use super::report::{Item, Verdict};
use super::volume_index::VolumeIndex;
use super::{to_csi, to_flexvolume};

/// What everything here is asked of.
pub struct Asked<'a> {
    /// Drivers of the configuration.
    pub judges: &'a [Judge<'a>],
    /// What belongs together of what was read.
    pub cluster: &'a Cluster<'a>,
    /// Whether volumes of FlexVolume are to become volumes of CSI; then what is shown where.
    pub to_csi: Option<&'a VolumeIndex<'a>>,
    /// The same the other way round.
    pub to_flexvolume: Option<&'a VolumeIndex<'a>>,
}

/// What becomes of a PersistentVolume; `None`: it is of a driver that is not served here.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn judge(asked: &Asked<'_>, volume: &Object) -> Result<Option<Item>, String> {
    let csi = volume.text("spec.csi.driver")?;
    let flexvolume = FlexVolume::of_volume(volume)?;
    let judge_of = |is_it: &dyn Fn(&&Judge<'_>) -> bool| asked.judges.iter().find(is_it);
    match (csi, flexvolume) {
        (Some(driver), _) => match judge_of(&|judge| judge.driver == driver) {
            Some(judge) => of_csi(asked, judge, volume).map(Some),
            None => Ok(None),
        },
        (None, Some(own)) => match judge_of(&|judge| judge.is_flexvolume(&own.driver)) {
            Some(judge) => of_flexvolume(asked, judge, volume, &own).map(Some),
            None => Ok(None),
        },
        (None, None) => Ok(None),
    }
}

fn of_csi(asked: &Asked<'_>, judge: &Judge<'_>, volume: &Object) -> Result<Item, String> {
    let csi = csi_volume(volume)?;
    let hidden = Hidden::of(&[&csi.attributes], &csi.flags);
    let mut item = Item::unchanged(volume, judge.driver);
    let says = &mut item.says;
    match judge.over_csi(&csi) {
        Ok(_) => {
            says.push("it is mounted as before; nothing has to be applied".to_owned());
            says.extend(judge.remark(&csi).map(|remark| hidden.out_of(&remark)));
            says.extend(plain_keys(&hidden, "attributes", "nodePublishSecretRef"));
            if let Some(index) = asked.to_flexvolume {
                to_flexvolume::plan(asked, index, judge, volume, &csi, &mut item)?;
            }
        }
        Err(error) => {
            item.verdict = Verdict::Person;
            says.extend(refused(&hidden, &error));
            if error.kind == ErrorKind::InvalidArgument {
                says.push(
                    "what a PersistentVolume says of its source cannot be changed: mend it in a \
                     new one, as examples/kubernetes/migration.md says, or leave it to the earlier \
                     driver"
                        .to_owned(),
                );
            }
            let nodes = asked.cluster.attached_to(&volume.name);
            if !nodes.is_empty() {
                says.push(format!("it is in use on {}", nodes.join(", ")));
            }
        }
    }
    item.says.extend(deleted(volume));
    if let Some(held) = held(volume) {
        item.says.push(held);
        if volume.at("metadata.deletionTimestamp").is_some() {
            item.verdict = Verdict::Person;
        }
    }
    Ok(item)
}

fn of_flexvolume(
    asked: &Asked<'_>,
    judge: &Judge<'_>,
    volume: &Object,
    flexvolume: &FlexVolume,
) -> Result<Item, String> {
    let mut item = Item::unchanged(volume, &flexvolume.driver);
    over_flexvolume(judge, flexvolume, &mut item, deleted(volume), |item, translated| {
        if let Some(index) = asked.to_csi {
            to_csi::plan(asked, index, judge, volume, flexvolume, translated, item)?;
        }
        Ok(())
    })?;
    Ok(item)
}

/// Says what the backend makes of a FlexVolume's options; `then` what follows where it takes them,
/// and `besides` in any case. Nothing that is said repeats what may be secret among them.
///
/// # Errors
/// Those of `then`.
pub fn over_flexvolume(
    judge: &Judge<'_>,
    flexvolume: &FlexVolume,
    item: &mut Item,
    besides: Option<String>,
    then: impl FnOnce(&mut Item, &Translated) -> Result<(), String>,
) -> Result<(), String> {
    let hidden = Hidden::of(&[&flexvolume.options], &[]);
    match judge.over_flexvolume(flexvolume) {
        Ok(translated) => {
            item.says.push(
                "it is mounted through FlexVolume as before; nothing has to be applied".to_owned(),
            );
            item.says.extend(plain_keys(&hidden, "options", "secretRef"));
            then(item, &translated)?;
        }
        Err(error) => {
            item.verdict = Verdict::Person;
            item.says.extend(refused(&hidden, &error));
        }
    }
    item.says.extend(besides);
    for text in &mut item.says {
        *text = hidden.out_of(text);
    }
    Ok(())
}

/// Keys that work, and stand where they should not.
fn plain_keys(hidden: &Hidden, among: &str, secret: &str) -> Option<String> {
    (!hidden.is_empty()).then(|| {
        format!(
            "keys stand among its {among}, where everybody can read them; a Secret in `{secret}` \
             is the place for them"
        )
    })
}

/// A refusal, and what to do about it.
pub fn refused(hidden: &Hidden, error: &Error) -> Vec<String> {
    let first = hidden.out_of(&error.message);
    let hint = error.hint.as_ref().map(|hint| format!("what to do: {}", hidden.out_of(hint)));
    std::iter::once(format!("refused: {first}")).chain(hint).collect()
}

/// A volume that is on its way out.
fn deleted(volume: &Object) -> Option<String> {
    volume.at("metadata.deletionTimestamp")?;
    let finalizers = volume.texts("metadata.finalizers").unwrap_or_default();
    Some(format!(
        "it is being deleted (finalizers: {}); whether its data goes too is its reclaim policy's \
         to say",
        if finalizers.is_empty() { "none".to_owned() } else { finalizers.join(", ") }
    ))
}

/// A volume whose end somebody else has a part in, who may be gone with the earlier driver.
fn held(volume: &Object) -> Option<String> {
    let finalizers = volume.texts("metadata.finalizers").unwrap_or_default();
    let others: Vec<_> = finalizers.iter().filter(|name| !is_of_kubernetes(name)).collect();
    let names = others.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    (!others.is_empty()).then(|| {
        format!(
            "it has a finalizer of another program ({names}): once deleted, it stays until that \
             program has done its part and taken it off, which nothing of Wharf does. Keep that \
             program until then; where it is gone, do its part by hand (archive or remove the \
             data, say), and then take the finalizer off with `kubectl edit pv {}`",
            volume.name
        )
    })
}

/// Whether Kubernetes, or a sidecar that runs beside Wharf, takes it off.
fn is_of_kubernetes(finalizer: &str) -> bool {
    let domain = finalizer.split('/').next().unwrap_or_default();
    domain == "external-attacher"
        || ["kubernetes.io", "k8s.io"].iter().any(|own| {
            domain.strip_suffix(own).is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
}

/// A PersistentVolume of CSI, as a node gets to know it.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn csi_volume(volume: &Object) -> Result<CsiVolume, String> {
    let modes = volume.texts("spec.accessModes")?;
    let mut known: Vec<AccessMode> = Vec::new();
    for mode in &modes {
        let mode = access_mode(mode).ok_or_else(|| {
            format!(
                "PersistentVolume {}: `spec.accessModes` has one that Kubernetes does not know",
                volume.name
            )
        })?;
        known.push(mode);
    }
    if known.is_empty() {
        known.push(AccessMode::SingleNodeWriter);
    }
    Ok(CsiVolume {
        handle: volume.text("spec.csi.volumeHandle")?.unwrap_or_default().to_owned(),
        attributes: volume.pairs("spec.csi.volumeAttributes")?,
        fs_type: volume.text("spec.csi.fsType")?.unwrap_or_default().to_owned(),
        flags: volume.texts("spec.mountOptions")?,
        modes: known,
        is_block: volume.text("spec.volumeMode")? == Some("Block"),
        is_read_only: volume.flag("spec.csi.readOnly")?.unwrap_or(false),
    })
}

/// A mode of Kubernetes in CSI's words.
pub fn access_mode(word: &str) -> Option<AccessMode> {
    match word {
        "ReadWriteOnce" => Some(AccessMode::SingleNodeWriter),
        "ReadOnlyMany" => Some(AccessMode::MultiNodeReaderOnly),
        "ReadWriteMany" => Some(AccessMode::MultiNodeMultiWriter),
        "ReadWriteOncePod" => Some(AccessMode::SingleNodeSingleWriter),
        _ => None,
    }
}

/// The names of options that are handed to accounts as secrets, by the operator's names for them.
pub fn secret_names<'a>(judge: &'a Judge<'_>, options: &Parameters) -> Vec<&'a str> {
    let is_given = |name: &&String| options.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    judge.secret_options.iter().filter(is_given).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::is_of_kubernetes;

    #[test]
    fn finalizers_of_kubernetes_and_its_sidecars_are_not_another_programs() {
        for own in [
            "kubernetes.io/pv-protection",
            "external-provisioner.volume.kubernetes.io/finalizer",
            "external-attacher/driver-example-com",
        ] {
            assert!(is_of_kubernetes(own), "{own}");
        }
        for other in ["csi.example.com/archive", "notkubernetes.io/x", "", "backup"] {
            assert!(!is_of_kubernetes(other), "{other}");
        }
    }
}
