//! Whether there are keys, and the cloud takes them: every driver whose volumes can be listed is
//! asked for one.

use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::ports::Call;

use super::parallel::in_parallel;
use super::{Environment, Finding};
use crate::assembly::{Assembly, Process};

/// A listing takes some hundred milliseconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(12);

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Ok(assembly) = Assembly::new(environment.config, &Process::OneCall) else {
        return Vec::new();
    };
    let drivers: Vec<&String> = environment.config.driver.keys().collect();
    let asked = in_parallel(&drivers, |driver| {
        let call = Call::until(assembly.clock().now() + ANSWERS_WITHIN);
        let listed = assembly.controller(driver).and_then(|it| it.list(&call, 1, None));
        of_error(driver, &listed.err()?)
    });
    asked.into_iter().filter_map(|(_, finding)| finding).collect()
}

/// What is not about keys is another examination's.
fn of_error(driver: &str, error: &wharf_core::Error) -> Option<Finding> {
    let (meaning, usual) = match error.kind {
        ErrorKind::Unauthenticated => (
            "nothing of the cloud can be asked: volumes are neither made nor attached",
            "see `source` of the account that signs: a key may be missing, expired or disabled",
        ),
        ErrorKind::PermissionDenied => (
            "the keys are good, and may not do this",
            "grant the action to the key's user or role in the cloud, or to the backend here",
        ),
        _ => return None,
    };
    let mend = error.hint.clone().unwrap_or_else(|| usual.to_owned());
    let said = error.message.strip_prefix(&format!("{driver}: ")).unwrap_or(&error.message);
    Some(Finding::new(format!("driver {driver}: {said}"), meaning, mend))
}

#[cfg(test)]
mod tests {
    use wharf_core::{Blame, Error};

    use super::*;

    #[test]
    fn refusals_of_keys_are_findings_and_other_failures_are_not() {
        let of = |kind| of_error("d", &Error::new(kind, Blame::Cloud, "InvalidAccessKeyId"));
        let found = of(ErrorKind::Unauthenticated).unwrap();
        assert!(found.problem.contains("InvalidAccessKeyId") && found.mend.contains("`source`"));
        assert!(of(ErrorKind::PermissionDenied).is_some());
        for kind in [ErrorKind::Unsupported, ErrorKind::Unavailable, ErrorKind::Throttled] {
            assert_eq!(of(kind), None);
        }
    }
}
