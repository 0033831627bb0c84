//! Which arguments a plan may hand to mkfs. Pure.
//!
//! Plans come from sandboxed backends; an argument such as `-d /etc` (copy this directory in), `-J
//! device=…` or a second device's path would reach past the sandbox. So only options that shape the
//! new file system pass; everything else is refused by name, positional arguments included.

use wharf_core::{Blame, Error, ErrorKind};

/// More is no real command line.
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT_BYTES: usize = 1024;

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

/// Checks the arguments for this type of file system.
///
/// # Errors
/// `Unsupported` for a type that this build does not make; `PermissionDenied` naming the first
/// argument that is not allowed.
pub(crate) fn check(fs_type: &str, arguments: &[String]) -> Result<(), Error> {
    let grammar = match fs_type {
        "ext2" | "ext3" | "ext4" => EXT,
        "xfs" => XFS,
        other => {
            return Err(Error::unsupported(format!(
                "making a `{other}` file system is not provided by this build"
            ))
            .with_hint("use ext4 or xfs"));
        }
    };
    if arguments.len() > MAX_ARGUMENTS
        || arguments
            .iter()
            .any(|argument| argument.len() > MAX_ARGUMENT_BYTES || argument.contains('\0'))
    {
        return Err(Error::invalid(format!(
            "mkfs gets at most {MAX_ARGUMENTS} arguments of at most {MAX_ARGUMENT_BYTES} bytes"
        )));
    }
    let (mut rest, mut forced) = (arguments.iter(), 0);
    while let Some(argument) = rest.next() {
        let is_allowed = match grammar.read(argument) {
            Kind::Switches => {
                forced += argument.matches(grammar.once).count();
                forced <= 1
            }
            Kind::Value(letter, value) => grammar.permits_value(letter, value),
            Kind::ValueFollows(letter) => rest.next().is_some_and(|value| {
                !value.starts_with('-') && grammar.permits_value(letter, value)
            }),
            Kind::Unknown => false,
        };
        if !is_allowed {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                Blame::User,
                format!("mkfs.{fs_type} may not get the argument `{argument}`"),
            )
            .with_hint("only options that shape the new file system itself are passed on"));
        }
    }
    Ok(())
}

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

    /// Sub-options are separated by commas; no value that shapes a file system is a path.
    /// What a file system does after an error (`-e` of mke2fs) is not to stop the machine.
    fn permits_value(&self, letter: char, value: &str) -> bool {
        let stops_machine = letter == 'e' && value == "panic";
        let mut parts = value.split(',').map(str::trim_start);
        let redirects =
            parts.any(|part| self.redirecting.iter().any(|prefix| part.starts_with(prefix)));
        !(value.contains('/') || stops_machine || redirects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(fs_type: &str, line: &str) -> bool {
        check(fs_type, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn options_that_shape_a_file_system_pass() {
        for line in [
            "",
            "-F -m0",
            "-F -m 0 -E lazy_itable_init=1,nodiscard",
            "-O ^metadata_csum,64bit -b 4096 -i 16384 -L data -U random",
            "-J size=64",
            "-e remount-ro -E root_owner=0:0",
            "-q -L data -J size=2048 -T largefile",
            "-O large_file,^huge_file",
        ] {
            assert!(is_allowed("ext4", line) && is_allowed("ext3", line), "{line}");
        }
        for line in [
            "-f",
            "-f -K -i size=512 -m reflink=1,crc=1 -d agcount=4 -l size=32m -n ftype=1",
            "-L data -s size=4096 -b size=4k",
        ] {
            assert!(is_allowed("xfs", line), "{line}");
        }
    }

    #[test]
    fn arguments_that_reach_past_the_device_are_refused() {
        for line in [
            "-d /etc",
            "-d/etc",
            "-FF",
            "-F -m0 -F",
            "-T /etc/x",
            "/dev/vda",
            "-F /dev/vda",
            "-J device=/dev/vda1",
            "-J size=4,device=LABEL=x",
            "-Jdevice=x",
            "-l bad",
            "-z undo",
            "-S",
            "-n",
            "-t ext2",
            "-Fd x",
            "--",
            "-",
            "-m",
            "-m -d",
            "16384",
            "-L /etc",
            "-e panic",
            "-epanic",
            "-E lazy_itable_init=1,offset=1048576",
            "-O journal_dev",
            "-O 64bit,journal_dev",
        ] {
            assert!(!is_allowed("ext4", line), "{line}");
        }
        for line in [
            "-p proto",
            "-c options=x",
            "-r rtdev=/dev/vda",
            "-d name=x",
            "-d agcount=4,file=1",
            "-l logdev=x",
            "-l name=x",
            "-fp x",
            "-N",
            "/dev/vda",
            "-d",
        ] {
            assert!(!is_allowed("xfs", line), "{line}");
        }
    }

    #[test]
    fn the_refusal_names_the_argument() {
        let error =
            check("ext4", &["-m".into(), "0".into(), "-d".into(), "/root".into()]).unwrap_err();
        assert!(error.message.contains("`-d`"), "{error}");
    }

    #[test]
    fn a_file_system_that_cannot_be_made_is_unsupported() {
        assert_eq!(check("btrfs", &[]).unwrap_err().kind, ErrorKind::Unsupported);
    }

    #[test]
    fn arguments_are_bounded() {
        assert!(check("ext4", &vec!["-F".to_owned(); 65]).is_err());
        assert!(check("ext4", &[format!("-L{}", "x".repeat(2000))]).is_err());
    }
}
