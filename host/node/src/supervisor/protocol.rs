//! What is said over the supervisor's socket: one request and one answer a connection, each a
//! length of four bytes (big endian) and as much JSON.
//!
//! Credentials are in a request and in nothing else. Their type shows itself nowhere.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wharf_core::helper_profile::HelperProfile;
use wharf_core::plan::Readiness;

use crate::sent_error::SentError;

/// The largest message: the files of a credential (a token is a few KiB), or the list of a node's
/// mounts.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// What all lines of `unhealed` in one answer take: below the bound of a message with what a
/// thousand mounts say besides.
const MAX_UNHEALED_BYTES: usize = 256 << 10;
/// As many say what is wrong with a mount.
const MAX_UNHEALED_LINES: usize = 16;
/// SIGKILL.
const KILL: i32 = 9;

/// What is asked of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Make a mount, or find it made.
    Mount(Box<MountRequest>),
    /// Unmount the target, and wait until its helper has ended.
    Unmount {
        /// Where it is mounted.
        target: PathBuf,
        /// How long this may take.
        wait_millis: u64,
    },
    /// Give a mount's helper new keys.
    Update {
        /// Where it is mounted.
        target: PathBuf,
        /// The new files.
        credential: Credential,
        /// How long this may take.
        wait_millis: u64,
    },
    /// Say whether the target shows this mount by the helper of an earlier driver.
    LookForEarlier(Box<Spec>),
    /// Every mount.
    List,
    /// The end of a helper's log.
    Log {
        /// The mount's name or target.
        mount: String,
    },
}

/// A mount and the helper that is to serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MountRequest {
    /// What is mounted, where and how.
    pub spec: Spec,
    /// The files that the helper reads its keys from.
    pub credential: Option<Credential>,
    /// How long the caller waits.
    pub wait_millis: u64,
}

/// What makes one mount different from another. Holds nothing secret: it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spec {
    /// Where, as the mount table spells it. The directory exists.
    pub target: PathBuf,
    /// The operator's name for the helper.
    pub helper: String,
    /// How that helper is started.
    pub profile: HelperProfile,
    /// What is mounted.
    pub source: String,
    /// The plan's arguments for the helper.
    pub arguments: Vec<String>,
    /// When the mount is ready.
    pub ready: Readiness,
    /// Nothing is written through it.
    pub read_only: bool,
}

impl Spec {
    /// Whether the other asks for the same mount. A profile may have changed since: it takes effect
    /// when the helper is started the next time.
    pub fn is_same_mount(&self, other: &Self) -> bool {
        let key = |spec: &Self| {
            let Self { target, helper, source, arguments, read_only, .. } = spec.clone();
            (target, helper, source, arguments, read_only)
        };
        key(self) == key(other)
    }
}

/// The files of a credential, in a form that the profile knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Which arguments name the files.
    pub form: String,
    /// The files.
    pub files: Vec<CredentialFile>,
    /// When its account has the next one, in milliseconds since 1970-01-01 UTC. The supervisor
    /// reports it to whoever can ask for it, and does nothing about it by itself.
    #[serde(default)]
    pub renew_at_ms: Option<u64>,
}

/// One file. Its content is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFile {
    /// Its name, without a directory.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for CredentialFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialFile({:?}, content not shown)", self.name)
    }
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is so.
    Done,
    /// It was so before, by the helper of an earlier driver.
    LeftAsFound,
    /// Every mount.
    Mounts(Vec<Status>),
    /// The end of a log.
    Log(String),
    /// It is not so.
    Failed(SentError),
}

impl Answer {
    /// Every mount, and of the mount points that are not healed as many as an answer has room for.
    pub(crate) fn list(mut mounts: Vec<Status>) -> Self {
        let unhealed = mounts.iter().filter(|mount| !mount.unhealed.is_empty()).count();
        let share = MAX_UNHEALED_BYTES / unhealed.max(1);
        for mount in &mut mounts {
            shorten(&mut mount.unhealed, share);
        }
        Self::Mounts(mounts)
    }
}

/// Leaves as many lines as fit, and one that says how many there are besides.
fn shorten(lines: &mut Vec<String>, bytes: usize) {
    let mut left = bytes;
    let mut fits = |line: &String| {
        let length = serde_json::to_string(line).map_or(usize::MAX, |text| text.len());
        let rest = left.checked_sub(length);
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    let kept = lines.iter().take(MAX_UNHEALED_LINES).take_while(|line| fits(line)).count();
    let more = lines.len().saturating_sub(kept);
    if more > 0 {
        lines.truncate(kept);
        lines.push(format!("{more} more mount points; the supervisor's log has each"));
    }
}

/// One mount as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Made from its target.
    pub name: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The operator's name for the helper.
    pub helper: String,
    /// What is mounted.
    pub source: String,
    /// How it is.
    pub condition: Condition,
    /// The helper's process id.
    pub pid: Option<i32>,
    /// How often the helper was started again.
    pub restarts: u64,
    /// How many mount points were given the new mount in place of a dead one.
    pub healed: u64,
    /// How the helper ended the last time.
    pub last_exit: Option<Ending>,
    /// Mount points that still show a dead mount, each with the reason. In a list, where there are
    /// many, the last line says how many more.
    pub unhealed: Vec<String>,
    /// Major and minor number of each file system that its helpers serve, or served before they
    /// died, as far as it is proved that nobody else has that number by now. Absent: a supervisor
    /// of an earlier version.
    #[serde(default)]
    pub devices: Option<Vec<(u32, u32)>>,
    /// When there are new keys for it, in milliseconds since 1970-01-01 UTC; `None`: they last, or
    /// come with a call.
    #[serde(default)]
    pub renew_at_ms: Option<u64>,
    /// How often its helper has written since it was started, to the kernel, the network or its
    /// log: one that hangs does none of it. `None` where the kernel does not count.
    #[serde(default)]
    pub writes: Option<u64>,
}

impl Status {
    /// Of a mount that is being made.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            target: PathBuf::new(),
            helper: String::new(),
            source: String::new(),
            condition: Condition::Busy,
            pid: None,
            restarts: 0,
            healed: 0,
            last_exit: None,
            unhealed: Vec::new(),
            devices: None,
            renew_at_ms: None,
            writes: None,
        }
    }
}

/// How a helper ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// The kernel killed it when the memory of its control group was used up.
    OutOfMemory,
    /// This supervisor did not start it, and the end was reported to nobody else.
    Unseen,
}

impl Ending {
    /// One of a few words, for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Exited(0) => "exited",
            Self::Exited(_) => "failed",
            Self::Killed(KILL) => "killed",
            Self::Killed(_) => "crashed",
            Self::OutOfMemory => "out-of-memory",
            Self::Unseen => "unseen",
        }
    }
}

/// In a sentence: `the last time it …`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it ended with exit code {code}"),
            Self::Killed(signal) => write!(f, "it was killed by signal {signal}"),
            Self::OutOfMemory => {
                f.write_str("it was killed because it used up its memory (`memory-mib`)")
            }
            Self::Unseen => f.write_str("it ended"),
        }
    }
}

/// How a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its helper runs and every mount point shows it.
    Serving,
    /// It is being made, repaired or unmounted.
    Busy,
    /// Its helper has ended and is started again.
    Dead,
    /// Its helper runs, and some mount points still show a dead mount.
    Partly,
    /// Nobody on this node shows it any more; its helper is about to end.
    Ending,
    /// A file system with its number is mounted where it might be, and nothing proves that it is
    /// this mount's. It is neither healed nor unmounted.
    Unproved,
}

/// Writes one message.
///
/// # Errors
/// When the other side is gone, or the message is larger than any may be.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(std::io::Error::other)?;
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length <= MAX_MESSAGE_BYTES)
        .ok_or_else(|| std::io::Error::other("the message is too large"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads one message.
///
/// # Errors
/// When the other side is gone, or says what is no message.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> std::io::Result<T> {
    let mut length = [0_u8; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        return Err(std::io::Error::other("the message is too large"));
    }
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    // The parser's own words may quote what it read, which may be a key.
    serde_json::from_slice(&bytes)
        .map_err(|_| std::io::Error::other("the message is not one that this build knows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_through_as_it_was_and_a_torn_or_huge_one_does_not() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Request::Log { mount: "x".into() }).unwrap();
        let request: Request = read(&mut bytes.as_slice()).unwrap();
        assert!(matches!(request, Request::Log { mount } if mount == "x"));
        for cut in 0..bytes.len() {
            assert!(read::<Request>(&mut bytes.get(..cut).unwrap()).is_err(), "{cut}");
        }
        assert!(read::<Request>(&mut [0xff, 0xff, 0xff, 0xff, 0].as_slice()).is_err());
    }

    #[test]
    fn a_list_has_room_for_every_mount_however_many_mount_points_are_not_healed() {
        let line = format!("mnt:[1] (process 2), /\u{1}{}: another mount", "x".repeat(1000));
        let mount = |unhealed: usize| Status {
            target: "/var/lib/kubelet/x".repeat(10).into(),
            unhealed: vec![line.clone(); unhealed],
            ..Status::unknown("0123456789abcdef")
        };
        for (mounts, unhealed, lines) in
            [(1, 3, 3), (1, 16, 16), (1, 5_000, 17), (1_000, 40, 1), (20, 20, 13)]
        {
            let mut bytes = Vec::new();
            write(&mut bytes, &Answer::list(vec![mount(unhealed); mounts])).unwrap();
            let Answer::Mounts(read) = read(&mut bytes.as_slice()).unwrap() else {
                panic!("another answer")
            };
            assert_eq!(read.len(), mounts);
            let shown = &read[0].unhealed;
            assert_eq!(shown.len(), lines, "{mounts} {unhealed}");
            let more = format!("{} more mount points", unhealed - (lines - 1));
            assert_eq!(shown.last().unwrap().starts_with(&more), unhealed > lines);
        }
        let Answer::Mounts(list) = Answer::list(vec![mount(0), mount(0)]) else {
            panic!("another answer")
        };
        assert!(list.iter().all(|mount| mount.unhealed.is_empty()));
    }

    #[test]
    fn a_credential_is_never_shown() {
        let credential = Credential {
            form: "passwd".into(),
            files: vec![CredentialFile { name: "p".into(), content: b"canary".to_vec() }],
            renew_at_ms: None,
        };
        let shown = format!("{credential:?}");
        assert!(!shown.contains("canary") && !shown.contains("99, 97"), "{shown}");
        let mut bytes = Vec::new();
        write(&mut bytes, &"canary").unwrap();
        let error = read::<Request>(&mut bytes.as_slice()).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
