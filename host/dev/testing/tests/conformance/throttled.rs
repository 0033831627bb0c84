//! What attaching costs a cloud that refuses what is above its rates: all requests are counted, the
//! refused ones too. The time that it takes is measured by the bench alone.
//!
//! The published rates are for a minute, in which 500 attaches pass. Here a minute is six seconds
//! and half as many disks are attached at once: the first calls are refused before their distance
//! is learned, about as many as may be under way at once, and that is to be a small part of all.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wharf_cloudsim::{
    Delays, Devices, Fault, FaultRule, HoldPoint, RateLimits, Region, RegionOptions,
};
use wharf_core::controller::Controller;
use wharf_core::ports::{Backend, Call, Clock};
use wharf_core::types::{
    AccessMode, AccessType, Caller, Capability, CapacityRange, NodeId, VolumeId,
};
use wharf_core::verbs::{Attach, AttachRequest, CreateRequest};
use wharf_runtime::{Engine, EngineMode};
use wharf_testing::fakes::RealClock;

use super::in_process::{Cloud, backend};

const NODES: usize = 5;
const DISKS: usize = 150;
/// The most requests for one attach, in tenths.
const TENTHS_PER_ATTACH: usize = 15;
/// As many seconds are a minute of the published rates, so these attaches take three seconds.
const MINUTE: u32 = 6;
/// For a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);
/// Calls that wait for an endpoint which does not answer, and how many of them it has at once: what
/// one account may send to one endpoint, but for the quarter that is kept for looks.
const HANGING: usize = 20;
const HANGING_AT_ONCE: usize = 12;

#[test]
fn a_throttled_attach_costs_at_most_one_and_a_half_requests_also_where_another_endpoint_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = RegionOptions::new(directory.path());
    options.devices = Devices::Absent;
    options.instances = NODES;
    // Those of both scenes.
    options.disk_quantity = u32::try_from(2 * DISKS / NODES).unwrap() + 1;
    options.delays = Delays { attach: 100, ..Delays::none() };
    let region = Region::start(options).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let engine = Engine::new(EngineMode::OnDemand).unwrap();
    let cloud = Cloud::of(&engine, &region, &clock);
    let controller = |driver: &str, component: &str| {
        let backend: Arc<dyn Backend> = Arc::new(backend(&engine, component, cloud.ports()));
        Controller::new(driver, backend, Arc::clone(&clock))
    };
    let (disks, shares) = (controller("disks", "disk"), controller("shares", "nas"));

    let (requests, refused) = attach_all(&disks, &region, clock.as_ref());
    assert!(refused > 0, "the region is not throttled");
    assert!(requests * 10 <= DISKS * TENTHS_PER_ATTACH, "{requests} requests, {refused} refused");

    region.set_faults(vec![FaultRule::new("nas:*", Fault::Hold(HoldPoint::Before))]);
    let hanging = Call::until(clock.now() + PATIENCE);
    thread::scope(|scope| {
        for n in 0..HANGING {
            let (shares, hanging) = (&shares, &hanging);
            scope.spawn(move || shares.create(hanging, &share(n)).is_ok());
        }
        let held = region.wait_for_held(HANGING_AT_ONCE, PATIENCE).len();
        let (requests, refused) = attach_all(&disks, &region, clock.as_ref());
        hanging.cancel();
        region.release_all();
        assert!(held >= HANGING_AT_ONCE, "only {held} calls hang");
        assert!(
            requests * 10 <= DISKS * TENTHS_PER_ATTACH,
            "{requests} requests, {refused} refused"
        );
    });
}

/// Attaches new disks to all nodes at once; answers how many requests that took, and how many of
/// them were refused by the rates.
fn attach_all(disks: &Controller, region: &Region, clock: &dyn Clock) -> (usize, usize) {
    let described = region.description();
    let zone = described.zones[0].as_str();
    let parameters = [("ZoneId", zone), ("DiskCategory", "cloud_essd"), ("Size", "20")];
    let volumes = region.make_disks(DISKS, &parameters).unwrap();
    region.set_rate_limits_used_up(published_rates());
    region.clear_journal();
    thread::scope(|scope| {
        for (volume, node) in volumes.iter().zip(described.instances.iter().cycle()) {
            scope.spawn(move || {
                let call = Call::until(clock.now() + PATIENCE);
                let request = AttachRequest {
                    volume: VolumeId::new(volume),
                    node: NodeId::new(&node.id),
                    capability: capability(AccessMode::SingleNodeWriter),
                    read_only: false,
                    context: Vec::new(),
                    caller: Caller::default(),
                };
                disks.change::<Attach>(&call, &request).unwrap();
            });
        }
    });
    let journal = region.journal();
    region.set_rate_limits(RateLimits::none());
    let asked = journal.iter().filter(|entry| entry.listener == "ecs");
    let refused = asked.clone().filter(|entry| entry.code.as_deref() == Some("Throttling.User"));
    (asked.count(), refused.count())
}

/// The rates of a real account, with shorter minutes.
fn published_rates() -> RateLimits {
    let mut rates = RateLimits::real();
    let all = rates.actions.values_mut().chain(&mut rates.default);
    all.for_each(|limit| limit.seconds = limit.seconds * MINUTE / 60);
    rates
}

/// A file system of its own.
fn share(n: usize) -> CreateRequest {
    let parameters = [("volumeAs", "filesystem"), ("vpcId", "vpc-1"), ("vSwitchId", "vsw-1")];
    CreateRequest {
        name: format!("pvc-hanging-{n}"),
        capacity: CapacityRange { required: Some(20 << 30), limit: None },
        capabilities: vec![capability(AccessMode::MultiNodeMultiWriter)],
        parameters: parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        mutable_parameters: Vec::new(),
        source: None,
        topology: None,
        caller: Caller::default(),
    }
}

fn capability(mode: AccessMode) -> Capability {
    let access = AccessType::Mount { fs_type: String::new(), flags: Vec::new(), group: None };
    Capability { access, mode }
}
