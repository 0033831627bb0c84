//! A guest's lines on their way to the host's log: bounded, in one line each, and without the secrets that the guest was given.

use std::sync::Arc;

use crate::secret::Secret;

/// A panic's text is no longer than this: a location and a message; it ends in an error that a person reads.
const PANIC_BYTES: usize = 4 << 10;
/// Shorter values are not looked for: they are no secrets, and their removal would garble everything else.
const SHORTEST_SECRET: usize = 6;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one call.
pub(crate) struct GuestLog {
    component: Arc<str>,
    function: &'static str,
    left: usize,
    dropped: usize,
    panic: Option<String>,
    secrets: Vec<Secret>,
}

impl GuestLog {
    pub(crate) fn new(component: Arc<str>, function: &'static str, bytes: usize) -> Self {
        Self { component, function, left: bytes, dropped: 0, panic: None, secrets: Vec::new() }
    }

    /// Values that must not appear in what this guest says.
    pub(crate) fn hide(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        self.secrets.extend(secrets.into_iter().filter(|secret| secret.expose().len() >= SHORTEST_SECRET));
    }

    pub(crate) fn write(&mut self, level: Level, message: &str) {
        if message.len() > self.left {
            self.dropped += message.len();
            return;
        }
        self.left -= message.len();
        let line = self.clean(message);
        let (component, function) = (&*self.component, self.function);
        match level {
            Level::Debug => tracing::debug!(target: "wharf::guest", component, function, "{line}"),
            Level::Info => tracing::info!(target: "wharf::guest", component, function, "{line}"),
            Level::Warn => tracing::warn!(target: "wharf::guest", component, function, "{line}"),
            Level::Error => tracing::error!(target: "wharf::guest", component, function, "{line}"),
        }
    }

    /// Keeps the first panic's text.
    pub(crate) fn panicked(&mut self, message: &str) {
        if self.panic.is_none() {
            self.panic = Some(self.clean(cut(message, PANIC_BYTES)));
        }
    }

    pub(crate) fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// Text of this guest, fit for a log line or an error.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in &self.secrets {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), "[hidden]");
            }
        }
        clean
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let (component, function, dropped) = (&*self.component, self.function, self.dropped);
            tracing::warn!(target: "wharf::guest", component, function, dropped, "{dropped} bytes of log text were above this call's bound and were dropped");
        }
    }
}

/// At most so many bytes, ending between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_above_the_bound_is_dropped_and_counted() {
        let mut log = GuestLog::new("x".into(), "attach", 10);
        log.write(Level::Info, "12345678");
        log.write(Level::Info, "12345678");
        assert_eq!((log.left, log.dropped), (2, 8));
    }

    #[test]
    fn secrets_and_line_breaks_do_not_pass() {
        let mut log = GuestLog::new("x".into(), "sign", 10);
        log.hide([Secret::new("hunter22"), Secret::new("ab")]);
        assert_eq!(log.clean("key is hunter22\nabout it"), "key is [hidden] about it");
        log.panicked("at hunter22");
        log.panicked("second");
        assert_eq!(log.panic(), Some("at [hidden]"));
    }

    #[test]
    fn a_cut_ends_between_two_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 9), "aäb");
    }
}
