//! What `wharf doctor` finds on a node, as far as it takes a cloud to go wrong.

use serde_json::Value;
use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::requirement;

/// Findings of one examination of the bed's node.
fn findings(bed: &Bed, examination: &str) -> Vec<Value> {
    let arguments = ["doctor", "--only", examination, "--output", "json"];
    let ran = bed.node(0).run(bed.parts(), &arguments).unwrap();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let findings = told["findings"].as_array().unwrap().clone();
    assert_eq!(ran.code, Some(i32::from(!findings.is_empty())), "{ran:?}");
    findings
}

#[test]
fn a_node_that_does_not_know_how_many_volumes_it_can_hold_is_found() {
    const TEST: &str = "a_node_that_does_not_know_how_many_volumes_it_can_hold_is_found";
    if !requirement::machine(TEST) {
        return;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    assert_eq!(findings(&bed, "node-identity"), [] as [Value; 0]);
    let forbidden = Fault::fail(403, "Forbidden.RAM");
    bed.set_faults(vec![FaultRule::new("DescribeInstanceTypes", forbidden)]);
    let found = findings(&bed, "node-identity");
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    assert!(finding["problem"].as_str().unwrap().contains("how many volumes"), "{finding:#}");
    assert!(finding["mend"].as_str().unwrap().contains("`max-volumes`"), "{finding:#}");
}
