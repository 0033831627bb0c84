//! How a FlexVolume that stands in a pod becomes a claim of CSI.
//!
//! CSI has volumes that stand in pods too (`volumes[].csi`), but only for data that ends with its
//! pod; the drivers here do not offer those (`volumeLifecycleModes: [Persistent]`). So there is a
//! PersistentVolume and a claim, and the pod's volume names the claim.

use serde_json::json;
use wharf_core::verbs::Translated;

use super::made;
use super::steps::{new_claim, new_volume, secret_of};
use super::{Pair, SUFFIX, as_csi, other_one, would_not_work};
use crate::migrate_command::inline::Inline;
use crate::migrate_command::judge::{CsiVolume, Judge};
use crate::migrate_command::objects::Object;
use crate::migrate_command::report::{Item, Step};
use crate::migrate_command::volume_index::VolumeIndex;
use crate::migrate_command::volumes::Asked;

/// What a PersistentVolume has to say of its size, and a pod's volume did not. Nobody mounts by it.
const UNKNOWN_SIZE: &str = "1Gi";

/// Writes the steps into the item, or why there are none.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn plan_inline(
    asked: &Asked<'_>,
    index: &VolumeIndex<'_>,
    judge: &Judge<'_>,
    inline: &Inline<'_>,
    translated: &Translated,
    item: &mut Item,
) -> Result<(), String> {
    let Inline { workload, namespace, flexvolume, place, .. } = inline;
    let pair = Pair {
        volume: "",
        new_volume: format!("{namespace}-{}-{}{SUFFIX}", workload.name, flexvolume.name),
        namespace,
        claim: "",
        new_claim: format!("{}-{}{SUFFIX}", workload.name, flexvolume.name),
    };
    if let Some((verdict, why)) = other_one(asked, index, judge, &pair, place, translated)? {
        item.verdict = verdict;
        item.says.push(why);
        return Ok(());
    }
    let attaches = judge.attaches().map_err(|error| error.to_string())?;
    let volume = as_volume(inline, attaches);
    let csi = match as_csi(judge, &pair, &volume, flexvolume, translated)? {
        Ok(csi) => csi,
        Err(why) => {
            would_not_work(item, why);
            return Ok(());
        }
    };
    let secret = secret_of(judge, &volume, flexvolume, &pair)?;
    item.says.push(format!(
        "as a volume of CSI it is claim {namespace}/{} of PersistentVolume {}; a pod cannot have \
         it without a claim, as these drivers offer no volumes that end with their pod",
        pair.new_claim, pair.new_volume
    ));
    item.says.push(format!(
        "the API wants a size of both, and a pod's volume has none: {UNKNOWN_SIZE} stands there, \
         which nothing is mounted or bounded by; write the real one, for people to see"
    ));
    item.steps = secret.step.into_iter().collect();
    let source = made::csi_source(judge, &csi, secret.reference);
    item.steps.push(new_volume(&pair, "CSI", made::volume(&volume, &pair, ("csi", source))?));
    item.steps.push(new_claim(&pair, made::claim(&volume, None, &pair)?));
    if attaches {
        item.steps.push(end(inline, &csi));
    }
    item.steps.push(name_the_claim(inline, &pair, &csi, attaches));
    Ok(())
}

/// What a PersistentVolume would say of it.
fn as_volume(inline: &Inline<'_>, attaches: bool) -> Object {
    // A disk is one node's. A share is mounted by the pods of any node, as before.
    let mode = if attaches { "ReadWriteOnce" } else { "ReadWriteMany" };
    let secret = inline.secret.map(|name| json!({ "name": name }));
    let value = json!({
        "spec": {
            "accessModes": [mode],
            "capacity": { "storage": UNKNOWN_SIZE },
            "flexVolume": { "secretRef": secret },
        },
    });
    Object::volume(&inline.flexvolume.name, value)
}

/// The pods end, and the volume is detached.
fn end(inline: &Inline<'_>, csi: &CsiVolume) -> Step {
    let Inline { flexvolume, .. } = inline;
    let who = who(inline);
    Step {
        what: format!(
            "{}. Wait until its pods are gone by themselves: a pod that is removed by force may \
             still be writing.",
            stop(inline, &who)
        ),
        look: vec![format!(
            "kubectl get nodes -o json | grep -F 'flexvolume-{}/{}\"'",
            flexvolume.driver, flexvolume.name
        )],
        // Volumes of pods are known to nodes by the name in the pod, which others may have too.
        expect: format!(
            "it prints nothing, or what is another pod's volume of that name, and the cloud says \
             that no machine holds {}; go on with nothing else before that",
            csi.handle
        ),
        back: "start it again as it was; nothing has changed for it".to_owned(),
        ..Step::default()
    }
}

/// How the pods of a workload end.
fn stop(inline: &Inline<'_>, who: &str) -> String {
    match (inline.maker.is_some(), inline.workload.kind) {
        (false, "Pod") => format!("end {who}; keep its YAML first"),
        (false, "DaemonSet") => {
            format!(
                "give the template of {who} a nodeSelector that no node has, and keep the old one"
            )
        }
        (false, "CronJob") => format!("suspend {who}, and wait for what runs"),
        (false, "Job") => format!("wait until {who} is done"),
        _ => format!("note how many replicas {who} has, and scale it to 0"),
    }
}

/// The claim takes the FlexVolume's place.
fn name_the_claim(inline: &Inline<'_>, pair: &Pair<'_>, csi: &CsiVolume, attaches: bool) -> Step {
    let Pair { namespace, new_claim, .. } = pair;
    let name = &inline.flexvolume.name;
    let read_only = if csi.is_read_only { ", readOnly: true" } else { "" };
    let source = format!("persistentVolumeClaim: {{claimName: {new_claim}{read_only}}}");
    let who = who(inline);
    let place = match (inline.maker.is_some(), inline.workload.kind) {
        (false, kind @ ("Pod" | "Job")) => {
            format!("in a new {kind} beside {who}, which cannot be changed itself")
        }
        _ => format!("in the template of {who}"),
    };
    let then = if attaches {
        "Start it again, and look at its data."
    } else {
        "Pods with and without the claim may run at once: they show the same files."
    };
    let wait = if attaches {
        format!(
            "end its pods and wait until the cloud says that no machine holds {}, then ",
            csi.handle
        )
    } else {
        String::new()
    };
    Step {
        what: format!(
            "keep the YAML of {who} in a file. Write `{source}` in place of the `flexVolume` of \
             volume `{name}`, {place}. {then}"
        ),
        look: vec![format!(
            "kubectl -n {namespace} get pods -o json | grep -F '\"claimName\": \"{new_claim}\"'"
        )],
        expect: "its pods use the claim and run".to_owned(),
        back: format!("{wait}apply what the file says; it is the same volume"),
        ..Step::default()
    }
}

/// What has the pod, in words.
fn who(inline: &Inline<'_>) -> String {
    let Inline { workload, namespace, maker, .. } = inline;
    match maker {
        Some(maker) => format!("what makes pod {namespace}/{} ({maker})", workload.name),
        None => format!("{} {namespace}/{}", workload.kind, workload.name),
    }
}
