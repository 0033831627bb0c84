//! Component to core: answers, and what a guest asks of the host. Extensions that this build does
//! not know are dropped, as the contract says.

use std::time::Duration;

use wharf_core::plan::{
    BlockDevice, Check, DeviceMatch, DirectoryBase, DirectoryPath, FindDevice, Format,
    GrantedDirectory, Grow, HelperCredential, MakeDirectory, MountDevice, MountDirectory,
    MountFuse, MountNfs, MountPlace, MountStaged, Plan, Readiness, SetBlockQueue, Step,
};
use wharf_core::types::{
    Answer, Attached, Description, DriverName, Expanded, Listed, NodeDescription, NodeId,
    Observation, Pending, Translated, Validated, Volume, VolumeId, VolumeSource,
};
use wharf_core::{Blame, Effect, Error, ErrorKind};

use crate::bindings::exports::{controller, identity, legacy, node};
use crate::bindings::imports::{http, types};
use crate::egress::{Request, RequestEffect};

pub(crate) fn request_from_guest(request: http::Request) -> Request {
    let http::Request {
        endpoint,
        account,
        effect,
        action,
        api,
        method,
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
    Request { endpoint, account, effect, action, api, method, path, query, headers, body }
}

pub(crate) fn error_from_guest(error: types::Error) -> Error {
    let types::Error { kind, message, hint, blame, effect, code, retry_after_ms, extensions: _ } =
        error;
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
        let identity::Driver { name, flexvolume } = driver;
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

pub(crate) fn observation_from_guest(observation: types::Observation) -> Observation {
    let types::Observation { id, found, state, extensions: _ } = observation;
    Observation { id, found, state }
}

fn pending_from_guest(pending: types::Pending) -> Pending {
    let types::Pending { after_ms, watch, resume, reason, extensions: _ } = pending;
    Pending { after_ms, watch, resume, reason }
}

pub(crate) fn volume_from_guest(volume: types::Volume) -> Volume {
    let types::Volume { id, capacity_bytes, context, topology, source, attached_to, .. } = volume;
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
    }
}

pub(crate) fn created_from_guest(answer: controller::CreateAnswer) -> Answer<Volume> {
    match answer {
        controller::CreateAnswer::Done(volume) => Answer::Done(volume_from_guest(volume)),
        controller::CreateAnswer::Pending(pending) => Answer::Pending(pending_from_guest(pending)),
    }
}

pub(crate) fn answer_from_guest(answer: controller::Answer) -> Answer<()> {
    match answer {
        controller::Answer::Done => Answer::Done(()),
        controller::Answer::Pending(pending) => Answer::Pending(pending_from_guest(pending)),
    }
}

pub(crate) fn attached_from_guest(answer: controller::AttachAnswer) -> Answer<Attached> {
    match answer {
        controller::AttachAnswer::Done(controller::Attachment {
            publish_context,
            extensions: _,
        }) => Answer::Done(Attached { publish_context }),
        controller::AttachAnswer::Pending(pending) => Answer::Pending(pending_from_guest(pending)),
    }
}

pub(crate) fn expanded_from_guest(answer: controller::ExpandAnswer) -> Answer<Expanded> {
    match answer {
        controller::ExpandAnswer::Done(controller::Expanded {
            capacity_bytes,
            node_expansion_required,
            extensions: _,
        }) => Answer::Done(Expanded { capacity_bytes, node_expansion_required }),
        controller::ExpandAnswer::Pending(pending) => Answer::Pending(pending_from_guest(pending)),
    }
}

pub(crate) fn validated_from_guest(validated: controller::Validated) -> Validated {
    let controller::Validated { confirmed, message, extensions: _ } = validated;
    Validated { confirmed, message }
}

pub(crate) fn listed_from_guest(listed: controller::Listed) -> Listed {
    let controller::Listed { volumes, next_token, extensions: _ } = listed;
    Listed { volumes: volumes.into_iter().map(volume_from_guest).collect(), next_token }
}

pub(crate) fn node_description_from_guest(description: node::NodeDescription) -> NodeDescription {
    let node::NodeDescription { node_id, topology, max_volumes, extensions: _ } = description;
    NodeDescription { node_id: NodeId::new(node_id), topology, max_volumes }
}

pub(crate) fn translated_from_guest(translated: legacy::Translated) -> Translated {
    let legacy::Translated { volume_id, context, extensions: _ } = translated;
    Translated { volume: VolumeId::new(volume_id), context }
}

pub(crate) fn plan_from_guest(plan: node::Plan) -> Plan {
    let node::Plan { steps, summary, extensions: _ } = plan;
    Plan { steps: steps.into_iter().map(step_from_guest).collect(), summary }
}

fn step_from_guest(step: node::Step) -> Step {
    match step {
        node::Step::FindDevice(node::FindDevice { serial, links, minimum_bytes }) => {
            let serial = (!serial.is_empty()).then_some(DeviceMatch::Serial(serial));
            let links = links.into_iter().map(DeviceMatch::ById);
            FindDevice { matches: serial.into_iter().chain(links).collect(), minimum_bytes }.into()
        }
        node::Step::Format(node::Format { fs_type, arguments }) => {
            Format { fs_type, arguments }.into()
        }
        node::Step::Check(node::Check { fs_type }) => Check { fs_type }.into(),
        node::Step::Grow(node::Grow { fs_type }) => Grow { fs_type }.into(),
        node::Step::Mount(mount) => mount_from_guest(mount),
        node::Step::MakeDirectory(node::MakeDirectory { at, mode, uid, gid }) => {
            let node::GrantedDirectory { root, path } = at;
            let at = DirectoryPath { base: DirectoryBase::Granted(root), path };
            MakeDirectory { at, mode, uid, gid }.into()
        }
        node::Step::SetBlockQueue(node::SetBlockQueue { key, value }) => {
            SetBlockQueue { key, value }.into()
        }
        node::Step::BlockDevice(node::BlockDevice { read_only }) => {
            BlockDevice { read_only }.into()
        }
    }
}

fn mount_from_guest(mount: node::Mount) -> Step {
    let node::Mount { source, fs_type, flags, read_only } = mount;
    match source {
        node::MountSource::Device => MountDevice { fs_type, flags, read_only }.into(),
        node::MountSource::Staged => MountStaged { flags, read_only }.into(),
        node::MountSource::Directory(node::GrantedDirectory { root, path }) => {
            MountDirectory { at: GrantedDirectory { root, path }, flags, read_only }.into()
        }
        node::MountSource::Nfs(node::NfsSource { server, path, mut options }) => {
            options.extend(flags);
            let place = MountPlace::Target;
            MountNfs { server, path, options, read_only, place, make_path: None }.into()
        }
        node::MountSource::Fuse(node::FuseSource { helper, arguments, credential }) => MountFuse {
            source: helper.clone(),
            helper,
            arguments,
            credential: credential.map(|account| HelperCredential {
                account,
                form: String::new(),
                values: Vec::new(),
            }),
            ready: Readiness::Answers,
            read_only,
        }
        .into(),
    }
}
