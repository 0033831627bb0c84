//! The region itself: state, time, devices and settings, without any protocol. One lock around it
//! makes every call a step of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::answer::ApiError;
use crate::clock::{Millis, RegionClock};
use crate::devices::Devices;
use crate::directory::{lock_directory, remove_beside, remove_directory};
use crate::error::{RegionError, at};
use crate::identifiers;
use crate::loops::Freed;
use crate::options::RegionOptions;
use crate::params::Params;
use crate::state::{ClientToken, Disk, Instance, KeyPair, Phase, State};

/// How long an answer is kept for its client token, as the real API promises.
const CLIENT_TOKEN_LIFE: Millis = 24 * 3600 * 1000;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The account's administrator.
    Admin,
    /// The RAM user of an instance.
    Instance(String),
    /// Somebody who assumed a role.
    Role {
        /// The role's ARN.
        role: String,
        /// The session's name.
        session: String,
    },
    /// Nobody said.
    Anonymous,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: RegionOptions,
    pub(crate) clock: Arc<RegionClock>,
    pub(crate) state: State,
    pub(crate) devices: Devices,
    pub(crate) requests: u64,
    /// Disks that were detached while the node still had them mounted, by instance, since this
    /// region started.
    pub(crate) detached_while_mounted: Vec<(String, String)>,
    path: PathBuf,
    /// Images to remove once the state no longer names them: the other order would lose the bytes
    /// of a disk that a crash brings back.
    discarded: Vec<String>,
    discarded_directories: Vec<PathBuf>,
    dirty: bool,
    stopped: bool,
    /// Held while this region runs; the system lets go of it when the process ends in any way.
    lock: File,
}

impl World {
    /// Opens the directory: reads or makes the state, adds instances that are missing, and brings
    /// the devices in line with it.
    pub(crate) fn open(
        mut options: RegionOptions,
        clock: Arc<RegionClock>,
    ) -> Result<Self, RegionError> {
        let directory =
            std::path::absolute(&options.directory).map_err(at("resolve", &options.directory))?;
        let disks = directory.join("disks");
        std::fs::create_dir_all(&disks).map_err(at("create", &disks))?;
        // Loop devices name their file by its real path.
        options.directory = directory.canonicalize().map_err(at("resolve", &directory))?;
        let lock = lock_directory(&options.directory)?;
        let path = options.directory.join("state.json");
        let state = match State::load(&path)? {
            Some(state) => state,
            None => State::new().map_err(at("read", std::path::Path::new("/dev/urandom")))?,
        };
        let devices =
            Devices::new(options.directory.clone(), options.devices, options.link_into_dev_disk);
        let mut world = Self {
            options,
            clock,
            state,
            devices,
            requests: 0,
            detached_while_mounted: Vec::new(),
            path,
            discarded: Vec::new(),
            discarded_directories: Vec::new(),
            dirty: true,
            stopped: false,
            lock,
        };
        world.add_instances()?;
        world.restore_devices()?;
        world.restore_file_systems()?;
        world.progress();
        world.save()?;
        Ok(world)
    }

    fn add_instances(&mut self) -> Result<(), RegionError> {
        for n in self.state.instances.len()..self.options.instances {
            let first = self.options.zones.first().cloned().unwrap_or_default();
            let zone = self.options.instance_zones.get(n).cloned().unwrap_or(first);
            let random = |length| {
                identifiers::random(length)
                    .map_err(at("read", std::path::Path::new("/dev/urandom")))
            };
            let keys = KeyPair { id: format!("LTAI{}", random(16)?), secret: random(30)? };
            let number = self.state.number();
            let instance = Instance {
                id: format!("i-{}", identifiers::derive(&self.state.seed, "instance", number, 20)),
                zone,
                keys,
                hostname: format!("node-{}", n + 1),
                private_ip: format!("192.168.{}.{}", n / 250, n % 250 + 10),
                status: "Running".to_owned(),
                locked_for_security: false,
                released: false,
                created: self.clock.now(),
                tags: BTreeMap::new(),
            };
            self.state.instances.push(instance);
        }
        for instance in &self.state.instances {
            let directory = self.devices.by_id(&instance.id);
            std::fs::create_dir_all(&directory).map_err(at("create", &directory))?;
        }
        Ok(())
    }

    fn restore_devices(&mut self) -> Result<(), RegionError> {
        let known =
            |id: &str| self.state.disks.contains_key(id) || self.state.snapshots.contains_key(id);
        self.devices.remove_unknown_images(known)?;
        let shown = |disk: &Disk| disk.attachments.iter().any(|attachment| attachment.is_visible());
        let keep: Vec<&str> = self
            .state
            .disks
            .values()
            .filter(|disk| shown(disk))
            .map(|disk| disk.id.as_str())
            .collect();
        self.devices.free_all_but(&keep)?;
        for instance in &self.state.instances {
            self.devices.remove_links(&instance.id)?;
        }
        for disk in self.state.disks.values() {
            for attachment in disk.attachments.iter().filter(|attachment| attachment.is_visible()) {
                self.devices.show(&disk.id, &attachment.instance)?;
            }
        }
        Ok(())
    }

    /// Removes directories that a crash left between a call and its state.
    fn restore_file_systems(&mut self) -> Result<(), RegionError> {
        let nas = crate::nas::files(&self.options.directory);
        std::fs::create_dir_all(&nas).map_err(at("create", &nas))?;
        for entry in std::fs::read_dir(&nas).map_err(at("list", &nas))?.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|id| self.state.nas.file_systems.contains_key(id)) {
                remove_directory(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The region's time.
    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The state is about to change; it is written before the call is answered.
    pub(crate) fn change(&mut self) -> &mut State {
        self.dirty = true;
        &mut self.state
    }

    /// A data disk by id. No operation on a system disk is simulated; all are refused.
    pub(crate) fn disk(&self, id: &str) -> Result<&Disk, ApiError> {
        self.state.disks.get(id).ok_or_else(|| self.no_data_disk(id))
    }

    /// A data disk by id, to be changed.
    pub(crate) fn disk_mut(&mut self, id: &str) -> Result<&mut Disk, ApiError> {
        self.disk(id)?;
        self.change().disks.get_mut(id).ok_or_else(ApiError::no_disk)
    }

    fn no_data_disk(&self, id: &str) -> ApiError {
        let is_system = self.system_disks().any(|(system, _)| system == id);
        if is_system {
            ApiError::new(403, "DiskNotPortable", "The specified disk is not a portable disk.")
        } else {
            ApiError::no_disk()
        }
    }

    /// The system disk of every instance: it is listed and takes a place, but has no bytes.
    pub(crate) fn system_disks(&self) -> impl Iterator<Item = (String, &Instance)> {
        let instances = self.state.instances.iter().filter(|instance| !instance.released);
        instances.map(|instance| {
            (format!("d-{}", identifiers::derive(&self.state.seed, &instance.id, 0, 20)), instance)
        })
    }

    /// An instance by id.
    pub(crate) fn instance(&self, id: &str) -> Result<&Instance, ApiError> {
        self.state.instance(id).ok_or_else(ApiError::no_instance)
    }

    /// A new id: `d-…`, `s-…`, `t-…`, and the number it comes from.
    pub(crate) fn identify(&mut self, prefix: &str) -> (String, u64) {
        let number = self.change().number();
        (format!("{prefix}-{}", identifiers::derive(&self.state.seed, prefix, number, 20)), number)
    }

    /// A new id of a service whose ids have no prefix, and the number it comes from.
    pub(crate) fn identify_without_prefix(&mut self, kind: &str, length: usize) -> (String, u64) {
        let number = self.change().number();
        (identifiers::derive(&self.state.seed, kind, number, length), number)
    }

    /// Runs an operation that may carry a `ClientToken`: the same token and the same parameters get
    /// the same answer and nothing is done again.
    pub(crate) fn once(
        &mut self,
        action: &str,
        params: &Params,
        operation: impl FnOnce(&mut Self, &Params) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        let Some(token) = params.get("ClientToken") else { return operation(self, params) };
        if token.len() > 64 || !token.is_ascii() {
            return Err(ApiError::new(
                400,
                "InvalidClientToken.Malformed",
                "The specified parameter \"ClientToken\" is not valid.",
            ));
        }
        let (now, key, fingerprint) =
            (self.now(), format!("{action}/{token}"), params.fingerprint());
        match self.state.client_tokens.get(&key) {
            Some(known) if known.at.saturating_add(CLIENT_TOKEN_LIFE) <= now => {}
            Some(ClientToken { fingerprint: known, answer: Some(answer), .. })
                if *known == fingerprint =>
            {
                return Ok(answer.clone());
            }
            Some(known) if known.fingerprint == fingerprint => {}
            Some(_) => {
                let message = "The request uses the same client token as a previous, but \
                               non-identical request. Do not reuse a client token with different \
                               requests, unless the requests are identical.";
                return Err(ApiError::new(400, "IdempotentParameterMismatch", message));
            }
            None => {}
        }
        let answer = operation(self, params)?;
        self.keep_token(key, ClientToken { fingerprint, answer: Some(answer.clone()), at: now });
        Ok(answer)
    }

    /// Binds the client token of a call that failed to its parameters: other parameters are a
    /// mismatch from now on, and the same are tried again.
    pub(crate) fn bind_token(&mut self, action: &str, params: &Params) {
        let Some(token) = params.get("ClientToken") else { return };
        let key = format!("{action}/{token}");
        if !self.state.client_tokens.contains_key(&key) {
            let (fingerprint, at) = (params.fingerprint(), self.now());
            self.keep_token(key, ClientToken { fingerprint, answer: None, at });
        }
    }

    fn keep_token(&mut self, key: String, token: ClientToken) {
        let now = token.at;
        let tokens = &mut self.change().client_tokens;
        tokens.retain(|_, known| known.at.saturating_add(CLIENT_TOKEN_LIFE) > now);
        tokens.insert(key, token);
    }

    /// Does what time has brought: disks that become available, arrive at or leave a node, and
    /// changes that finish.
    pub(crate) fn progress(&mut self) {
        if self.stopped {
            return;
        }
        let now = self.now();
        let due: Vec<String> = self
            .state
            .disks
            .values()
            .filter(|disk| disk.next_change().is_some_and(|at| at <= now))
            .map(|disk| disk.id.clone())
            .collect();
        for id in due {
            self.progress_disk(&id, now);
        }
        crate::ecs::finish_tasks(self, now);
        crate::nas::progress(self, now);
    }

    fn progress_disk(&mut self, id: &str, now: Millis) {
        self.dirty = true;
        let Some(disk) = self.state.disks.get_mut(id) else { return };
        disk.creating_until = disk.creating_until.filter(|until| *until > now);
        let mut left = Vec::new();
        for attachment in &mut disk.attachments {
            match attachment.phase {
                Phase::Attaching { until } if until <= now => {
                    attachment.phase = Phase::Attached;
                    attachment.since = until;
                    disk.attached = Some(until);
                }
                Phase::Detaching { until } if until <= now => {
                    disk.detached = Some(until);
                    left.push(attachment.instance.clone());
                    continue;
                }
                Phase::Attaching { .. } | Phase::Attached | Phase::Detaching { .. } => {}
            }
            if attachment.phase == Phase::Attached
                && attachment.visible_at.is_some_and(|at| at <= now)
            {
                attachment.visible_at = None;
                if let Err(error) = self.devices.show(id, &attachment.instance) {
                    tracing::error!(disk = id, %error, "an attached disk does not become a device");
                }
            }
        }
        for instance in left {
            disk.attachments.retain(|attachment| attachment.instance != instance);
            match self.devices.hide(id, &instance, disk.attachments.is_empty()) {
                Ok(Freed::Now) => {}
                Ok(Freed::WhenUnused) => {
                    self.detached_while_mounted.push((id.to_owned(), instance))
                }
                Err(error) => tracing::error!(disk = id, %error, "a detached disk stays a device"),
            }
        }
    }

    /// When [`World::progress`] has something to do next.
    pub(crate) fn next_change(&self) -> Option<Millis> {
        let tasks = self.state.tasks.values().filter(|task| !task.done).map(|task| task.finishes);
        let disks = self.state.disks.values().filter_map(Disk::next_change);
        disks.chain(tasks).chain(self.state.nas.next_change()).min()
    }

    /// Writes the state if it has changed.
    pub(crate) fn save(&mut self) -> Result<(), RegionError> {
        if self.dirty && !self.stopped {
            self.state.save(&self.path)?;
            self.dirty = false;
            for image in std::mem::take(&mut self.discarded) {
                self.devices.remove_image(&image)?;
            }
            for directory in std::mem::take(&mut self.discarded_directories) {
                remove_beside(&directory);
            }
        }
        Ok(())
    }

    /// Removes an image as soon as the state without it is written.
    pub(crate) fn discard_image(&mut self, id: String) {
        self.dirty = true;
        self.discarded.push(id);
    }

    /// The same for a directory and all that is in it.
    pub(crate) fn discard_directory(&mut self, path: PathBuf) {
        self.dirty = true;
        self.discarded_directories.push(path);
    }

    /// Whether the region has ended: no call may change anything any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Ends the region: no more changes, no loop device left. The state stays, so a restart
    /// attaches again what was attached.
    pub(crate) fn stop(&mut self) -> Result<(), RegionError> {
        self.save()?;
        self.stopped = true;
        for instance in &self.state.instances {
            self.devices.remove_links(&instance.id)?;
        }
        self.devices.free_all_but(&[])?;
        // Unlocked and not merely closed: a process that is being started elsewhere in this one
        // holds a copy of the descriptor for a moment.
        let path = self.options.directory.join("lock");
        self.lock.unlock().map_err(at("unlock", &path))
    }

    /// Forgets disks, snapshots, tasks, client tokens and sessions; keeps instances and keys.
    pub(crate) fn reset(&mut self) -> Result<(), RegionError> {
        for instance in &self.state.instances {
            self.devices.remove_links(&instance.id)?;
        }
        self.devices.free_all_but(&[])?;
        let state = &mut self.state;
        let images: Vec<String> =
            state.disks.keys().chain(state.snapshots.keys()).cloned().collect();
        state.disks.clear();
        state.snapshots.clear();
        state.snapshot_groups.clear();
        let systems: Vec<String> = state.nas.file_systems.keys().cloned().collect();
        state.nas.file_systems.clear();
        state.tasks.clear();
        state.client_tokens.clear();
        state.sessions.clear();
        for instance in &mut state.instances {
            instance.status = "Running".to_owned();
            instance.locked_for_security = false;
            instance.released = false;
        }
        self.detached_while_mounted.clear();
        self.discarded.extend(images);
        let nas = crate::nas::files(&self.options.directory);
        self.discarded_directories.extend(systems.iter().map(|id| nas.join(id)));
        self.dirty = true;
        self.save()
    }
}

impl crate::state::Attachment {
    /// Whether the node has the device.
    pub(crate) fn is_visible(&self) -> bool {
        match self.phase {
            Phase::Attaching { .. } => false,
            Phase::Attached | Phase::Detaching { .. } => self.visible_at.is_none(),
        }
    }
}

impl Disk {
    /// The `Status` of the API.
    pub(crate) fn status(&self) -> &'static str {
        if self.creating_until.is_some() {
            return "Creating";
        }
        let any = |phase: fn(Phase) -> bool| {
            self.attachments.iter().any(|attachment| phase(attachment.phase))
        };
        match () {
            () if self.multi_attach && any(|phase| phase == Phase::Attached) => "In_use",
            () if any(|phase| matches!(phase, Phase::Attaching { .. })) => "Attaching",
            () if any(|phase| matches!(phase, Phase::Detaching { .. })) => "Detaching",
            () if self.attachments.is_empty() => "Available",
            () => "In_use",
        }
    }

    fn next_change(&self) -> Option<Millis> {
        let attachments = self.attachments.iter().filter_map(|attachment| match attachment.phase {
            Phase::Attaching { until } | Phase::Detaching { until } => Some(until),
            Phase::Attached => attachment.visible_at,
        });
        attachments.chain(self.creating_until).min()
    }
}
