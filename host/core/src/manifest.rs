//! What a component says about itself and asks for, in the custom section [`SECTION`] of its file.
//!
//! A manifest grants nothing: a component gets what it asks for here *and* the operator grants in
//! the configuration. It comes from outside, so its fields are types that cannot be long and hold
//! nothing but printable text: they stand in every line of the log, and on terminals.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::policy::Asked;

/// The name of the custom section; its content is JSON.
pub const SECTION: &str = "wharf:manifest";

/// Endpoints that one component may ask for: the largest in this repository asks for two.
const ENDPOINTS: usize = 32;
/// Actions or paths at one endpoint: a cloud's whole disk API has about a hundred.
const ASKED: usize = 256;
/// Steps, file systems, or settings of a request queue: the contract has fifteen steps.
const STEPS: usize = 64;

/// A component's own account of itself. Fields of a newer tool chain are ignored: what is not
/// understood is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The component's name, as in its `describe`.
    pub name: ComponentName,
    /// Its version.
    pub version: ShortText<64>,
    /// Which world of the contract it implements.
    pub world: World,
    /// The contract that it was built against (`0.1.0`).
    pub contract: ShortText<64>,
    /// Endpoints that it wants to reach.
    #[serde(default, deserialize_with = "at_most::<_, _, ENDPOINTS>")]
    pub request: Vec<EndpointRequest>,
    /// What its plans want to do on a node.
    #[serde(default)]
    pub node: NodeRequest,
}

/// The worlds of the contract. A component's kind; each kind has names of its own, so that no
/// backend can stand in for what signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// A storage backend.
    Backend,
    /// A cloud's credentials and signatures.
    CloudAuth,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Backend, Self::CloudAuth];

    /// The world's name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::CloudAuth => "cloud-auth",
        }
    }

    /// What an operator calls such a component: the command that manages them.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::CloudAuth => "authenticator",
        }
    }
}

/// What a component wants to ask of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// The endpoint's id in the operator's configuration.
    pub endpoint: ShortText<64>,
    /// Whether an account signs these requests.
    #[serde(default)]
    pub signed: bool,
    /// As in [`crate::policy::EndpointGrant::actions`].
    #[serde(default, deserialize_with = "at_most::<_, _, ASKED>")]
    pub actions: Vec<ShortText<512>>,
    /// As in [`crate::policy::EndpointGrant::paths`].
    #[serde(default, deserialize_with = "at_most::<_, _, ASKED>")]
    pub paths: Vec<ShortText<512>>,
}

impl EndpointRequest {
    /// Whether this asks for the request.
    pub fn covers(&self, endpoint: &str, signed: bool, asked: &Asked) -> bool {
        *self.endpoint == *endpoint
            && self.signed == signed
            && asked.is_covered(&self.actions, &self.paths)
    }
}

/// What a component's plans want to do. Steps that are not here are refused, whatever is granted;
/// the rest shows an operator what to grant with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRequest {
    /// Steps by [`crate::plan::Step::name`].
    #[serde(default, deserialize_with = "at_most::<_, _, STEPS>")]
    pub steps: Vec<ShortText<64>>,
    /// As in [`crate::policy::NodePolicy::filesystems`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, STEPS>"
    )]
    pub filesystems: Vec<ShortText<64>>,
    /// As in [`crate::policy::NodePolicy::block_queue`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, STEPS>"
    )]
    pub block_queue: Vec<ShortText<64>>,
}

/// A component's name: the name of a directory, and a word on a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentName(String);

impl ComponentName {
    /// As a Kubernetes label has.
    const MAX: usize = 63;
}

/// Text that is no component's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a component's name has 1 to 63 lower-case letters, digits and dashes, and does not begin with \
     a dash"
)]
pub struct NotAName;

impl TryFrom<String> for ComponentName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=Self::MAX).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.starts_with('-');
        if is_name { Ok(Self(text)) } else { Err(NotAName) }
    }
}

/// Printable ASCII of 1 to `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortText<const MAX: usize>(String);

/// Text that is too long, or that is not printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this text must have 1 to {most} printable ASCII characters")]
pub struct NotShortText {
    most: usize,
}

impl<const MAX: usize> TryFrom<String> for ShortText<MAX> {
    type Error = NotShortText;

    fn try_from(text: String) -> Result<Self, NotShortText> {
        let is_word = (1..=MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if is_word { Ok(Self(text)) } else { Err(NotShortText { most: MAX }) }
    }
}

/// What both kinds of text have in common.
macro_rules! text {
    ([$($generics:tt)*] $name:ty, $error:ty) => {
        impl<$($generics)*> Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<$($generics)*> AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<$($generics)*> fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<$($generics)*> From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl<$($generics)*> FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                text.to_owned().try_into()
            }
        }
    };
}

text!([] ComponentName, NotAName);
text!([const MAX: usize] ShortText<MAX>, NotShortText);

fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Vec::deserialize(deserializer)?;
    if list.len() > MAX {
        let length = list.len();
        return Err(D::Error::custom(format!("a list has {length} entries, at most {MAX}")));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_short_and_holds_nothing_that_a_terminal_obeys() {
        for text in ["", "1.0\n", "1.0\u{1b}[2K", "1.0\u{202e}", "1.0\u{7f}", &"1".repeat(65)] {
            assert!(text.parse::<ShortText<64>>().is_err(), "{text:?}");
        }
        assert_eq!(&*"GET /latest/*?a&b".parse::<ShortText<64>>().unwrap(), "GET /latest/*?a&b");
    }

    #[test]
    fn a_name_leads_nowhere_else_and_is_no_option() {
        for text in ["", "..", "a/b", "Disk", "-f", "a b", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<ComponentName>().is_err(), "{text:?}");
        }
        assert!("disk-2".parse::<ComponentName>().is_ok());
    }

    #[test]
    fn lists_have_bounds() {
        let list = |count: usize| {
            let words = vec!["a"; count].into_iter();
            let words = serde::de::value::SeqDeserializer::<_, serde::de::value::Error>::new(words);
            at_most::<_, String, 2>(words)
        };
        assert_eq!(list(2).unwrap().len(), 2);
        assert!(list(3).unwrap_err().to_string().contains("at most 2"));
    }
}
