//! The port through which a call-out reaches the rest of the binary.

use std::sync::Arc;

use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::ports::{Clock, Node};

use crate::driver_file::DriverFile;

/// What one call-out works with.
pub struct Services {
    /// [`Controller::for_one_call`]: this process makes one call and exits.
    pub controller: Controller,
    /// The node verbs.
    pub node: NodeService,
    /// The clock that both use; deadlines are set by it.
    pub clock: Arc<dyn Clock>,
}

/// What `unmount` and `unmountdevice` work with.
pub struct Teardown {
    /// This machine.
    pub node: Arc<dyn Node>,
    /// The clock that deadlines are set by.
    pub clock: Arc<dyn Clock>,
}

/// Makes [`Services`] for an installed driver. The binary implements it.
pub trait Open {
    /// Called at most once in a process, and never for `init`, `getvolumename`, `unmount`,
    /// `unmountdevice` or what is not supported.
    ///
    /// It reads the configuration. It must not open the component store: whatever finds its work
    /// done never calls the backend, and has to work when there is none.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for a person.
    fn open(&self, driver: &DriverFile) -> Result<Services, Error>;

    /// For `unmount` and `unmountdevice`, from the driver file alone: a volume has to leave the
    /// node whatever has become of the configuration.
    ///
    /// # Errors
    /// What an old driver file leaves to the configuration, and is wrong there.
    fn teardown(&self, driver: &DriverFile) -> Result<Teardown, Error>;
}
