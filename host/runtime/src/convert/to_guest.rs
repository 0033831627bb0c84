//! Core to component: requests, and answers to what a guest asked of the host.

use wharf_core::types::{
    AccessMode, AccessType, AttachRequest, Capability, CapacityRange, CreateRequest, DetachRequest,
    ExpandRequest, NodeExpandRequest, Observation, PublishRequest, StageRequest,
    TopologyRequirement, TranslateRequest, ValidateRequest, VolumeId, VolumeSource,
};
use wharf_core::{Blame, Effect, Error, ErrorKind};

use crate::bindings::exports::{controller, legacy, node};
use crate::bindings::imports::{http, types};
use crate::egress::Response;

pub(crate) fn response_to_guest(response: Response) -> http::Response {
    let Response { status, headers, body } = response;
    http::Response { status, headers, body, extensions: Vec::new() }
}

pub(crate) fn error_to_guest(error: &Error) -> types::Error {
    let Error { kind, message, hint, blame, effect, code, retry_after } = error;
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

pub(crate) fn observations_to_guest(observed: &[Observation]) -> Vec<types::Observation> {
    observed.iter().map(observation_to_guest).collect()
}

pub(crate) fn observation_to_guest(observed: &Observation) -> types::Observation {
    let Observation { id, found, state } = observed;
    types::Observation {
        id: id.clone(),
        found: *found,
        state: state.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn create_to_guest(request: &CreateRequest) -> controller::CreateRequest {
    let CreateRequest {
        name,
        capacity,
        capabilities,
        parameters,
        mutable_parameters,
        source,
        topology,
    } = request;
    controller::CreateRequest {
        name: name.clone(),
        capacity: capacity_to_guest(*capacity),
        capabilities: capabilities.iter().map(capability_to_guest).collect(),
        parameters: parameters.clone(),
        mutable_parameters: mutable_parameters.clone(),
        source: source.as_ref().map(source_to_guest),
        topology: topology.as_ref().map(topology_to_guest),
        extensions: Vec::new(),
    }
}

pub(crate) fn delete_to_guest(volume: &VolumeId) -> controller::DeleteRequest {
    controller::DeleteRequest { volume_id: volume.as_str().to_owned(), extensions: Vec::new() }
}

pub(crate) fn attach_to_guest(request: &AttachRequest) -> controller::AttachRequest {
    let AttachRequest { volume, node, capability, read_only, context } = request;
    controller::AttachRequest {
        volume_id: volume.as_str().to_owned(),
        node_id: node.as_str().to_owned(),
        capability: capability_to_guest(capability),
        read_only: *read_only,
        volume_context: context.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn detach_to_guest(request: &DetachRequest) -> controller::DetachRequest {
    let DetachRequest { volume, node } = request;
    controller::DetachRequest {
        volume_id: volume.as_str().to_owned(),
        node_id: node.as_ref().map(|node| node.as_str().to_owned()),
        extensions: Vec::new(),
    }
}

pub(crate) fn expand_to_guest(request: &ExpandRequest) -> controller::ExpandRequest {
    let ExpandRequest { volume, capacity, capability } = request;
    controller::ExpandRequest {
        volume_id: volume.as_str().to_owned(),
        capacity: capacity_to_guest(*capacity),
        capability: capability.as_ref().map(capability_to_guest),
        extensions: Vec::new(),
    }
}

pub(crate) fn validate_to_guest(request: &ValidateRequest) -> controller::ValidateRequest {
    let ValidateRequest { volume, context, parameters, capabilities } = request;
    controller::ValidateRequest {
        volume_id: volume.as_str().to_owned(),
        context: context.clone(),
        parameters: parameters.clone(),
        capabilities: capabilities.iter().map(capability_to_guest).collect(),
        extensions: Vec::new(),
    }
}

pub(crate) fn list_to_guest(
    max_entries: u32,
    starting_token: Option<&str>,
) -> controller::ListRequest {
    controller::ListRequest {
        max_entries,
        starting_token: starting_token.map(str::to_owned),
        extensions: Vec::new(),
    }
}

pub(crate) fn stage_to_guest(request: &StageRequest) -> node::StageRequest {
    let StageRequest { volume, capability, context, publish_context } = request;
    node::StageRequest {
        volume_id: volume.as_str().to_owned(),
        capability: capability_to_guest(capability),
        volume_context: context.clone(),
        publish_context: publish_context.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn publish_to_guest(request: &PublishRequest) -> node::PublishRequest {
    let PublishRequest { volume, capability, read_only, context, publish_context } = request;
    node::PublishRequest {
        volume_id: volume.as_str().to_owned(),
        capability: capability_to_guest(capability),
        read_only: *read_only,
        volume_context: context.clone(),
        publish_context: publish_context.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn node_expand_to_guest(request: &NodeExpandRequest) -> node::ExpandRequest {
    let NodeExpandRequest { volume, capability, required_bytes, context } = request;
    node::ExpandRequest {
        volume_id: volume.as_str().to_owned(),
        capability: capability.as_ref().map(capability_to_guest),
        required_bytes: *required_bytes,
        volume_context: context.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn translate_to_guest(request: &TranslateRequest) -> legacy::TranslateRequest {
    let TranslateRequest { driver, options, volume_name } = request;
    legacy::TranslateRequest {
        driver: driver.clone(),
        options: options.clone(),
        volume_name: volume_name.clone(),
        extensions: Vec::new(),
    }
}

pub(crate) fn capability_to_guest(capability: &Capability) -> types::VolumeCapability {
    let Capability { access, mode } = capability;
    types::VolumeCapability {
        access: match access {
            AccessType::Mount { fs_type, flags } => types::AccessType::Mount(types::MountOptions {
                fs_type: fs_type.clone(),
                flags: flags.clone(),
            }),
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

fn capacity_to_guest(capacity: CapacityRange) -> types::CapacityRange {
    let CapacityRange { required, limit } = capacity;
    types::CapacityRange { required_bytes: required, limit_bytes: limit }
}

fn topology_to_guest(topology: &TopologyRequirement) -> types::TopologyRequirement {
    let TopologyRequirement { requisite, preferred } = topology;
    types::TopologyRequirement { requisite: requisite.clone(), preferred: preferred.clone() }
}

fn source_to_guest(source: &VolumeSource) -> types::VolumeSource {
    match source {
        VolumeSource::Snapshot(id) => types::VolumeSource::Snapshot(id.clone()),
        VolumeSource::Volume(id) => types::VolumeSource::Volume(id.clone()),
    }
}
