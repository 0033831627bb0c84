//! `ListVolumes`.

use wharf_core::Error;
use wharf_core::types::Volume;

use super::{ControllerRpc, Method, Work};
use crate::bounds::MAX_STRING;
use crate::proto::list_volumes_response::{Entry, VolumeStatus};
use crate::proto::{ListVolumesRequest, ListVolumesResponse};
use crate::response;
use crate::subject::Subject;

pub(super) enum ListVolumes {}

impl Method for ListVolumes {
    const NAME: &'static str = "ListVolumes";
    const NEEDS: Option<&'static str> = Some("list");
    const OFFERS: &'static [(&'static str, ControllerRpc)] =
        &[("list", ControllerRpc::ListVolumes), ("list", ControllerRpc::ListVolumesPublishedNodes)];
    type Message = ListVolumesRequest;
    /// How many, and from where.
    type Asked = (u32, Option<String>);
    type Reply = ListVolumesResponse;

    fn object(_: &ListVolumesRequest) -> &str {
        ""
    }

    fn subject(_: &ListVolumesRequest) -> Subject {
        Subject::default()
    }

    fn parse(message: ListVolumesRequest) -> Result<Self::Asked, Error> {
        let max_entries = u32::try_from(message.max_entries)
            .map_err(|_| Error::invalid("max_entries is negative"))?;
        if message.starting_token.len() > MAX_STRING {
            return Err(Error::aborted("starting_token was not made here")
                .with_hint("start again without a token"));
        }
        Ok((max_entries, Some(message.starting_token).filter(|token| !token.is_empty())))
    }

    fn answer(
        on: &Work<'_>,
        (max_entries, token): Self::Asked,
    ) -> Result<ListVolumesResponse, Error> {
        let listed = on.controller.list(on.call, max_entries, token.as_deref())?;
        let next_token = listed.next_token.unwrap_or_default();
        Ok(ListVolumesResponse {
            entries: listed.volumes.into_iter().map(entry).collect::<Result<_, _>>()?,
            next_token: response::text("next_token", next_token, MAX_STRING)?,
        })
    }
}

fn entry(mut volume: Volume) -> Result<Entry, Error> {
    let (published_node_ids, volume_condition) = response::take_status(&mut volume);
    Ok(Entry {
        volume: Some(response::volume(volume)?),
        status: Some(VolumeStatus { published_node_ids, volume_condition }),
    })
}
