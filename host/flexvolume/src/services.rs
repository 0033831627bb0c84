//! The port through which a call-out reaches the rest of the binary.

use std::sync::Arc;

use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::ports::Clock;

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

/// Makes [`Services`] for an installed driver. The binary implements it.
pub trait Open {
    /// Called at most once in a process, and never for `init`, `getvolumename` or what is not supported.
    ///
    /// It reads the configuration. It must not open the component store: `unmount`, `unmountdevice` and whatever finds its work done
    /// never call the backend, and have to work when there is none.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for a person.
    fn open(&self, driver: &DriverFile) -> Result<Services, Error>;
}
