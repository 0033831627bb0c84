//! Mount options as people write them, split into what mount(2) takes as flags, as propagation, and
//! as the file system's own text. Pure.

use std::ffi::CString;

use rustix::mount::{MountFlags, MountPropagationFlags};
use wharf_core::Error;

/// The kernel takes one page of text.
const MAX_DATA_BYTES: usize = 4095;

/// Options that reach another device or file than the one that was found and checked.
const REDIRECTING: [&str; 8] =
    ["journal_dev", "journal_path", "logdev", "rtdev", "loop", "offset", "sizelimit", "device"];

/// Meant for mount(8) and systemd; the kernel does not know them, and mount(8) does not pass them
/// on.
const FOR_MOUNT_PROGRAM: [&str; 5] = ["defaults", "_netdev", "nofail", "auto", "noauto"];

/// What a mount needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `MS_*`.
    pub flags: MountFlags,
    /// Asked for by `shared`, `private`, …
    pub propagation: Option<MountPropagationFlags>,
    /// For the file system, joined by commas.
    pub data: CString,
}

impl MountOptions {
    /// Reads options; one string may hold several, separated by commas outside of quotes. Later
    /// ones win.
    ///
    /// # Errors
    /// `InvalidArgument` for what would turn the mount into another operation or reach another
    /// device, and for more text than a page.
    pub fn parse(options: &[String], read_only: bool) -> Result<Self, Error> {
        let mut parsed =
            Self { flags: MountFlags::empty(), propagation: None, data: CString::default() };
        let mut data: Vec<&str> = Vec::new();
        for option in options
            .iter()
            .flat_map(|text| split(text))
            .map(str::trim)
            .filter(|option| !option.is_empty())
        {
            if !parsed.take(option)? {
                data.push(option);
            }
        }
        if read_only {
            parsed.flags |= MountFlags::RDONLY;
        }
        let data = data.join(",");
        if data.len() > MAX_DATA_BYTES {
            return Err(Error::invalid(format!(
                "the mount options are {} bytes long, at most {MAX_DATA_BYTES} are possible",
                data.len()
            )));
        }
        parsed.data = CString::new(data)
            .map_err(|_| Error::invalid("a mount option contains a zero byte"))?;
        Ok(parsed)
    }

    /// The file system's own options by name: a value may be secret, and an error is read by many.
    pub fn names(&self) -> String {
        let data = self.data.to_string_lossy();
        split(&data)
            .map(|option| option.split_once('=').map_or(option, |(name, _)| name))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether only reading is asked for.
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// Takes an option that is not the file system's; `false` when it is.
    fn take(&mut self, option: &str) -> Result<bool, Error> {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        if REDIRECTING.contains(&name) {
            return Err(Error::invalid(format!(
                "the mount option `{name}` is not allowed: it names something besides the \
                 volume's own device"
            )));
        }
        if ["bind", "rbind", "remount", "move", "user", "users", "owner", "group"].contains(&name) {
            return Err(Error::invalid(format!(
                "the mount option `{name}` is not allowed: it asks for another operation than a \
                 mount"
            )));
        }
        if FOR_MOUNT_PROGRAM.contains(&name) || name.starts_with("x-") {
            return Ok(true);
        }
        if let Some((flag, is_set)) = flag(option) {
            self.flags.set(flag, is_set);
            return Ok(true);
        }
        if let Some(propagation) = propagation(option) {
            self.propagation = Some(propagation);
            return Ok(true);
        }
        Ok(false)
    }
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        "lazytime" => (MountFlags::LAZYTIME, true),
        "nolazytime" => (MountFlags::LAZYTIME, false),
        "nosymfollow" => (MountFlags::NOSYMFOLLOW, true),
        "symfollow" => (MountFlags::NOSYMFOLLOW, false),
        "silent" => (MountFlags::SILENT, true),
        "loud" => (MountFlags::SILENT, false),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    Some(match option {
        "shared" | "rshared" => MountPropagationFlags::SHARED,
        "private" | "rprivate" => MountPropagationFlags::PRIVATE,
        "slave" | "rslave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" | "runbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    })
}

/// Splits at commas that are not between double quotes (SELinux labels have commas of their own).
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        if character == '"' {
            is_quoted = !is_quoted;
        }
        character == ',' && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<MountOptions, Error> {
        MountOptions::parse(
            &options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(),
            false,
        )
    }

    #[test]
    fn kernel_flags_propagation_and_file_system_text_are_told_apart() {
        let parsed = parse(&[
            "noatime,nosuid",
            "discard",
            "shared",
            "nouuid",
            "defaults",
            "x-systemd.automount",
            "data=ordered",
        ])
        .unwrap();
        assert_eq!(parsed.flags, MountFlags::NOATIME | MountFlags::NOSUID);
        assert_eq!(parsed.propagation, Some(MountPropagationFlags::SHARED));
        assert_eq!(parsed.data.to_str().unwrap(), "discard,nouuid,data=ordered");
    }

    #[test]
    fn a_later_option_wins_except_over_a_read_only_request() {
        assert!(!parse(&["ro", "rw"]).unwrap().is_read_only());
        assert!(parse(&["rw,ro"]).unwrap().is_read_only());
        assert!(MountOptions::parse(&["rw".to_owned()], true).unwrap().is_read_only());
    }

    #[test]
    fn commas_in_quotes_belong_to_the_value() {
        let parsed = parse(&["context=\"system_u:object_r:t:s0:c1,c2\",ro"]).unwrap();
        assert_eq!(parsed.data.to_str().unwrap(), "context=\"system_u:object_r:t:s0:c1,c2\"");
        assert_eq!(parsed.names(), "context");
        assert!(parsed.is_read_only());
    }

    #[test]
    fn options_that_reach_another_device_or_operation_are_refused() {
        for option in [
            "logdev=/dev/vda1",
            "rtdev=/dev/vda",
            "journal_path=/dev/vda",
            "journal_dev=0x801",
            "loop",
            "bind",
            "remount",
            "noatime,move",
            "user",
        ] {
            assert!(parse(&[option]).unwrap_err().message.contains("not allowed"), "{option}");
        }
    }

    #[test]
    fn text_is_bounded_and_has_no_zero_byte() {
        assert!(parse(&[&"x".repeat(4095)]).is_ok());
        assert!(parse(&[&"x".repeat(4096)]).is_err());
        assert!(parse(&["a\0b"]).is_err());
    }
}
