//! What the objects say of each other: which claim a volume is bound to, and where it is in use.

use std::collections::BTreeMap;

use super::objects::{Object, Objects};

/// Claims, and who uses what.
pub struct Cluster<'a> {
    claims: BTreeMap<(&'a str, &'a str), &'a Object>,
    /// Nodes by PersistentVolume of CSI.
    attached: BTreeMap<&'a str, Vec<&'a str>>,
    /// Nodes by the unique name of a volume, as kubelet and the attach controller report it.
    in_use: BTreeMap<&'a str, Vec<&'a str>>,
    /// Pods by namespace and claim.
    pods: BTreeMap<(&'a str, &'a str), Vec<String>>,
    knows_pods: bool,
}

/// The claim of a volume.
pub enum Bound<'a> {
    /// It has none.
    No,
    /// This one, with its object where that was given.
    To { namespace: &'a str, claim: &'a str, object: Option<&'a Object> },
    /// Something does not fit together; what.
    Unclear(String),
}

impl<'a> Cluster<'a> {
    /// Reads what belongs to it.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn of(objects: &'a Objects) -> Result<Self, String> {
        let mut cluster = Self {
            claims: BTreeMap::new(),
            attached: BTreeMap::new(),
            in_use: BTreeMap::new(),
            pods: BTreeMap::new(),
            knows_pods: objects.of("Pod").next().is_some(),
        };
        for claim in objects.of("PersistentVolumeClaim") {
            let namespace = claim.namespace.as_deref().unwrap_or("default");
            cluster.claims.insert((namespace, &claim.name), claim);
        }
        for attachment in objects.of("VolumeAttachment") {
            let volume = attachment.text("spec.source.persistentVolumeName")?;
            let node = attachment.name_in("spec.nodeName")?;
            if let (Some(volume), Some(node)) = (volume, node) {
                cluster.attached.entry(volume).or_default().push(node);
            }
        }
        for node in objects.of("Node") {
            cluster.add_node(node);
        }
        for pod in objects.of("Pod") {
            cluster.add_pod(pod);
        }
        Ok(cluster)
    }

    fn add_node(&mut self, node: &'a Object) {
        let list = |field: &str| node.at(field).and_then(serde_json::Value::as_array);
        let used = list("status.volumesInUse").into_iter().flatten().filter_map(|it| it.as_str());
        let attached = list("status.volumesAttached").into_iter().flatten();
        let attached = attached.filter_map(|it| it.get("name").and_then(|name| name.as_str()));
        for name in used.chain(attached) {
            let nodes = self.in_use.entry(name).or_default();
            if !nodes.contains(&node.name.as_str()) {
                nodes.push(&node.name);
            }
        }
    }

    fn add_pod(&mut self, pod: &'a Object) {
        let phase = pod.at("status.phase").and_then(serde_json::Value::as_str);
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        let namespace = pod.namespace.as_deref().unwrap_or("default");
        let volumes = pod.at("spec.volumes").and_then(serde_json::Value::as_array);
        for volume in volumes.into_iter().flatten() {
            let claim = volume.pointer("/persistentVolumeClaim/claimName");
            if let Some(claim) = claim.and_then(serde_json::Value::as_str) {
                self.pods.entry((namespace, claim)).or_default().push(pod.name.clone());
            }
        }
    }

    /// Whether there is a claim of this name.
    pub fn has_claim(&self, namespace: &str, claim: &str) -> bool {
        self.claims.contains_key(&(namespace, claim))
    }

    /// The claim that a PersistentVolume is bound to.
    ///
    /// # Errors
    /// The field that is not as Kubernetes has it.
    pub fn claim_of(&self, volume: &'a Object) -> Result<Bound<'a>, String> {
        let namespace = volume.name_in("spec.claimRef.namespace")?;
        let claim = volume.name_in("spec.claimRef.name")?;
        let (Some(namespace), Some(claim)) = (namespace, claim) else { return Ok(Bound::No) };
        let Some(object) = self.claims.get(&(namespace, claim)).copied() else {
            return Ok(Bound::To { namespace, claim, object: None });
        };
        let unclear = |why: &str| Ok(Bound::Unclear(format!("claim {namespace}/{claim} {why}")));
        if object.at("metadata.deletionTimestamp").is_some() {
            return unclear("is being deleted; its data goes too unless the volume says Retain");
        }
        let uids = (volume.text("spec.claimRef.uid")?, object.text("metadata.uid")?);
        if let (Some(of_volume), Some(of_claim)) = uids
            && of_volume != of_claim
        {
            return unclear("is another one than the volume was bound to (their uids differ)");
        }
        if object.text("spec.volumeName")?.is_some_and(|name| name != volume.name) {
            return unclear("is bound to another volume");
        }
        if object.text("status.phase")? == Some("Lost") {
            return unclear("has lost its volume");
        }
        Ok(Bound::To { namespace, claim, object: Some(object) })
    }

    /// Where a volume of FlexVolume is in use, as far as the nodes that were given say.
    pub fn nodes_of(&self, driver: &str, volume: &str) -> Vec<&str> {
        let names = ["", "flexvolume-"].map(|start| format!("{start}{driver}/{volume}"));
        let found = names.iter().filter_map(|name| self.in_use.get(name.as_str()));
        let mut nodes: Vec<&str> = found.flatten().copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Where a PersistentVolume of CSI is attached, as far as VolumeAttachments were given.
    pub fn attached_to(&self, volume: &str) -> Vec<&str> {
        self.attached.get(volume).cloned().unwrap_or_default()
    }

    /// Pods that use a claim; `None`: none were given.
    pub fn pods_of(&self, namespace: &str, claim: &str) -> Option<Vec<String>> {
        let pods = self.pods.get(&(namespace, claim)).cloned().unwrap_or_default();
        self.knows_pods.then_some(pods)
    }
}
