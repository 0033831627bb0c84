//! The steps: what is run, what is looked at, and the way back.
//!
//! No quotes for a shell are needed: names and handles have no letter that it would take.

use serde_json::{Value, json};

use super::Pair;
use crate::migrate_command::judge::{FlexVolume, Judge};
use crate::migrate_command::objects::Object;
use crate::migrate_command::report::Step;
use crate::migrate_command::volumes::{Asked, secret_names};

/// The end of no object is the end of the data.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn retain(volume: &Object, pair: &Pair<'_>) -> Result<Step, String> {
    let name = pair.volume;
    let policy = volume.text("spec.persistentVolumeReclaimPolicy")?.unwrap_or("Delete");
    let look = vec![format!(
        "kubectl get pv {name} -o jsonpath='{{.spec.persistentVolumeReclaimPolicy}}'"
    )];
    if policy == "Retain" {
        return Ok(Step {
            what: "its reclaim policy is Retain already; make sure of it before you go on."
                .to_owned(),
            look,
            expect: "it prints Retain".to_owned(),
            back: "nothing was changed".to_owned(),
            ..Step::default()
        });
    }
    Ok(Step {
        what: "reclaim policy Retain: from now on the end of no object is the end of the data."
            .to_owned(),
        run: vec![format!(
            "kubectl patch pv {name} --type merge -p \
             '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Retain\"}}}}'"
        )],
        look,
        expect: "it prints Retain; go on with nothing else before it does".to_owned(),
        back: "leave it: Retain loses nothing. It was another policy before; think twice before \
               you set that again while two PersistentVolumes show the same data"
            .to_owned(),
        ..Step::default()
    })
}

/// The Secret of the new volume, and what makes it where there is none yet.
pub struct VolumeSecret {
    /// For `nodePublishSecretRef`.
    pub reference: Option<Value>,
    /// Makes it.
    pub step: Option<Step>,
}

/// The Secret that the volume names, or one for the keys among its options.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn secret_of(
    judge: &Judge<'_>,
    volume: &Object,
    flexvolume: &FlexVolume,
    pair: &Pair<'_>,
) -> Result<VolumeSecret, String> {
    if let Some(name) = volume.name_in("spec.flexVolume.secretRef.name")? {
        // FlexVolume takes it from the pod's namespace, which is the claim's, unless it is named.
        let namespace = volume.name_in("spec.flexVolume.secretRef.namespace")?;
        let namespace = namespace.unwrap_or(pair.namespace);
        let reference = Some(json!({ "name": name, "namespace": namespace }));
        return Ok(VolumeSecret { reference, step: None });
    }
    let names = secret_names(judge, &flexvolume.options);
    if names.is_empty() {
        return Ok(VolumeSecret { reference: None, step: None });
    }
    let (namespace, name) = (pair.namespace, &pair.new_volume);
    let files: Vec<_> = names.iter().map(|key| format!("--from-file={key}=./{key}")).collect();
    let step = Step {
        what: format!(
            "a Secret with the keys that stand among the options ({}), which are not shown here. \
             Write each into a file of that name first, without a line break at its end.",
            names.join(", ")
        ),
        run: vec![format!(
            "kubectl -n {namespace} create secret generic {name} {}",
            files.join(" ")
        )],
        look: vec![format!("kubectl -n {namespace} describe secret {name}")],
        expect: "it names the keys and how long they are".to_owned(),
        back: "leave it, or take it away; nothing uses it".to_owned(),
        ..Step::default()
    };
    let reference = Some(json!({ "name": name, "namespace": namespace }));
    Ok(VolumeSecret { reference, step: Some(step) })
}

/// The new PersistentVolume, of `CSI` or `FlexVolume`.
pub fn new_volume(pair: &Pair<'_>, kind: &str, object: Value) -> Step {
    Step {
        what: format!(
            "a PersistentVolume of {kind} that shows the same data, for one claim alone. Nothing \
             is attached or mounted by it."
        ),
        apply: Some(object),
        look: vec![format!("kubectl get pv {}", pair.new_volume)],
        expect: "RECLAIM POLICY is Retain, STATUS is Available, CLAIM is the new one".to_owned(),
        back: "leave it; nothing uses it, and with Retain its own end would change nothing"
            .to_owned(),
        ..Step::default()
    }
}

/// The claim that is bound to it.
pub fn new_claim(pair: &Pair<'_>, object: Value) -> Step {
    let old =
        if pair.claim.is_empty() { "" } else { " The old one keeps its name and its volume." };
    Step {
        what: format!("a claim that is bound to it.{old}"),
        apply: Some(object),
        look: vec![format!(
            "kubectl -n {} wait --for=jsonpath='{{.status.phase}}'=Bound pvc/{} --timeout=60s",
            pair.namespace, pair.new_claim
        )],
        expect: "condition met".to_owned(),
        back: "leave it; nothing uses it".to_owned(),
        ..Step::default()
    }
}

/// Commands that print where Kubernetes has a volume in use, and nothing where it has not.
pub struct InUse(Vec<String>);

impl InUse {
    /// Where kubelets attach by themselves, nodes do not report it.
    pub fn over_flexvolume(driver: &str, volume: &str) -> Self {
        Self(vec![format!("kubectl get nodes -o json | grep -F '{driver}/{volume}\"'")])
    }

    /// Nodes report it, and so do VolumeAttachments.
    pub fn over_csi(driver: &str, handle: &str, volume: &str) -> Self {
        Self(vec![
            format!("kubectl get nodes -o json | grep -F '{driver}^{handle}\"'"),
            format!(
                "kubectl get volumeattachments -o json | grep -F '\"persistentVolumeName\": \
                 \"{volume}\"'"
            ),
        ])
    }
}

/// Pods of the old claim end, and the volume is detached. `nodes`: those that it is in use on now.
pub fn drain(
    asked: &Asked<'_>,
    pair: &Pair<'_>,
    in_use: &InUse,
    (nodes, handle): (&[&str], &str),
) -> Step {
    let Pair { namespace, claim, .. } = pair;
    let pods = match asked.cluster.pods_of(namespace, claim) {
        None => String::new(),
        Some(pods) if pods.is_empty() => " No pod that was given uses it.".to_owned(),
        Some(pods) => format!(" Now they are: {}.", pods.join(", ")),
    };
    let nodes = match nodes {
        [] => String::new(),
        nodes => format!(" It is in use on {}.", nodes.join(", ")),
    };
    Step {
        what: format!(
            "end every pod that uses claim {namespace}/{claim}: note how many replicas its \
             workload has, and scale it to 0.{pods}{nodes} Wait until they are gone by themselves: \
             a pod that is removed by force may still be writing."
        ),
        look: std::iter::once(format!(
            "kubectl -n {namespace} get pods -o json | grep -F '\"claimName\": \"{claim}\"'"
        ))
        .chain(in_use.0.iter().cloned())
        .collect(),
        expect: format!(
            "{} print nothing, and the cloud says that no machine holds {handle}; go on with \
             nothing else before that",
            if in_use.0.len() == 1 { "both" } else { "all" }
        ),
        back: "scale it up again; for the workload nothing has changed".to_owned(),
        ..Step::default()
    }
}

/// The workload goes over to the new claim. `in_use`: of the new volume, where it is attached.
pub fn point(pair: &Pair<'_>, in_use: Option<&InUse>, handle: &str) -> Step {
    let Pair { namespace, claim, new_claim, .. } = pair;
    let start = format!(
        "write `claimName: {new_claim}` in place of `{claim}` into the workload's template (for a \
         StatefulSet: examples/kubernetes/migration.md)"
    );
    let (what, back) = if let Some(InUse(commands)) = in_use {
        (
            format!("{start}, scale it up again, and look at its data."),
            format!(
                "scale it to 0 and wait until these print nothing and the cloud says that no \
                 machine holds {handle}, then write `claimName: {claim}` \
                 again and scale it up; what was written meanwhile is there, as it is the same \
                 volume: {}",
                commands.join("; ")
            ),
        )
    } else {
        (
            format!(
                "{start}. Its pods may be replaced one by one: both claims show the same files."
            ),
            format!("write `claimName: {claim}` again"),
        )
    };
    Step {
        what,
        look: vec![format!(
            "kubectl -n {namespace} get pods -o json | grep -F '\"claimName\": \"{new_claim}\"'"
        )],
        expect: "its pods use the new claim and run".to_owned(),
        back,
        ..Step::default()
    }
}

/// What is left.
pub fn afterwards(pair: &Pair<'_>) -> Step {
    Step {
        what:
            "leave the old claim and the old PersistentVolume as they are for as long as you may \
               want to go back. Who takes them away one day looks first: both PersistentVolumes \
               have to say Retain."
                .to_owned(),
        look: vec![format!(
            "kubectl get pv {} {} -o \
             custom-columns=NAME:.metadata.name,RECLAIM:.spec.persistentVolumeReclaimPolicy",
            pair.volume, pair.new_volume
        )],
        expect: "Retain, twice".to_owned(),
        back: "as in the step before".to_owned(),
        ..Step::default()
    }
}
