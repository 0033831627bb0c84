//! `ValidateVolumeCapabilities`.

use wharf_core::Error;
use wharf_core::types::Capability;
use wharf_core::verbs::{Validate, ValidateRequest};

use super::{Method, Work};
use crate::bounds::{self, MAX_MAP, MAX_PARAMETERS};
use crate::proto::validate_volume_capabilities_response::Confirmed;
use crate::proto::{ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse};
use crate::request;
use crate::subject::Subject;

pub(super) enum ValidateCapabilities {}

impl Method for ValidateCapabilities {
    const NAME: &'static str = "ValidateVolumeCapabilities";
    const NEEDS: Option<&'static str> = None;
    type Message = ValidateVolumeCapabilitiesRequest;
    /// And what is repeated to the caller when it holds.
    type Asked = (ValidateRequest, Confirmed);
    type Reply = ValidateVolumeCapabilitiesResponse;

    fn object(message: &ValidateVolumeCapabilitiesRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &ValidateVolumeCapabilitiesRequest) -> Subject {
        Subject::of(&[&message.volume_context, &message.parameters], &message.secrets)
            .mounted_with(&message.volume_capabilities)
    }

    fn parse(message: ValidateVolumeCapabilitiesRequest) -> Result<Self::Asked, Error> {
        let confirmed = Confirmed {
            volume_context: message.volume_context.clone(),
            volume_capabilities: message.volume_capabilities.clone(),
            parameters: message.parameters.clone(),
            mutable_parameters: message.mutable_parameters.clone(),
        };
        let request = ValidateRequest {
            volume: request::volume(message.volume_id)?,
            capabilities: request::capabilities(message.volume_capabilities)?,
            context: request::context(message.volume_context)?,
            parameters: bounds::map("parameters", message.parameters, MAX_PARAMETERS)?,
            mutable_parameters: bounds::map(
                "mutable_parameters",
                message.mutable_parameters,
                MAX_MAP,
            )?,
            caller: request::caller(message.secrets, None)?,
        };
        Ok((request, confirmed))
    }

    fn uses(asked: &(ValidateRequest, Confirmed)) -> &[Capability] {
        &asked.0.capabilities
    }

    fn answer(
        on: &Work<'_>,
        (asked, confirmed): Self::Asked,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Error> {
        let validated = on.controller.query::<Validate>(on.call, &asked)?;
        if validated.confirmed
            && !asked.mutable_parameters.is_empty()
            && !on.description.can("modify")
        {
            let message = "mutable_parameters cannot be looked at: this driver does not offer \
                           them (MODIFY_VOLUME)"
                .to_owned();
            return Ok(ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        }
        Ok(ValidateVolumeCapabilitiesResponse {
            confirmed: validated.confirmed.then_some(confirmed),
            // CSI has it for what is not confirmed alone.
            message: if validated.confirmed { String::new() } else { validated.message },
        })
    }
}
