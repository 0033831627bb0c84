//! Mount options as people write them, split into what mount(2) takes as flags, as propagation, and
//! as the file system's own text, which is compared with a list of what each may be given. Pure.
//! How one string is separated into options is `wharf_core::mount_options`'s to say.

use std::ffi::CString;

use rustix::mount::{MountFlags, MountPropagationFlags};
use wharf_core::Error;
use wharf_core::mount_options::{LABELS, each};

/// The kernel takes one page of text.
const MAX_DATA_BYTES: usize = 4095;

/// Another operation than a mount, or one that ordinary users may undo.
const OTHER_OPERATIONS: [&str; 8] =
    ["bind", "rbind", "remount", "move", "user", "users", "owner", "group"];

/// Meant for mount(8) and systemd, which do not pass them on.
const FOR_MOUNT_PROGRAM: [&str; 10] = [
    "defaults", "_netdev", "nofail", "auto", "noauto", "nouser", "nousers", "noowner", "nogroup",
    "comment",
];

/// `MS_I_VERSION` of mount(2), which rustix does not name.
const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);

/// What the drivers of ext2 to ext4 may be given (Linux `Documentation/admin-guide/ext4.rst`).
/// `name=` takes any value. Left out: what names another device or superblock (`journal_path`,
/// `journal_dev`, `sb`, `usrjquota`), what stops the machine (`errors=panic`, `abort`), and what is
/// for developers.
const EXT: &[&str] = &[
    "acl",
    "auto_da_alloc",
    "auto_da_alloc=",
    "barrier",
    "barrier=",
    "block_validity",
    "bsddf",
    "bsdgroups",
    "commit=",
    "data=journal",
    "data=ordered",
    "data=writeback",
    "data_err=abort",
    "data_err=ignore",
    "dax",
    "dax=",
    "delalloc",
    "dioread_lock",
    "dioread_nolock",
    "discard",
    "errors=continue",
    "errors=remount-ro",
    "grpid",
    "grpquota",
    "i_version",
    "init_itable",
    "init_itable=",
    "inlinecrypt",
    "inode_readahead_blks=",
    "journal_async_commit",
    "journal_checksum",
    "journal_ioprio=",
    "max_batch_time=",
    "max_dir_size_kb=",
    "mb_optimize_scan=",
    "mblk_io_submit",
    "min_batch_time=",
    "minixdf",
    "nombcache",
    "no_mbcache",
    "noacl",
    "noauto_da_alloc",
    "nobarrier",
    "noblock_validity",
    "nodelalloc",
    "nodiscard",
    "nogrpid",
    "noinit_itable",
    "nojournal_checksum",
    "noload",
    "nomblk_io_submit",
    "noprefetch_block_bitmaps",
    "noquota",
    "norecovery",
    "nouid32",
    "nouser_xattr",
    "prefetch_block_bitmaps",
    "prjquota",
    "quota",
    "resgid=",
    "resuid=",
    "stripe=",
    "sysvgroups",
    "user_xattr",
    "usrquota",
];

/// What XFS may be given (Linux `Documentation/admin-guide/xfs.rst`). Left out: `logdev`, `rtdev`.
const XFS: &[&str] = &[
    "allocsize=",
    "attr2",
    "barrier",
    "bsdgroups",
    "dax",
    "dax=",
    "discard",
    "filestreams",
    "gqnoenforce",
    "gquota",
    "grpid",
    "grpquota",
    "ikeep",
    "inode32",
    "inode64",
    "largeio",
    "logbsize=",
    "logbufs=",
    "noalign",
    "noattr2",
    "nobarrier",
    "nodiscard",
    "nogrpid",
    "noikeep",
    "nolargeio",
    "noquota",
    "norecovery",
    "nouuid",
    "pqnoenforce",
    "pquota",
    "prjquota",
    "qnoenforce",
    "quota",
    "sunit=",
    "swalloc",
    "swidth=",
    "sysvgroups",
    "uqnoenforce",
    "uquota",
    "usrquota",
    "wsync",
];

/// What a mount needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `MS_*`.
    pub flags: MountFlags,
    /// Asked for by `shared`, `private`, …
    pub propagation: Option<MountPropagationFlags>,
    /// For the file system.
    data: Vec<String>,
}

impl MountOptions {
    /// Reads options; later ones win.
    ///
    /// # Errors
    /// `InvalidArgument` for what would turn the mount into another operation, for labels that are
    /// none, and for more text than a page.
    pub fn parse(options: &[String], read_only: bool) -> Result<Self, Error> {
        let mut parsed = Self { flags: MountFlags::empty(), propagation: None, data: Vec::new() };
        for option in each(options) {
            parsed.take(option)?;
        }
        if read_only {
            parsed.flags |= MountFlags::RDONLY;
        }
        let bytes = parsed.data.iter().map(|option| option.len() + 1).sum::<usize>();
        if bytes > MAX_DATA_BYTES + 1 {
            return Err(Error::invalid(format!(
                "the mount options are {bytes} bytes long, at most {MAX_DATA_BYTES} are possible"
            )));
        }
        if parsed.data.iter().any(|option| option.contains('\0')) {
            return Err(Error::invalid("a mount option contains a zero byte"));
        }
        Ok(parsed)
    }

    /// Whether a file system of this type may be given all this.
    ///
    /// # Errors
    /// `InvalidArgument` naming the first option that it may not.
    pub fn check_allowed(&self, fs_type: &str) -> Result<(), Error> {
        let list = match fs_type {
            "ext2" | "ext3" | "ext4" => EXT,
            "xfs" => XFS,
            _ => &[],
        };
        let is_allowed = |option: &&String| {
            let (name, value) = option
                .split_once('=')
                .map_or((option.as_str(), None), |(name, value)| (name, Some(value)));
            LABELS.contains(&name)
                || list.iter().any(|allowed| match allowed.strip_suffix('=') {
                    Some(allowed) => allowed == name && value.is_some(),
                    None => *allowed == option.as_str(),
                })
        };
        if let Some(option) = self.data.iter().find(|option| !is_allowed(option)) {
            let name = name_of(option);
            return Err(Error::invalid(format!(
                "the mount option `{name}` (with this value) is not allowed for {fs_type}"
            ))
            .with_hint(
                "options that name another device, that stop the machine, or that the file system \
                 does not have are not passed on",
            ));
        }
        if self.data.iter().any(|option| matches!(option.as_str(), "noload" | "norecovery"))
            && !self.is_read_only()
        {
            return Err(Error::invalid(
                "the mount options `noload` and `norecovery` are for reading only (`ro`): without \
                 its journal, what is written is lost",
            ));
        }
        Ok(())
    }

    /// The options as this type of file system needs them. One without a journal has none to leave
    /// out. XFS refuses a second file system with the id of a mounted one, as a disk has that was
    /// made from a snapshot.
    #[must_use]
    pub fn for_type(mut self, fs_type: &str) -> Self {
        if fs_type == "xfs" && !self.data.iter().any(|option| option == "nouuid") {
            self.data.push("nouuid".to_owned());
        }
        if fs_type == "ext2" {
            self.data.retain(|option| !matches!(option.as_str(), "noload" | "norecovery"));
        }
        self
    }

    /// For the file system, joined by commas.
    pub fn data(&self) -> CString {
        CString::new(self.data.join(",")).unwrap_or_default()
    }

    /// The file system's own options by name: a value may be secret, and an error is read by many.
    pub fn names(&self) -> String {
        self.data.iter().map(|option| name_of(option)).collect::<Vec<_>>().join(",")
    }

    /// The file system's own, one by one.
    pub fn of_file_system(&self) -> &[String] {
        &self.data
    }

    /// What is set besides the file system's own options, as mount(8) calls it.
    pub fn flag_names(&self) -> Vec<&'static str> {
        const NAMES: [&str; 11] = [
            "ro",
            "nosuid",
            "nodev",
            "noexec",
            "sync",
            "dirsync",
            "noatime",
            "nodiratime",
            "relatime",
            "strictatime",
            "nosymfollow",
        ];
        let is_set = |name: &&str| {
            flag(name).is_some_and(|(flag, is_set)| is_set && self.flags.contains(flag))
        };
        NAMES.into_iter().filter(is_set).collect()
    }

    /// Whether only reading is asked for.
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    fn take(&mut self, option: &str) -> Result<(), Error> {
        let name = name_of(option);
        if OTHER_OPERATIONS.contains(&name) {
            return Err(Error::invalid(format!(
                "the mount option `{name}` is not allowed: it asks for another operation than a \
                 mount"
            )));
        }
        if FOR_MOUNT_PROGRAM.contains(&name) || name.starts_with("x-") || name.starts_with("X-") {
            return Ok(());
        }
        if let Some((flag, is_set)) = flag(option) {
            self.flags.set(flag, is_set);
        } else if let Some(propagation) = propagation(option) {
            self.propagation = Some(propagation);
        } else {
            check_quotes(option)?;
            self.data.push(option.to_owned());
        }
        Ok(())
    }
}

fn name_of(option: &str) -> &str {
    option.split_once('=').map_or(option, |(name, _)| name)
}

/// Quotes protect the commas of an SELinux label, and only in a kernel with SELinux: any other one
/// separates there, and would find options that nobody has looked at. So a quoted value is a label
/// with categories and nothing else, and nothing else is quoted.
fn check_quotes(option: &str) -> Result<(), Error> {
    if !option.contains('"') {
        return Ok(());
    }
    let is_category = |part: &str| {
        part.split('.').all(|category| {
            category.strip_prefix('c').is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
    };
    let is_name = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
    };
    let label = option.split_once('=').and_then(|(name, value)| {
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        LABELS.contains(&name).then_some(value)
    });
    let is_label = label.is_some_and(|label| {
        let mut parts = label.split(',');
        parts.next().is_some_and(is_name) && parts.all(is_category)
    });
    if is_label {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the mount option `{}` has quotes and is no SELinux label",
        name_of(option).chars().take(100).collect::<String>()
    )))
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
        "iversion" => (I_VERSION, true),
        "noiversion" => (I_VERSION, false),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<MountOptions, Error> {
        MountOptions::parse(
            &options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(),
            false,
        )
    }

    fn allowed(fs_type: &str, options: &[&str]) -> bool {
        parse(options).and_then(|options| options.check_allowed(fs_type)).is_ok()
    }

    #[test]
    fn kernel_flags_propagation_and_file_system_text_are_told_apart() {
        let parsed =
            parse(&["noatime,nosuid", "discard", "shared", "nouuid", "data=ordered"]).unwrap();
        assert_eq!(parsed.flags, MountFlags::NOATIME | MountFlags::NOSUID);
        assert_eq!(parsed.propagation, Some(MountPropagationFlags::SHARED));
        assert_eq!(parsed.data().to_str().unwrap(), "discard,nouuid,data=ordered");
    }

    #[test]
    fn what_mount_8_takes_for_itself_is_taken_and_not_passed_on() {
        let parsed = parse(&[
            "defaults",
            "x-systemd.automount",
            "X-mount.mkdir",
            "X-mount.mkdir=0755",
            "nouser",
            "nousers",
            "nogroup",
            "noowner",
            "comment=x",
            "_netdev",
            "nofail",
            "auto",
            "noauto",
            "noiversion",
        ])
        .unwrap();
        assert_eq!((parsed.flags, parsed.data.len()), (MountFlags::empty(), 0));
        assert_eq!(parse(&["iversion"]).unwrap().flags.bits(), 1 << 23);
    }

    #[test]
    fn a_later_option_wins_except_over_a_read_only_request() {
        assert!(!parse(&["ro", "rw"]).unwrap().is_read_only());
        assert!(parse(&["rw,ro"]).unwrap().is_read_only());
        assert!(MountOptions::parse(&["rw".to_owned()], true).unwrap().is_read_only());
    }

    #[test]
    fn commas_in_a_label_belong_to_it() {
        let parsed = parse(&["context=\"system_u:object_r:t:s0:c1,c2\",ro"]).unwrap();
        assert_eq!(parsed.data().to_str().unwrap(), "context=\"system_u:object_r:t:s0:c1,c2\"");
        assert_eq!(parsed.names(), "context");
        assert!(parsed.is_read_only() && parsed.check_allowed("ext4").is_ok());
    }

    #[test]
    fn quotes_carry_nothing_past_the_list() {
        for option in [
            "context=\"x,journal_path=/dev/vda\"",
            "context=\"x,errors=panic\"",
            "context=\"x,noload\"",
            "context=\"x\",journal_path=/dev/vda",
            "x=\"a,journal_path=/dev/vda,b\"",
            "\",journal_path=/dev/vda,\"",
            "discard\"",
            "context=\"c1,\"",
            "fscontext=\"a b\"",
        ] {
            assert!(!allowed("ext4", &[option]), "{option}");
        }
    }

    #[test]
    fn each_file_system_is_told_what_it_has_and_nothing_that_reaches_further() {
        for option in [
            "discard",
            "nobarrier",
            "data=ordered",
            "errors=remount-ro",
            "commit=5",
            "stripe=16",
            "acl",
            "usrquota",
            "noauto_da_alloc",
            "dioread_nolock",
            "init_itable=0",
        ] {
            assert!(allowed("ext4", &[option]) && allowed("ext3", &[option]), "{option}");
        }
        for option in ["nouuid", "inode64", "logbsize=256k", "allocsize=64m", "pquota", "noquota"] {
            assert!(allowed("xfs", &[option]), "{option}");
        }
        for option in [
            "errors=panic",
            "journal_path=/dev/vda",
            "journal_dev=0x801",
            "sb=1",
            "abort",
            "loop",
            "offset=1",
            "nouuid",
            "no_such_option",
            "commit",
            "data=",
            "usrjquota=a",
        ] {
            assert!(!allowed("ext4", &[option]), "{option}");
            assert!(!allowed("ext4", &["noatime", &format!("discard,{option}")]), "{option}");
        }
        for option in ["logdev=/dev/vda1", "rtdev=/dev/vda", "errors=panic", "data=ordered"] {
            assert!(!allowed("xfs", &[option]), "{option}");
        }
        assert!(allowed("btrfs", &["noatime"]) && !allowed("btrfs", &["device=/dev/vda"]));
    }

    #[test]
    fn a_journal_is_left_out_for_reading_alone() {
        for fs_type in ["ext4", "xfs"] {
            assert!(allowed(fs_type, &["ro", "norecovery"]));
            assert!(!allowed(fs_type, &["norecovery"]));
        }
        assert!(!allowed("ext4", &["noload"]));
        let none = parse(&["ro,norecovery"]).unwrap().for_type("ext2");
        assert_eq!(none.data().to_bytes(), b"");
        let xfs = |options: &[&str]| parse(options).unwrap().for_type("xfs").data();
        assert_eq!((xfs(&[]), xfs(&["nouuid"])), (c"nouuid".into(), c"nouuid".into()));
    }

    #[test]
    fn another_operation_is_refused() {
        for option in ["bind", "remount", "noatime,move", "user", "users", "owner", "group"] {
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
