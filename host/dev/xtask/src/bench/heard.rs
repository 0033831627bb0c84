//! How long single calls take, without what a player does beside them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use wharf_testing::player::{Audience, Event, Happening};

/// How long each call took, as its client has it.
#[derive(Default, Clone)]
pub struct Heard(Arc<Mutex<HashMap<String, Duration>>>);

impl Heard {
    /// Who is told of calls, for a player.
    pub fn audience(&self) -> Audience {
        let heard = self.clone();
        Arc::new(move |event: &Event| {
            if let Happening::Answered { took, .. } = event.happening {
                heard.all().insert(event.call.clone(), took);
            }
        })
    }

    /// The last one of this name, in milliseconds. It is over.
    pub fn last(&self, call: &str) -> Result<f64> {
        let took = self.all().remove(call).with_context(|| format!("there was no {call}"))?;
        Ok(took.as_secs_f64() * 1e3)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
