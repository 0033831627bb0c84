//! How a volume's file system is made, checked and mounted, from its context. The same parser reads
//! a StorageClass, so that a mistake is found when the class is used and not when a workload waits.
//!
//! `mkfsOptions` replaces the default arguments. The node refuses the same ones in any plan; here
//! they are refused by their key.

use wharf_mkfs::Family;
use wharf_sdk::types::{MountOptions, Parameters};
use wharf_sdk::{Error, Pairs};

use crate::parameters::flag;

/// File systems that the node makes, best known first; the first one is the default.
pub const FILESYSTEMS: [&str; 3] = ["ext4", "ext3", "xfs"];

/// The file system of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formatting {
    /// One of [`FILESYSTEMS`], if the context names one.
    pub fs_type: Option<&'static str>,
    /// Arguments of mkfs, if the context has its own.
    pub arguments: Option<Vec<String>>,
    /// Whether it is mounted without being checked first.
    pub is_unchecked: bool,
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
            arguments: options.map(read_arguments).transpose()?,
            is_unchecked: context
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
    ///
    /// # Errors
    /// `invalid-argument` naming the key when `mkfsOptions` are not for this file system.
    pub fn made(&self, asked: Option<&'static str>) -> Result<(&'static str, Vec<String>), Error> {
        let fs_type = asked.unwrap_or(FILESYSTEMS[0]);
        let Some(arguments) = &self.arguments else {
            return Ok((fs_type, default_arguments(fs_type)));
        };
        check_arguments(fs_type, arguments)?;
        Ok((fs_type, arguments.clone()))
    }

    /// Whether a node will be able to make and mount it like this.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn check(&self, options: &MountOptions) -> Result<(), Error> {
        self.made(self.asked(options)?)?;
        match each(&options.flags).find(|flag| *flag == "errors=panic") {
            Some(flag) => Err(Error::invalid(
                "mountOptions",
                flag,
                "errors=remount-ro or errors=continue: no volume stops the machine",
            )),
            None => Ok(()),
        }
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

/// Mount options one by one: each string may hold several.
pub fn each(flags: &[String]) -> impl Iterator<Item = &str> {
    flags.iter().flat_map(|flags| flags.split(',')).map(str::trim)
}

fn default_arguments(fs_type: &str) -> Vec<String> {
    let arguments: &[&str] = if fs_type == "xfs" { &["-f"] } else { &["-F", "-m0"] };
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

/// Which file system they are for may not be known yet, so it is enough that one takes them.
fn read_arguments(options: &str) -> Result<Vec<String>, Error> {
    let arguments: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    check_arguments("ext4", &arguments)
        .or_else(|error| check_arguments("xfs", &arguments).map_err(|_| error))?;
    Ok(arguments)
}

fn check_arguments(fs_type: &str, arguments: &[String]) -> Result<(), Error> {
    let checked = Family::of(fs_type).map_or(Ok(()), |family| family.check(arguments));
    checked.map_err(|refused| {
        let options = arguments.join(" ");
        Error::invalid_request(format!("parameter `mkfsOptions` is `{options}`: {refused}"))
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
        let options = MountOptions::new(fs_type.into(), vec![]);
        let formatting = Formatting::read(&pairs(context.iter().copied()))?;
        formatting.made(formatting.asked(&options)?)
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
    fn mkfs_options_have_to_be_of_the_file_system_that_is_made() {
        let of_xfs = [("mkfsOptions", "-d agcount=4")];
        assert!(chosen(&of_xfs, "xfs").is_ok());
        let error = chosen(&of_xfs, "ext4").unwrap_err();
        assert!(error.message.contains("mkfsOptions"), "{error:?}");
        assert!(chosen(&[("mkfsOptions", "-F -n ftype=1")], "").is_err(), "of neither alone");
        let error = chosen(&[("mkfsOptions", "-F -e panic")], "ext4").unwrap_err();
        let says = |word| error.message.contains(word);
        assert!(says("mkfsOptions") && says("`-e panic`"), "{error:?}");
    }

    #[test]
    fn the_check_is_left_out_only_when_asked() {
        let is_unchecked =
            |value: &str| Formatting::read(&pairs([("omitfsck", value)])).unwrap().is_unchecked;
        assert!(!Formatting::read(&pairs::<&str, &str>([])).unwrap().is_unchecked);
        assert!(!is_unchecked("false"));
        assert!(is_unchecked("true"));
    }
}
