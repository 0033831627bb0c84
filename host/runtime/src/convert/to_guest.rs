//! Core to component: requests, and answers to what a guest asked of the host.

use wharf_core::types::{
    AccessMode, AccessType, Caller, Capability, CapacityRange, Condition, Observation, ResourceId,
    TopologyRequirement, Volume, VolumeSource, Workload,
};
use wharf_core::{Blame, Effect, Error, ErrorKind};

use crate::bindings::imports::{http, types};
use crate::egress::Response;

pub(crate) fn response_to_guest(response: Response) -> http::Response {
    let Response { status, headers, body } = response;
    http::Response { status, headers, body, extensions: Vec::new() }
}

pub(crate) fn error_to_guest(error: &Error) -> types::Error {
    let Error { kind, message, hint, blame, effect, code, retry_after, observed } = error;
    types::Error {
        kind: kind_to_guest(*kind),
        message: message.clone(),
        hint: hint.clone(),
        blame: match blame {
            Blame::User => types::Blame::User,
            Blame::Cloud => types::Blame::Cloud,
            Blame::Backend => types::Blame::Backend,
            Blame::Host => types::Blame::Host,
        },
        effect: match effect {
            Effect::None => types::Effect::None,
            Effect::Unknown => types::Effect::Unknown,
        },
        code: code.clone(),
        observed: *observed,
        retry_after_ms: retry_after
            .map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
        extensions: Vec::new(),
    }
}

fn kind_to_guest(kind: ErrorKind) -> types::ErrorKind {
    match kind {
        ErrorKind::InvalidArgument => types::ErrorKind::InvalidArgument,
        ErrorKind::NotFound => types::ErrorKind::NotFound,
        ErrorKind::AlreadyExists => types::ErrorKind::AlreadyExists,
        ErrorKind::FailedPrecondition => types::ErrorKind::FailedPrecondition,
        ErrorKind::ResourceExhausted => types::ErrorKind::ResourceExhausted,
        ErrorKind::OutOfRange => types::ErrorKind::OutOfRange,
        ErrorKind::PermissionDenied => types::ErrorKind::PermissionDenied,
        ErrorKind::Unauthenticated => types::ErrorKind::Unauthenticated,
        ErrorKind::Throttled => types::ErrorKind::Throttled,
        // The contract has no word for the caller's time; for a guest it is a failure that passes.
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => types::ErrorKind::Unavailable,
        ErrorKind::Aborted => types::ErrorKind::Aborted,
        ErrorKind::Unsupported => types::ErrorKind::Unsupported,
        ErrorKind::Internal => types::ErrorKind::Internal,
        ErrorKind::Other => types::ErrorKind::Other,
    }
}

pub(crate) fn resource_to_guest(resource: &ResourceId) -> types::ResourceId {
    let ResourceId { kind, id } = resource;
    types::ResourceId { kind: kind.clone(), id: id.clone() }
}

/// The names of the secrets; their values stay here.
pub(crate) fn caller_to_guest(caller: &Caller) -> types::Caller {
    let Caller { secrets, workload } = caller;
    types::Caller {
        secrets: secrets.iter().map(|(name, _)| name.clone()).collect(),
        workload: workload.as_ref().map(workload_to_guest),
        extensions: Vec::new(),
    }
}

fn workload_to_guest(workload: &Workload) -> types::Workload {
    let Workload { name, namespace, uid, service_account, ephemeral } = workload;
    types::Workload {
        name: name.clone(),
        namespace: namespace.clone(),
        uid: uid.clone(),
        service_account: service_account.clone(),
        ephemeral: *ephemeral,
        extensions: Vec::new(),
    }
}

pub(crate) fn observations_to_guest(observed: &[Observation]) -> Vec<types::Observation> {
    observed.iter().map(observation_to_guest).collect()
}

pub(crate) fn observation_to_guest(observed: &Observation) -> types::Observation {
    let Observation { of, found, state } = observed;
    types::Observation {
        of: resource_to_guest(of),
        found: *found,
        state: state.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn capability_to_guest(capability: &Capability) -> types::VolumeCapability {
    let Capability { access, mode } = capability;
    types::VolumeCapability {
        access: match access {
            AccessType::Mount { fs_type, flags, group } => {
                types::AccessType::Mount(types::MountOptions {
                    fs_type: fs_type.clone(),
                    flags: flags.clone(),
                    group: group.clone(),
                    extensions: Vec::new(),
                })
            }
            AccessType::Block => types::AccessType::Block,
        },
        mode: match mode {
            AccessMode::SingleNodeWriter => types::AccessMode::SingleNodeWriter,
            AccessMode::SingleNodeReaderOnly => types::AccessMode::SingleNodeReaderOnly,
            AccessMode::MultiNodeReaderOnly => types::AccessMode::MultiNodeReaderOnly,
            AccessMode::MultiNodeSingleWriter => types::AccessMode::MultiNodeSingleWriter,
            AccessMode::MultiNodeMultiWriter => types::AccessMode::MultiNodeMultiWriter,
            AccessMode::SingleNodeSingleWriter => types::AccessMode::SingleNodeSingleWriter,
            AccessMode::SingleNodeMultiWriter => types::AccessMode::SingleNodeMultiWriter,
        },
        extensions: Vec::new(),
    }
}

pub(crate) fn capacity_to_guest(capacity: CapacityRange) -> types::CapacityRange {
    let CapacityRange { required, limit } = capacity;
    types::CapacityRange { required_bytes: required, limit_bytes: limit, extensions: Vec::new() }
}

pub(crate) fn topology_to_guest(topology: &TopologyRequirement) -> types::TopologyRequirement {
    let TopologyRequirement { requisite, preferred } = topology;
    types::TopologyRequirement {
        requisite: requisite.clone(),
        preferred: preferred.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn volume_to_guest(volume: &Volume) -> types::Volume {
    let condition = |condition: &Condition| types::Condition {
        abnormal: condition.abnormal,
        message: condition.message.clone(),
        extensions: Vec::new(),
    };
    types::Volume {
        id: volume.id.as_str().to_owned(),
        capacity_bytes: volume.capacity_bytes,
        context: volume.context.clone(),
        topology: volume.topology.clone(),
        source: volume.source.as_ref().map(source_to_guest),
        attached_to: volume.attached_to.iter().map(|node| node.as_str().to_owned()).collect(),
        condition: volume.condition.as_ref().map(condition),
        extensions: Vec::new(),
    }
}

pub(crate) fn source_to_guest(source: &VolumeSource) -> types::VolumeSource {
    match source {
        VolumeSource::Snapshot(id) => types::VolumeSource::Snapshot(id.clone()),
        VolumeSource::Volume(id) => types::VolumeSource::Volume(id.clone()),
    }
}
