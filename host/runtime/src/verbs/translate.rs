//! `legacy.translate`.

use wharf_core::types::{Progress, TranslateRequest, Translated, VolumeId};
use wharf_core::verbs::Translate;

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::legacy as wit;
use crate::bounds;
use crate::host::HostCtx;

impl WasmVerb for Translate {
    const INTERFACE: &'static str = "legacy";
    const NETWORK: Network = Network::None;
    type Params = (wit::TranslateRequest,);
    type Wire = wit::Translated;

    fn lower(request: &TranslateRequest, _: &Progress) -> Self::Params {
        let TranslateRequest { driver, options, volume_name } = request;
        (wit::TranslateRequest {
            driver: driver.clone(),
            options: options.clone(),
            volume_name: volume_name.clone(),
            extensions: Vec::new(),
        },)
    }

    fn lift(translated: Self::Wire, _: &mut HostCtx) -> Lifted<Translated> {
        let wit::Translated { volume_id, context, extensions: _ } = translated;
        Ok(Translated { volume: VolumeId::new(volume_id), context })
    }

    fn check(_: &TranslateRequest, translated: &Translated) -> Checked {
        bounds::translated(translated)
    }
}
