//! Looks for a device, again and again until it is there.
//!
//! Where a serial is asked for, the serial in sysfs alone proves a device. Without one, a device is
//! what the links, the world-wide name or the unit number lead to, if they lead to one device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::backoff::Backoff;
use wharf_core::plan::{DeviceMatch, FindDevice};
use wharf_core::ports::{Call, Clock};

use crate::disk::device::Device;
use crate::options::NodeOptions;
use crate::state::lock;

/// udev is done within milliseconds, mostly.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A device that takes long is noticed about so soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A serial has no more bytes (NVMe and virtio have 20, SCSI up to 252).
const MAX_SERIAL_BYTES: usize = 256;
/// The longest name of a file.
const MAX_LINK_BYTES: usize = 255;
/// Matches in one step: each cloud has two or three.
const MAX_MATCHES: usize = 16;

/// Where devices are looked for, and how long.
pub(crate) struct Finder<'a> {
    /// Where devices are locked.
    pub state: &'a Path,
    /// By-id links.
    pub links: &'a Path,
    /// By-path links.
    pub paths: &'a Path,
    pub sysfs: &'a Path,
    pub wait: Duration,
    pub clock: &'a dyn Clock,
}

enum Attempt {
    Found(Device),
    /// Why not; it may come.
    NotYet(Error),
}

impl<'a> Finder<'a> {
    /// As a node's options say.
    pub fn of(options: &'a NodeOptions, clock: &'a dyn Clock) -> Self {
        Self {
            state: &options.state_directory,
            links: &options.device_links,
            paths: &options.device_paths,
            sysfs: &options.sysfs,
            wait: options.device_wait,
            clock,
        }
    }

    /// Waits for the device, and until it is large enough.
    ///
    /// # Errors
    /// `Unavailable` when it did not come in time, `Aborted` when it is still too small,
    /// `FailedPrecondition` when it cannot be known which one is meant.
    pub fn find(&self, call: &Call, wanted: &FindDevice) -> Result<Device, Error> {
        check(wanted)?;
        let end = self.clock.now() + self.wait.min(call.remaining(self.clock.now()));
        let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
        let mut is_rescanned = false;
        loop {
            let reason = match self.attempt(call, wanted)? {
                Attempt::Found(device) => match size_problem(&device, wanted)? {
                    None => return Ok(device),
                    Some(problem) => {
                        if !std::mem::replace(&mut is_rescanned, true) {
                            rescan(&device.sysfs(self.sysfs));
                        }
                        problem
                    }
                },
                Attempt::NotYet(reason) => reason,
            };
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Err(reason);
            }
            if call.is_cancelled() {
                return Err(Error::aborted(format!(
                    "nobody waits any more for the device with {}",
                    describe(wanted)
                )));
            }
            self.clock.sleep(backoff.next_pause().min(left), call);
        }
    }

    fn attempt(&self, call: &Call, wanted: &FindDevice) -> Result<Attempt, Error> {
        let mut found = self.matching(wanted)?;
        found.sort_by_key(|device| device.number);
        found.dedup_by_key(|device| device.number);
        match found.as_slice() {
            [] => Ok(Attempt::NotYet(self.missing(wanted)?)),
            [_] => match found.pop() {
                Some(device) => self.open_and_verify(call, device, wanted),
                None => Ok(Attempt::NotYet(self.missing(wanted)?)),
            },
            several => {
                let names: Vec<_> =
                    several.iter().map(|device| device.path.display().to_string()).collect();
                Err(Error::precondition(format!(
                    "{} all claim to be the device with {}",
                    names.join(" and "),
                    describe(wanted)
                ))
                .with_hint(
                    "which one is meant cannot be known: detach the other, or remove the wrong \
                     link",
                ))
            }
        }
    }

    /// Every device that is the wanted one, as far as is known.
    fn matching(&self, wanted: &FindDevice) -> Result<Vec<Device>, Error> {
        if let Some(serial) = wanted.serial() {
            return self.disks(serial, |name| self.serial(name).as_deref() == Some(serial));
        }
        let mut devices = Vec::new();
        for wanted in &wanted.matches {
            match wanted {
                DeviceMatch::Serial(_) => {}
                DeviceMatch::ById(link) => devices.extend(self.linked(self.links, link)?),
                DeviceMatch::ByPath(link) => devices.extend(self.linked(self.paths, link)?),
                DeviceMatch::Wwn(wwn) => devices.extend(
                    self.disks(wwn, |name| self.world_wide_name(name).as_deref() == Some(wwn))?,
                ),
                DeviceMatch::Lun(lun) => devices.extend(
                    self.disks(&format!("lun-{lun}"), |name| self.unit(name) == Some(*lun))?,
                ),
            }
        }
        Ok(devices)
    }

    /// What was recognised by its name may have made room for another disk since; what is kept
    /// open cannot.
    fn open_and_verify(
        &self,
        call: &Call,
        device: Device,
        wanted: &FindDevice,
    ) -> Result<Attempt, Error> {
        let (major, minor) = device.number;
        // Before it is opened: that may wait for what hangs since an earlier call.
        let guard =
            lock::acquire(self.state, &format!("device {major}:{minor}"), self.clock, call)?;
        let mut device = match device.keep_open(guard) {
            Ok(device) => device,
            Err(reason) => return Ok(Attempt::NotYet(reason)),
        };
        device.serial = self.serial(&device.name);
        let is_same = self.matching(wanted)?.iter().any(|again| again.number == device.number);
        Ok(if is_same { Attempt::Found(device) } else { Attempt::NotYet(self.missing(wanted)?) })
    }

    fn linked(&self, directory: &Path, link: &str) -> Result<Option<Device>, Error> {
        let Some(device) = Device::at(&directory.join(link), link, self.sysfs)? else {
            return Ok(None);
        };
        if device.is_partition(self.sysfs) {
            return Err(Error::precondition(format!(
                "the link {link} leads to {}, a partition and not a disk",
                device.path.display()
            )));
        }
        Ok(Some(device))
    }

    /// Every disk in sysfs, by its name there, that `is_meant`.
    fn disks(&self, identity: &str, is_meant: impl Fn(&str) -> bool) -> Result<Vec<Device>, Error> {
        let mut devices = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.sysfs.join("block")) else { return Ok(devices) };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_meant(&name) || self.is_hidden(&name) {
                continue;
            }
            // sysfs writes `!` where a device's name has a slash.
            let device_node = PathBuf::from("/dev").join(name.replace('!', "/"));
            devices.extend(Device::at(&device_node, identity, self.sysfs)?);
        }
        Ok(devices)
    }

    /// The serial of a disk, or of the disk that a partition is on.
    pub fn serial_of(&self, device: &Device) -> Option<String> {
        if !device.is_partition(self.sysfs) {
            return self.serial(&device.name);
        }
        let partition = device.sysfs(self.sysfs).canonicalize().ok()?;
        self.serial(&partition.parent()?.file_name()?.to_string_lossy())
    }

    fn serial(&self, name: &str) -> Option<String> {
        self.read_first(name, &["serial", "device/serial"])
    }

    fn world_wide_name(&self, name: &str) -> Option<String> {
        self.read_first(name, &["wwid", "device/wwid"])
    }

    /// A SCSI device's directory in sysfs is called `host:channel:target:unit`.
    fn unit(&self, name: &str) -> Option<u32> {
        let device = self.sysfs.join("block").join(name).join("device").canonicalize().ok()?;
        let address = device.file_name()?.to_str()?;
        let mut parts = address.split(':');
        let unit = parts.nth(3)?.parse().ok()?;
        parts.next().is_none().then_some(unit)
    }

    /// The first of these files that says something.
    fn read_first(&self, name: &str, files: &[&str]) -> Option<String> {
        let directory = self.sysfs.join("block").join(name);
        let read = |file: &&str| {
            let text = std::fs::read_to_string(directory.join(file)).ok()?;
            Some(text.trim_matches(['\0', ' ', '\n', '\t']).to_owned())
        };
        files.iter().filter_map(read).find(|text| !text.is_empty())
    }

    /// One path of a multipath NVMe disk: listed, but not a disk to use.
    fn is_hidden(&self, name: &str) -> bool {
        self.read_first(name, &["hidden"]).is_some_and(|hidden| hidden == "1")
    }

    fn missing(&self, wanted: &FindDevice) -> Result<Error, Error> {
        if let Some(serial) = wanted.serial() {
            for link in wanted.matches.iter().filter_map(link_name) {
                let linked = self.linked(self.links, link).ok().flatten();
                let Some(device) = linked.or(self.linked(self.paths, link).ok().flatten()) else {
                    continue;
                };
                let has = match self.serial(&device.name) {
                    Some(other) => format!("has the serial `{other}`, not `{serial}`"),
                    None => format!("has no serial that can be read, and `{serial}` is asked for"),
                };
                return Ok(Error::unavailable(format!(
                    "the link {link} leads to {}, which {has}",
                    device.path.display()
                ))
                .with_hint(
                    "a link proves nothing: it may be out of date (`udevadm trigger` on the node \
                     renews it)",
                ));
            }
        }
        Ok(Error::unavailable(format!("there is no device with {}", describe(wanted))).with_hint(
            "is the volume attached to this node? If it is, look at the node's kernel log and at \
             udev",
        ))
    }
}

fn size_problem(device: &Device, wanted: &FindDevice) -> Result<Option<Error>, Error> {
    let bytes = device.bytes()?;
    if bytes >= wanted.minimum_bytes {
        return Ok(None);
    }
    let message =
        format!("{} has {bytes} bytes, {} are needed", device.path.display(), wanted.minimum_bytes);
    Ok(Some(
        Error::aborted(message)
            .with_hint("the node may not have seen the new size yet; it is tried again"),
    ))
}

fn link_name(wanted: &DeviceMatch) -> Option<&str> {
    match wanted {
        DeviceMatch::ById(link) | DeviceMatch::ByPath(link) => Some(link),
        DeviceMatch::Serial(_) | DeviceMatch::Wwn(_) | DeviceMatch::Lun(_) => None,
    }
}

/// What is looked for, in words.
fn describe(wanted: &FindDevice) -> String {
    let word = |wanted: &DeviceMatch| match wanted {
        DeviceMatch::Serial(serial) => format!("serial `{serial}`"),
        DeviceMatch::ById(link) | DeviceMatch::ByPath(link) => format!("the link {link}"),
        DeviceMatch::Wwn(wwn) => format!("the world-wide name {wwn}"),
        DeviceMatch::Lun(lun) => format!("the unit number {lun}"),
    };
    wanted.matches.iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// What can be known to be wrong before anything is looked at.
pub(crate) fn check(wanted: &FindDevice) -> Result<(), Error> {
    if wanted.matches.is_empty() || wanted.matches.len() > MAX_MATCHES {
        return Err(Error::invalid(format!(
            "a device is looked for by 1 to {MAX_MATCHES} things, not by {}",
            wanted.matches.len()
        )));
    }
    wanted.matches.iter().try_for_each(|wanted| {
        let is_sound = match wanted {
            DeviceMatch::Serial(text) | DeviceMatch::Wwn(text) => {
                !text.trim().is_empty() && text.len() <= MAX_SERIAL_BYTES
            }
            DeviceMatch::ById(link) | DeviceMatch::ByPath(link) => {
                !matches!(link.as_str(), "" | "." | "..")
                    && link.len() <= MAX_LINK_BYTES
                    && !link.contains(['/', '\0'])
            }
            DeviceMatch::Lun(_) => true,
        };
        if is_sound { Ok(()) } else { Err(unsound(wanted)) }
    })
}

fn unsound(wanted: &DeviceMatch) -> Error {
    let (what, text) = match wanted {
        DeviceMatch::Serial(text) => ("serial", text.as_str()),
        DeviceMatch::Wwn(text) => ("world-wide name", text.as_str()),
        DeviceMatch::ById(text) | DeviceMatch::ByPath(text) => ("device link", text.as_str()),
        DeviceMatch::Lun(_) => ("unit number", ""),
    };
    let shown: String = text.chars().take(100).collect();
    Error::invalid(format!("`{shown}` is not the name of a {what}: it is empty, long or a path"))
}

/// Asks the bus to look at the device again. Virtio needs no asking and has no such file.
fn rescan(device: &Path) {
    for file in ["device/rescan", "device/rescan_controller"] {
        let path = device.join(file);
        if path.exists()
            && let Err(error) = std::fs::write(&path, "1")
        {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
    }
}
