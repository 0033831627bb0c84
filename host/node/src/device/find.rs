//! Looks for a device by links and by serial, again and again until it is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::plan::FindDevice;
use wharf_core::ports::{Call, Clock};

use super::Device;

/// udev is done within milliseconds, mostly.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A device that takes long is not noticed later than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A serial has no more bytes (NVMe and virtio have 20, SCSI up to 252).
const MAX_SERIAL_BYTES: usize = 256;
/// Links in one step: each cloud has one or two.
const MAX_LINKS: usize = 16;

/// Where devices are looked for, and how long.
pub(crate) struct Finder<'a> {
    pub links: &'a Path,
    pub sysfs: &'a Path,
    pub wait: Duration,
    pub clock: &'a dyn Clock,
}

enum Look {
    Found(Device),
    /// Why not; it may come.
    NotYet(Error),
}

impl Finder<'_> {
    /// Waits for the device, and until it is large enough.
    ///
    /// # Errors
    /// `Unavailable` when it did not come in time, `Aborted` when it is still too small,
    /// `FailedPrecondition` when it cannot be told which one is meant.
    pub fn find(&self, call: &Call, wanted: &FindDevice) -> Result<Device, Error> {
        check(wanted)?;
        let end = self.clock.now() + self.wait.min(call.remaining(self.clock.now()));
        let mut pause = FIRST_PAUSE;
        let mut is_rescanned = false;
        loop {
            let reason = match self.look(wanted)? {
                Look::Found(device) => match self.size_problem(&device, wanted)? {
                    None => return Ok(device),
                    Some(problem) => {
                        if !std::mem::replace(&mut is_rescanned, true) {
                            rescan(&device.sysfs(self.sysfs));
                        }
                        problem
                    }
                },
                Look::NotYet(reason) => reason,
            };
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Err(reason);
            }
            if call.is_cancelled() {
                return Err(Error::aborted(format!(
                    "nobody waits any more for the device with serial `{}`",
                    wanted.serial
                )));
            }
            self.clock.sleep(pause.min(left), call);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn look(&self, wanted: &FindDevice) -> Result<Look, Error> {
        let mut found: Vec<Device> = Vec::new();
        let mut stale = None;
        for device in self.linked(wanted)? {
            match self.serial(&device.name) {
                Some(serial) if !wanted.serial.is_empty() && serial != wanted.serial => {
                    let message = format!(
                        "{} has the serial `{serial}`, not `{}`: a link to it is out of date",
                        device.path.display(),
                        wanted.serial
                    );
                    stale = Some(Error::unavailable(message).with_hint(
                        "udev should have changed the link; `udevadm trigger` on the node makes \
                         it do so",
                    ));
                }
                Some(_) | None => found.push(device),
            }
        }
        found.extend(self.by_serial(wanted)?);
        found.sort_by_key(|device| device.number);
        found.dedup_by_key(|device| device.number);
        match found.as_slice() {
            [] => Ok(Look::NotYet(stale.unwrap_or_else(|| self.missing(wanted)))),
            [_] => found.pop().map_or_else(
                || Ok(Look::NotYet(self.missing(wanted))),
                |device| self.hold(device, wanted),
            ),
            several => {
                let names: Vec<_> =
                    several.iter().map(|device| device.path.display().to_string()).collect();
                Err(Error::precondition(format!(
                    "{} all claim to be the device with serial `{}`",
                    names.join(" and "),
                    wanted.serial
                ))
                .with_hint(
                    "which one is meant cannot be known: detach the other, or remove the wrong \
                     link",
                ))
            }
        }
    }

    /// What was recognised by its name may have made room for another disk since; what is held
    /// cannot.
    fn hold(&self, device: Device, wanted: &FindDevice) -> Result<Look, Error> {
        let before = self.serial(&device.name);
        let device = match device.hold() {
            Ok(device) => device,
            Err(reason) => return Ok(Look::NotYet(reason)),
        };
        let is_linked = || {
            wanted
                .links
                .iter()
                .any(|link| matches!(Device::at(&self.links.join(link), "", self.sysfs), Ok(Some(found)) if found.number == device.number))
        };
        let is_same = self.serial(&device.name) == before && (before.is_some() || is_linked());
        Ok(if is_same { Look::Found(device) } else { Look::NotYet(self.missing(wanted)) })
    }

    fn linked(&self, wanted: &FindDevice) -> Result<Vec<Device>, Error> {
        let identity = if wanted.serial.is_empty() {
            wanted.links.first().map_or("", String::as_str)
        } else {
            &wanted.serial
        };
        let mut devices = Vec::new();
        for link in &wanted.links {
            if let Some(device) = Device::at(&self.links.join(link), identity, self.sysfs)? {
                if self.sysfs.join("class/block").join(&device.name).join("partition").exists() {
                    return Err(Error::precondition(format!(
                        "the link {link} leads to {}, a partition and not a disk",
                        device.path.display()
                    )));
                }
                devices.push(device);
            }
        }
        Ok(devices)
    }

    /// Every disk whose serial in sysfs is exactly the wanted one.
    fn by_serial(&self, wanted: &FindDevice) -> Result<Vec<Device>, Error> {
        let mut devices = Vec::new();
        if wanted.serial.is_empty() {
            return Ok(devices);
        }
        let Ok(entries) = std::fs::read_dir(self.sysfs.join("block")) else { return Ok(devices) };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.serial(&name).as_deref() != Some(wanted.serial.as_str())
                || self.is_hidden(&name)
            {
                continue;
            }
            // sysfs writes `!` where a device's name has a slash.
            let node = PathBuf::from("/dev").join(name.replace('!', "/"));
            devices.extend(Device::at(&node, &wanted.serial, self.sysfs)?);
        }
        Ok(devices)
    }

    fn serial(&self, name: &str) -> Option<String> {
        let folder = self.sysfs.join("block").join(name);
        let read = |path: PathBuf| {
            Some(
                std::fs::read_to_string(path)
                    .ok()?
                    .trim_matches(['\0', ' ', '\n', '\t'])
                    .to_owned(),
            )
        };
        [folder.join("serial"), folder.join("device/serial")]
            .into_iter()
            .filter_map(read)
            .find(|serial| !serial.is_empty())
    }

    /// One path of a multipath NVMe disk: listed, but not a disk to use.
    fn is_hidden(&self, name: &str) -> bool {
        std::fs::read_to_string(self.sysfs.join("block").join(name).join("hidden"))
            .is_ok_and(|hidden| hidden.trim() == "1")
    }

    fn missing(&self, wanted: &FindDevice) -> Error {
        let links = if wanted.links.is_empty() {
            String::new()
        } else {
            format!(
                ", nor one of the links {} in {}",
                wanted.links.join(", "),
                self.links.display()
            )
        };
        Error::unavailable(format!("there is no device with serial `{}`{links}", wanted.serial))
            .with_hint(
                "is the volume attached to this node? If it is, look at the node's kernel log and \
                 at udev",
            )
    }

    fn size_problem(&self, device: &Device, wanted: &FindDevice) -> Result<Option<Error>, Error> {
        let bytes = device.bytes()?;
        if bytes >= wanted.minimum_bytes {
            return Ok(None);
        }
        let message = format!(
            "{} has {bytes} bytes, {} are needed",
            device.path.display(),
            wanted.minimum_bytes
        );
        Ok(Some(
            Error::aborted(message)
                .with_hint("the node may not have seen the new size yet; it is tried again"),
        ))
    }
}

fn check(wanted: &FindDevice) -> Result<(), Error> {
    let fits = wanted.serial.len() <= MAX_SERIAL_BYTES && wanted.links.len() <= MAX_LINKS;
    if !fits || (wanted.serial.trim().is_empty() && wanted.links.is_empty()) {
        return Err(Error::invalid(
            "a device is looked for by its serial or by a link, and neither is given, or they are \
             too long",
        ));
    }
    for link in &wanted.links {
        let is_name = !link.is_empty()
            && link.len() <= 255
            && !link.contains(['/', '\0'])
            && link != "."
            && link != "..";
        if !is_name {
            return Err(Error::invalid(format!(
                "`{}` is not the name of a device link",
                link.chars().take(100).collect::<String>()
            )));
        }
    }
    Ok(())
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
