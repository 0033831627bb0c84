//! Servers that run here: whether they answer, serve what is active, and get on with their work.

use wharf_modules::Serving;

use crate::status::{self, Report};

use super::{Environment, Finding};

pub fn examine(environment: &Environment<'_>) -> Vec<Finding> {
    let (reports, silent) = status::ask(&environment.config.status_directory());
    let mut findings: Vec<Finding> = reports.iter().flat_map(of_report).collect();
    findings.extend(silent.into_iter().map(|socket| {
        Finding::new(
            format!("a server does not tell its status: {socket}"),
            "it is stopped or hangs; its calls do too",
            "restart it: calls under way are repeated and find what was done",
        )
    }));
    findings
}

fn of_report(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(why) = &report.configuration_refused {
        findings.push(Finding::new(
            format!("the changed configuration is not in force in process {}: {why}", report.pid),
            "the server goes on with the one that it was started with",
            "wharf config check",
        ));
    }
    for driver in &report.drivers {
        if let Some(trouble) = &driver.trouble {
            findings.push(Finding::new(
                format!("driver {} is not served: {trouble}", driver.name),
                "kubelet and the sidecars get no answer; other drivers go on",
                "end whoever has its socket: an earlier driver, or another server of this one",
            ));
        }
    }
    for component in &report.components {
        if let Some(finding) = of_component(report, component) {
            findings.push(finding);
        }
    }
    for operation in report.wedged() {
        findings.push(Finding::new(
            operation.in_words(),
            "other calls for this volume are told to come back",
            "mend what it waits for; a restart of the server gives the volume free as well",
        ));
    }
    findings
}

fn of_component(report: &Report, component: &Serving) -> Option<Finding> {
    let (serving, active) = (component.generation?, component.active?);
    if serving == active {
        return None;
    }
    let why = component.why_not.as_deref().unwrap_or_default();
    let Serving { kind, component: name, .. } = component;
    Some(Finding::new(
        format!(
            "{kind} \"{name}\": generation {serving} serves in process {} ({}), and {active} is \
             active: {why}",
            report.pid, report.role
        ),
        "the new generation is not in use there; the one before it goes on",
        format!("wharf {kind} rollback {name}, or install a build that this Wharf runs"),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::tests::{finds, on};
    use super::*;
    use crate::status::{DriverReport, OperationReport};

    fn report() -> Report {
        Report {
            role: "node".into(),
            pid: 7,
            version: "1".into(),
            started: 0,
            drivers: vec![DriverReport { name: "d".into(), socket: "/s".into(), trouble: None }],
            components: vec![Serving {
                kind: "authenticator".into(),
                component: "auth".into(),
                generation: Some(1),
                version: Some("1".into()),
                active: Some(1),
                why_not: None,
            }],
            operations: vec![OperationReport {
                driver: "d".into(),
                verb: "attach".into(),
                volume: "v".into(),
                seconds: 30,
                waits_for: "the cloud".into(),
            }],
            pace: Vec::new(),
            configuration_refused: None,
        }
    }

    #[test]
    fn a_server_that_gets_on_is_well_and_what_does_not_is_found() {
        assert_eq!(of_report(&report()), []);
        let mut old = report();
        old.operations.first_mut().unwrap().seconds = 700;
        finds(&of_report(&old), &["under way for 11 minutes", "waits for: the cloud"]);
        let mut stuck = report();
        let component = stuck.components.first_mut().unwrap();
        (component.active, component.why_not) = (Some(2), Some("it needs another host".into()));
        finds(&of_report(&stuck), &["generation 1 serves", "authenticator rollback auth"]);
        let mut unserved = report();
        unserved.drivers.first_mut().unwrap().trouble = Some("the socket is in use".into());
        finds(&of_report(&unserved), &["the socket is in use"]);
        let mut changed = report();
        changed.configuration_refused = Some("unknown key `driverz`".into());
        finds(&of_report(&changed), &["not in force in process 7", "driverz", "config check"]);
        let mut idle = report();
        idle.components.first_mut().unwrap().generation = None;
        assert_eq!(of_report(&idle), [], "nothing has needed it yet");
    }

    #[test]
    fn a_server_that_does_not_answer_is_found() {
        let root = tempfile::tempdir().unwrap();
        let text = format!("status = \"{}\"\n", root.path().display());
        assert_eq!(on(root.path(), &text, examine), []);
        let _deaf = UnixListener::bind(root.path().join("node.sock")).unwrap();
        finds(&on(root.path(), &text, examine), &["does not tell its status", "restart"]);
    }
}
