//! How a volume's file system is made, checked and mounted, from its context. The same parser reads
//! a StorageClass, so that a mistake is found when the class is used and not when a workload waits.
//!
//! `mkfsOptions` replaces the default arguments. Arguments that make the program read or write
//! another file than the device are refused.

use wharf_sdk::types::{MountOptions, Parameters};
use wharf_sdk::{Error, Pairs};

use crate::parameters::flag;

/// File systems that the node makes, best known first; the first one is the default.
pub const FILESYSTEMS: [&str; 3] = ["ext4", "ext3", "xfs"];

/// The file system of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatting {
    /// One of [`FILESYSTEMS`], if the context names one.
    pub fs_type: Option<&'static str>,
    /// Arguments of mkfs, if the context has its own.
    pub arguments: Option<Vec<String>>,
    /// Whether the file system is checked before it is mounted.
    pub is_checked: bool,
}

impl Formatting {
    /// Reads `fsType`, `mkfsOptions` and `omitfsck`.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(context: &Parameters) -> Result<Self, Error> {
        let named = |key: &str| {
            context
                .value(key)
                .filter(|value| !value.is_empty())
                .map(|value| known(key, value))
                .transpose()
        };
        let fs_type = match named("fsType")? {
            Some(fs_type) => Some(fs_type),
            None => named("csi.storage.k8s.io/fstype").unwrap_or_default(),
        };
        let options = context.value("mkfsOptions").filter(|value| !value.trim().is_empty());
        Ok(Self {
            fs_type,
            arguments: options.map(arguments).transpose()?,
            is_checked: !context
                .value("omitfsck")
                .map(|value| flag("omitfsck", value))
                .transpose()?
                .unwrap_or(false),
        })
    }

    /// The file system that somebody asks for by name, if anybody does. A disk that has one already
    /// keeps it otherwise, whatever it is.
    ///
    /// # Errors
    /// `invalid-argument` when the capability names one that the node cannot make.
    pub fn asked(&self, options: &MountOptions) -> Result<Option<&'static str>, Error> {
        match options.fs_type.as_str() {
            "" => Ok(self.fs_type),
            named => known("fsType", named).map(Some),
        }
    }

    /// What a blank disk is given, and the arguments to make it with.
    pub fn made(&self, asked: Option<&'static str>) -> (&'static str, Vec<String>) {
        let fs_type = asked.unwrap_or(FILESYSTEMS[0]);
        (fs_type, self.arguments.clone().unwrap_or_else(|| default_arguments(fs_type)))
    }
}

/// The file system of this name.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn known(key: &str, name: &str) -> Result<&'static str, Error> {
    FILESYSTEMS
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| Error::invalid(key, name, FILESYSTEMS.join(", ")))
}

fn default_arguments(fs_type: &str) -> Vec<String> {
    let arguments: &[&str] = if fs_type == "xfs" { &["-f"] } else { &["-F", "-m0"] };
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

fn arguments(options: &str) -> Result<Vec<String>, Error> {
    let split: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    let next = split.iter().skip(1).map(String::as_str).chain([""]);
    let outward = split
        .iter()
        .zip(next)
        .find(|(argument, next)| reaches_out(argument, next))
        .map(|(argument, _)| argument.clone());
    match outward {
        Some(argument) => Err(Error::invalid(
            "mkfsOptions",
            options,
            format!("no argument that names a file or another device, as `{argument}` does"),
        )),
        None => Ok(split),
    }
}

/// Options of mke2fs and mkfs.xfs that are followed by a value. Letters that have one in one of the
/// two only are passed over: another option may stand behind them.
const WITH_VALUE: &str = "bdeEgGiIJlLmMoOprstTUz";
/// Settings whose value is a file or a device.
const NAMING: [&str; 5] = ["device", "logdev", "rtdev", "name", "options"];

/// Whether an argument, with the one behind it, means anything outside the device: every path, and
/// `mke2fs -d`, `-l`, `-z`, `-J device=`, `mkfs.xfs -p`, `-d file`, `-d name=`, `-l logdev=`, `-r
/// rtdev=`, `-c options=`.
fn reaches_out(argument: &str, next: &str) -> bool {
    if argument.contains('/') || argument.starts_with("--") || names_a_file(argument) {
        return true;
    }
    let Some(letters) = argument.strip_prefix('-') else { return false };
    if letters.char_indices().nth(1).and_then(|(at, _)| letters.get(at..)).is_some_and(names_a_file)
    {
        return true;
    }
    let Some((at, letter)) =
        letters.char_indices().find(|(_, letter)| WITH_VALUE.contains(*letter))
    else {
        return false;
    };
    let value =
        letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty()).unwrap_or(next);
    match letter {
        'z' | 'p' => true,
        // `agcount=4` is a setting of mkfs.xfs; anything without a sign is a path of mke2fs.
        'd' | 'l' => !value.contains('=') || names_a_file(value),
        _ => false,
    }
}

/// Whether one of the settings between commas has a file or a device for its value. Whole words:
/// `largefile` and `^huge_file` have none.
fn names_a_file(settings: &str) -> bool {
    settings.split(',').any(|setting| match setting.split_once('=') {
        Some((key, _)) => key == "file" || NAMING.contains(&key),
        None => setting == "file",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::types::pairs;

    fn chosen(
        context: &[(&str, &str)],
        fs_type: &str,
    ) -> Result<(&'static str, Vec<String>), Error> {
        let options = MountOptions { fs_type: fs_type.into(), flags: vec![], group: None };
        let formatting = Formatting::read(&pairs(context.iter().copied()))?;
        Ok(formatting.made(formatting.asked(&options)?))
    }

    #[test]
    fn the_capability_wins_over_the_context_and_ext4_is_the_default() {
        assert_eq!(chosen(&[], "").unwrap().0, "ext4");
        assert_eq!(chosen(&[("fsType", "xfs")], "").unwrap().0, "xfs");
        assert_eq!(chosen(&[("fsType", "xfs")], "ext3").unwrap().0, "ext3");
        assert_eq!(chosen(&[("csi.storage.k8s.io/fstype", "xfs")], "").unwrap().0, "xfs");
        assert!(chosen(&[], "btrfs").unwrap_err().message.contains("ext4, ext3, xfs"));
    }

    #[test]
    fn mkfs_options_replace_the_defaults() {
        assert_eq!(chosen(&[], "ext4").unwrap().1, ["-F", "-m0"]);
        assert_eq!(chosen(&[], "xfs").unwrap().1, ["-f"]);
        assert_eq!(
            chosen(&[("mkfsOptions", "-O  ^has_journal -E lazy_itable_init=0")], "").unwrap().1,
            ["-O", "^has_journal", "-E", "lazy_itable_init=0"]
        );
    }

    #[test]
    fn mkfs_reads_and_writes_nothing_but_the_device() {
        for options in [
            "-d /etc",
            "-d etc",
            "-Fd etc",
            "-detc",
            "-l list",
            "-z undo",
            "-J device=UUID=1",
            "-p proto",
            "-r rtdev=sdb",
            "-l logdev=x",
            "-llogdev=x",
            "-Jsize=64,device=x",
            "-d file",
            "-d file=1",
            "-d agcount=4,name=x",
            "-dname=x",
            "-fdagcount=4,name=x",
            "-c options=x",
            "-Dd etc",
            "-d",
            "--x",
        ] {
            assert!(chosen(&[("mkfsOptions", options)], "").is_err(), "{options}");
        }
        for options in [
            "-d agcount=4",
            "-l size=64m",
            "-L data",
            "-N 1000",
            "-n size=4096",
            "-F -E lazy_itable_init=0,discard",
            "-Elazy_itable_init=0",
            "-q -L yunpan -J size=2048 -T largefile",
            "-Tlargefile4",
            "-O large_file",
            "-O ^huge_file,extent",
        ] {
            assert!(chosen(&[("mkfsOptions", options)], "").is_ok(), "{options}");
        }
    }

    #[test]
    fn the_check_is_left_out_only_when_asked() {
        let is_checked =
            |value: &str| Formatting::read(&pairs([("omitfsck", value)])).unwrap().is_checked;
        assert!(Formatting::read(&pairs::<&str, &str>([])).unwrap().is_checked);
        assert!(is_checked("false"));
        assert!(!is_checked("true"));
    }
}
