//! `legacy.describe-volume`.

use wharf_core::types::Progress;
use wharf_core::verbs::{DescribeVolume, DescribeVolumeRequest, LegacyVolume};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::legacy as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for DescribeVolume {
    const INTERFACE: &'static str = "legacy";
    const NETWORK: Network = Network::None;
    type Params = (String, types::Volume);
    type Wire = wit::LegacyVolume;

    fn lower(request: &DescribeVolumeRequest, _: &Progress) -> Self::Params {
        let DescribeVolumeRequest { driver, volume } = request;
        (driver.clone(), convert::volume_to_guest(volume))
    }

    fn lift(described: Self::Wire, _: &mut HostCtx) -> Lifted<LegacyVolume> {
        let wit::LegacyVolume { driver, options, fs_type, extensions: _ } = described;
        Ok(LegacyVolume { driver, options, fs_type })
    }

    fn check(_: &DescribeVolumeRequest, described: &LegacyVolume) -> Checked {
        bounds::text("legacy-volume.driver", &described.driver, bounds::ID_BYTES)?;
        bounds::text("legacy-volume.fs-type", &described.fs_type, bounds::ID_BYTES)?;
        bounds::map("legacy-volume.options", &described.options)
    }
}
