//! `CreateVolume`.

use wharf_core::Error;
use wharf_core::types::{Capability, Description, Volume, VolumeSource};
use wharf_core::verbs::CreateRequest;

use super::{ControllerRpc, Method, Work};
use crate::bounds::{self, MAX_MAP, MAX_PARAMETERS, MAX_STRING};
use crate::proto::{CreateVolumeRequest, CreateVolumeResponse};
use crate::subject::Subject;
use crate::{request, response};

pub(super) enum CreateVolume {}

impl Method for CreateVolume {
    const NAME: &'static str = "CreateVolume";
    const NEEDS: Option<&'static str> = Some("create");
    const OFFERS: &'static [(&'static str, ControllerRpc)] = &[
        ("create", ControllerRpc::CreateDeleteVolume),
        ("single-node-multi-writer", ControllerRpc::SingleNodeMultiWriter),
    ];
    type Message = CreateVolumeRequest;
    type Asked = CreateRequest;
    type Reply = CreateVolumeResponse;

    fn object(message: &CreateVolumeRequest) -> &str {
        &message.name
    }

    fn subject(message: &CreateVolumeRequest) -> Subject {
        Subject::of(&[&message.parameters, &message.mutable_parameters], &message.secrets)
            .mounted_with(&message.volume_capabilities)
    }

    fn parse(message: CreateVolumeRequest) -> Result<CreateRequest, Error> {
        Ok(CreateRequest {
            caller: request::caller(message.secrets, None)?,
            name: bounds::required("name", message.name, MAX_STRING)?,
            capabilities: request::capabilities(message.volume_capabilities)?,
            capacity: request::capacity(message.capacity_range)?,
            parameters: bounds::map("parameters", message.parameters, MAX_PARAMETERS)?,
            mutable_parameters: bounds::map(
                "mutable_parameters",
                message.mutable_parameters,
                MAX_MAP,
            )?,
            source: message.volume_content_source.map(request::source).transpose()?,
            topology: message.accessibility_requirements.map(request::topology).transpose()?,
        })
    }

    fn uses(asked: &CreateRequest) -> &[Capability] {
        &asked.capabilities
    }

    fn answer(on: &Work<'_>, asked: CreateRequest) -> Result<CreateVolumeResponse, Error> {
        check_offered(on.description, &asked)?;
        created(on.controller.create(on.call, &asked)?)
    }
}

/// The volume exists by now: an answer that cannot be sent has an effect all the same.
pub(super) fn created(volume: Volume) -> Result<CreateVolumeResponse, Error> {
    let volume = response::volume(volume).map_err(Error::with_unknown_effect)?;
    Ok(CreateVolumeResponse { volume: Some(volume) })
}

/// What a caller must not ask of a driver that does not offer it; CSI wants `INVALID_ARGUMENT`, and
/// nothing made.
fn check_offered(description: &Description, request: &CreateRequest) -> Result<(), Error> {
    let asked = [
        (
            matches!(request.source, Some(VolumeSource::Snapshot(_))),
            "snapshot",
            "a volume from a snapshot",
        ),
        (
            matches!(request.source, Some(VolumeSource::Volume(_))),
            "clone",
            "a volume from another volume",
        ),
        (!request.mutable_parameters.is_empty(), "modify", "a VolumeAttributesClass"),
    ];
    match asked.into_iter().find(|(is_asked, word, _)| *is_asked && !description.can(word)) {
        Some((_, word, what)) => Err(Error::invalid(format!(
            "{what} was asked for, and the backend {} does not offer `{word}`",
            description.name
        ))),
        None => Ok(()),
    }
}
