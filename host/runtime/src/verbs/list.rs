//! `controller.list`.

use wharf_core::types::Progress;
use wharf_core::verbs::{List, ListRequest, Listed};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for List {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Reads;
    type Params = (wit::ListRequest,);
    type Wire = wit::Listed;

    fn lower(request: &ListRequest, _: &Progress) -> Self::Params {
        let ListRequest { max_entries, starting_token } = request;
        (wit::ListRequest {
            max_entries: *max_entries,
            starting_token: starting_token.clone(),
            extensions: Vec::new(),
        },)
    }

    fn lift(listed: Self::Wire, _: &mut HostCtx) -> Lifted<Listed> {
        let wit::Listed { volumes, next_token, extensions: _ } = listed;
        let volumes = volumes.into_iter().map(convert::volume_from_guest).collect();
        Ok(Listed { volumes, next_token })
    }

    fn check(request: &ListRequest, listed: &Listed) -> Checked {
        bounds::listed(request.max_entries, listed)
    }
}
