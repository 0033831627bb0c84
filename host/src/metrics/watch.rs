//! What the front end and the runtime report while it happens.

use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::plan::Plan;
use wharf_csi::{Answered, CallObserver, Work, Working};
use wharf_runtime::{CallEvent, Outcome, RequestEvent, RuntimeObserver};

use super::Metrics;
use super::operations::Spent;
use crate::component_log::ComponentLog;

/// What stands where a label has no bound of its own.
const OTHER: &str = "other";

impl CallObserver for Metrics {
    fn working(&self, work: &Work<'_>) -> Box<dyn Working> {
        let (table, rpc, driver) = (self.table.clone(), work.rpc, work.driver.to_owned());
        self.operations.begin(work, move |whole, spent| {
            let Spent { guest, cloud, waiting } = spent;
            let host = whole.saturating_sub(guest + cloud + waiting);
            let parts = [("guest", guest), ("cloud", cloud), ("waiting", waiting), ("host", host)];
            for (part, time) in parts {
                table.call_seconds.add([&driver, rpc, part], time.as_secs_f64());
            }
        })
    }

    fn answered(&self, answered: &Answered<'_>) {
        let Answered { driver, rpc, code, duration } = *answered;
        let seconds = duration.as_secs_f64();
        self.table.call_duration.observe([driver, rpc, code], seconds);
        let backend = self.backends.get(driver).map_or(OTHER, String::as_str);
        self.table.legacy_count.count([rpc, backend, code]);
        self.table.legacy_time.add([rpc, backend, code], seconds);
    }
}

impl RuntimeObserver for Metrics {
    fn called(&self, event: &CallEvent<'_>) {
        ComponentLog.called(event);
        let CallEvent { world, component, function, outcome, .. } = *event;
        let CallEvent { duration, waited, nested, .. } = *event;
        let guest = duration.saturating_sub(waited + nested);
        Spent { guest, cloud: waited, waiting: Duration::ZERO }.note();
        let outcome = match outcome {
            Outcome::Answered => "answered",
            Outcome::Failed(_) => "failed",
            Outcome::Broken(ErrorKind::PermissionDenied) => "refused",
            Outcome::Broken(_) => "trapped",
        };
        self.table.component_calls.add([world.noun(), component, function, outcome], 1.0);
        self.table.component_seconds.add([world.noun(), component, function], guest.as_secs_f64());
        if outcome == "trapped" {
            self.table.component_traps.add([world.noun(), component], 1.0);
        }
    }

    fn planned(&self, function: &'static str, plan: &Plan) {
        ComponentLog.planned(function, plan);
    }

    fn requested(&self, event: &RequestEvent<'_>) {
        ComponentLog.requested(event);
        // What no grant covers never left, and its endpoint and action are a guest's words.
        let (endpoint, action) =
            event.granted.map_or((OTHER, OTHER), |granted| (event.endpoint, granted));
        let status;
        let code = match event.outcome {
            Ok(code) => {
                status = code.to_string();
                status.as_str()
            }
            Err(kind) => word(kind),
        };
        self.table.cloud_requests.add([endpoint, action, code], 1.0);
        self.table.cloud_duration.observe([endpoint, action], event.duration.as_secs_f64());
    }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "invalid-argument",
        ErrorKind::NotFound => "not-found",
        ErrorKind::AlreadyExists => "already-exists",
        ErrorKind::FailedPrecondition => "failed-precondition",
        ErrorKind::ResourceExhausted => "resource-exhausted",
        ErrorKind::OutOfRange => "out-of-range",
        ErrorKind::PermissionDenied => "permission-denied",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Throttled => "throttled",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Aborted => "aborted",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::DeadlineExceeded => "deadline-exceeded",
        ErrorKind::Internal | ErrorKind::Other => "internal",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wharf_core::manifest::World;

    use super::*;

    fn call(outcome: Outcome) -> CallEvent<'static> {
        CallEvent {
            world: World::Backend,
            component: "disk",
            generation: 1,
            function: "attach",
            began: Instant::now(),
            duration: Duration::from_secs(6),
            http_requests: 1,
            waited: Duration::from_secs(2),
            nested: Duration::from_secs(3),
            outcome,
        }
    }

    #[test]
    fn traps_and_refusals_are_told_apart_and_requests_are_no_computing() {
        let metrics = Metrics::new([].into());
        for outcome in [
            Outcome::Answered,
            Outcome::Failed(ErrorKind::NotFound),
            Outcome::Broken(ErrorKind::PermissionDenied),
            Outcome::Broken(ErrorKind::Internal),
        ] {
            metrics.called(&call(outcome));
        }
        let text = metrics.text();
        for outcome in ["answered", "failed", "refused", "trapped"] {
            let line = format!(
                "wharf_component_calls_total{{kind=\"backend\",component=\"disk\",function=\"attach\",outcome=\"{outcome}\"}} 1.0\n"
            );
            assert!(text.contains(&line), "{text}");
        }
        assert!(
            text.contains("wharf_component_traps_total{kind=\"backend\",component=\"disk\"} 1.0\n"),
            "{text}"
        );
        let computed = "wharf_component_seconds_total{kind=\"backend\",component=\"disk\",function=\"attach\"} 4.0\n";
        assert!(text.contains(computed), "{text}");
    }

    #[test]
    fn words_of_a_guest_are_no_label() {
        let metrics = Metrics::new([].into());
        for n in 0..100 {
            metrics.requested(&RequestEvent {
                endpoint: &format!("made-up-{n}"),
                action: &format!("Made{n}"),
                granted: None,
                id: None,
                began: Instant::now(),
                duration: Duration::ZERO,
                outcome: Err(ErrorKind::PermissionDenied),
            });
        }
        metrics.requested(&RequestEvent {
            endpoint: "ecs",
            action: "DescribeSecretThings",
            granted: Some("Describe*"),
            id: None,
            began: Instant::now(),
            duration: Duration::ZERO,
            outcome: Ok(200),
        });
        let text = metrics.text();
        assert!(
            text.contains(
                "{endpoint=\"other\",action=\"other\",code=\"permission-denied\"} 100.0\n"
            )
        );
        assert!(text.contains("{endpoint=\"ecs\",action=\"Describe*\",code=\"200\"} 1.0\n"));
        assert!(!text.contains("made-up") && !text.contains("Secret"), "{text}");
    }
}
