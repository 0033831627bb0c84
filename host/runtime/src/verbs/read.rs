//! `controller.read`.

use wharf_core::types::{Observation, Progress, Volume};
use wharf_core::verbs::Read;

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Read {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::None;
    type Params = (types::Observation,);
    type Wire = types::Volume;

    fn lower(observed: &Observation, _: &Progress) -> Self::Params {
        (convert::observation_to_guest(observed),)
    }

    fn lift(volume: Self::Wire, _: &mut HostCtx) -> Lifted<Volume> {
        Ok(convert::volume_from_guest(volume))
    }

    fn check(_: &Observation, volume: &Volume) -> Checked {
        bounds::volume(volume)
    }
}
