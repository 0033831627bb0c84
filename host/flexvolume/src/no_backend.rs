//! The backend of what never calls one: `unmount` and `unmountdevice` get the core's node verbs
//! with this in the place of a component.

use std::sync::Arc;

use wharf_core::Error;
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{Description, Progress};
use wharf_core::verbs::Verb;

/// Refuses everything.
pub(crate) struct NoBackend;

impl<V: Verb> Ask<V> for NoBackend {
    fn ask(&self, _: &Call, _: &V::Request, _: &Progress) -> Result<V::Answer, Error> {
        Err(refused(V::NAME))
    }
}

impl Describe for NoBackend {
    fn description(&self, _: &Call) -> Result<Arc<Description>, Error> {
        Err(refused("describe"))
    }
}

fn refused(verb: &str) -> Error {
    Error::internal(format!("`{verb}` was asked of a backend while something was unmounted"))
}
