//! Who a backend is.

pub use crate::bindings::backend::exports::wharf::volume::identity::{Description, Driver};
use crate::types::Parameters;

/// Who a backend is. Static: needs no cloud and no configuration, and always answers the same.
pub trait Identity {
    /// Name, version, drivers and capabilities.
    fn describe() -> Description;
}

impl Description {
    /// A backend that can do nothing yet. `name` is the manifest's, `version` is
    /// `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            drivers: Vec::new(),
            capabilities: Vec::new(),
            topology_keys: Vec::new(),
            observe_batch: 1,
            extensions: Parameters::new(),
        }
    }

    /// Adds a driver by its CSI name, and the FlexVolume names (`vendor/driver`) that mean the same
    /// volumes.
    #[must_use]
    pub fn serves<const N: usize>(
        mut self,
        name: impl Into<String>,
        flexvolume: [&str; N],
    ) -> Self {
        self.drivers.push(Driver {
            name: name.into(),
            flexvolume: flexvolume.map(str::to_owned).to_vec(),
            extensions: Parameters::new(),
        });
        self
    }

    /// Adds what the backend can do, in the contract's words (`create`, `attach`, `stage`, …).
    #[must_use]
    pub fn can<const N: usize>(mut self, capabilities: [&str; N]) -> Self {
        self.capabilities.extend(capabilities.map(str::to_owned));
        self
    }

    /// Adds keys of its topology segments.
    #[must_use]
    pub fn topology<const N: usize>(mut self, keys: [&str; N]) -> Self {
        self.topology_keys.extend(keys.map(str::to_owned));
        self
    }

    /// How many ids one `observe` call may carry.
    #[must_use]
    pub fn observes(mut self, at_once: u32) -> Self {
        self.observe_batch = at_once.max(1);
        self
    }
}
