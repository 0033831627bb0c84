//! A guest's lines on their way to the host's log: bounded, in one line each, and without the
//! secrets that the guest was given.

use std::borrow::Cow;
use std::sync::Arc;

use wharf_core::Secret;
use wharf_core::text::one_line;

/// A panic's text is no longer than this: a location and a message; it ends in an error that a
/// person reads.
const PANIC_BYTES: usize = 4 << 10;
/// Shorter values are not looked for: they are no secrets, and their removal would garble
/// everything else.
const SHORTEST_SECRET: usize = 6;

/// What a line costs besides its text: the time, the target and the fields that are written with
/// it. Empty lines are bounded by it.
const LINE_BYTES: usize = 128;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Makes a guest's text fit for people: what must not be seen is struck out.
#[derive(Default)]
pub(crate) struct Scrubber {
    secrets: Vec<Secret>,
}

impl Scrubber {
    /// Longest first: a secret may be part of another.
    fn hide(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        self.secrets
            .extend(secrets.into_iter().filter(|secret| secret.expose().len() >= SHORTEST_SECRET));
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// One line of at most so many bytes. Secrets go first, while they are still in one piece: they
    /// may have line breaks, and a cut may go through one.
    pub(crate) fn clean(&self, text: &str, bytes: usize) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.expose()) {
                text = Cow::Owned(text.replace(secret.expose(), "[hidden]"));
            }
        }
        one_line(text.trim_end(), bytes)
    }
}

/// The log of one call.
pub(crate) struct GuestLog {
    component: Arc<str>,
    function: &'static str,
    left: usize,
    dropped_lines: usize,
    dropped_bytes: usize,
    panic: Option<String>,
    scrubber: Scrubber,
}

impl GuestLog {
    pub(crate) fn new(component: Arc<str>, function: &'static str, bytes: usize) -> Self {
        Self {
            component,
            function,
            left: bytes,
            dropped_lines: 0,
            dropped_bytes: 0,
            panic: None,
            scrubber: Scrubber::default(),
        }
    }

    /// Values that must not appear in what this guest says.
    pub(crate) fn hide(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        self.scrubber.hide(secrets);
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    pub(crate) fn write(&mut self, level: Level, message: &str) {
        let Some(left) = self.left.checked_sub(message.len().saturating_add(LINE_BYTES)) else {
            self.dropped_lines += 1;
            self.dropped_bytes = self.dropped_bytes.saturating_add(message.len());
            return;
        };
        self.left = left;
        let line = self.scrubber.clean(message, message.len());
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
            self.panic = Some(self.scrubber.clean(message, PANIC_BYTES));
        }
    }

    pub(crate) fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        if self.dropped_lines > 0 {
            let (component, function, lines, bytes) =
                (&*self.component, self.function, self.dropped_lines, self.dropped_bytes);
            tracing::warn!(target: "wharf::guest", component, function, "{lines} lines ({bytes} bytes) of log text were above this call's bound and were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_above_the_bound_is_dropped_and_counted() {
        let mut log = GuestLog::new("x".into(), "attach", LINE_BYTES + 10);
        log.write(Level::Info, "12345678");
        log.write(Level::Info, "12345678");
        assert_eq!((log.left, log.dropped_lines, log.dropped_bytes), (2, 1, 8));
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let mut log = GuestLog::new("x".into(), "attach", 10 * LINE_BYTES);
        (0..1000).for_each(|_| log.write(Level::Info, ""));
        assert_eq!((log.left, log.dropped_lines), (0, 990));
    }

    #[test]
    fn secrets_and_line_breaks_do_not_pass() {
        let mut log = GuestLog::new("x".into(), "sign", 10);
        log.hide([Secret::new("hunter22"), Secret::new("ab")]);
        assert_eq!(
            log.scrubber().clean("key is hunter22\nabout it\n", 99),
            "key is [hidden] about it"
        );
        log.panicked("at hunter22");
        log.panicked("second");
        assert_eq!(log.panic(), Some("at [hidden]"));
    }

    #[test]
    fn a_secret_is_found_across_lines_across_a_cut_and_inside_of_another() {
        let mut scrubber = Scrubber::default();
        scrubber.hide([Secret::new("-BEGIN-"), Secret::new("-BEGIN-\nsecond line\n-END-")]);
        assert_eq!(scrubber.clean("a -BEGIN-\nsecond line\n-END- b", 99), "a [hidden] b");
        for bytes in 0..40 {
            let seen = scrubber.clean("a -BEGIN-\nsecond line\n-END-", bytes);
            assert!(seen.len() <= bytes && !seen.contains("BEGIN"), "{seen}");
        }
    }
}
