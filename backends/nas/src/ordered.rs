//! What was asked of the cloud and is not listed yet. It is named in the resume token, so that it
//! is waited for and not asked for again: a listing may be older than the answer that made it.

use wharf_sdk::types::Pending;
use wharf_sdk::{Error, Progress};

/// The listing is looked at again after this long.
pub const LOOK_AFTER_MS: u32 = 2000;
/// How often the listing is looked at before what it does not show is asked for by its id. What is
/// there is listed within seconds.
const MOST_LOOKS: u32 = 3;
/// How often what is gone again is asked for anew. A name that is used anew more often within a day
/// has to wait.
const MOST_RENEWALS: u32 = 7;

/// A kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file system.
    FileSystem,
    /// What makes one reachable.
    MountTarget,
    /// What leads to one directory of one.
    AccessPoint,
}

impl Kind {
    /// How its token begins.
    fn token(self) -> &'static str {
        match self {
            Self::FileSystem => "ordered",
            Self::MountTarget => "ordered-target",
            Self::AccessPoint => "ordered-point",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::FileSystem => "file system",
            Self::MountTarget => "mount target",
            Self::AccessPoint => "access point",
        }
    }
}

/// Asks for what the listing does not show, unless it has been asked for and may still turn up.
/// `is_there` looks for one by its id; `order` asks for the first one (0), or for the one after so
/// many that are gone.
///
/// # Errors
/// `unavailable` when all that were made for `name` are gone again; those of the cloud.
pub fn order_once(
    kind: Kind,
    name: &str,
    progress: &Progress,
    is_there: impl Fn(&str) -> Result<bool, Error>,
    order: impl Fn(u32) -> Result<String, Error>,
) -> Result<Pending, Error> {
    let token = progress.resume.as_deref();
    let renewals = match token.and_then(|token| Ordered::parse(kind, token)) {
        None => 0,
        Some(ordered) if ordered.looks < MOST_LOOKS || is_there(&ordered.id)? => {
            return Ok(Ordered { looks: ordered.looks + 1, ..ordered }.wait(kind));
        }
        Some(ordered) => ordered.renewals + 1,
    };
    if renewals > MOST_RENEWALS {
        return Err(Error::unavailable(format!(
            "the cloud says of every {} that it made for {name} that it is gone",
            kind.in_words()
        ))
        .with_hint("use another name, or wait a day until the cloud has forgotten this one"));
    }
    Ok(Ordered { renewals, looks: 0, id: order(renewals)? }.wait(kind))
}

struct Ordered {
    /// How many that were asked for are gone.
    renewals: u32,
    /// How often the listing was looked at since.
    looks: u32,
    id: String,
}

impl Ordered {
    fn parse(kind: Kind, token: &str) -> Option<Self> {
        let mut words = token.strip_prefix(kind.token())?.strip_prefix(' ')?.split(' ');
        let (renewals, looks) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { renewals, looks, id: words.next()?.to_owned() })
    }

    fn wait(&self, kind: Kind) -> Pending {
        let Self { renewals, looks, id } = self;
        let (token, what) = (kind.token(), kind.in_words());
        Pending::after_ms(LOOK_AFTER_MS, format!("the cloud is asked for {what} {id}"))
            .with_resume(format!("{token} {renewals} {looks} {id}"))
    }
}
