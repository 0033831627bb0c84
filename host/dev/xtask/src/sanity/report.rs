//! csi-sanity's report: which checks passed and failed, and whether each skip is one that we
//! expect (`skips`). An unexpected skip is a failure: a capability that vanished would otherwise
//! look like success.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::skips::{AllowedSkip, reason_to_skip};
use crate::tally::Tally;

/// What Ginkgo writes for `--ginkgo.json-report`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    #[serde(default)]
    spec_reports: Vec<Spec>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

/// Reads the report of a driver of which these checks may be skipped, besides those of every
/// driver. No checks at all is an error: something else went wrong then.
pub fn parse(text: &str, skips: &[AllowedSkip]) -> Result<Tally> {
    let suites: Vec<Suite> =
        serde_json::from_str(text).context("cannot read csi-sanity's report")?;
    let mut tally = Tally::default();
    for suite in &suites {
        suite.spec_reports.iter().for_each(|spec| spec.count(&mut tally, skips));
        tally.failures.extend(suite.special_suite_failure_reasons.iter().flatten().cloned());
    }
    ensure!(tally.passed() + tally.failures.len() > 0, "csi-sanity ran no check");
    Ok(tally)
}

impl Spec {
    fn count(&self, tally: &mut Tally, skips: &[AllowedSkip]) {
        let reason = if self.state == "pending" { "pending" } else { self.failure.message.trim() };
        match self.state.as_str() {
            "passed" if self.leaf_node_type == "It" => tally.pass(),
            // Set-up and clean-up around the checks.
            "passed" => {}
            "skipped" | "pending" => match reason_to_skip(skips, reason_of(reason)) {
                Some(because) => {
                    tally.skips.push(format!("{}: {} ({because})", self.name(), reason_of(reason),))
                }
                None => tally
                    .failures
                    .push(format!("{}: skipped, and it should not be: {reason}", self.name())),
            },
            state => tally.failures.push(format!(
                "{}: {state}: {}",
                self.name(),
                reason.lines().next().unwrap_or_default()
            )),
        }
    }

    fn name(&self) -> String {
        let containers = self.container_hierarchy_texts.iter().flatten().map(String::as_str);
        containers
            .chain([self.leaf_node_text.as_str()])
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The reason alone, without what Ginkgo may put on further lines.
fn reason_of(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::super::skips::DISK;
    use super::*;

    fn spec(text: &str, state: &str, message: &str) -> serde_json::Value {
        serde_json::json!({
            "ContainerHierarchyTexts": ["Node Service", "NodeGetInfo"], "LeafNodeType": "It", "LeafNodeText": text, "State": state,
            "Failure": {"Message": message, "Location": {"LineNumber": 1}},
        })
    }

    fn parse_specs(specs: Vec<serde_json::Value>) -> Result<Tally> {
        parse(
            &serde_json::json!([{"SpecReports": specs, "SpecialSuiteFailureReasons": null}])
                .to_string(),
            DISK,
        )
    }

    #[test]
    fn passed_failed_and_expected_skips_are_counted_with_their_reasons() {
        let tally = parse_specs(vec![
            spec("works", "passed", ""),
            spec("breaks", "failed", "expected 1\nto equal 2"),
            spec("explodes", "panicked", "nil"),
            spec("clones", "skipped", "Volume Cloning not supported"),
            spec("later", "pending", ""),
        ])
        .unwrap();
        assert_eq!(tally.passed(), 1);
        assert_eq!(
            tally.failures,
            [
                "Node Service NodeGetInfo breaks: failed: expected 1",
                "Node Service NodeGetInfo explodes: panicked: nil"
            ]
        );
        assert_eq!(tally.skips.len(), 2);
        assert!(
            tally.skips.iter().any(|skip| skip
                .ends_with("(the cloud makes a disk from a snapshot, never from a disk)")),
            "{:?}",
            tally.skips
        );
    }

    #[test]
    fn a_skip_that_nobody_expects_is_a_failure() {
        let tally = parse_specs(vec![
            spec("works", "passed", ""),
            spec("attaches", "skipped", "ControllerPublishVolume not supported"),
        ])
        .unwrap();
        assert_eq!(
            tally.failures,
            ["Node Service NodeGetInfo attaches: skipped, and it should not be: \
              ControllerPublishVolume not supported"]
        );
    }

    #[test]
    fn a_report_without_a_single_check_is_an_error() {
        assert!(parse("[]", DISK).is_err());
        assert!(parse_specs(vec![spec("later", "pending", "")]).is_err());
        assert!(parse("", DISK).is_err());
    }
}
