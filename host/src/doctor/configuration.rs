//! What is allowed in a configuration and hardly meant. What is wrong keeps the doctor from looking
//! at anything.

use super::{Environment, Finding};
use crate::config::{Loaded, check};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let Ok(loaded) = Loaded::load(environment.path) else { return Vec::new() };
    let doubts = check::doubts(&loaded.config, &loaded.tree);
    let finding = |doubt: crate::config::mistake::Mistake| {
        let place = doubt.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
        Finding::new(
            format!("{place}{}", doubt.problem),
            "the configuration can be used, and does something else than it seems to say",
            doubt.fix,
        )
    };
    doubts.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, on};
    use super::examine;

    #[test]
    fn a_step_that_no_build_has_is_found_and_a_plain_configuration_is_not() {
        let root = tempfile::tempdir().unwrap();
        let text = "[backend.b.node]\nsteps = [\"formt\"]\n[driver.d]\nbackend = \"b\"\n";
        finds(&on(root.path(), text, examine), &["`formt`", "did you mean `format`?"]);
        assert_eq!(on(root.path(), &text.replace("formt", "format"), examine), []);
    }
}
