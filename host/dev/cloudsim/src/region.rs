//! A running region, and how it starts and stops.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::access::Nonces;
use crate::clock::RegionClock;
use crate::control::{self, DiskSummary, FileSystemSummary, InstanceCondition};
use crate::description::{AccessKey, Endpoints, InstanceDescription, RegionDescription};
use crate::error::{RegionError, at};
use crate::faults::{FaultPlan, FaultRule};
use crate::holds::{HeldRequest, Holds};
use crate::journal::{Journal, JournalEntry};
use crate::limits::{Buckets, RateLimits};
use crate::metadata::MetadataService;
use crate::options::{Delays, Quotas, RegionOptions, Shortage};
use crate::oss::{BucketSummary, Store, library};
use crate::policies::Policies;
use crate::server::{Service, Shared, keep_time, lock, serve};
use crate::state::{self, KeyPair};
use crate::sts;
use crate::tls::Tls;
use crate::wire::Acceptor;
use crate::world::World;

/// A running region. It has threads of its own, so callers may be synchronous or not. Dropping it
/// stops it.
#[derive(Debug)]
pub struct Region {
    description: RegionDescription,
    shared: Arc<Shared>,
    end: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Region {
    /// Starts a region over its directory, or goes on with the one that was there, and writes
    /// `region.json`. It answers when this returns.
    pub fn start(options: RegionOptions) -> Result<Self, RegionError> {
        check(&options)?;
        let clock = Arc::new(RegionClock::default());
        let (faults, limits) =
            (FaultPlan::new(options.faults.clone()), Buckets::new(options.rate_limits.clone()));
        let (verify_signatures, admin_api) = (options.verify_signatures, options.admin_api);
        let world = World::open(options, Arc::clone(&clock))?;
        let directory = world.options.directory.clone();
        let tls = world.options.tls.then(|| Tls::open(&directory)).transpose()?;
        let sockets = Sockets::bind(&world, tls)?;
        let description = sockets.describe(&world)?;
        let text = serde_json::to_vec_pretty(&description)
            .map_err(|error| at("write", &directory)(error.into()))?;
        let shared = Arc::new(Shared {
            clock,
            faults: Mutex::new(faults),
            buckets: Mutex::new(limits),
            journal: Mutex::new(Journal::open(&directory.join("journal.jsonl"))?),
            nonces: Mutex::new(Nonces::default()),
            holds: Holds::default(),
            oss: Mutex::new(Store::open(&directory)?),
            region: world.options.region.clone(),
            metadata: world
                .state
                .instances
                .iter()
                .map(|_| Mutex::new(MetadataService::default()))
                .collect(),
            wake: Notify::new(),
            verify_signatures,
            admin_api,
            world: Mutex::new(world),
        });
        let end = Arc::new(Notify::new());
        let thread = run(sockets, Arc::clone(&shared), Arc::clone(&end))?;
        state::replace_file(&directory.join("region.json"), &text)?;
        Ok(Self { description, shared, end, thread: Some(thread) })
    }

    /// What is in `region.json`.
    pub fn description(&self) -> &RegionDescription {
        &self.description
    }

    /// Replaces the fault plan; counts start again.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        control::set_faults(&self.shared, rules);
    }

    /// Replaces the rate limits; buckets start full.
    pub fn set_rate_limits(&self, limits: RateLimits) {
        control::set_rate_limits(&self.shared, limits);
    }

    /// The same, as for an account whose calls of this minute are used up: buckets start empty.
    pub fn set_rate_limits_used_up(&self, limits: RateLimits) {
        control::set_rate_limits_used_up(&self.shared, limits);
    }

    /// Changes how long things take, from the next call on.
    pub fn set_delays(&self, delays: Delays) {
        control::set_delays(&self.shared, delays);
    }

    /// Changes how much of everything there may be, from the next call on.
    pub fn set_quotas(&self, quotas: Quotas) {
        control::set_quotas(&self.shared, quotas);
    }

    /// Replaces what RAM users and roles may do.
    pub fn set_policies(&self, policies: Policies) {
        control::set_policies(&self.shared, policies);
    }

    /// Replaces the list of categories that cannot be had.
    pub fn set_shortages(&self, shortages: Vec<Shortage>) {
        control::set_shortages(&self.shared, shortages);
    }

    /// Changes how long temporary keys live at most
    /// ([`session_seconds`](RegionOptions::session_seconds)), from the next ones on.
    pub fn set_session_seconds(&self, most: Option<u64>) {
        control::set_session_seconds(&self.shared, most);
    }

    /// Changes how long temporary keys are taken after their end
    /// ([`session_grace_seconds`](RegionOptions::session_grace_seconds)), of those too that there
    /// are.
    pub fn set_session_grace_seconds(&self, grace: u64) {
        control::set_session_grace_seconds(&self.shared, grace);
    }

    /// Moves the region's time forward: what is under way finishes, keys and tokens expire, buckets
    /// refill. Signature times are not concerned.
    pub fn advance(&self, by: Duration) {
        control::advance(&self.shared, by);
    }

    /// Every call so far (the latest 16 384), in the order of the answers.
    pub fn journal(&self) -> Vec<JournalEntry> {
        control::journal(&self.shared)
    }

    /// Forgets the journal in memory; the file stays.
    pub fn clear_journal(&self) {
        control::clear_journal(&self.shared);
    }

    /// All disks, oldest first.
    pub fn disks(&self) -> Vec<DiskSummary> {
        control::disks(&self.shared)
    }

    /// Makes many disks in one step, each as by a `CreateDisk` with these parameters; numbers are
    /// added to a `DiskName`. For tests with more disks than they can wait for.
    pub fn make_disks(
        &self,
        count: usize,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<String>, RegionError> {
        control::make_disks(&self.shared, count, parameters)
    }

    /// Makes a standard file system with a mount target, as the account itself; answers its id.
    pub fn make_file_system(&self) -> Result<String, RegionError> {
        control::make_file_system(&self.shared)
    }

    /// All file systems, oldest first.
    pub fn file_systems(&self) -> Vec<FileSystemSummary> {
        control::file_systems(&self.shared)
    }

    /// All buckets with their objects, in the order of their names.
    pub fn buckets(&self) -> Vec<BucketSummary> {
        lock(&self.shared.oss).summary()
    }

    /// Makes a private bucket, as the account itself; one that is there stays as it is.
    pub fn make_bucket(&self, name: &str) -> Result<(), RegionError> {
        library::make_bucket(&self.shared, name)
    }

    /// Writes an object, as the account itself.
    pub fn put_object(&self, bucket: &str, key: &str, content: &[u8]) -> Result<(), RegionError> {
        library::put_object(&self.shared, bucket, key, content)
    }

    /// The bytes of an object; `None` when there is none.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, RegionError> {
        library::object(&self.shared, bucket, key)
    }

    /// Calls parked by a `hold` fault, in the order of their arrival.
    pub fn held(&self) -> Vec<HeldRequest> {
        self.shared.holds.list()
    }

    /// Waits until so many calls are parked, or the time is over; answers those that are.
    pub fn wait_for_held(&self, count: usize, timeout: Duration) -> Vec<HeldRequest> {
        self.shared.holds.wait_for(count, timeout)
    }

    /// Lets a parked call go on; `false` when there is none of that id.
    pub fn release(&self, id: u64) -> bool {
        self.shared.holds.release(id)
    }

    /// Lets all parked calls go on; answers how many.
    pub fn release_all(&self) -> usize {
        self.shared.holds.release_all()
    }

    /// Changes an instance's condition.
    pub fn set_instance(&self, id: &str, condition: InstanceCondition) -> Result<(), RegionError> {
        control::set_instance(&self.shared, id, condition)
    }

    /// Makes a disk's bill unpaid (403 `DiskInArrears`) or paid.
    pub fn set_disk_in_arrears(&self, id: &str, in_arrears: bool) -> Result<(), RegionError> {
        control::set_arrears(&self.shared, id, in_arrears)
    }

    /// A token as the n-th OIDC provider would give it to a subject, good for an hour of the
    /// region's time.
    pub fn oidc_token(&self, provider: usize, subject: &str) -> Option<String> {
        let world = lock(&self.shared.world);
        let provider = world.options.oidc_providers.get(provider)?;
        Some(sts::token(
            &provider.issuer,
            provider.audiences.first()?,
            subject,
            world.now() + 3_600_000,
        ))
    }

    /// Forgets disks, snapshots, file systems, buckets, tokens, sessions, faults and journal; keeps
    /// instances and keys.
    pub fn reset(&self) -> Result<(), RegionError> {
        control::reset(&self.shared)
    }

    /// Stops the region: listeners close, parked calls end, loop devices go. Its directory can be
    /// started again.
    pub fn stop(mut self) -> Result<(), RegionError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), RegionError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let stopped = lock(&self.shared.world).stop();
        lock(&self.shared.oss).stop();
        self.shared.holds.release_all();
        self.end.notify_one();
        if thread.join().is_err() {
            tracing::error!("the region's thread ended badly");
        }
        stopped
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the region did not stop cleanly");
        }
    }
}

fn check(options: &RegionOptions) -> Result<(), RegionError> {
    let refuse =
        |option, reason: &str| Err(RegionError::Option { option, reason: reason.to_owned() });
    if options.zones.is_empty() {
        return refuse("zones", "a region has at least one zone");
    }
    if options.instances == 0 || options.instances > 1_000 {
        return refuse(
            "instances",
            "a region has 1 to 1000 instances, each with a listener of its own",
        );
    }
    if options.instance_zones.iter().any(|zone| !options.zones.contains(zone)) {
        return refuse("instance_zones", "every zone must be one of `zones`");
    }
    Ok(())
}

/// The listeners, bound and not yet serving.
struct Sockets {
    ecs: TcpListener,
    nas: TcpListener,
    sts: TcpListener,
    oss: TcpListener,
    metadata: Vec<TcpListener>,
    /// For all but `metadata`.
    tls: Option<Tls>,
}

impl Sockets {
    fn bind(world: &World, tls: Option<Tls>) -> Result<Self, RegionError> {
        let wanted = &world.options.ports;
        let last: Option<RegionDescription> =
            std::fs::read(world.options.directory.join("region.json"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
        let last_port =
            |url: Option<&str>| url.and_then(|url| url.rsplit_once(':')?.1.parse().ok());
        let endpoints = last.as_ref().map(|last| &last.endpoints);
        let metadata = (0..world.state.instances.len()).map(|n| {
            let url = last
                .as_ref()
                .and_then(|last| last.instances.get(n))
                .map(|instance| instance.metadata.as_str());
            bind("metadata listener", wanted.metadata.get(n).copied(), last_port(url))
        });
        Ok(Self {
            ecs: bind(
                "ECS listener",
                wanted.ecs,
                last_port(endpoints.map(|endpoints| endpoints.ecs.as_str())),
            )?,
            nas: bind(
                "NAS listener",
                wanted.nas,
                last_port(endpoints.map(|endpoints| endpoints.nas.as_str())),
            )?,
            sts: bind(
                "STS listener",
                wanted.sts,
                last_port(endpoints.map(|endpoints| endpoints.sts.as_str())),
            )?,
            oss: bind(
                "OSS listener",
                wanted.oss,
                last_port(endpoints.map(|endpoints| endpoints.oss.as_str())),
            )?,
            metadata: metadata.collect::<Result<_, _>>()?,
            tls,
        })
    }

    fn describe(&self, world: &World) -> Result<RegionDescription, RegionError> {
        let directory = &world.options.directory;
        let keys = |keys: &KeyPair| AccessKey {
            access_key_id: keys.id.clone(),
            access_key_secret: keys.secret.clone(),
        };
        let metadata: Vec<String> =
            self.metadata.iter().map(|listener| url("http", listener)).collect::<Result<_, _>>()?;
        let instances = world.state.instances.iter().zip(&metadata).map(|(instance, metadata)| {
            InstanceDescription {
                id: instance.id.clone(),
                zone: instance.zone.clone(),
                keys: keys(&instance.keys),
                config: directory.join(&instance.id).join("wharf.toml"),
                metadata: metadata.clone(),
                by_id: world.devices.by_id(&instance.id),
                sysfs: world.devices.sysfs(&instance.id),
            }
        });
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(RegionDescription {
            region: world.options.region.clone(),
            zones: world.options.zones.clone(),
            account: world.state.account.clone(),
            endpoints: Endpoints {
                ecs: url(scheme, &self.ecs)?,
                nas: url(scheme, &self.nas)?,
                sts: url(scheme, &self.sts)?,
                oss: url(scheme, &self.oss)?,
                metadata: metadata.first().cloned().unwrap_or_default(),
            },
            ca: self.tls.as_ref().map(|tls| tls.ca.clone()),
            admin: keys(&world.state.admin),
            instances: instances.collect(),
        })
    }
}

/// The port that was asked for and no other; else the last one if it is free, else any.
fn bind(
    part: &'static str,
    wanted: Option<u16>,
    last: Option<u16>,
) -> Result<TcpListener, RegionError> {
    let on = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match (wanted, last) {
        (Some(port), _) => on(port),
        (None, Some(port)) => on(port).or_else(|_| on(0)),
        (None, None) => on(0),
    };
    let listener = listener.map_err(|source| RegionError::Start { part, source })?;
    listener.set_nonblocking(true).map_err(|source| RegionError::Start { part, source })?;
    Ok(listener)
}

fn url(scheme: &str, listener: &TcpListener) -> Result<String, RegionError> {
    let address: SocketAddr =
        listener.local_addr().map_err(|source| RegionError::Start { part: "listener", source })?;
    Ok(format!("{scheme}://{address}"))
}

/// Serves on threads of its own until told to end.
fn run(
    sockets: Sockets,
    shared: Arc<Shared>,
    end: Arc<Notify>,
) -> Result<JoinHandle<()>, RegionError> {
    let failed = |source| RegionError::Start { part: "threads", source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("wharf-region")
        .enable_all()
        .build()
        .map_err(failed)?;
    spawn(&runtime, sockets, &shared)?;
    std::thread::Builder::new()
        .name("wharf-region".to_owned())
        .spawn(move || {
            runtime.block_on(end.notified());
            // Connections are cut; calls that are at work finish or find the region stopped.
            runtime.shutdown_timeout(Duration::from_secs(5));
        })
        .map_err(failed)
}

fn spawn(runtime: &Runtime, sockets: Sockets, shared: &Arc<Shared>) -> Result<(), RegionError> {
    let _guard = runtime.enter();
    let clouds = [
        (Service::Ecs, sockets.ecs),
        (Service::Nas, sockets.nas),
        (Service::Sts, sockets.sts),
        (Service::Oss, sockets.oss),
    ];
    let metadata = sockets.metadata.into_iter().enumerate();
    let metadata = metadata.map(|(n, listener)| (Service::Metadata(n), listener));
    for (service, listener) in clouds.into_iter().chain(metadata) {
        let tls = match service {
            Service::Ecs | Service::Nas | Service::Sts | Service::Oss => {
                sockets.tls.as_ref().map(|tls| tls.acceptor.clone())
            }
            Service::Metadata(_) => None,
        };
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| RegionError::Start { part: "listener", source })?;
        runtime.spawn(serve(Acceptor { listener, tls }, service, Arc::clone(shared)));
    }
    runtime.spawn(keep_time(Arc::clone(shared)));
    Ok(())
}
