//! `list`: what it is asked, and what it answers.

use crate::types::Volume;

/// `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// At most so many, 1 to [`crate::types::LIST_PAGE`].
    pub max_entries: u32,
    /// Where the page starts; absent: at the first.
    pub starting_token: Option<String>,
}

/// One page of `list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}
