//! Messages into the core's requests: the parts that several methods share, and the node's methods.
//! What cannot be right is refused here and never looked at again.
//!
//! Secrets are taken by name into [`Caller`]: their values reach an account, never a backend or a
//! record. So are the service-account tokens that kubelet puts into a volume's context. What the
//! provisioner and kubelet add there besides (pod names, the provisioner's identity) is taken out,
//! so it reaches no record.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wharf_core::types::{
    AccessMode, AccessType, Caller, Capability, CapacityRange, Parameters, Segments,
    TopologyRequirement, VolumeId, VolumeSource, Workload,
};
use wharf_core::verbs::{NodeExpandRequest, PublishRequest, StageRequest};
use wharf_core::{Blame, Error, ErrorKind, Secret};

use crate::bounds::{
    self, MAX_CAPABILITIES, MAX_FLAGS, MAX_MAP, MAX_PLACES, MAX_SECRETS, MAX_STRING,
};
use crate::paths::AllowedRoots;
use crate::proto;
use crate::proto::volume_capability::access_mode::Mode;

/// Added by external-provisioner.
const PROVISIONER_IDENTITY: &str = "storage.kubernetes.io/csiProvisionerIdentity";
/// Added by kubelet: `pod.name`, `ephemeral`, `serviceAccount.tokens`, …
const KUBELET_PREFIX: &str = "csi.storage.k8s.io/";
/// The name under which the tokens of the pod's service account come to an account.
const SERVICE_ACCOUNT_TOKENS: &str = "serviceAccount.tokens";

pub(crate) fn volume(id: String) -> Result<VolumeId, Error> {
    bounds::required("volume_id", id, MAX_STRING).map(VolumeId::new)
}

pub(crate) fn stage(
    message: proto::NodeStageVolumeRequest,
    root: &AllowedRoots,
) -> Result<(StageRequest, PathBuf), Error> {
    let volume = volume(message.volume_id)?;
    let path = root.required("staging_target_path", message.staging_target_path)?;
    let request = StageRequest {
        volume,
        capability: required_capability(message.volume_capability)?,
        caller: caller(message.secrets, Some(&message.volume_context))?,
        context: context(message.volume_context)?,
        publish_context: bounds::map("publish_context", message.publish_context, MAX_MAP)?,
    };
    Ok((request, path))
}

pub(crate) fn unstage(
    message: proto::NodeUnstageVolumeRequest,
    root: &AllowedRoots,
) -> Result<(VolumeId, Option<PathBuf>), Error> {
    Ok((
        volume(message.volume_id)?,
        root.vacated("staging_target_path", message.staging_target_path)?,
    ))
}

/// What to publish, where, and from which staging path.
pub(crate) type Publish = (PublishRequest, PathBuf, Option<PathBuf>);

pub(crate) fn publish(
    message: proto::NodePublishVolumeRequest,
    root: &AllowedRoots,
) -> Result<Publish, Error> {
    let volume = volume(message.volume_id)?;
    let target = root.required("target_path", message.target_path)?;
    let staging = root.optional("staging_target_path", message.staging_target_path)?;
    let request = PublishRequest {
        volume,
        capability: required_capability(message.volume_capability)?,
        read_only: message.readonly,
        caller: caller(message.secrets, Some(&message.volume_context))?,
        context: context(message.volume_context)?,
        publish_context: bounds::map("publish_context", message.publish_context, MAX_MAP)?,
    };
    Ok((request, target, staging))
}

pub(crate) fn unpublish(
    message: proto::NodeUnpublishVolumeRequest,
    root: &AllowedRoots,
) -> Result<(VolumeId, Option<PathBuf>), Error> {
    Ok((volume(message.volume_id)?, root.vacated("target_path", message.target_path)?))
}

pub(crate) fn node_expand(
    message: proto::NodeExpandVolumeRequest,
    root: &AllowedRoots,
) -> Result<(NodeExpandRequest, PathBuf), Error> {
    let (volume, path) = placed(message.volume_id, message.volume_path, root)?;
    let request = NodeExpandRequest {
        capability: message.volume_capability.map(capability).transpose()?,
        required_bytes: capacity(message.capacity_range)?.required.unwrap_or(0),
        context: Parameters::new(),
        publish_context: Parameters::new(),
        caller: caller(message.secrets, None)?,
        volume,
    };
    Ok((request, path))
}

pub(crate) fn stats(
    message: proto::NodeGetVolumeStatsRequest,
    root: &AllowedRoots,
) -> Result<(VolumeId, PathBuf), Error> {
    placed(message.volume_id, message.volume_path, root)
}

/// A volume and where it is said to be. A path that cannot be one of ours holds no volume, so it is
/// "not found" and not "invalid": the order in which CSI's conformance suite looks at the id and at
/// the path.
fn placed(id: String, path: String, root: &AllowedRoots) -> Result<(VolumeId, PathBuf), Error> {
    let volume = volume(id)?;
    if path.is_empty() {
        return Err(Error::invalid("volume_path is missing"));
    }
    let path = root.required("volume_path", path);
    let path = path.map_err(|error| {
        Error::not_found(format!("volume {volume} cannot be there: {}", error.message))
    })?;
    Ok((volume, path))
}

pub(crate) fn capabilities(
    messages: Vec<proto::VolumeCapability>,
) -> Result<Vec<Capability>, Error> {
    if messages.is_empty() {
        return Err(Error::invalid("volume_capabilities is missing"));
    }
    bounds::count("volume_capabilities", messages.len(), MAX_CAPABILITIES)?;
    messages.into_iter().map(capability).collect()
}

pub(crate) fn required_capability(
    message: Option<proto::VolumeCapability>,
) -> Result<Capability, Error> {
    capability(message.ok_or_else(|| Error::invalid("volume_capability is missing"))?)
}

pub(crate) fn capability(message: proto::VolumeCapability) -> Result<Capability, Error> {
    use proto::volume_capability::AccessType as Message;
    let access = match message.access_type {
        Some(Message::Block(_)) => AccessType::Block,
        Some(Message::Mount(mount)) => mount_access(mount)?,
        None => return Err(Error::invalid("volume_capability says neither block nor mount")),
    };
    let mode = message
        .access_mode
        .ok_or_else(|| Error::invalid("volume_capability.access_mode is missing"))?
        .mode;
    Ok(Capability { access, mode: access_mode(mode)? })
}

fn mount_access(message: proto::volume_capability::MountVolume) -> Result<AccessType, Error> {
    let group = bounds::optional("volume_mount_group", message.volume_mount_group, MAX_STRING)?;
    bounds::count("mount_flags", message.mount_flags.len(), MAX_FLAGS)?;
    let size: usize = message.mount_flags.iter().map(String::len).sum();
    if size > MAX_MAP {
        return Err(Error::invalid(format!(
            "mount_flags have {size} bytes, at most {MAX_MAP} are allowed"
        )));
    }
    let fs_type = bounds::optional("fs_type", message.fs_type, MAX_STRING)?;
    let group = Some(group).filter(|group| !group.is_empty());
    Ok(AccessType::Mount { fs_type, flags: message.mount_flags, group })
}

fn access_mode(mode: i32) -> Result<AccessMode, Error> {
    match Mode::try_from(mode) {
        Ok(Mode::SingleNodeWriter) => Ok(AccessMode::SingleNodeWriter),
        Ok(Mode::SingleNodeReaderOnly) => Ok(AccessMode::SingleNodeReaderOnly),
        Ok(Mode::MultiNodeReaderOnly) => Ok(AccessMode::MultiNodeReaderOnly),
        Ok(Mode::MultiNodeSingleWriter) => Ok(AccessMode::MultiNodeSingleWriter),
        Ok(Mode::MultiNodeMultiWriter) => Ok(AccessMode::MultiNodeMultiWriter),
        Ok(Mode::SingleNodeSingleWriter) => Ok(AccessMode::SingleNodeSingleWriter),
        Ok(Mode::SingleNodeMultiWriter) => Ok(AccessMode::SingleNodeMultiWriter),
        Ok(Mode::Unknown) => Err(Error::invalid("volume_capability.access_mode is not set")),
        Err(_) => Err(Error::invalid(format!(
            "volume_capability.access_mode {mode} is not known to CSI 1.12"
        ))),
    }
}

pub(crate) fn capacity(message: Option<proto::CapacityRange>) -> Result<CapacityRange, Error> {
    let Some(message) = message else { return Ok(CapacityRange::default()) };
    let required = bounds::size("required_bytes", message.required_bytes)?;
    let limit = bounds::size("limit_bytes", message.limit_bytes)?;
    match (required, limit) {
        (Some(required), Some(limit)) if required > limit => {
            let why = format!("required_bytes {required} is more than limit_bytes {limit}");
            Err(Error::new(ErrorKind::OutOfRange, Blame::User, why))
        }
        _ => Ok(CapacityRange { required, limit }),
    }
}

pub(crate) fn source(message: proto::VolumeContentSource) -> Result<VolumeSource, Error> {
    use proto::volume_content_source::Type;
    match message.r#type {
        Some(Type::Snapshot(from)) => bounds::required("snapshot_id", from.snapshot_id, MAX_STRING)
            .map(VolumeSource::Snapshot),
        Some(Type::Volume(from)) => {
            bounds::required("volume_content_source.volume_id", from.volume_id, MAX_STRING)
                .map(VolumeSource::Volume)
        }
        None => Err(Error::invalid("volume_content_source names neither a snapshot nor a volume")),
    }
}

pub(crate) fn topology(message: proto::TopologyRequirement) -> Result<TopologyRequirement, Error> {
    let segments = |field: &str, places: Vec<proto::Topology>| {
        bounds::count(field, places.len(), MAX_PLACES)?;
        places.into_iter().map(segments).collect::<Result<Vec<_>, _>>()
    };
    Ok(TopologyRequirement {
        requisite: segments("accessibility_requirements.requisite", message.requisite)?,
        preferred: segments("accessibility_requirements.preferred", message.preferred)?,
    })
}

pub(crate) fn segments(message: proto::Topology) -> Result<Segments, Error> {
    bounds::map("segments", message.segments, MAX_MAP)
}

/// A volume's context as `create` returned it. Service-account tokens may be longer than CSI's
/// bound and go before anything is counted.
pub(crate) fn context(mut message: BTreeMap<String, String>) -> Result<Parameters, Error> {
    message.retain(|key, _| key != PROVISIONER_IDENTITY && !key.starts_with(KUBELET_PREFIX));
    bounds::map("volume_context", message, MAX_MAP)
}

/// Who asks: the secrets of the call, tokens of the pod's service account among them, and the pod.
pub(crate) fn caller(
    secrets: BTreeMap<String, String>,
    context: Option<&BTreeMap<String, String>>,
) -> Result<Caller, Error> {
    let size: usize = secrets.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_SECRETS {
        return Err(Error::invalid(format!(
            "secrets have {size} bytes, at most {MAX_SECRETS} are allowed"
        )));
    }
    let mut secrets: Vec<(String, Secret)> =
        secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    let known = |key: &str| {
        let value = context?.get(&format!("{KUBELET_PREFIX}{key}"))?;
        (!value.is_empty()).then(|| value.clone())
    };
    if let Some(tokens) = known(SERVICE_ACCOUNT_TOKENS) {
        secrets.push((SERVICE_ACCOUNT_TOKENS.to_owned(), Secret::new(tokens)));
    }
    let workload = Workload {
        name: known("pod.name"),
        namespace: known("pod.namespace"),
        uid: known("pod.uid"),
        service_account: known("serviceAccount.name"),
        ephemeral: known("ephemeral").as_deref() == Some("true"),
    };
    Ok(Caller { secrets, workload: (workload != Workload::default()).then_some(workload) })
}

#[cfg(test)]
mod tests;
