//! The log file of a driver's call-outs. Standard error is part of the answer, so nothing is ever
//! written there, and a log that cannot be opened or written never breaks a call.

mod log_file;

use std::sync::Mutex;

use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use self::log_file::LogFile;
use crate::driver_file::{DriverFile, LogLevel};

/// Sends what this process logs to the driver's file, if it has one.
pub(crate) fn begin(driver: &DriverFile) {
    let Some(directory) = &driver.log else { return };
    let Some(file) = LogFile::open(directory, &format!("flexvolume_{}", driver.driver.driver()))
    else {
        return;
    };
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(file));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
