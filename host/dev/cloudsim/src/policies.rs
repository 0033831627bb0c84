//! RAM policies: who may call which action. By action alone; a document with a condition, or with a
//! resource other than `*`, is refused when it is read, so that none means less than it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::answer::ApiError;
use crate::world::Caller;

/// What RAM users and roles may do. The account's own keys may do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Of the instances' RAM users; absent: everything.
    pub users: Option<Policy>,
    /// By the role's name (`WharfNodeRole`); a role that is not listed may do everything.
    pub roles: BTreeMap<String, Policy>,
}

/// A policy document, as RAM takes it: `{"Version": "1", "Statement": [{"Effect": "Allow",
/// "Action": ["ecs:AttachDisk", "ecs:Describe*"], "Resource": "*"}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Policy {
    /// `1`.
    pub version: String,
    /// What is allowed or denied.
    pub statement: Vec<Statement>,
}

/// One rule of a [`Policy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    /// What the rule says.
    pub effect: Effect,
    /// `service:Action`, with stars for any text.
    #[serde(deserialize_with = "one_or_many")]
    pub action: Vec<String>,
    /// `*`; nothing finer is simulated.
    #[serde(default)]
    pub resource: Everything,
}

/// Whether a [`Statement`] allows or denies. A denial wins over whatever is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The actions may be called.
    Allow,
    /// They may not.
    Deny,
}

/// `"*"` or `["*"]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Everything;

impl Serialize for Everything {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("*")
    }
}

impl<'de> Deserialize<'de> for Everything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let resources = one_or_many(deserializer)?;
        if resources.iter().all(|resource| resource == "*") {
            Ok(Self)
        } else {
            let message = format!("`Resource` is \"*\" here and not {resources:?}");
            Err(serde::de::Error::custom(message))
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Raw::deserialize(deserializer)? {
        Raw::One(one) => vec![one],
        Raw::Many(many) => many,
    })
}

impl Policies {
    /// Whether a caller may call an action of a service (`ecs`).
    pub(crate) fn check(
        &self,
        caller: &Caller,
        service: &str,
        action: &str,
    ) -> Result<(), ApiError> {
        let policy = match caller {
            Caller::Admin | Caller::Anonymous => None,
            Caller::Instance(_) => self.users.as_ref(),
            Caller::Role { role, .. } => {
                self.roles.get(role.rsplit_once('/').map_or(role.as_str(), |(_, name)| name))
            }
        };
        // Who one is may always be asked.
        let free = service == "sts" && action == "GetCallerIdentity";
        if free || policy.is_none_or(|policy| policy.permits(&format!("{service}:{action}"))) {
            return Ok(());
        }
        Err(match service {
            "sts" => ApiError::new(
                403,
                "NoPermission",
                "You are not authorized to do this action. You should be authorized by RAM.",
            ),
            _ => ApiError::new(
                403,
                "Forbidden.RAM",
                "User not authorized to operate on the specified resource, or this API doesn't \
                 support RAM.",
            ),
        })
    }
}

impl Policy {
    fn permits(&self, action: &str) -> bool {
        let says = |effect: Effect| {
            let rules = self.statement.iter().filter(|rule| rule.effect == effect);
            rules.flat_map(|rule| &rule.action).any(|pattern| matches(pattern, action))
        };
        says(Effect::Allow) && !says(Effect::Deny)
    }
}

/// Whether a pattern with stars means a text, upper and lower case apart.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_denial_wins_and_what_is_not_allowed_is_denied() {
        let policy = policy(
            r#"{ "Version": "1", "Statement": [
                { "Effect": "Allow", "Action": ["ecs:Describe*", "ecs:AttachDisk"], "Resource": "*" },
                { "Effect": "Deny", "Action": "ecs:*Regions", "Resource": ["*"] }
            ] }"#,
        );
        let permitted =
            ["ecs:DescribeDisks", "ECS:attachdisk", "ecs:DescribeRegions", "ecs:Detach"]
                .map(|action| policy.permits(action));
        assert_eq!(permitted, [true, true, false, false]);
    }

    #[test]
    fn a_document_that_means_more_than_actions_is_refused() {
        for rule in [
            r#"{ "Effect": "Allow", "Action": "*", "Resource": "acs:ecs:*:*:disk/d-1" }"#,
            r#"{ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {} }"#,
            r#"{ "Effect": "Perhaps", "Action": "*", "Resource": "*" }"#,
        ] {
            let text = format!(r#"{{ "Version": "1", "Statement": [{rule}] }}"#);
            assert!(serde_json::from_str::<Policy>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "ecs:A", true),
            ("ecs:*Disk*", "ecs:AttachDisk", true),
            ("ecs:*Disk*", "ecs:DescribeDisks", true),
            ("ecs:*Disk", "ecs:DescribeDisks", false),
            ("nas:*", "ecs:DescribeDisks", false),
            ("ecs:A*A", "ecs:A", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
