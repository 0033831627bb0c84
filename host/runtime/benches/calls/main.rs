//! What a call costs: a fresh instance from a pool and from the system, on one thread and on two,
//! beside wasmtime alone, and while another generation is published.
//!
//! `cargo xtask bench` runs it and prints its one line of JSON as rows of a table. By hand: `cargo
//! bench -p wharf-runtime -- target/wharf/disk.wasm`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to clean up"
)]

mod raw;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use wharf_core::manifest::{Manifest, NodeRequest, World};
use wharf_core::ports::{Call, Clock};
use wharf_core::types::{AccessMode, AccessType, Caller, Capability, VolumeId};
use wharf_core::verbs::{AskExt as _, PlanStage, StageRequest, Translate, TranslateRequest};
use wharf_runtime::{
    BackendCode, BackendPorts, CallPorts, Engine, EngineMode, Limits, Share, ShareLimits,
    WasmBackend,
};

const WARM_UP: usize = 2_000;
const CALLS: usize = 20_000;
/// Calls of each side in turn, so that a slower minute of the machine counts for both.
const TURN: usize = 500;
const LOAD: Duration = Duration::from_secs(3);
const PAUSE_BETWEEN_SWAPS: Duration = Duration::from_millis(15);

struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration, _: &Call) {
        std::thread::sleep(duration);
    }
}

struct Subject {
    engine: Engine,
    code: PathBuf,
    manifest: Manifest,
    ports: BackendPorts,
    /// As a host keeps what is active.
    active: RwLock<Arc<WasmBackend>>,
}

impl Subject {
    fn new(mode: EngineMode, wasm: &[u8]) -> Self {
        let engine = Engine::new(mode).unwrap();
        let code = std::env::temp_dir().join(
            format!("wharf-bench-{}-{mode:?}.cwasm", std::process::id())
                .replace([' ', '{', '}', ':'], ""),
        );
        File::create(&code).unwrap().write_all(&engine.compile(wasm).unwrap()).unwrap();
        let steps = [
            "find-device",
            "check",
            "format",
            "grow",
            "mount-device",
            "mount-staged",
            "set-block-queue",
            "block-device",
        ];
        let manifest = Manifest {
            name: "disk".parse().unwrap(),
            version: "0.1.0".parse().unwrap(),
            world: World::Backend,
            contract: "wharf:volume@0.1.0".parse().unwrap(),
            request: vec![],
            node: NodeRequest {
                steps: steps.map(|it| it.parse().unwrap()).to_vec(),
                ..NodeRequest::default()
            },
        };
        let calls = CallPorts {
            clock: Arc::new(RealClock(Instant::now())),
            limits: Limits::default(),
            observer: None,
            share: Share::new("disk", ShareLimits::default()),
        };
        let ports =
            BackendPorts { calls, egress: None, signer: None, grants: vec![], config: vec![] };
        let first = WasmBackend::new(ports.clone(), link(&engine, &code, &manifest, 1));
        Self { active: RwLock::new(Arc::new(first)), engine, code, manifest, ports }
    }

    fn backend(&self) -> Arc<WasmBackend> {
        Arc::clone(&self.active.read().unwrap())
    }

    fn publish(&self, generation: u64) {
        let code = link(&self.engine, &self.code, &self.manifest, generation);
        let next = Arc::new(WasmBackend::new(self.ports.clone(), code));
        *self.active.write().unwrap() = next;
    }

    fn call(&self) -> bool {
        self.backend()
            .call::<PlanStage>(&Call::until(Duration::from_secs(3600)), &request())
            .is_ok()
    }

    fn median(&self) -> Duration {
        (0..WARM_UP).for_each(|_| assert!(self.call()));
        let times = (0..CALLS).map(|_| {
            let start = Instant::now();
            assert!(self.call());
            start.elapsed()
        });
        median(times.collect())
    }

    fn per_second(&self, threads: usize) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..CALLS).for_each(|_| assert!(self.call())));
            }
        });
        (threads * CALLS) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.code);
    }
}

fn link(engine: &Engine, code: &PathBuf, manifest: &Manifest, generation: u64) -> Arc<BackendCode> {
    // SAFETY: this process compiled the file a moment ago.
    let component = unsafe { engine.load(&File::open(code).unwrap()) }.unwrap();
    Arc::new(BackendCode::link(engine, &component, manifest.clone(), generation).unwrap())
}

/// A real call's size: ten pairs of context.
fn request() -> StageRequest {
    let context = [
        ("type", "cloud_essd"),
        ("performanceLevel", "PL1"),
        ("fsType", "ext4"),
        ("encrypted", "false"),
        ("zoneId", "z-1"),
        ("regionId", "r-1"),
        ("resourceGroupId", "rg-1"),
        ("readOnly", "false"),
        ("diskTags", "a:b"),
        ("multiAttach", "false"),
    ];
    StageRequest {
        volume: VolumeId::new("d-bp1aaaaaaaaaaaaaaaaa"),
        capability: Capability {
            access: AccessType::Mount {
                fs_type: "ext4".into(),
                flags: vec!["noatime".into()],
                group: None,
            },
            mode: AccessMode::SingleNodeWriter,
        },
        context: context.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        publish_context: vec![("serialNumber".into(), "bp1aaaaaaaaaaaaaaaaa".into())],
        caller: Caller::default(),
    }
}

/// The median of a call that builds no plan, which any overhead shows most in, and of the same with
/// wasmtime alone.
fn beside_engine_alone(subject: &Subject, wasm: &[u8]) -> (Duration, Duration) {
    let raw = raw::Raw::new(wasm);
    let request = TranslateRequest {
        driver: "alicloud/disk".to_owned(),
        options: vec![("volumeId".to_owned(), "d-bp1aaaaaaaaaaaaaaaaa".to_owned())],
        volume_name: "d-bp1aaaaaaaaaaaaaaaaa".to_owned(),
    };
    let mine = || {
        let call = Call::until(Duration::from_secs(3600));
        subject.backend().call::<Translate>(&call, &request).is_ok()
    };
    let alone = || raw.translate(&request.driver, &request.options, &request.volume_name);
    let timed = |call: &dyn Fn() -> bool, times: &mut Vec<Duration>| {
        for _ in 0..TURN {
            let start = Instant::now();
            assert!(call());
            times.push(start.elapsed());
        }
    };
    (0..WARM_UP).for_each(|_| assert!(mine() && alone()));
    let (mut mines, mut alones) = (Vec::new(), Vec::new());
    while mines.len() < CALLS {
        timed(&mine, &mut mines);
        timed(&alone, &mut alones);
    }
    (median(mines), median(alones))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Publishes one generation after another while two threads call.
fn swap_under_load(subject: &Subject) -> String {
    let (stop, calls, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut swaps, mut publish) = (1_u64, Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    calls.fetch_add(1, Ordering::Relaxed);
                    if !subject.call() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let end = Instant::now() + LOAD;
        while Instant::now() < end {
            swaps += 1;
            let start = Instant::now();
            subject.publish(swaps);
            publish.push(start.elapsed());
            std::thread::sleep(PAUSE_BETWEEN_SWAPS);
        }
        stop.store(true, Ordering::Relaxed);
    });
    publish.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    format!(
        r#"{{"swaps":{},"calls":{},"failed":{},"publish_p50_us":{:.1},"publish_max_us":{:.1}}}"#,
        publish.len(),
        calls.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
        micros(publish[publish.len() / 2]),
        micros(*publish.last().unwrap()),
    )
}

fn main() {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        eprintln!(
            "usage: calls COMPONENT (the disk backend, `cargo xtask build-backends` makes it)"
        );
        std::process::exit(2);
    };
    let wasm = std::fs::read(&path).unwrap();
    let pooled = Subject::new(EngineMode::Pooled { slots: 64 }, &wasm);
    let on_demand = Subject::new(EngineMode::OnDemand, &wasm);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (translated, alone) = beside_engine_alone(&pooled, &wasm);
    println!(
        r#"{{"translate_p50_us":{:.2},"engine_alone_p50_us":{:.2},"pooled_p50_us":{:.2},"on_demand_p50_us":{:.2},"pooled_per_second_two_threads":{:.0},"on_demand_per_second_two_threads":{:.0},"swap":{}}}"#,
        micros(translated),
        micros(alone),
        micros(pooled.median()),
        micros(on_demand.median()),
        pooled.per_second(2),
        on_demand.per_second(2),
        swap_under_load(&pooled),
    );
}
