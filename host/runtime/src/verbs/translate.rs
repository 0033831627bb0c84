//! `legacy.translate`.

use wharf_core::types::{Progress, VolumeId};
use wharf_core::verbs::{Translate, TranslateRequest, Translated};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::legacy as wit;
use crate::bounds;
use crate::host::HostCtx;

/// Names keys of a context that CSI has no use for.
const ONLY_OVER_FLEXVOLUME: &str = "wharf.flexvolume-only";

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
        let wit::Translated { volume_id, context, extensions } = translated;
        let only = extensions.iter().find(|(key, _)| key == ONLY_OVER_FLEXVOLUME);
        let only = only.map(|(_, keys)| keys.as_str()).unwrap_or_default();
        let only =
            context.iter().map(|(key, _)| key).filter(|key| only.split(',').any(|it| it == *key));
        let only_over_flexvolume = only.cloned().collect();
        Ok(Translated { volume: VolumeId::new(volume_id), context, only_over_flexvolume })
    }

    fn check(_: &TranslateRequest, translated: &Translated) -> Checked {
        bounds::translated(translated)
    }
}
