//! Whether Kubernetes Events can be made, where they are wanted.

use std::time::Duration;

use super::{Environment, Finding};
use crate::events::{Api, may};

/// What is done with Events: made, and counted up.
const VERBS: [&str; 2] = ["create", "patch"];
/// For each question. An API server answers in milliseconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let section = &environment.config.events;
    if !section.enabled {
        return Vec::new();
    }
    let said = Api::new(section).and_then(|api| may(&api, &VERBS, ANSWERS_WITHIN));
    let missing: Vec<&str> = match said {
        Ok(allowed) => {
            VERBS.into_iter().zip(allowed).filter(|(_, may)| !may).map(|(verb, _)| verb).collect()
        }
        Err(why) => {
            return vec![Finding::new(
                format!("no Kubernetes Events can be made: {why}"),
                "what a person has to see to stands in the log and in `wharf status` alone",
                "turn on `events.node` or `events.controller` of the chart, which give the \
                 container a token and its pod's name; or turn off `enabled` of `[events]`",
            )];
        }
    };
    if missing.is_empty() {
        return Vec::new();
    }
    vec![Finding::new(
        format!(
            "this pod's ServiceAccount may not `{}` events in its namespace",
            missing.join("`, `")
        ),
        "what a person has to see to stands in the log and in `wharf status` alone",
        "bind a Role with `resources: [events]`, `verbs: [create, patch]` to it, as the chart does \
         with `events.node` and `events.controller`",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on};
    use super::examine;

    #[test]
    fn events_that_are_wanted_and_have_no_way_are_found_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(on(root.path(), "", examine), []);
        // The environment of a test names no pod.
        finds(
            &on(root.path(), "[events]\nenabled = true\n", examine),
            &["no KUBERNETES_SERVICE_HOST"],
        );
    }
}
