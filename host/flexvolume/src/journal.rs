//! The log file of a driver's call-outs. Standard error is part of the answer, so nothing is ever
//! written there, and a log that cannot be opened never breaks a call.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::driver_file::{DriverFile, LogLevel};

/// Two files of this size are kept for each driver: hours of calls on a busy node, and nothing that
/// fills a disk.
const MAX_BYTES: u64 = 2 << 20;

/// Sends what this process logs to the driver's file, if it has one.
pub(crate) fn begin(driver: &DriverFile) {
    let Some(folder) = &driver.log else { return };
    let Some(file) = open(&folder.join(format!("flexvolume_{}.log", driver.driver.driver())))
    else {
        return;
    };
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file));
    // Fails only when there is one already; then that one is used.
    let _ = match driver.log_level {
        LogLevel::Info => set_global_default(log.with_max_level(Level::INFO).finish()),
        LogLevel::Debug => set_global_default(
            log.json().with_max_level(Level::DEBUG).finish().with(own_in_detail()),
        ),
    };
}

/// What other people's crates say at this level fills the file in a few calls.
fn own_in_detail() -> Targets {
    Targets::new().with_default(Level::INFO).with_target("wharf", Level::DEBUG)
}

/// Processes append at once, each line in one write; one that still holds a file that another has
/// renamed goes on in the renamed one.
fn open(path: &Path) -> Option<File> {
    fs::create_dir_all(path.parent()?).ok()?;
    if fs::metadata(path).is_ok_and(|file| file.len() > MAX_BYTES) {
        let _ = fs::rename(path, path.with_extension("log.1"));
    }
    OpenOptions::new().create(true).append(true).open(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_moved_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/flexvolume_disk.log");
        assert!(open(&path).is_some());
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(
            fs::metadata(folder.path().join("log/flexvolume_disk.log.1")).unwrap().len(),
            MAX_BYTES + 1
        );
    }

    #[test]
    fn every_crate_of_wharf_and_no_other_speaks_in_detail() {
        for (target, level, is_heard) in [
            ("wharf::journal", Level::DEBUG, true),
            ("wharf_node::program", Level::DEBUG, true),
            ("wharf_node::program", Level::TRACE, false),
            ("hyper::client", Level::DEBUG, false),
            ("hyper::client", Level::INFO, true),
        ] {
            assert_eq!(own_in_detail().would_enable(target, &level), is_heard, "{target} {level}");
        }
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_no_log() {
        assert!(open(Path::new("/proc/none/flexvolume_disk.log")).is_none());
    }
}
