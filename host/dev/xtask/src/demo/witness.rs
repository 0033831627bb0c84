//! The witness: looks from outside at everything that a call may have changed (logs, the cloud's
//! journal, the mount table, loop devices) and says what is new since it last looked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wharf_testing::bed::{Bed, MountLine};

use super::event::{CloudRequest, Seen};
use super::log::{self, Log};

/// See above.
pub struct Witness {
    bed: Arc<Bed>,
    known: Mutex<Known>,
}

struct Known {
    /// Of servers and of call-outs.
    logs: Vec<Log>,
    /// The number of the last request in the cloud's journal.
    journal: u64,
    mounts: Vec<MountLine>,
    loops: Vec<(PathBuf, PathBuf)>,
    /// Which generation answered a function last.
    generations: BTreeMap<String, u64>,
}

impl Witness {
    /// Knows nothing yet.
    pub fn new(bed: Arc<Bed>) -> Self {
        let machines = bed.nodes().iter().chain([bed.manager()]);
        let known = Known {
            logs: machines
                .flat_map(|machine| {
                    let call_outs = ["disk", "nas", "oss"].map(|driver| {
                        machine.directory().join(format!("log/flexvolume_{driver}.log"))
                    });
                    [machine.server_log()].into_iter().chain(call_outs)
                })
                .map(Log::of)
                .collect(),
            journal: 0,
            mounts: Vec::new(),
            loops: Vec::new(),
            generations: BTreeMap::new(),
        };
        Self { bed, known: Mutex::new(known) }
    }

    /// What is new.
    pub fn look(&self) -> Seen {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Seen::default();
        for line in known.logs.iter_mut().flat_map(Log::fresh) {
            log::read(&line, &mut seen);
        }
        for call in &seen.backend {
            known.generations.insert(call.function.clone(), call.generation);
        }
        let journal = self.bed.region().journal();
        let fresh = journal.iter().filter(|entry| entry.number > known.journal);
        seen.cloud = fresh
            .map(|entry| CloudRequest {
                action: entry.action.clone(),
                status: entry.status,
                code: entry.code.clone(),
            })
            .collect();
        known.journal = journal.last().map_or(known.journal, |entry| entry.number);
        self.devices(&mut known, &mut seen);
        self.mounts(&mut known, &mut seen);
        seen.host.iter_mut().for_each(|what| *what = shorten(what, self.bed.directory()));
        seen
    }

    /// Which generation answered this function last, as far as it was looked at.
    pub fn generation_of(&self, function: &str) -> Option<u64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).generations.get(function).copied()
    }

    fn devices(&self, known: &mut Known, seen: &mut Seen) {
        let now = self.bed.loops();
        for (device, image) in now.iter().filter(|device| !known.loops.contains(device)) {
            let disk = image.file_stem().unwrap_or_default().to_string_lossy();
            seen.host.push(format!("sees a new device: {} ({disk})", device.display()));
        }
        for (device, _) in known.loops.iter().filter(|device| !now.contains(device)) {
            seen.host.push(format!("loses the device {}", device.display()));
        }
        known.loops = now;
    }

    fn mounts(&self, known: &mut Known, seen: &mut Seen) {
        let now = self.bed.mounts();
        for mount in now.iter().filter(|mount| known.mounts.iter().all(|old| old.at != mount.at)) {
            let MountLine { source, fs_type, options, .. } = mount;
            seen.host
                .push(format!("mounts {source} at {} ({fs_type}, {options})", mount.at.display()));
        }
        for mount in known.mounts.iter().filter(|mount| now.iter().all(|new| new.at != mount.at)) {
            seen.host.push(format!("unmounts {}", mount.at.display()));
        }
        known.mounts = now;
    }
}

/// Takes the bed's directory out of a text, and the middle out of the digests in kubelet's paths.
pub fn shorten(text: &str, bed: &Path) -> String {
    let text = text.replace(&format!("{}/", bed.display()), "");
    let is_digest =
        |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.split('/').map(|part| {
        if is_digest(part) {
            format!("{}…", part.get(..8).unwrap_or(part))
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_enough_to_read() {
        let path = format!("/tmp/bed/node-1/csi/{}/globalmount", "0a".repeat(32));
        assert_eq!(shorten(&path, Path::new("/tmp/bed")), "node-1/csi/0a0a0a0a…/globalmount");
        assert_eq!(shorten("20 GiB ext4", Path::new("/tmp/bed")), "20 GiB ext4");
    }
}
