//! `controller.observe`.

use wharf_core::types::{Observation, Progress, ResourceId};
use wharf_core::verbs::Observe;

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Observe {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Reads;
    type Params = (Vec<types::ResourceId>,);
    type Wire = Vec<types::Observation>;

    fn lower(resources: &[ResourceId], _: &Progress) -> Self::Params {
        (resources.iter().map(convert::resource_to_guest).collect(),)
    }

    fn lift(observed: Self::Wire, _: &mut HostCtx) -> Lifted<Vec<Observation>> {
        Ok(observed.into_iter().map(convert::observation_from_guest).collect())
    }

    fn check(asked: &[ResourceId], answered: &Vec<Observation>) -> Checked {
        bounds::observations(asked, answered)
    }
}
