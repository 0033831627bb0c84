//! `legacy`.

use super::{Component, on_entry};
use crate::bindings::legacy::exports::wharf::volume::legacy::Guest;
use crate::error::Error;
use crate::legacy::{Legacy, LegacyVolume, TranslateRequest, Translated};
use crate::types::Volume;

impl<B: Legacy> Guest for Component<B> {
    fn translate(request: TranslateRequest) -> Result<Translated, Error> {
        on_entry();
        B::translate(request)
    }

    fn describe_volume(driver: String, volume: Volume) -> Result<LegacyVolume, Error> {
        on_entry();
        B::describe_volume(&driver, volume)
    }
}
