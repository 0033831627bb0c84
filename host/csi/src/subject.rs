//! For whom a call is made, and which words of it a log line must not repeat.
//!
//! A refusal's reason is in the log, because whoever reads the log does not see what the caller was
//! answered. The reason may quote the request; what was in its secrets, parameters, contexts and
//! mount flags is taken out of it. Names of pods and claims are what the reader looks for, and
//! stay.

use std::collections::BTreeMap;

use crate::proto::VolumeCapability;
use crate::proto::volume_capability::AccessType;

/// A reason in one line; messages for callers may be longer.
const MAX_REASON_CHARACTERS: usize = 1024;
/// Shorter values (`1`, `yes`) are words of every message, and say nothing.
const SHORTEST_HIDDEN: usize = 4;
/// A service account's token is a signed JSON document; audiences and dates beside it may be
/// shorter.
const SHORTEST_TOKEN: usize = 32;
const SERVICE_ACCOUNT_TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
const NOT_SHOWN: &str = "(value not shown)";

type Map = BTreeMap<String, String>;

/// What is known of a call besides its volume.
#[derive(Debug, Default, Clone)]
pub(crate) struct Subject {
    /// `namespace/name`; empty where the caller does not say it.
    pub(crate) pod: String,
    /// `namespace/name`; empty where the caller does not say it.
    pub(crate) claim: String,
    secrets: Vec<String>,
    values: Vec<String>,
}

impl Subject {
    /// A call that brought these maps besides its secrets.
    pub(crate) fn of(maps: &[&Map], secrets: &Map) -> Self {
        let find = |key: &str| {
            let value = maps.iter().find_map(|map| map.get(key));
            value.map(String::as_str).unwrap_or_default()
        };
        let named = |what: &str| {
            let name = find(&format!("csi.storage.k8s.io/{what}name"));
            let namespace = find(&format!("csi.storage.k8s.io/{what}namespace"));
            if name.is_empty() { String::new() } else { one_line(&format!("{namespace}/{name}")) }
        };
        let is_name = |key: &str| {
            ["pod.name", "pod.namespace", "pvc/name", "pvc/namespace", "pv/name"]
                .iter()
                .any(|name| key.strip_prefix("csi.storage.k8s.io/") == Some(name))
        };
        let values = maps
            .iter()
            .flat_map(|map| map.iter())
            .filter(|(key, value)| !is_name(key) && value.len() >= SHORTEST_HIDDEN)
            .map(|(_, value)| value.clone());
        let secrets = secrets.values().map(String::as_str).filter(|value| !value.is_empty());
        let secrets = secrets.chain(tokens(find(SERVICE_ACCOUNT_TOKENS)));
        Self {
            pod: named("pod."),
            claim: named("pvc/"),
            values: values.collect(),
            secrets: secrets.map(str::to_owned).collect(),
        }
    }

    /// The same, with the mount flags of these capabilities.
    pub(crate) fn mounted_with<'a>(
        mut self,
        capabilities: impl IntoIterator<Item = &'a VolumeCapability>,
    ) -> Self {
        for capability in capabilities {
            if let Some(AccessType::Mount(mount)) = &capability.access_type {
                let flags = mount.mount_flags.iter().filter(|flag| flag.len() >= SHORTEST_HIDDEN);
                self.values.extend(flags.cloned());
            }
        }
        self
    }

    /// The message as the log may have it.
    pub(crate) fn clean(&self, message: &str) -> String {
        let without = |text: String, secret: &String| text.replace(secret, NOT_SHOWN);
        let text = self.secrets.iter().fold(message.to_owned(), without);
        let text = self.values.iter().fold(text, |text, value| without_word(&text, value));
        one_line(&text)
    }
}

/// The tokens themselves, which the value wraps in JSON.
fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split('"').filter(|text| text.len() >= SHORTEST_TOKEN)
}

/// The text without the word where it stands alone; inside another word it is something else.
fn without_word(text: &str, word: &str) -> String {
    let is_inner = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        let is_alone = !before.ends_with(is_inner) && !after.starts_with(is_inner);
        out.push_str(before);
        out.push_str(if is_alone { NOT_SHOWN } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn one_line(text: &str) -> String {
    let shown = text.chars().take(MAX_REASON_CHARACTERS);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::volume_capability::MountVolume;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_reason_keeps_its_words_and_loses_what_was_in_the_request() {
        let context = map(&[("type", "cloud_essd"), ("token", "abcd1234"), ("n", "1")]);
        let mount = MountVolume { mount_flags: vec!["password=x".into()], ..Default::default() };
        let capability =
            VolumeCapability { access_type: Some(AccessType::Mount(mount)), access_mode: None };
        let subject = Subject::of(&[&context], &map(&[("key", "hunter2"), ("empty", "")]))
            .mounted_with([&capability]);
        let said = "disk d-1: type `cloud_essd`, not cloud_essd_xc0; abcd1234; \
                    password=x\nhunter2hunter2";
        assert_eq!(
            subject.clean(said),
            "disk d-1: type `(value not shown)`, not cloud_essd_xc0; (value not shown); \
             (value not shown) (value not shown)(value not shown)"
        );
    }

    #[test]
    fn a_token_inside_its_json_is_a_secret_too() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsieCJdfQ.c2lnbmF0dXJl";
        let tokens = format!(r#"{{"sts":{{"token":"{token}","expirationTimestamp":"2026"}}}}"#);
        let context = map(&[(SERVICE_ACCOUNT_TOKENS, &tokens)]);
        let subject = Subject::of(&[&context], &Map::new());
        assert_eq!(subject.clean(&format!("x{token}y")), "x(value not shown)y");
    }

    #[test]
    fn pod_and_claim_are_named_and_stay() {
        let context = map(&[
            ("csi.storage.k8s.io/pod.name", "web-0"),
            ("csi.storage.k8s.io/pod.namespace", "shop"),
        ]);
        let subject = Subject::of(&[&context], &Map::new());
        assert_eq!((subject.pod.as_str(), subject.claim.as_str()), ("shop/web-0", ""));
        let parameters = map(&[
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/pvc/namespace", "shop"),
        ]);
        let subject = Subject::of(&[&parameters], &Map::new());
        assert_eq!(subject.claim, "shop/data");
        assert_eq!(subject.clean("shop has data"), "shop has data");
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let long = Subject::default().clean(&"a\n".repeat(5000));
        assert_eq!((long.len(), long.contains('\n')), (MAX_REASON_CHARACTERS, false));
    }
}
