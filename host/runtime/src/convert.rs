//! The nouns of the contract, between the component's side and the core's.
//!
//! Every record is taken apart by name without `..` and every enum matched without a wildcard: a
//! change of the contract that is not carried over does not compile. Nothing is judged here; that
//! is [`crate::bounds`].

mod from_guest;
mod to_guest;

pub(crate) use from_guest::*;
pub(crate) use to_guest::*;

#[cfg(test)]
mod tests;
