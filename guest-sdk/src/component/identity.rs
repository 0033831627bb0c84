//! `identity`.

use super::{Component, on_entry};
use crate::bindings::backend::exports::wharf::volume::identity::Guest;
use crate::error::Error;
use crate::identity::{Description, Identity};

impl<B: Identity> Guest for Component<B> {
    fn describe() -> Result<Description, Error> {
        on_entry();
        Ok(B::describe())
    }
}
