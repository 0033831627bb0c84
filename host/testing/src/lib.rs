//! What tests of several crates share: doubles that keep state. A dev-dependency only; nothing in the product calls it.

pub mod fakes;
