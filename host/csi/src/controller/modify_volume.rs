//! `ControllerModifyVolume`.

use wharf_core::Error;
use wharf_core::verbs::{Modify, ModifyRequest};

use super::{ControllerRpc, Method, Work};
use crate::bounds::{self, MAX_MAP};
use crate::proto::{ControllerModifyVolumeRequest, ControllerModifyVolumeResponse};
use crate::request;
use crate::subject::Subject;

pub(super) enum ModifyVolume {}

impl Method for ModifyVolume {
    const NAME: &'static str = "ControllerModifyVolume";
    const NEEDS: Option<&'static str> = Some("modify");
    const OFFERS: &'static [(&'static str, ControllerRpc)] =
        &[("modify", ControllerRpc::ModifyVolume)];
    type Message = ControllerModifyVolumeRequest;
    type Asked = ModifyRequest;
    type Reply = ControllerModifyVolumeResponse;

    fn object(message: &ControllerModifyVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &ControllerModifyVolumeRequest) -> Subject {
        Subject::of(&[&message.mutable_parameters], &message.secrets)
    }

    fn parse(message: ControllerModifyVolumeRequest) -> Result<ModifyRequest, Error> {
        let volume = request::volume(message.volume_id)?;
        let parameters = message.mutable_parameters;
        if parameters.is_empty() {
            return Err(Error::invalid("mutable_parameters is missing"));
        }
        Ok(ModifyRequest {
            volume,
            mutable_parameters: bounds::map("mutable_parameters", parameters, MAX_MAP)?,
            caller: request::caller(message.secrets, None)?,
        })
    }

    fn answer(
        on: &Work<'_>,
        asked: ModifyRequest,
    ) -> Result<ControllerModifyVolumeResponse, Error> {
        on.controller.change::<Modify>(on.call, &asked)?;
        Ok(ControllerModifyVolumeResponse {})
    }
}
