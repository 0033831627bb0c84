//! Ctrl-C and the like: noticed between two calls, so that what was made can be taken down in
//! order.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::signals::Ends;

/// Whether a signal came.
#[derive(Clone)]
pub struct Interrupt {
    pressed: Arc<AtomicBool>,
}

/// Why the demo stops early.
#[derive(Debug, Clone, Copy)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ended by a signal")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// From here on signals do not end the process.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut ends = Ends::listen()?;
        drop(guard);
        let pressed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&pressed);
        let wait = move || {
            runtime.block_on(async {
                loop {
                    ends.next().await;
                    if told.swap(true, Ordering::SeqCst) {
                        // The bed's watchman takes over, as after any sudden end.
                        std::process::exit(i32::from(super::BY_SIGNAL));
                    }
                    // The terminal may be what has gone.
                    let words = "\nended by a signal: cleaning up (again: end at once, and leave \
                                 that to a shell in the background)";
                    let _ = writeln!(std::io::stderr(), "{words}");
                }
            });
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)
            .context("cannot listen for signals")?;
        Ok(Self { pressed })
    }

    /// Whether one came.
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// An error if one came.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_pressed() { Err(Interrupted) } else { Ok(()) }
    }
}
