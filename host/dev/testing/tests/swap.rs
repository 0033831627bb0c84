//! Replacing the backend on a live node, under load, and offering it broken ones.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions, Ran};
use wharf_testing::configuration::install_command;
use wharf_testing::player::{Event, FlexVolume, Happening, VolumeClass};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

const GIB: u64 = 1 << 30;
const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];

fn active(bed: &Bed) -> String {
    let ran =
        bed.manager().run(bed.parts(), &["backend", "show", "disk", "--output", "json"]).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let generations = shown["generations"].as_array().unwrap();
    let active =
        generations.iter().find(|generation| generation["number"] == shown["active"]).unwrap();
    active["manifest"]["version"].as_str().or(active["version"].as_str()).unwrap().to_owned()
}

fn install(bed: &Bed, file: &std::path::Path) -> Ran {
    bed.manager().run(bed.parts(), &install_command("disk", file)).unwrap()
}

#[test]
fn no_call_fails_while_the_backend_is_replaced_under_load_and_broken_ones_are_refused() {
    if !requirement::machine(
        "no_call_fails_while_the_backend_is_replaced_under_load_and_broken_ones_are_refused",
    ) {
        return;
    }
    // Long enough for attaches to be under way at every moment.
    let delays = Delays { create: 100, attach: 700, device: 50, detach: 300, ..Delays::none() };
    let bed = Bed::make(&BedOptions { delays, ..BedOptions::default() }).unwrap();
    bed.serve().unwrap();
    let failed: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&failed);
    let csi = bed.csi().with_audience(Arc::new(move |event: &Event| {
        if let Happening::Failed { why, .. } = &event.happening {
            heard.lock().unwrap().push(format!("{} of {}: {why}", event.call, event.volume));
        }
    }));
    let node =
        csi.register(bed.node(0).name(), &bed.node(0).socket(), &bed.node(0).kubelet()).unwrap();
    let newer = bed.parts().newer_disk("next").unwrap();
    let before = active(&bed);
    let (is_over, lives) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        let start = |worker: usize| {
            let (csi, node, is_over, lives) = (&csi, &node, &is_over, &lives);
            scope.spawn(move || {
                for round in 0.. {
                    let name = format!("pvc-{worker}-{round}");
                    let mut volume = csi
                        .provision(&name, GIB, &VolumeClass::file_system("ext4", CLASS))
                        .unwrap();
                    let target = csi.start_pod(&mut volume, node, &name).unwrap();
                    fs::write(target.join("data"), &name).unwrap();
                    csi.end_pod(&volume, node, &name).unwrap();
                    csi.delete(&volume).unwrap();
                    lives.fetch_add(1, Ordering::SeqCst);
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            })
        };
        let workers: Vec<_> = (0..8).map(start).collect();
        wait_for_half_attached(&bed, &workers);
        let ran = install(&bed, &newer);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(active(&bed), format!("{before}+next"));
        wait_for_half_attached(&bed, &workers);
        refuse_broken_ones(&bed, &newer);
        assert_eq!(active(&bed), format!("{before}+next"));
        let ran = bed.manager().run(bed.parts(), &["backend", "rollback", "disk"]).unwrap();
        assert_eq!((ran.code, active(&bed)), (Some(0), before.clone()), "{}", ran.stderr);
    });
    let failed = failed.lock().unwrap();
    assert!(failed.is_empty(), "{} calls failed: {failed:#?}", failed.len());
    assert!(lives.load(Ordering::SeqCst) >= 8);
    let left = Snapshot::of(&bed, &[]);
    assert!(left.is_empty(), "left behind:\n{left}");
}

/// Lets the workers end, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn wait_for_half_attached(bed: &Bed, workers: &[ScopedJoinHandle<'_, ()>]) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !bed.region().disks().iter().any(|disk| disk.status == "Attaching") {
        assert!(!workers.iter().any(ScopedJoinHandle::is_finished), "a worker has failed");
        assert!(Instant::now() < patience, "eight workers live on, and no disk is being attached");
        std::thread::yield_now();
    }
}

/// Each is refused with a reason and a non-zero exit code.
fn refuse_broken_ones(bed: &Bed, good: &std::path::Path) {
    let whole = fs::read(good).unwrap();
    let hello = fs::read(bed.parts().component("hello")).unwrap_or_else(|_| whole.clone());
    let broken: [(&str, Vec<u8>); 4] = [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("no-component", b"\0asm\x01\0\0\0".to_vec()),
        ("without-a-manifest", without_manifest(&hello)),
    ];
    for (name, bytes) in broken {
        let file = bed.directory().join(format!("{name}.wasm"));
        fs::write(&file, bytes).unwrap();
        let ran = install(bed, &file);
        assert_eq!(ran.code, Some(1), "{name}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.is_empty(), "{name} is refused without a word");
    }
}

/// The same component with its manifest section renamed away.
fn without_manifest(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let name = wharf_core::manifest::SECTION.as_bytes();
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at] = b'x';
    bytes
}

#[test]
fn a_flexvolume_call_out_uses_the_backend_that_is_active_when_it_starts() {
    if !requirement::machine("a_flexvolume_call_out_uses_the_backend_that_is_active_when_it_starts")
    {
        return;
    }
    let bed = Bed::make(&BedOptions::default()).unwrap();
    bed.install_flexvolume().unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    let disk =
        bed.csi().provision("pvc-flex", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let volume = FlexVolume::new("pv-flex", "ext4", &[("volumeId", &disk.handle)]);
    let (manager, node) = (bed.manager().flex_node(), bed.node(0).flex_node());
    let device = bed.flex().attach(&volume, &manager, &node).unwrap();
    // Between two call-outs, on the node that makes the second.
    bed.node(0).install(bed.parts(), "disk", &bed.parts().newer_disk("next").unwrap()).unwrap();
    let device = bed.flex().wait_for_attach(&volume, &node, &device).unwrap();
    bed.flex().mount_device(&volume, &node, &device).unwrap();
    bed.flex().mount(&volume, &node, "pod").unwrap();
    bed.flex().end_pod(&volume, &manager, &node, "pod").unwrap();
    bed.csi().delete(&disk).unwrap();
    let left = Snapshot::of(&bed, &[]);
    assert!(left.is_empty(), "left behind:\n{left}");
}
