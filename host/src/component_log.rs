//! What sandboxed components do, for the log: their calls, their requests and their plans, at level
//! `debug`. Texts and sizes only; no request's content, no context, no option.

use tracing::field::debug;
use wharf_core::plan::Plan;
use wharf_core::text::one_line;
use wharf_runtime::{CallEvent, Outcome, RequestEvent, RuntimeObserver};

/// As much as the log shows of one text in a plan: a serial, a summary in a sentence.
const SHOWN_BYTES: usize = 256;

/// Writes what components do to the log.
pub struct ComponentLog;

impl RuntimeObserver for ComponentLog {
    fn called(&self, event: &CallEvent<'_>) {
        let CallEvent { component, generation, function, http_requests: requests, .. } = *event;
        let (world, micros) = (event.world.noun(), micros(event.duration));
        let kind = match event.outcome {
            Outcome::Answered => None,
            Outcome::Failed(kind) | Outcome::Broken(kind) => Some(debug(kind)),
        };
        if matches!(event.outcome, Outcome::Broken(_)) {
            tracing::warn!(
                world,
                component,
                generation,
                micros,
                requests,
                kind,
                "{function} broke a bound or trapped"
            );
        } else {
            tracing::debug!(world, component, generation, micros, requests, kind, "{function}");
        }
    }

    fn planned(&self, function: &'static str, plan: &Plan) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let steps: Vec<String> =
                plan.steps.iter().map(|step| shown(&step.describe())).collect();
            tracing::debug!(
                function,
                summary = shown(&plan.summary),
                steps = steps.join(", "),
                "plan"
            );
        }
    }

    fn requested(&self, event: &RequestEvent<'_>) {
        let micros = micros(event.duration);
        match event.outcome {
            Ok(status) => tracing::debug!(
                endpoint = event.endpoint,
                status,
                id = event.id,
                micros,
                "request {}",
                event.action
            ),
            Err(kind) => tracing::debug!(
                endpoint = event.endpoint,
                ?kind,
                micros,
                "request {}",
                event.action
            ),
        }
    }
}

/// A backend's text in a line of the log: it neither ends the line nor fills the log.
fn shown(text: &str) -> String {
    one_line(text, SHOWN_BYTES)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_stays_in_one_line() {
        assert_eq!(shown("a disk\nroot: forged \u{1b}[31m"), "a disk root: forged  [31m");
        assert_eq!(shown(&"x".repeat(5000)).len(), SHOWN_BYTES);
    }
}
