//! `find-device`: which block device the steps after it mean.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Finds the block device; later steps mean this one. A device is never guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindDevice {
    /// How it is recognised, best first. With a [`DeviceMatch::Serial`] only the serial proves
    /// that a device is the one; the other matches then help to find it faster.
    pub matches: Vec<DeviceMatch>,
    /// At least this large; zero: any.
    pub minimum_bytes: u64,
}

/// One thing that a device is recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceMatch {
    /// The serial, exactly as the device reports it. A device whose serial cannot be read is not
    /// the one.
    Serial(String),
    /// A name under the node's by-id directory.
    ById(String),
    /// A name under the node's by-path directory.
    ByPath(String),
    /// World-wide name, EUI-64 or NGUID, as sysfs writes it (`eui.…`, `naa.…`, `nvme.…`).
    Wwn(String),
    /// The logical unit number on a SCSI host.
    Lun(u32),
}

impl FindDevice {
    /// The serial that is asked for, if one is.
    pub fn serial(&self) -> Option<&str> {
        self.matches.iter().find_map(|wanted| match wanted {
            DeviceMatch::Serial(serial) => Some(serial.as_str()),
            DeviceMatch::ById(_)
            | DeviceMatch::ByPath(_)
            | DeviceMatch::Wwn(_)
            | DeviceMatch::Lun(_) => None,
        })
    }
}

impl PlanStep for FindDevice {
    const NAME: &'static str = "find-device";

    fn check_grant(&self, _policy: &NodePolicy) -> Result<(), Error> {
        Ok(())
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.serial().unwrap_or("without a serial"))
    }
}
