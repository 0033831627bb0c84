//! Component to core: answers, and what a guest asks of the host. Extensions that this build does
//! not know are dropped, as the contract says.

use std::time::Duration;

use wharf_core::plan::Plan;
use wharf_core::types::{
    Answer, Condition, Description, DriverName, NodeId, Observation, Pending, Perform, ResourceId,
    Volume, VolumeId, VolumeSource,
};
use wharf_core::{Blame, Effect, Error, ErrorKind};

use crate::bindings::exports::identity;
use crate::bindings::imports::{http, plans, types};
use crate::egress::{Request, RequestEffect};
use crate::host::HostCtx;

pub(crate) fn request_from_guest(request: http::Request) -> Request {
    let http::Request {
        endpoint,
        account,
        effect,
        action,
        api,
        method,
        subdomain,
        path,
        query,
        headers,
        body,
        extensions: _,
    } = request;
    let effect = match effect {
        http::Effect::Read => RequestEffect::Read,
        http::Effect::Mutate => RequestEffect::Mutate,
    };
    Request {
        endpoint,
        account,
        effect,
        action,
        api,
        method,
        subdomain,
        path,
        query,
        headers,
        body,
    }
}

pub(crate) fn error_from_guest(error: types::Error) -> Error {
    let types::Error {
        kind,
        message,
        hint,
        blame,
        effect,
        code,
        observed,
        retry_after_ms,
        extensions: _,
    } = error;
    Error {
        kind: kind_from_guest(kind),
        message,
        hint,
        blame: match blame {
            types::Blame::User => Blame::User,
            types::Blame::Cloud => Blame::Cloud,
            types::Blame::Backend => Blame::Backend,
            types::Blame::Host => Blame::Host,
        },
        effect: match effect {
            types::Effect::None => Effect::None,
            types::Effect::Unknown => Effect::Unknown,
        },
        code,
        observed,
        retry_after: retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms))),
    }
}

fn kind_from_guest(kind: types::ErrorKind) -> ErrorKind {
    match kind {
        types::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
        types::ErrorKind::NotFound => ErrorKind::NotFound,
        types::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        types::ErrorKind::FailedPrecondition => ErrorKind::FailedPrecondition,
        types::ErrorKind::ResourceExhausted => ErrorKind::ResourceExhausted,
        types::ErrorKind::OutOfRange => ErrorKind::OutOfRange,
        types::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        types::ErrorKind::Unauthenticated => ErrorKind::Unauthenticated,
        types::ErrorKind::Throttled => ErrorKind::Throttled,
        types::ErrorKind::Unavailable => ErrorKind::Unavailable,
        types::ErrorKind::Aborted => ErrorKind::Aborted,
        types::ErrorKind::Unsupported => ErrorKind::Unsupported,
        types::ErrorKind::Internal => ErrorKind::Internal,
        types::ErrorKind::Other => ErrorKind::Other,
    }
}

pub(crate) fn description_from_guest(description: identity::Description) -> Description {
    let identity::Description {
        name,
        version,
        drivers,
        capabilities,
        topology_keys,
        observe_batch,
        extensions: _,
    } = description;
    let driver = |driver: identity::Driver| {
        let identity::Driver { name, flexvolume, extensions: _ } = driver;
        DriverName { name, flexvolume }
    };
    Description {
        name,
        version,
        drivers: drivers.into_iter().map(driver).collect(),
        capabilities,
        topology_keys,
        observe_batch,
    }
}

pub(crate) fn resource_from_guest(resource: types::ResourceId) -> ResourceId {
    let types::ResourceId { kind, id } = resource;
    ResourceId { kind, id }
}

pub(crate) fn observation_from_guest(observation: types::Observation) -> Observation {
    let types::Observation { of, found, state, extensions: _ } = observation;
    Observation { of: resource_from_guest(of), found, state }
}

pub(crate) fn pending_from_guest<T>(pending: types::Pending) -> Answer<T> {
    let types::Pending { after_ms, watch, resume, reason, extensions: _ } = pending;
    let watch = watch.into_iter().map(resource_from_guest).collect();
    Answer::Pending(Pending { after_ms, watch, resume, reason })
}

pub(crate) fn perform_from_guest<T>(
    perform: plans::Perform,
    ctx: &mut HostCtx,
) -> wasmtime::Result<Answer<T>> {
    let plans::Perform { plan, resume, extensions: _ } = perform;
    Ok(Answer::Perform(Perform { plan: ctx.take_plan(plan)?, resume }))
}

pub(crate) fn outcome_from_guest(
    outcome: plans::Outcome,
    ctx: &mut HostCtx,
) -> wasmtime::Result<Answer<()>> {
    match outcome {
        plans::Outcome::Done => Ok(Answer::Done(())),
        plans::Outcome::Pending(pending) => Ok(pending_from_guest(pending)),
        plans::Outcome::Perform(perform) => perform_from_guest(perform, ctx),
    }
}

/// The plan that the host is to perform, if the answer is one.
pub(crate) fn performed_plan<T>(answer: &Answer<T>) -> Option<&Plan> {
    match answer {
        Answer::Perform(perform) => Some(&perform.plan),
        Answer::Done(_) | Answer::Pending(_) => None,
    }
}

pub(crate) fn volume_from_guest(volume: types::Volume) -> Volume {
    let types::Volume {
        id,
        capacity_bytes,
        context,
        topology,
        source,
        attached_to,
        condition,
        extensions: _,
    } = volume;
    Volume {
        id: VolumeId::new(id),
        capacity_bytes,
        context,
        topology,
        source: source.map(|source| match source {
            types::VolumeSource::Snapshot(id) => VolumeSource::Snapshot(id),
            types::VolumeSource::Volume(id) => VolumeSource::Volume(id),
        }),
        attached_to: attached_to.into_iter().map(NodeId::new).collect(),
        condition: condition.map(|types::Condition { abnormal, message, extensions: _ }| {
            Condition { abnormal, message }
        }),
    }
}
