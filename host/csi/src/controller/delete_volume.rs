//! `DeleteVolume`.

use wharf_core::Error;
use wharf_core::verbs::{Delete, DeleteRequest};

use super::{Method, Work};
use crate::proto::{DeleteVolumeRequest, DeleteVolumeResponse};
use crate::request;
use crate::subject::Subject;

pub(super) enum DeleteVolume {}

impl Method for DeleteVolume {
    const NAME: &'static str = "DeleteVolume";
    const NEEDS: Option<&'static str> = Some("create");
    type Message = DeleteVolumeRequest;
    type Asked = DeleteRequest;
    type Reply = DeleteVolumeResponse;

    fn object(message: &DeleteVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &DeleteVolumeRequest) -> Subject {
        Subject::of(&[], &message.secrets)
    }

    fn parse(message: DeleteVolumeRequest) -> Result<DeleteRequest, Error> {
        Ok(DeleteRequest {
            volume: request::volume(message.volume_id)?,
            caller: request::caller(message.secrets, None)?,
        })
    }

    fn answer(on: &Work<'_>, asked: DeleteRequest) -> Result<DeleteVolumeResponse, Error> {
        on.controller.change::<Delete>(on.call, &asked)?;
        Ok(DeleteVolumeResponse {})
    }
}
