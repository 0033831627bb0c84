//! A small HTTP/1 listener for probes and scrapes: a few pages, one request a connection, bounds on
//! everything that a caller can take. Who may connect is the address's affair: nothing secret is
//! shown here, and nothing can be changed.

mod listen;
mod server;

use std::future::Future;
use std::pin::Pin;

pub use listen::Listen;
pub use server::serve;

/// What one path answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The content type.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

impl Page {
    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", text: text.into() }
    }
}

/// The future of an answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Option<Page>> + Send + 'a>>;

/// The pages of one listener.
pub trait Pages: Send + Sync + 'static {
    /// The page of a path; `None`: there is none.
    fn answer<'a>(&'a self, path: &'a str) -> Answering<'a>;
}
