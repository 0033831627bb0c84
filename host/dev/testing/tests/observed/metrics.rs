//! Each number moves when what it counts happens. Those of helpers move in `oss_life`, of kubelet's
//! registration and of sockets in the tests of the process itself.

use std::collections::BTreeSet;

use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER, Machine};
use wharf_testing::player::{CsiNode, CsiPlayer, VolumeClass};
use wharf_testing::requirement;

use super::scene::{GIB, add_to_configuration, wait_for};

const DOCUMENTED: &str = include_str!("../../../../../examples/kubernetes/metrics.md");

struct Scene {
    csi: CsiPlayer,
    node: CsiNode,
    bed: Bed,
}

fn scene(test: &str, controller: &str) -> Option<Scene> {
    if !requirement::machine(test) {
        return None;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    add_to_configuration(bed.manager(), controller);
    bed.serve().unwrap();
    let csi = bed.csi();
    let machine = bed.node(0);
    let node = csi.register(machine.name(), &machine.socket(), &machine.kubelet()).unwrap();
    Some(Scene { csi, node, bed })
}

fn class() -> VolumeClass {
    VolumeClass::file_system("ext4", &[("type", "cloud_auto")])
}

/// The sum of a metric's series that have all these labels.
fn value(machine: &Machine, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (status, text) = machine.page("/metrics").unwrap();
    assert_eq!(status, 200, "{text}");
    let series = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).reduce(|a, b| a + b)
}

/// Waits until a metric is more than that.
fn rises(machine: &Machine, name: &str, labels: &[(&str, &str)], above: f64) {
    wait_for(&format!("{name}{labels:?} above {above}"), || {
        value(machine, name, labels).filter(|value| *value > above)
    });
}

/// Every exported name stands in the page.
fn assert_documented(machine: &Machine) {
    let (_, text) = machine.page("/metrics").unwrap();
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(exported.len() > 20, "{text}");
    for name in exported {
        assert!(DOCUMENTED.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
    // What stands in the labels is the operator's: no volume, no path, no key.
    let keys = std::fs::read_to_string(machine.directory().join("keys/access-key-secret")).unwrap();
    for told in [machine.id(), keys.trim(), "/kubelet", "pvc-"] {
        assert!(!text.contains(told), "{told} is in the metrics");
    }
}

const DRIVER: (&str, &str) = ("driver", CSI_DRIVER);

#[test]
fn a_volume_s_life_moves_calls_their_time_requests_records_and_mounts() {
    const TEST: &str = "a_volume_s_life_moves_calls_their_time_requests_records_and_mounts";
    let Some(Scene { csi, node, bed }) = scene(TEST, "") else { return };
    let (machine, manager) = (bed.node(0), bed.manager());
    let mut volume = csi.provision("pvc-seen", GIB, &class()).unwrap();
    let target = csi.start_pod(&mut volume, &node, "pod").unwrap();

    let staged = [("method", "NodeStageVolume"), ("code", "OK")];
    let attached = [("method", "ControllerPublishVolume"), ("code", "OK")];
    for (machine, call) in [(machine, staged), (manager, attached)] {
        let with_driver = [call[0], call[1], DRIVER];
        rises(machine, "wharf_csi_call_duration_seconds_count", &with_driver, 0.0);
        rises(machine, "wharf_csi_call_duration_seconds_sum", &with_driver, 0.0);
        let old = [call[0], call[1], ("type", "disk")];
        rises(machine, "csi_grpc_execution_count", &old, 0.0);
        rises(machine, "csi_grpc_execution_time_total", &old, 0.0);
        let component = [("kind", "backend"), ("component", "disk")];
        assert_eq!(value(machine, "wharf_component_generation", &component), Some(1.0));
        rises(machine, "wharf_component_seconds_total", &component, 0.0);
        rises(machine, "wharf_share_limit_bytes", &[("share", "backend disk")], 0.0);
        rises(machine, "process_start_time_seconds", &[], 1e9);
        for name in ["wharf_build_info", "process_resident_memory_bytes", "process_open_fds"] {
            rises(machine, name, &[], 0.0);
        }
        assert_eq!(value(machine, "wharf_driver_served", &[DRIVER]), Some(1.0));
    }
    let answered = |function| {
        [
            ("kind", "backend"),
            ("component", "disk"),
            ("function", function),
            ("outcome", "answered"),
        ]
    };
    rises(machine, "wharf_component_calls_total", &answered("plan-stage"), 0.0);
    rises(manager, "wharf_component_calls_total", &answered("attach"), 0.0);
    let part = |part| [DRIVER, ("method", "ControllerPublishVolume"), ("part", part)];
    for name in ["guest", "cloud", "waiting", "host"] {
        rises(manager, "wharf_csi_call_seconds_total", &part(name), 0.0);
    }
    // A mkfs takes longer than anything else that staging does.
    let part = |part| [DRIVER, ("method", "NodeStageVolume"), ("part", part)];
    let time = |name| value(machine, "wharf_csi_call_seconds_total", &part(name)).unwrap();
    assert!(time("host") > time("guest"), "{} and {}", time("host"), time("guest"));
    let sent = [("endpoint", "ecs"), ("action", "AttachDisk"), ("code", "200")];
    assert_eq!(value(manager, "wharf_cloud_requests_total", &sent), Some(1.0));
    rises(manager, "wharf_cloud_request_duration_seconds_count", &sent[..2], 0.0);

    assert_eq!(value(machine, "wharf_volume_records", &[DRIVER]), Some(1.0));
    let mounts = |state| value(machine, "wharf_volume_mounts", &[DRIVER, ("state", state)]);
    assert_eq!(
        (mounts("mounted"), mounts("missing"), mounts("dead")),
        (Some(2.0), Some(0.0), Some(0.0))
    );
    // Now what stands for the kernel's list of devices has another one alone.
    let [listed, away] = ["dev", "dev-away"].map(|name| machine.sysfs().join(name));
    std::fs::rename(&listed, &away).unwrap();
    std::fs::create_dir_all(listed.join("block/8:0")).unwrap();
    assert_eq!((mounts("mounted"), mounts("dead")), (Some(0.0), Some(2.0)));
    std::fs::remove_dir_all(&listed).unwrap();
    std::fs::rename(&away, &listed).unwrap();
    wharf_testing::bed::unmount_below(&target);
    assert_eq!((mounts("mounted"), mounts("missing")), (Some(1.0), Some(1.0)));
    for machine in [machine, manager] {
        assert_documented(machine);
    }
    csi.end_pod(&volume, &node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    assert_eq!(value(machine, "wharf_volume_records", &[DRIVER]), Some(0.0));
    let refused = [DRIVER, ("method", "ControllerPublishVolume"), ("code", "NotFound")];
    csi.attach(&mut volume, &node).unwrap_err();
    rises(manager, "wharf_csi_call_duration_seconds_count", &refused, 0.0);
}

#[test]
fn a_cloud_that_is_slow_and_one_that_throttles_move_what_is_under_way_and_the_pace() {
    const TEST: &str =
        "a_cloud_that_is_slow_and_one_that_throttles_move_what_is_under_way_and_the_pace";
    let one_at_a_time = "\n[limits]\nrequests-per-endpoint = 1\n";
    let Some(Scene { csi, bed, .. }) = scene(TEST, one_at_a_time) else { return };
    let manager = bed.manager();
    let ecs = [("account", "cloud"), ("endpoint", "ecs")];
    let share = [("share", "backend disk")];
    for name in ["wharf_csi_calls_under_way", "wharf_csi_oldest_call_seconds"] {
        assert_eq!(value(manager, name, &[DRIVER]), Some(0.0));
    }
    bed.set_faults(vec![FaultRule::new("CreateDisk", Fault::Delay { ms: 1500 })]);
    std::thread::scope(|scope| {
        for name in ["pvc-one", "pvc-two", "pvc-three"] {
            let csi = &csi;
            scope.spawn(move || csi.provision(name, GIB, &class()).unwrap());
        }
        rises(manager, "wharf_csi_calls_under_way", &[DRIVER], 1.0);
        rises(manager, "wharf_csi_oldest_call_seconds", &[DRIVER], 0.05);
        rises(manager, "wharf_cloud_requests_under_way", &ecs, 0.0);
        rises(manager, "wharf_cloud_requests_waiting", &ecs, 0.0);
        rises(manager, "wharf_share_bytes", &share, 0.0);
        rises(manager, "wharf_share_calls", &[share[0], ("state", "running")], 0.0);
    });
    wait_for("the end of all", || {
        (value(manager, "wharf_csi_calls_under_way", &[DRIVER]) == Some(0.0)).then_some(())
    });
    assert_eq!(value(manager, "wharf_share_bytes", &share), Some(0.0));

    let action = [ecs[0], ecs[1], ("action", "DescribeDisks")];
    assert_eq!(value(manager, "wharf_cloud_backoffs_total", &action), None);
    bed.set_faults(vec![FaultRule::new("DescribeDisks", Fault::Throttle).times(3)]);
    std::thread::scope(|scope| {
        scope.spawn(|| csi.provision("pvc-four", GIB, &class()).unwrap());
        rises(manager, "wharf_cloud_pause_seconds", &action, 0.0);
        rises(manager, "wharf_cloud_pace_seconds", &action, 0.0);
    });
    rises(manager, "wharf_cloud_backoffs_total", &action, 0.0);
    assert_documented(manager);
}

#[test]
fn a_backend_that_is_replaced_moves_its_generation_and_the_swaps() {
    const TEST: &str = "a_backend_that_is_replaced_moves_its_generation_and_the_swaps";
    let Some(Scene { csi, bed, .. }) = scene(TEST, "") else { return };
    let (manager, component) = (bed.manager(), [("kind", "backend"), ("component", "disk")]);
    let create = |name: &str| csi.delete(&csi.provision(name, GIB, &class()).unwrap()).unwrap();
    create("pvc-before");
    assert_eq!(value(manager, "wharf_component_generation", &component), Some(1.0));
    assert_eq!(value(manager, "wharf_component_swaps_total", &component), Some(0.0));
    // The same component with a custom section that nobody reads: other bytes, another generation.
    let mut bytes = std::fs::read(bed.parts().component("disk")).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    let newer = bed.directory().join("newer.wasm");
    std::fs::write(&newer, bytes).unwrap();
    manager.install(bed.parts(), "disk", &newer).unwrap();
    create("pvc-after");
    assert_eq!(value(manager, "wharf_component_generation", &component), Some(2.0));
    assert_eq!(value(manager, "wharf_component_swaps_total", &component), Some(1.0));
    assert_eq!(value(manager, "wharf_component_load_failures_total", &component), Some(0.0));
}
