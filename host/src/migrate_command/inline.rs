//! FlexVolumes that stand in a pod, or in the template of what makes pods, without a
//! PersistentVolume.

use std::collections::BTreeSet;

use serde_json::Value;

use super::judge::FlexVolume;
use super::objects::{Object, Objects, is_name};
use super::report::Item;
use super::to_csi;
use super::volumes::{Asked, over_flexvolume};

/// What has pods, and where their volumes stand.
const VOLUMES: [(&str, &str); 8] = [
    ("Pod", "spec.volumes"),
    ("Deployment", "spec.template.spec.volumes"),
    ("StatefulSet", "spec.template.spec.volumes"),
    ("DaemonSet", "spec.template.spec.volumes"),
    ("ReplicaSet", "spec.template.spec.volumes"),
    ("ReplicationController", "spec.template.spec.volumes"),
    ("Job", "spec.template.spec.volumes"),
    ("CronJob", "spec.jobTemplate.spec.template.spec.volumes"),
];

/// One FlexVolume of a pod.
pub struct Inline<'a> {
    /// Who has it.
    pub workload: &'a Object,
    /// The namespace of that.
    pub namespace: &'a str,
    /// Who makes the pod, where that is not among the objects that were given.
    pub maker: Option<String>,
    /// The volume.
    pub flexvolume: FlexVolume,
    /// The Secret whose values kubelet hands to the driver.
    pub secret: Option<&'a str>,
    /// `kind namespace/name, volume name`, for messages.
    pub place: String,
}

/// All of them.
pub struct Inlines<'a>(Vec<Inline<'a>>);

impl<'a> Inlines<'a> {
    /// Reads them. What another object of these makes is left out: its volumes are those of that
    /// object's template. So is what has ended. Of pods that somebody else makes, those that have
    /// the same FlexVolumes are read once.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn of(objects: &'a Objects) -> Result<Self, String> {
        let mut inlines = Vec::new();
        let mut known = BTreeSet::new();
        let makers: BTreeSet<_> = objects
            .known
            .iter()
            .filter(|object| field_of(object.kind).is_some())
            .map(|object| (object.kind, namespace(object), object.name.as_str()))
            .collect();
        for object in &objects.known {
            let Some(field) = field_of(object.kind) else { continue };
            let Some(Value::Array(volumes)) = object.at(field) else { continue };
            let flexvolumes: Vec<_> = volumes
                .iter()
                .enumerate()
                .filter(|(_, it)| it.get("flexVolume").is_some())
                .collect();
            if flexvolumes.is_empty() || has_ended(object) {
                continue;
            }
            let maker = Maker::of(object);
            if maker.as_ref().is_some_and(|maker| maker.is_among(&makers, namespace(object))) {
                continue;
            }
            let maker = maker.map(|Maker { kind, name, .. }| format!("{kind} {name}"));
            if let Some(maker) = &maker {
                let text = serde_json::json!(flexvolumes).to_string();
                if !known.insert((namespace(object), maker.clone(), text)) {
                    continue;
                }
            }
            for (n, _) in flexvolumes {
                inlines.push(Inline::read(object, &format!("{field}.{n}"), maker.clone())?);
            }
        }
        Ok(Self(inlines))
    }

    /// Each of them, in the order of the input.
    pub fn all(&self) -> impl Iterator<Item = &Inline<'a>> {
        self.0.iter()
    }
}

impl<'a> Inline<'a> {
    fn read(workload: &'a Object, field: &str, maker: Option<String>) -> Result<Self, String> {
        let at = |name: &str| format!("{field}.flexVolume.{name}");
        let volume = workload.name_in(&format!("{field}.name"))?.unwrap_or_default();
        let namespace = namespace(workload);
        Ok(Self {
            workload,
            namespace,
            maker,
            flexvolume: FlexVolume {
                name: volume.to_owned(),
                driver: workload.text(&at("driver"))?.unwrap_or_default().to_owned(),
                options: workload.pairs(&at("options"))?,
                fs_type: workload.text(&at("fsType"))?.unwrap_or_default().to_owned(),
                is_read_only: workload.flag(&at("readOnly"))?.unwrap_or(false),
            },
            secret: workload.name_in(&at("secretRef.name"))?,
            place: format!("{} {namespace}/{}, volume {volume}", workload.kind, workload.name),
        })
    }
}

/// What becomes of one; `None`: it is of a driver that is not served here.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn judge(asked: &Asked<'_>, inline: &Inline<'_>) -> Result<Option<Item>, String> {
    let flexvolume = &inline.flexvolume;
    let judge = asked.judges.iter().find(|judge| judge.is_flexvolume(&flexvolume.driver));
    let Some(judge) = judge else { return Ok(None) };
    let mut item = Item::unchanged(inline.workload, &flexvolume.driver);
    item.namespace = Some(inline.namespace.to_owned());
    item.volume = Some(flexvolume.name.clone());
    over_flexvolume(judge, flexvolume, &mut item, None, |item, translated| {
        if let Some(maker) = &inline.maker {
            item.says.push(format!(
                "{maker} makes this pod and others like it, and was not given: what has to be \
                 changed is changed there, and not in a pod"
            ));
        }
        if let Some(index) = asked.to_csi {
            to_csi::plan_inline(asked, index, judge, inline, translated, item)?;
        }
        Ok(())
    })?;
    Ok(Some(item))
}

/// Where the volumes of a kind stand.
fn field_of(kind: &str) -> Option<&'static str> {
    VOLUMES.iter().find(|(known, _)| *known == kind).map(|(_, field)| *field)
}

fn namespace(object: &Object) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

/// A pod or a Job that is over starts nothing again.
fn has_ended(object: &Object) -> bool {
    let phase = object.at("status.phase").and_then(Value::as_str);
    matches!((object.kind, phase), ("Pod", Some("Succeeded" | "Failed")))
        || (object.kind == "Job" && object.at("status.completionTime").is_some())
}

/// The object that made another and goes on to.
struct Maker<'a> {
    kind: &'a str,
    name: &'a str,
    /// Of a ReplicaSet: its Deployment, which names it after itself and a hash.
    deployment: Option<&'a str>,
}

impl<'a> Maker<'a> {
    fn of(object: &'a Object) -> Option<Self> {
        let owners = object.at("metadata.ownerReferences")?.as_array()?;
        let is_maker = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        let owner = owners.iter().find(is_maker)?;
        let text = |key: &str| owner.get(key).and_then(Value::as_str);
        let (kind, name) = (text("kind")?, text("name")?);
        let is_word = kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word || !is_name(name) {
            return None;
        }
        let labels = object.at("metadata.labels");
        let hash = labels.and_then(|labels| labels.get("pod-template-hash")?.as_str());
        let deployment = hash
            .filter(|_| kind == "ReplicaSet")
            .and_then(|hash| name.strip_suffix(hash).and_then(|start| start.strip_suffix('-')));
        Some(Self { kind, name, deployment })
    }

    fn is_among(&self, makers: &BTreeSet<(&str, &str, &str)>, namespace: &str) -> bool {
        makers.contains(&(self.kind, namespace, self.name))
            || self.deployment.is_some_and(|name| makers.contains(&("Deployment", namespace, name)))
    }
}
