//! The second pair of objects: a PersistentVolume, and the claim that it is for.

use serde_json::{Map, Value, json};
use wharf_core::types::Parameters;

use super::Pair;
use crate::migrate_command::judge::{CsiVolume, FlexVolume, Judge};
use crate::migrate_command::objects::{Object, texts};

/// The source of a PersistentVolume of CSI.
pub fn csi_source(judge: &Judge<'_>, csi: &CsiVolume, secret: Option<Value>) -> Value {
    let mut source = Map::new();
    let mut put = |key: &str, value: Value| source.insert(key.to_owned(), value);
    put("driver", judge.driver.into());
    put("volumeHandle", csi.handle.clone().into());
    if !csi.attributes.is_empty() {
        put("volumeAttributes", texts(&csi.attributes));
    }
    if !csi.fs_type.is_empty() {
        put("fsType", csi.fs_type.clone().into());
    }
    if csi.is_read_only {
        put("readOnly", true.into());
    }
    if let Some(secret) = secret {
        put("nodePublishSecretRef", secret);
    }
    source.into()
}

/// The source of a PersistentVolume of FlexVolume.
pub fn flexvolume_source(flexvolume: &FlexVolume, secret: Option<Value>) -> Value {
    let mut source = Map::new();
    let mut put = |key: &str, value: Value| source.insert(key.to_owned(), value);
    put("driver", flexvolume.driver.clone().into());
    if !flexvolume.options.is_empty() {
        put("options", texts(&flexvolume.options));
    }
    if !flexvolume.fs_type.is_empty() {
        put("fsType", flexvolume.fs_type.clone().into());
    }
    if flexvolume.is_read_only {
        put("readOnly", true.into());
    }
    if let Some(secret) = secret {
        put("secretRef", secret);
    }
    source.into()
}

/// The PersistentVolume with this source, for the new claim alone.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn volume(
    volume: &Object,
    pair: &Pair<'_>,
    (kind, source): (&str, Value),
) -> Result<Value, String> {
    // The scheduler goes by the labels of zones, as before. Others may tell a provisioner of old
    // that the volume is its own.
    let is_of_zones = |key: &str| {
        ["failure-domain.beta.kubernetes.io/", "topology.kubernetes.io/"]
            .iter()
            .any(|domain| key.starts_with(domain))
    };
    let mut labels = volume.pairs("metadata.labels")?;
    labels.retain(|(key, _)| is_of_zones(key));
    let mut made = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": metadata(&pair.new_volume, None, labels),
        "spec": {
            "accessModes": volume.texts("spec.accessModes")?,
            "capacity": { "storage": capacity(volume)? },
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": pair.namespace,
                "name": pair.new_claim,
            },
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": volume.text("spec.storageClassName")?.unwrap_or_default(),
            "volumeMode": "Filesystem",
        },
    });
    if let Some(Value::Object(spec)) = made.get_mut("spec") {
        spec.insert(kind.to_owned(), source);
        let affinity = volume.at("spec.nodeAffinity");
        spec.extend(affinity.map(|it| ("nodeAffinity".to_owned(), it.clone())));
    }
    Ok(made)
}

/// The claim, for the new PersistentVolume alone.
///
/// # Errors
/// The field that is not as Kubernetes has it.
pub fn claim(volume: &Object, old: Option<&Object>, pair: &Pair<'_>) -> Result<Value, String> {
    let labels = old.map(|claim| claim.pairs("metadata.labels")).transpose()?.unwrap_or_default();
    Ok(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(&pair.new_claim, Some(pair.namespace), labels),
        "spec": {
            "accessModes": volume.texts("spec.accessModes")?,
            // No more than the volume has, or it would not be bound.
            "resources": { "requests": { "storage": capacity(volume)? } },
            // Said even where it is empty: a default class would take the claim elsewhere.
            "storageClassName": volume.text("spec.storageClassName")?.unwrap_or_default(),
            "volumeMode": "Filesystem",
            "volumeName": pair.new_volume,
        },
    }))
}

fn metadata(name: &str, namespace: Option<&str>, labels: Parameters) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.into());
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), texts(&labels));
    }
    Value::Object(metadata)
}

fn capacity(volume: &Object) -> Result<String, String> {
    let capacity = volume.text("spec.capacity.storage")?;
    capacity.map(str::to_owned).ok_or_else(|| {
        format!("PersistentVolume {}: `spec.capacity.storage` is missing", volume.name)
    })
}
