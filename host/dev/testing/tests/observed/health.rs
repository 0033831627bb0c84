//! Checks that need a backend that works, or a call that does not end.

use std::fs;
use std::time::Duration;

use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER};
use wharf_testing::requirement;

use super::scene::{add_to_configuration, check, start_stuck, wait_for};

fn one_node() -> BedOptions {
    BedOptions { nodes: 1, ..BedOptions::default() }
}

#[test]
fn a_node_and_a_controller_whose_backends_work_are_ready_and_name_every_check() {
    const TEST: &str = "a_node_and_a_controller_whose_backends_work_are_ready_and_name_every_check";
    if !requirement::machine(TEST) {
        return;
    }
    let bed = Bed::make(&one_node()).unwrap();
    bed.serve().unwrap();
    for machine in [bed.node(0), bed.manager()] {
        wait_for("readiness", || (machine.page("/readyz").unwrap().0 == 200).then_some(()));
        let (_, text) = machine.page("/readyz").unwrap();
        for name in
            [&format!("csi {CSI_DRIVER}"), "store", "calls", "backend disk", "authenticator auth"]
        {
            assert!(text.contains(&format!("[+]{name}: ok, ")), "{name}:\n{text}");
        }
        assert!(text.ends_with("readyz check passed\n"), "{text}");
    }
    // Only a node has kubelet.
    let offered = format!("[+]registration {CSI_DRIVER}: ok, ");
    assert!(bed.node(0).page("/readyz").unwrap().1.contains(&offered));
    assert!(!bed.manager().page("/readyz").unwrap().1.contains("registration"));
}

#[test]
fn a_component_that_cannot_be_loaded_fails_readiness_until_it_can_and_never_liveness() {
    const TEST: &str =
        "a_component_that_cannot_be_loaded_fails_readiness_until_it_can_and_never_liveness";
    if !requirement::machine(TEST) {
        return;
    }
    let bed = Bed::make(&one_node()).unwrap();
    let node = bed.node(0);
    let whole = node.directory().join("whole-store");
    fs::rename(node.store(), &whole).unwrap();
    fs::create_dir(node.store()).unwrap();
    bed.serve().unwrap();
    assert_eq!(node.page("/readyz").unwrap().0, 503);
    let missing = check(node, "/readyz", "backend disk");
    assert!(missing.starts_with("[-]") && missing.contains("disk"), "{missing}");
    assert_eq!(node.page("/healthz").unwrap().0, 200);
    fs::remove_dir(node.store()).unwrap();
    fs::rename(&whole, node.store()).unwrap();
    // The probe itself has the backend asked again.
    wait_for("readiness", || (node.page("/readyz").unwrap().0 == 200).then_some(()));
}

#[test]
fn a_call_far_beyond_its_deadline_fails_liveness_and_one_that_may_still_be_at_work_does_not() {
    const TEST: &str =
        "a_call_far_beyond_its_deadline_fails_liveness_and_one_that_may_still_be_at_work_does_not";
    if !requirement::machine(TEST) {
        return;
    }
    for is_patient in [true, false] {
        let bed = Bed::make(&one_node()).unwrap();
        bed.manager().serve("controller", bed.parts()).unwrap();
        let node = bed.node(0);
        if !is_patient {
            add_to_configuration(node, "\n[http]\nwedged-after-seconds = 1\n");
        }
        let _stuck = start_stuck(&bed, node, Duration::from_secs(2));
        let overdue = format!("wharf_csi_overdue_calls{{driver=\"{CSI_DRIVER}\"}} 1.0");
        wait_for("the deadline", || {
            node.page("/metrics").unwrap().1.contains(&overdue).then_some(())
        });
        if is_patient {
            assert_eq!(node.page("/healthz").unwrap().0, 200);
            continue;
        }
        let wedged = wait_for("the wedge", || {
            let line = check(node, "/healthz", "calls");
            line.starts_with("[-]").then_some(line)
        });
        assert!(wedged.contains("NodeStageVolume"), "{wedged}");
        assert_eq!(node.page("/healthz").unwrap().0, 503);
    }
}

#[test]
fn a_process_that_drains_is_alive_and_not_ready() {
    const TEST: &str = "a_process_that_drains_is_alive_and_not_ready";
    if !requirement::machine(TEST) {
        return;
    }
    let bed = Bed::make(&one_node()).unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    let node = bed.node(0);
    let (server, _call) = start_stuck(&bed, node, Duration::from_secs(120));
    assert_eq!(node.page("/healthz").unwrap().0, 200);
    server.terminate();
    wait_for("the drain", || {
        let (status, text) = node.page("/readyz").unwrap();
        (status == 503 && text.contains("it is ending")).then_some(())
    });
    assert_eq!(node.page("/healthz").unwrap().0, 200);
}
