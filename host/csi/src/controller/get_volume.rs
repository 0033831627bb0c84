//! `ControllerGetVolume`.

use wharf_core::Error;
use wharf_core::types::VolumeId;

use super::{ControllerRpc, Method, Work};
use crate::proto::controller_get_volume_response::VolumeStatus;
use crate::proto::{ControllerGetVolumeRequest, ControllerGetVolumeResponse};
use crate::subject::Subject;
use crate::{request, response};

pub(super) enum GetVolume {}

impl Method for GetVolume {
    const NAME: &'static str = "ControllerGetVolume";
    const NEEDS: Option<&'static str> = Some("condition");
    const OFFERS: &'static [(&'static str, ControllerRpc)] =
        &[("condition", ControllerRpc::VolumeCondition), ("condition", ControllerRpc::GetVolume)];
    type Message = ControllerGetVolumeRequest;
    type Asked = VolumeId;
    type Reply = ControllerGetVolumeResponse;

    fn object(message: &ControllerGetVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(_: &ControllerGetVolumeRequest) -> Subject {
        Subject::default()
    }

    fn parse(message: ControllerGetVolumeRequest) -> Result<VolumeId, Error> {
        request::volume(message.volume_id)
    }

    fn answer(on: &Work<'_>, asked: VolumeId) -> Result<ControllerGetVolumeResponse, Error> {
        let mut volume = on.controller.read(on.call, &asked)?;
        let (published_node_ids, volume_condition) = response::take_status(&mut volume);
        Ok(ControllerGetVolumeResponse {
            volume: Some(response::volume(volume)?),
            status: Some(VolumeStatus { published_node_ids, volume_condition }),
        })
    }
}
