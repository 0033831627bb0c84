//! Programs that serve a mount from user space, described as configuration: how each is started,
//! what a plan may pass to it, and how it takes new keys. Pure: nothing here starts a program.
//!
//! A plan's arguments never reach a helper unseen. They are read the way the FUSE library reads
//! them, and every option must be in the operator's list, so that no plan can name a file to write,
//! a key file of somebody else or a library to load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::policy::matches_pattern;

/// A plan passes no more arguments than this; existing volumes have about ten.
const MAX_ARGUMENTS: usize = 64;
/// The longest real one is an endpoint; PATH_MAX is what a path may have.
const MAX_ARGUMENT_BYTES: usize = 4096;
/// The element of [`HelperProfile::arguments`] that the plan's arguments stand for.
const OPTIONS: &str = "{options}";

/// How a helper program is started and treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HelperProfile {
    /// A file name, looked for on the node's program path, or an absolute path.
    pub program: String,
    /// What an administrator does where it is missing.
    pub install: String,
    /// The argument vector. `{source}`, `{mountpoint}` and `{credentials}` (the directory of the
    /// credential's files, `/dev/fd/N/…` for a helper that is not root) are replaced inside of an
    /// element; the element `{options}` becomes the plan's arguments. The program has to stay in
    /// the foreground.
    pub arguments: Vec<String>,
    /// Appended for a mount through which nothing is written.
    #[serde(default)]
    pub read_only: Vec<String>,
    /// Appended for a mount with a credential, by the credential's form. A form that is not here
    /// is refused.
    #[serde(default)]
    pub credentials: BTreeMap<String, Vec<String>>,
    /// How it takes new keys.
    #[serde(default)]
    pub rotation: Rotation,
    /// How it gets at the kernel.
    #[serde(default)]
    pub device: FuseDevice,
    /// The user that it runs as. Only a helper that is handed an open device can be anybody but
    /// root; unset, each of its mounts has a user of its own, which is nobody else's.
    #[serde(default)]
    pub user: Option<u32>,
    /// Its memory, in MiB; beyond it is killed, and started again. Held by its control group; where
    /// none can be had, by a bound on its data (`RLIMIT_DATA`). Unset: unlimited.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Whether it reserves much more memory than it uses, so that a bound on its data would keep it
    /// from starting: its control group alone holds it then.
    // Left out where it is not set: a supervisor of an earlier version, which is not replaced with
    // the server, does not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserves_memory: bool,
    /// Options that a plan may pass: names as after `-o` (`allow_other`), flags with their dashes
    /// (`-s`, `--log_level`). A trailing `*` matches any rest.
    #[serde(default)]
    pub options: Vec<String>,
    /// Lines of its log with one of these texts say nothing of why it ended.
    #[serde(default)]
    pub noise: Vec<String>,
    /// How long it may take from its start until its mount is ready, in seconds.
    #[serde(default = "default_start_seconds")]
    pub start_seconds: u32,
}

/// A real helper talks to its server once before it mounts: seconds at most.
fn default_start_seconds() -> u32 {
    30
}

/// How a helper takes new keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// A second one is started with the new keys, and takes over every place that shows the mount.
    #[default]
    Restart,
    /// It reads its files again by itself.
    InPlace,
}

/// How a helper gets at the kernel's side of its mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FuseDevice {
    /// It opens `/dev/fuse` and mounts by itself, as root.
    #[default]
    Opens,
    /// It is handed an open `/dev/fuse` that is mounted already, as `/dev/fd/N` in place of the
    /// mount point. It needs no privilege, and gets none.
    Given,
}

/// What a profile's argument vector is made for.
#[derive(Debug, Clone, Copy)]
pub struct HelperMount<'a> {
    /// What is mounted.
    pub source: &'a str,
    /// Where, or `/dev/fd/N`.
    pub mountpoint: &'a str,
    /// The plan's arguments.
    pub options: &'a [String],
    /// Nothing is written through the mount.
    pub read_only: bool,
    /// The credential's form, and the directory of its files.
    pub credential: Option<(&'a str, &'a str)>,
}

impl HelperProfile {
    /// Checks what can be known to be wrong with a profile as such.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        if self.program.is_empty() || (self.program.contains('/') && !self.program.starts_with('/'))
        {
            return Err(Error::invalid(format!(
                "a helper's `program` is a file name or an absolute path, not `{}`",
                self.program
            )));
        }
        if !self.arguments.iter().any(|argument| argument.contains("{mountpoint}")) {
            return Err(Error::invalid(format!(
                "the `arguments` of helper `{}` name no `{{mountpoint}}`",
                self.program
            )));
        }
        if self.user.is_some_and(|user| user != 0) && self.device == FuseDevice::Opens {
            return Err(Error::invalid(format!(
                "the helper `{}` has a `user` and mounts by itself, which only root can",
                self.program
            ))
            .with_hint("set `device = \"given\"` if it takes `/dev/fd/N` as its mount point"));
        }
        Ok(())
    }

    /// The arguments for one mount, the program's name not among them.
    ///
    /// # Errors
    /// What of the plan is not allowed, by its name.
    pub fn argument_vector(&self, mount: &HelperMount<'_>) -> Result<Vec<String>, Error> {
        self.check()?;
        self.check_source(mount.source)?;
        self.check_options(mount.options)?;
        let appended = match mount.credential {
            None => &[][..],
            Some((form, _)) => self.credentials.get(form).ok_or_else(|| {
                Error::precondition(format!(
                    "the helper `{}` takes no credential of the form `{form}`",
                    self.program
                ))
                .with_hint("an administrator can add it to the `credentials` of the helper")
            })?,
        };
        let read_only = if mount.read_only { &self.read_only[..] } else { &[] };
        let mut vector = Vec::new();
        for element in self.arguments.iter().chain(read_only).chain(appended) {
            if element == OPTIONS {
                vector.extend(mount.options.iter().cloned());
            } else {
                vector.push(fill(element, mount));
            }
        }
        Ok(vector)
    }

    /// Whether a plan may pass these.
    ///
    /// # Errors
    /// `PermissionDenied` naming the first option that is not in the list; `InvalidArgument` for
    /// what is no option at all.
    pub fn check_options(&self, arguments: &[String]) -> Result<(), Error> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(Error::invalid(format!(
                "{} arguments for the helper `{}`, at most {MAX_ARGUMENTS} are passed",
                arguments.len(),
                self.program
            )));
        }
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            check_text(argument, "an argument")?;
            match argument.strip_prefix("-o") {
                Some("") => {
                    let list = rest.next().ok_or_else(|| {
                        Error::invalid("the last argument is `-o`, and no option follows it")
                    })?;
                    check_text(list, "an argument")?;
                    self.check_list(list)?;
                }
                Some(list) => self.check_list(list)?,
                None => self.check_flag(argument)?,
            }
        }
        Ok(())
    }

    /// `allow_other,url=http://x`: what stands after `-o`.
    fn check_list(&self, list: &str) -> Result<(), Error> {
        // The FUSE library takes a backslash for the beginning of an escape, which would hide a
        // comma from here.
        if list.contains('\\') {
            return Err(Error::invalid(format!("the option `{}` has a backslash", shorten(list))));
        }
        list.split(',').try_for_each(|option| match name_of(option) {
            name if name.starts_with('-') => {
                Err(Error::invalid(format!("`{}` is not an option's name", shorten(name))))
            }
            name => self.require(name),
        })
    }

    /// `-s`, `--name`, `--name=value`.
    fn check_flag(&self, argument: &str) -> Result<(), Error> {
        if argument.len() < 2 || !argument.starts_with('-') || argument == "--" {
            return Err(Error::invalid(format!("`{}` is not an option", shorten(argument))));
        }
        self.require(name_of(argument))
    }

    fn require(&self, name: &str) -> Result<(), Error> {
        if name.is_empty() {
            return Err(Error::invalid("an option without a name"));
        }
        if self.options.iter().any(|allowed| matches_pattern(allowed, name)) {
            return Ok(());
        }
        Err(Error::denied(format!(
            "the option `{}` may not be passed to the helper `{}`",
            shorten(name),
            self.program
        ))
        .with_hint("an administrator can add its name to the `options` of the helper"))
    }

    fn check_source(&self, source: &str) -> Result<(), Error> {
        check_text(source, "the source")?;
        if source.is_empty() || source.starts_with('-') {
            return Err(Error::invalid(format!(
                "`{}` cannot be the source of a mount",
                shorten(source)
            )));
        }
        Ok(())
    }
}

/// Replaces in one pass, so that what a value holds is never replaced again.
fn fill(element: &str, mount: &HelperMount<'_>) -> String {
    let credentials = mount.credential.map_or("", |(_, directory)| directory);
    let values = [
        ("{source}", mount.source),
        ("{mountpoint}", mount.mountpoint),
        ("{credentials}", credentials),
    ];
    let mut filled = String::new();
    let mut rest = element;
    while let Some(character) = rest.chars().next() {
        let value =
            values.iter().find_map(|(name, value)| Some((rest.strip_prefix(name)?, *value)));
        match value {
            Some((after, value)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push(character);
                rest = rest.get(character.len_utf8()..).unwrap_or_default();
            }
        }
    }
    filled
}

fn name_of(option: &str) -> &str {
    option.split_once('=').map_or(option, |(name, _)| name)
}

fn check_text(text: &str, what: &str) -> Result<(), Error> {
    if text.len() > MAX_ARGUMENT_BYTES {
        return Err(Error::invalid(format!(
            "{what} for a helper has {} bytes, at most {MAX_ARGUMENT_BYTES} are passed",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{what} for a helper holds a control character")));
    }
    Ok(())
}

/// As much of a text as an error shows. A value may be secret by mistake and is never shown: these
/// are names.
fn shorten(text: &str) -> String {
    name_of(text).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn profile() -> HelperProfile {
        HelperProfile {
            program: "objectfs".into(),
            install: "apt-get install objectfs".into(),
            arguments: ["{source}", "{mountpoint}", "-f", OPTIONS].map(str::to_owned).to_vec(),
            read_only: vec!["-oro".into()],
            credentials: [("passwd".to_owned(), vec!["-opasswd_file={credentials}/p".to_owned()])]
                .into(),
            rotation: Rotation::Restart,
            device: FuseDevice::Opens,
            user: None,
            memory_mib: None,
            reserves_memory: false,
            options: ["allow_other", "url", "max_*", "-s", "--log_level"]
                .map(str::to_owned)
                .to_vec(),
            noise: vec![],
            start_seconds: 30,
        }
    }

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }

    #[test]
    fn an_argument_vector_has_every_element_by_itself() {
        let options = strings(&["-o", "allow_other", "-ourl=http://a b;$(c)"]);
        let mount = HelperMount {
            source: "bucket:/{mountpoint}",
            mountpoint: "/run/m",
            options: &options,
            read_only: true,
            credential: Some(("passwd", "/run/c")),
        };
        assert_eq!(
            profile().argument_vector(&mount).unwrap(),
            [
                "bucket:/{mountpoint}",
                "/run/m",
                "-f",
                "-o",
                "allow_other",
                "-ourl=http://a b;$(c)",
                "-oro",
                "-opasswd_file=/run/c/p"
            ]
        );
    }

    #[test]
    fn options_of_the_list_pass_in_each_way_to_write_them() {
        for options in [
            &["-o", "allow_other"][..],
            &["-oallow_other,url=x,max_dirty=1"],
            &["-s", "--log_level=info", "--log_level"],
            &[],
        ] {
            profile().check_options(&strings(options)).unwrap();
        }
    }

    #[test]
    fn whatever_is_not_in_the_list_is_refused_by_name() {
        for (options, named) in [
            (&["-o", "passwd_file=/etc/shadow"][..], "passwd_file"),
            (&["-oallow_other,credlib=/tmp/x.so"], "credlib"),
            (&["-oallow_other", "-o", "url=x,use_cache=/etc"], "use_cache"),
            (&["--config=/etc/x"], "--config"),
            (&["-c"], "-c"),
            (&["-sf"], "-sf"),
            (&["-o", "ALLOW_OTHER"], "ALLOW_OTHER"),
            (&["-o", " allow_other"], " allow_other"),
        ] {
            let error = profile().check_options(&strings(options)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
            assert!(error.message.contains(named), "{error}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for options in [
            &["/etc"][..],
            &["-o"],
            &["-o", ""],
            &["-oallow_other,,url=x"],
            &["-oallow_other\\,credlib=x"],
            &["-", "-s"],
            &["--", "-s"],
            &["-ourl=a\nb"],
            &["-ourl=a\0b"],
            &["-o=x"],
            &["-o", "-s"],
        ] {
            let error = profile().check_options(&strings(options)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument, "{options:?}: {error}");
        }
        assert!(profile().check_options(&vec!["-s".to_owned(); MAX_ARGUMENTS + 1]).is_err());
        assert!(profile().check_options(&["-ourl=".to_owned() + &"x".repeat(5000)]).is_err());
    }

    #[test]
    fn a_refusal_never_shows_a_value() {
        let error = profile().check_options(&strings(&["-osecret=canary"])).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
        let error = profile().check_options(&strings(&["-osecret=canary\\,x"])).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn a_source_is_never_taken_for_an_option() {
        for source in ["", "-oallow_other", "--help", "a\nb"] {
            let mount = HelperMount {
                source,
                mountpoint: "/m",
                options: &[],
                read_only: false,
                credential: None,
            };
            assert!(profile().argument_vector(&mount).is_err(), "{source:?}");
        }
    }

    /// Names of options as libfuse reads them (`fuse_opt_parse`), and whatever else stands in an
    /// argument list.
    fn as_fuse_reads(arguments: &[String]) -> (Vec<String>, Vec<String>) {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let list = match argument.strip_prefix("-o") {
                Some("") => rest.next().map_or("", String::as_str),
                Some(list) => list,
                None => {
                    others.push(name_of(argument).to_owned());
                    continue;
                }
            };
            // A backslash takes the meaning of the next character away.
            let (mut option, mut characters) = (String::new(), list.chars());
            loop {
                match characters.next() {
                    Some('\\') => option.extend(characters.next()),
                    Some(',') | None if option.is_empty() => {}
                    Some(',') | None => {
                        names.push(name_of(&std::mem::take(&mut option)).to_owned());
                    }
                    Some(other) => option.push(other),
                }
                if characters.as_str().is_empty() && option.is_empty() {
                    break;
                }
            }
        }
        (names, others)
    }

    #[test]
    fn whatever_passes_is_an_allowed_option_as_the_fuse_library_reads_it() {
        const PIECES: [&str; 22] = [
            "-o",
            "-s",
            "-f",
            "--",
            "-",
            "allow_other",
            "url",
            "max_",
            "=",
            ",",
            "\\",
            "x",
            " ",
            "\n",
            "\0",
            "\"",
            "'",
            "$(id)",
            "credlib=/x",
            "--log_level",
            "\u{e9}",
            "/etc",
        ];
        // A fixed sequence: the same lists in every run (xorshift64).
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound as u64).unwrap()
        };
        let profile = profile();
        let is_allowed =
            |name: &String| profile.options.iter().any(|allowed| matches_pattern(allowed, name));
        let mut passed = 0;
        for _ in 0..60_000 {
            let mut arguments = Vec::new();
            for _ in 0..1 + below(3) {
                let start = ["-o", "-o", "-oallow_other,", "-ourl=", ""][below(5)];
                let more = (0..below(4)).map(|_| PIECES[below(PIECES.len())]);
                arguments.push(start.to_owned() + &more.collect::<String>());
            }
            if profile.check_options(&arguments).is_err() {
                continue;
            }
            passed += 1;
            let (names, others) = as_fuse_reads(&arguments);
            assert!(names.iter().chain(&others).all(is_allowed), "{arguments:?}: {names:?}");
        }
        assert!(passed > 1_000, "{passed} lists passed");
    }

    #[test]
    fn a_profile_that_cannot_work_is_refused() {
        let broken = |change: fn(&mut HelperProfile)| {
            let mut profile = profile();
            change(&mut profile);
            profile.check().unwrap_err().message
        };
        assert!(broken(|profile| profile.program = "../x".into()).contains("absolute"));
        assert!(broken(|profile| profile.arguments.clear()).contains("{mountpoint}"));
        assert!(broken(|profile| profile.user = Some(1)).contains("only root"));
        let mut given = profile();
        (given.user, given.device) = (Some(65534), FuseDevice::Given);
        given.check().unwrap();
    }
}
