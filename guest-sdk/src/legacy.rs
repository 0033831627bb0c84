//! FlexVolume's option maps in the words of the contract.

pub use crate::bindings::legacy::exports::wharf::volume::legacy::{
    LegacyVolume, TranslateRequest, Translated,
};
use crate::controller::unsupported;
use crate::error::Error;
use crate::types::{Parameters, Volume};

/// Translation of old option maps. A backend without FlexVolume names leaves it out.
pub trait Legacy {
    /// Which volume this map means. Pure; option keys are matched without regard to case.
    fn translate(_request: TranslateRequest) -> Result<Translated, Error> {
        Err(unsupported("serve FlexVolume"))
    }

    /// How a PersistentVolume of this driver (`vendor/driver`) names a volume: the inverse of
    /// `translate`. Pure.
    fn describe_volume(_driver: &str, _volume: Volume) -> Result<LegacyVolume, Error> {
        Err(unsupported("make volumes for FlexVolume"))
    }
}

impl LegacyVolume {
    /// A volume of this driver with these options; an empty file-system type means the default.
    pub fn new(driver: impl Into<String>, options: Parameters, fs_type: impl Into<String>) -> Self {
        Self { driver: driver.into(), options, fs_type: fs_type.into(), extensions: Vec::new() }
    }
}

impl TranslateRequest {
    /// A request, for tests.
    pub fn new(
        driver: impl Into<String>,
        volume_name: impl Into<String>,
        options: Parameters,
    ) -> Self {
        Self {
            driver: driver.into(),
            options,
            volume_name: volume_name.into(),
            extensions: Vec::new(),
        }
    }
}

impl Translated {
    /// This volume, with this context.
    pub fn new(volume_id: impl Into<String>, context: Parameters) -> Self {
        Self { volume_id: volume_id.into(), context, extensions: Vec::new() }
    }

    /// Says that this key of the context holds only while FlexVolume mounts the volume.
    #[must_use]
    pub fn only_over_flexvolume(mut self, key: &str) -> Self {
        const KEYS: &str = "wharf.flexvolume-only";
        match self.extensions.iter_mut().find(|(name, _)| name == KEYS) {
            Some((_, keys)) => keys.extend([",", key]),
            None => self.extensions.push((KEYS.to_owned(), key.to_owned())),
        }
        self
    }
}
