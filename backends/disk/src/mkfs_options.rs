//! `mkfsOptions`: what a person may tell mkfs. The node refuses the same arguments in any plan, to
//! protect itself from backends; here they are refused where the class is used, by its key, and not
//! when a workload waits.

use wharf_sdk::Error;

/// More is no real command line.
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT_BYTES: usize = 1024;

struct Grammar {
    /// Options without a value.
    switches: &'static str,
    /// Options with a value, joined or as the next argument.
    valued: &'static str,
    /// Beginnings of settings that reach another device, file or place, or make no file system.
    redirecting: &'static [&'static str],
    /// The switch that may be given once only: a second one formats what is in use.
    once: char,
}

/// mke2fs(8), but for what reads or writes another file (`-d`, `-l`, `-z`), makes no file system
/// (`-n`, `-S`) or another one (`-t`).
const EXT: Grammar = Grammar {
    switches: "jqvFDK",
    valued: "bCEegGiIJLmMNOrTU",
    redirecting: &["device=", "offset=", "journal_dev"],
    once: 'F',
};
/// mkfs.xfs(8), but for what reads another file (`-c`, `-p`), names another device (`-r`) or makes
/// nothing (`-N`).
const XFS: Grammar = Grammar {
    switches: "fKq",
    valued: "bdilmnsL",
    redirecting: &["file", "name=", "logdev=", "rtdev="],
    once: 'f',
};

/// Reads the value of `mkfsOptions`. Which file system they are for may not be known yet, so it is
/// enough that one takes them.
///
/// # Errors
/// `invalid-argument` naming the key and the argument.
pub fn read(options: &str) -> Result<Vec<String>, Error> {
    let arguments: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    check("ext4", &arguments).or_else(|error| check("xfs", &arguments).map_err(|_| error))?;
    Ok(arguments)
}

/// Whether this file system can be made with them.
///
/// # Errors
/// `invalid-argument` naming the key and the argument.
pub fn check(fs_type: &str, arguments: &[String]) -> Result<(), Error> {
    let refused = |why: String| Err(Error::invalid("mkfsOptions", &arguments.join(" "), why));
    if arguments.len() > MAX_ARGUMENTS
        || arguments.iter().any(|argument| argument.len() > MAX_ARGUMENT_BYTES)
    {
        return refused(format!(
            "at most {MAX_ARGUMENTS} arguments of at most {MAX_ARGUMENT_BYTES} bytes"
        ));
    }
    match if fs_type == "xfs" { XFS } else { EXT }.first_foreign(arguments) {
        Some(foreign) => refused(format!(
            "arguments of mkfs.{fs_type} that shape the new file system itself and neither name \
             a file or another device nor stop the machine after an error, as `{foreign}` does"
        )),
        None => Ok(()),
    }
}

impl Grammar {
    /// The first argument that is not allowed, with its value.
    fn first_foreign(&self, arguments: &[String]) -> Option<String> {
        let (mut rest, mut forced) = (arguments.iter(), 0);
        while let Some(argument) = rest.next() {
            let letters = argument.strip_prefix('-').unwrap_or_default();
            let mut characters = letters.chars();
            let first = characters.next();
            let is_switches =
                first.is_some() && letters.chars().all(|letter| self.switches.contains(letter));
            let letter = first.filter(|letter| self.valued.contains(*letter));
            let joined = characters.as_str();
            let (is_allowed, shown) = match letter {
                _ if is_switches => {
                    forced += argument.matches(self.once).count();
                    (forced <= 1, argument.clone())
                }
                Some(letter) if joined.is_empty() => match rest.next() {
                    Some(value) => (
                        !value.starts_with('-') && self.permits(letter, value),
                        format!("{argument} {value}"),
                    ),
                    None => (false, argument.clone()),
                },
                Some(letter) => (self.permits(letter, joined), argument.clone()),
                None => (false, argument.clone()),
            };
            if !is_allowed {
                return Some(shown);
            }
        }
        None
    }

    /// Settings are separated by commas; no value that shapes a file system is a path. What a file
    /// system does after an error (`-e` of mke2fs) is not to stop the machine.
    fn permits(&self, letter: char, value: &str) -> bool {
        let stops_machine = letter == 'e' && value == "panic";
        let mut settings = value.split(',').map(str::trim_start);
        let redirects =
            settings.any(|setting| self.redirecting.iter().any(|begin| setting.starts_with(begin)));
        !(value.contains('/') || stops_machine || redirects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(fs_type: &str, options: &str) -> bool {
        read(options).is_ok_and(|arguments| check(fs_type, &arguments).is_ok())
    }

    /// The same lines as the node's own test has.
    #[test]
    fn what_shapes_a_file_system_passes() {
        for options in [
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
            assert!(is_allowed("ext4", options) && is_allowed("ext3", options), "{options}");
        }
        for options in [
            "-f",
            "-f -K -i size=512 -m reflink=1,crc=1 -d agcount=4 -l size=32m -n ftype=1",
            "-L data -s size=4096 -b size=4k",
        ] {
            assert!(is_allowed("xfs", options), "{options}");
        }
    }

    #[test]
    fn what_reaches_past_the_device_or_stops_the_machine_is_refused() {
        for options in [
            "-d /etc",
            "-d etc",
            "-Fd etc",
            "-detc",
            "-l list",
            "-z undo",
            "-FF",
            "-F -m0 -F",
            "-J device=UUID=1",
            "-Jsize=64,device=x",
            "-S",
            "-n",
            "-t ext2",
            "-Dd etc",
            "-d",
            "--x",
            "--",
            "-",
            "-m",
            "-m -d",
            "16384",
            "/dev/vda",
            "-L /etc",
            "-e panic",
            "-epanic",
            "-E offset=1048576",
            "-O 64bit,journal_dev",
            "-p proto",
            "-N",
        ] {
            assert!(!is_allowed("ext4", options), "{options}");
        }
        for options in [
            "-p proto",
            "-r rtdev=sdb",
            "-l logdev=x",
            "-llogdev=x",
            "-d file",
            "-d file=1",
            "-d agcount=4,name=x",
            "-dname=x",
            "-fdagcount=4,name=x",
            "-c options=x",
            "-N",
            "-d",
            "-e panic",
        ] {
            assert!(!is_allowed("xfs", options), "{options}");
        }
    }

    #[test]
    fn the_refusal_names_key_and_argument() {
        let error = read("-F -e panic").unwrap_err();
        assert!(error.message.contains("mkfsOptions"), "{error:?}");
        let error = format!("{error:?}");
        assert!(error.contains("-e panic"), "{error}");
    }

    #[test]
    fn arguments_are_bounded() {
        assert!(read(&"-v ".repeat(65)).is_err());
        assert!(read(&format!("-L{}", "x".repeat(2000))).is_err());
    }
}
