//! Which arguments mkfs may get. Pure, and without dependencies: the host refuses others in any
//! plan, to protect itself from backends, and a backend refuses them where a person writes them.
//!
//! Plans come from sandboxed backends; an argument such as `-d /etc` (copy this directory in), `-J
//! device=…` or a second device's path would reach past the sandbox. So only options that shape the
//! new file system pass; everything else is refused by name, positional arguments included.

use std::fmt;

/// More is no real command line.
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT_BYTES: usize = 1024;

/// A family of file systems whose mkfs has one grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ext2, ext3 and ext4: mke2fs(8).
    Ext,
    /// mkfs.xfs(8).
    Xfs,
}

/// Why mkfs does not get these arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There are more, or longer ones, than any real command line has.
    TooMany,
    /// This one, with the value of an option that takes one, does more than to shape the new file
    /// system.
    Argument(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(
                f,
                "mkfs gets at most {MAX_ARGUMENTS} arguments of at most {MAX_ARGUMENT_BYTES} bytes"
            ),
            Self::Argument(argument) => write!(
                f,
                "`{argument}` is none of mkfs's arguments that shape the new file system itself \
                 and neither name a file or another device nor stop the machine after an error"
            ),
        }
    }
}

impl std::error::Error for Refused {}

impl Family {
    /// The family of this type; `None`: nobody makes one of it.
    pub fn of(fs_type: &str) -> Option<Self> {
        match fs_type {
            "ext2" | "ext3" | "ext4" => Some(Self::Ext),
            "xfs" => Some(Self::Xfs),
            _ => None,
        }
    }

    /// Whether mkfs may get these arguments.
    ///
    /// # Errors
    /// [`Refused`], naming the first one that it may not get.
    pub fn check(self, arguments: &[String]) -> Result<(), Refused> {
        let is_long = |argument: &String| argument.len() > MAX_ARGUMENT_BYTES;
        if arguments.len() > MAX_ARGUMENTS || arguments.iter().any(is_long) {
            return Err(Refused::TooMany);
        }
        let grammar = match self {
            Self::Ext => EXT,
            Self::Xfs => XFS,
        };
        let (mut rest, mut forced) = (arguments.iter(), 0);
        while let Some(argument) = rest.next() {
            let (is_allowed, shown) = match grammar.read(argument) {
                Kind::Switches => {
                    forced += argument.matches(grammar.once).count();
                    (forced <= 1, argument.clone())
                }
                Kind::Value(letter, value) => {
                    (grammar.permits_value(letter, value), argument.clone())
                }
                Kind::ValueFollows(letter) => match rest.next() {
                    Some(value) => (
                        !value.starts_with('-') && grammar.permits_value(letter, value),
                        format!("{argument} {value}"),
                    ),
                    None => (false, argument.clone()),
                },
                Kind::Unknown => (false, argument.clone()),
            };
            if !is_allowed {
                return Err(Refused::Argument(shown));
            }
        }
        Ok(())
    }
}

struct Grammar {
    /// Options without a value.
    switches: &'static str,
    /// Options with a value, joined or as the next argument.
    valued: &'static str,
    /// Parts of values that reach another device, file or place, or make no file system.
    redirecting: &'static [&'static str],
    /// The switch that may be given once only.
    once: char,
}

/// mke2fs(8). Left out: `-d` (copies a directory), `-l` (reads a file), `-z` (writes one), `-S`
/// (superblocks only), `-n` (does nothing), `-t` (another type). `-T` (sizes for a kind of use)
/// names sections of `mke2fs.conf`. A second `-F` would also format what is in use.
const EXT: Grammar = Grammar {
    switches: "jqvFDK",
    valued: "bCEegGiIJLmMNOrTU",
    redirecting: &["device=", "offset=", "journal_dev"],
    once: 'F',
};
/// mkfs.xfs(8). Left out: `-c` (reads a file), `-p` (copies files in), `-r` (another device), `-N`
/// (does nothing).
const XFS: Grammar = Grammar {
    switches: "fKq",
    valued: "bdilmnsL",
    redirecting: &["file", "name=", "logdev=", "rtdev="],
    once: 'f',
};

enum Kind<'a> {
    Switches,
    Value(char, &'a str),
    ValueFollows(char),
    Unknown,
}

impl Grammar {
    fn read<'a>(&self, argument: &'a str) -> Kind<'a> {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Kind::Unknown;
        };
        if letters.chars().all(|letter| self.switches.contains(letter)) {
            return Kind::Switches;
        }
        let mut characters = letters.chars();
        match characters.next() {
            Some(letter) if self.valued.contains(letter) && characters.as_str().is_empty() => {
                Kind::ValueFollows(letter)
            }
            Some(letter) if self.valued.contains(letter) => {
                Kind::Value(letter, characters.as_str())
            }
            Some(_) | None => Kind::Unknown,
        }
    }

    /// Sub-options are separated by commas; no value that shapes a file system is a path. What a
    /// file system does after an error (`-e` of mke2fs) is not to stop the machine.
    fn permits_value(&self, letter: char, value: &str) -> bool {
        let stops_machine = letter == 'e' && value == "panic";
        let mut parts = value.split(',').map(str::trim_start);
        let redirects =
            parts.any(|part| self.redirecting.iter().any(|prefix| part.starts_with(prefix)));
        !(value.contains(['/', '\0']) || stops_machine || redirects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(family: Family, line: &str) -> Result<(), Refused> {
        family.check(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_that_shape_a_file_system_pass() {
        for line in [
            "",
            "-F -m0",
            "-F -m 0 -E lazy_itable_init=1,nodiscard",
            "-Elazy_itable_init=0",
            "-O ^metadata_csum,64bit -b 4096 -i 16384 -L data -U random",
            "-N 1000",
            "-J size=64",
            "-e remount-ro -E root_owner=0:0",
            "-q -L yunpan -J size=2048 -T largefile",
            "-Tlargefile4",
            "-O large_file,^huge_file,extent",
        ] {
            assert_eq!(check(Family::Ext, line), Ok(()), "{line}");
        }
        for line in [
            "-f",
            "-f -K -i size=512 -m reflink=1,crc=1 -d agcount=4 -l size=32m -n ftype=1",
            "-L data -s size=4096 -b size=4k",
        ] {
            assert_eq!(check(Family::Xfs, line), Ok(()), "{line}");
        }
    }

    #[test]
    fn arguments_that_reach_past_the_device_or_stop_the_machine_are_refused() {
        for line in [
            "-d /etc",
            "-d etc",
            "-d/etc",
            "-detc",
            "-Fd etc",
            "-Dd etc",
            "-d",
            "-l list",
            "-z undo",
            "-S",
            "-n",
            "-t ext2",
            "-p proto",
            "-N",
            "-FF",
            "-F -m0 -F",
            "-T /etc/x",
            "/dev/vda",
            "-F /dev/vda",
            "-J device=UUID=1",
            "-J size=4,device=LABEL=x",
            "-Jdevice=x",
            "--x",
            "--",
            "-",
            "-m",
            "-m -d",
            "16384",
            "-L /etc",
            "-e panic",
            "-epanic",
            "-E offset=1048576",
            "-E lazy_itable_init=1,offset=1048576",
            "-O journal_dev",
            "-O 64bit,journal_dev",
        ] {
            assert!(check(Family::Ext, line).is_err(), "{line}");
        }
        for line in [
            "-p proto",
            "-c options=x",
            "-r rtdev=sdb",
            "-l logdev=x",
            "-llogdev=x",
            "-l name=x",
            "-d file",
            "-d agcount=4,file=1",
            "-d name=x",
            "-dname=x",
            "-fdagcount=4,name=x",
            "-fp x",
            "-N",
            "-d",
            "-e panic",
            "/dev/vda",
        ] {
            assert!(check(Family::Xfs, line).is_err(), "{line}");
        }
        assert!(Family::Ext.check(&["-L".into(), "a\0b".into()]).is_err());
    }

    #[test]
    fn the_refusal_names_the_argument() {
        for (line, named) in [("-m 0 -d /root", "-d"), ("-e panic -m0", "-e panic"), ("-b", "-b")] {
            assert_eq!(check(Family::Ext, line), Err(Refused::Argument(named.to_owned())));
        }
    }

    #[test]
    fn a_type_that_nobody_makes_has_no_family() {
        assert_eq!(
            ["ext4", "xfs", "btrfs"].map(Family::of),
            [Some(Family::Ext), Some(Family::Xfs), None]
        );
    }

    #[test]
    fn arguments_are_bounded() {
        assert_eq!(check(Family::Ext, &"-v ".repeat(65)), Err(Refused::TooMany));
        assert_eq!(check(Family::Xfs, &format!("-L{}", "x".repeat(2000))), Err(Refused::TooMany));
    }
}
