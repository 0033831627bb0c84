//! From an argument list to a request that cannot be wrong. Nothing of the options gets into a
//! message.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use wharf_core::Error;

use crate::driver_file::DriverFile;
use crate::object_name::ObjectName;
use crate::options::Options;
use crate::paths::{self, GlobalMountDir, PodVolumeDir};
use crate::verb::Verb;

/// A call-out with its arguments. `init` is answered before anything is read.
pub(crate) enum Request {
    GetVolumeName {
        options: Options,
    },
    Attach {
        options: Options,
        node: ObjectName,
    },
    WaitForAttach {
        device: String,
        options: Options,
    },
    IsAttached {
        options: Options,
        node: ObjectName,
    },
    /// The device that kubelet names is not used: staging finds it again, by what the cloud calls
    /// it.
    MountDevice {
        directory: GlobalMountDir,
        options: Options,
    },
    Mount {
        directory: PodVolumeDir,
        options: Options,
    },
    Unmount {
        directory: PodVolumeDir,
    },
    UnmountDevice {
        directory: GlobalMountDir,
    },
    Detach {
        name: ObjectName,
        node: ObjectName,
    },
    ExpandVolume {
        options: Options,
        bytes: u64,
    },
    ExpandFs {
        options: Options,
        path: PathBuf,
        bytes: u64,
    },
}

impl Request {
    /// For whom it is: what the log names beside the call-out.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::GetVolumeName { options }
            | Self::Attach { options, .. }
            | Self::WaitForAttach { options, .. }
            | Self::IsAttached { options, .. }
            | Self::MountDevice { options, .. }
            | Self::Mount { options, .. }
            | Self::ExpandVolume { options, .. }
            | Self::ExpandFs { options, .. } => {
                Subject { volume: options.volume_name.to_string(), pod: options.pod.clone() }
            }
            Self::Unmount { directory } => {
                Subject { volume: directory.name.to_string(), pod: directory.pod_uid() }
            }
            Self::UnmountDevice { directory } => {
                Subject { volume: directory.name.to_string(), ..Subject::default() }
            }
            Self::Detach { name, .. } => Subject { volume: name.to_string(), ..Subject::default() },
        }
    }

    /// `arguments`: what follows the call-out's name.
    pub(crate) fn parse(
        verb: Verb,
        arguments: &[OsString],
        driver: &DriverFile,
    ) -> Result<Self, Error> {
        let reader = Reader { verb, arguments, driver };
        reader.check_count()?;
        Ok(match verb {
            Verb::Init | Verb::GetVolumeName => Self::GetVolumeName { options: reader.options(0)? },
            Verb::Attach => Self::Attach { options: reader.options(0)?, node: reader.node(1)? },
            Verb::WaitForAttach => Self::WaitForAttach {
                device: reader.at(0).to_string_lossy().into_owned(),
                options: reader.options(1)?,
            },
            Verb::IsAttached => {
                let options_at = reader.position_of_options();
                Self::IsAttached {
                    options: reader.options(options_at)?,
                    node: reader.node(1 - options_at)?,
                }
            }
            Verb::MountDevice => Self::MountDevice {
                directory: GlobalMountDir::parse(reader.at(0), &driver.driver)?,
                options: reader.options(2)?,
            },
            Verb::Mount => Self::Mount {
                directory: PodVolumeDir::parse(reader.at(0), &driver.driver)?,
                options: reader.options(1)?,
            },
            Verb::Unmount => {
                Self::Unmount { directory: PodVolumeDir::parse(reader.at(0), &driver.driver)? }
            }
            Verb::UnmountDevice => Self::UnmountDevice {
                directory: GlobalMountDir::parse(reader.at(0), &driver.driver)?,
            },
            Verb::Detach => Self::Detach {
                name: ObjectName::parse("volume name", reader.at(0))?,
                node: reader.node(1)?,
            },
            Verb::ExpandVolume => {
                Self::ExpandVolume { options: reader.options(0)?, bytes: reader.bytes(2)? }
            }
            Verb::ExpandFs => Self::ExpandFs {
                options: reader.options(0)?,
                path: paths::parse_mounted(reader.at(2), &driver.driver)?,
                bytes: reader.bytes(3)?,
            },
        })
    }
}

/// For whom a call-out is made.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// The PersistentVolume's or the inline volume's name.
    pub(crate) volume: String,
    /// `namespace/name`, or the pod's uid where kubelet says no more; empty: no single pod.
    pub(crate) pod: String,
}

struct Reader<'a> {
    verb: Verb,
    arguments: &'a [OsString],
    driver: &'a DriverFile,
}

impl Reader<'_> {
    /// Counts as people know it: with the executable and the call-out's name.
    fn check_count(&self) -> Result<(), Error> {
        let (expected, got) = (self.verb.arguments() + 2, self.arguments.len() + 2);
        if expected == got {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} expected exactly {expected} arguments; got: {got}",
            self.verb.title()
        )))
    }

    fn at(&self, index: usize) -> &OsStr {
        self.arguments.get(index).map(OsString::as_os_str).unwrap_or_default()
    }

    fn options(&self, index: usize) -> Result<Options, Error> {
        let title = match self.verb {
            Verb::Attach => "Attach Options format illegal".to_owned(),
            verb => format!("{} Options illegal", verb.title()),
        };
        Options::parse(&title, self.at(index), &self.driver.secret_options)
    }

    /// `isattached` had its two arguments in either order over time.
    fn position_of_options(&self) -> usize {
        usize::from(self.arguments.get(1).is_some_and(|argument| {
            argument.as_encoded_bytes().trim_ascii_start().starts_with(b"{")
        }))
    }

    fn node(&self, index: usize) -> Result<ObjectName, Error> {
        ObjectName::parse("node name", self.at(index))
    }

    fn bytes(&self, index: usize) -> Result<u64, Error> {
        let text = self.at(index).to_str().and_then(|text| text.parse().ok());
        text.filter(|&bytes| bytes > 0).ok_or_else(|| {
            Error::invalid(format!("{}: the new size is not a number of bytes", self.verb.title()))
        })
    }
}
