//! Sends finished traces to a collector (OTLP over HTTP). What happened in a call is a tree; its
//! root is sent when the call is over, and nobody waits for anything here. How bytes reach the
//! collector is the caller's, behind [`Way`].
//!
//! For the feature `otlp` of the binary. Who makes trees, and of what, is there.

use std::time::Instant;

mod sender;

pub use sender::{Collector, Headers, Posted, Sender, Way};

/// Something that happened, with what happened in it.
#[derive(Debug, Clone)]
pub struct Span {
    /// One of few names: a method, a function, an action as it is granted.
    pub name: String,
    /// Its part in the exchange.
    pub kind: Kind,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What else is known.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, in a few words; absent: it did not.
    pub error: Option<String>,
    /// What happened in it.
    pub parts: Vec<Span>,
}

/// The part of a span in an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody asked for it.
    Server,
    /// It asked somebody.
    Client,
    /// Neither.
    Internal,
}

/// What is known of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A word.
    Text(String),
    /// A number.
    Number(i64),
}
