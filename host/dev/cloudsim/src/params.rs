//! The parameters of one call: typed access to `Name=value`, `Tag.1.Key=…` and JSON lists, with the
//! real API's errors.

use std::collections::BTreeMap;

use crate::answer::ApiError;

/// What belongs to the protocol and not to the operation: never part of an idempotent call's
/// identity, never in the journal.
const PROTOCOL: &[&str] = &[
    "AccessKeyId",
    "Action",
    "ClientToken",
    "Format",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "Version",
];

/// What a journal may not show.
const SECRET: &[&str] = &["OIDCToken", "SAMLAssertion"];

/// Most tags that a resource may have, and array parameters that a call may have.
const MAX_TAGS: usize = 20;

/// The decoded parameters of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// From decoded pairs; the last of equal names wins.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// All pairs, as signatures cover them.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// What the operation was asked, with secrets blanked and protocol parameters left out: for the
    /// journal.
    pub(crate) fn shown(&self) -> BTreeMap<String, String> {
        let shown = self.0.iter().filter(|(name, _)| {
            name.as_str() == "ClientToken" || !PROTOCOL.contains(&name.as_str())
        });
        shown
            .map(|(name, value)| {
                (
                    name.clone(),
                    if SECRET.contains(&name.as_str()) { "…".to_owned() } else { value.clone() },
                )
            })
            .collect()
    }

    /// One line that is the same for two calls that ask the same.
    pub(crate) fn fingerprint(&self) -> String {
        let asked: Vec<_> =
            self.0.iter().filter(|(name, _)| !PROTOCOL.contains(&name.as_str())).collect();
        serde_json::to_string(&asked).unwrap_or_default()
    }

    /// Whether it is there without a value. Most operations take that for absent.
    pub(crate) fn is_empty(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(String::is_empty)
    }

    /// The value, unless absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value, which must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::missing(name))
    }

    /// The value as an owned text, unless absent.
    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A whole number, unless absent.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.get(name).map(|value| value.parse().map_err(|_| ApiError::invalid(name))).transpose()
    }

    /// `true` or `false` in any case, unless absent.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name)
            .map(|value| match value.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(ApiError::invalid(name)),
            })
            .transpose()
    }

    /// A JSON list of texts (`DiskIds=["d-1"]`), unless absent. An empty list is a filter that
    /// nothing passes, as in the real API.
    pub(crate) fn json_list(
        &self,
        name: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list: Vec<String> = serde_json::from_str(value).map_err(|_| ApiError::invalid(name))?;
        if list.len() > most {
            let message =
                format!("The specified parameter \"{name}\" has more than {most} entries.");
            return Err(ApiError::new(400, "InvalidParameter.TooManyEntries", message));
        }
        Ok(Some(list))
    }

    /// `Name.1`, `Name.2`, … up to the first gap.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        (1..=100).map_while(|n| self.owned(&format!("{name}.{n}"))).collect()
    }

    /// The tags of something new: a key without a value gets an empty one.
    pub(crate) fn new_tags(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let tags = self.tags()?.into_iter();
        Ok(tags.map(|(key, value)| (key, value.unwrap_or_default())).collect())
    }

    /// `Tag.1.Key` and `Tag.1.Value`, …; a key without a value is a filter on the key alone.
    pub(crate) fn tags(&self) -> Result<Vec<(String, Option<String>)>, ApiError> {
        let mut tags: Vec<(String, Option<String>)> = Vec::new();
        for n in 1..=MAX_TAGS + 1 {
            let key =
                self.get(&format!("Tag.{n}.Key")).or_else(|| self.get(&format!("Tag.{n}.key")));
            let value = self
                .0
                .get(&format!("Tag.{n}.Value"))
                .or_else(|| self.0.get(&format!("Tag.{n}.value")));
            let Some(key) = key else { break };
            if n > MAX_TAGS {
                return Err(ApiError::new(
                    400,
                    "InvalidTagCount",
                    "The specified tags are beyond the permitted range.",
                ));
            }
            if key.len() > 128
                || key.starts_with("http://")
                || key.starts_with("https://")
                || key.starts_with("aliyun")
            {
                return Err(ApiError::new(
                    400,
                    "InvalidTagKey.Malformed",
                    "The specified Tag.n.Key is not valid.",
                ));
            }
            if value.is_some_and(|value| value.len() > 256) {
                return Err(ApiError::new(
                    400,
                    "InvalidTagValue.Malformed",
                    "The specified Tag.n.Value is not valid.",
                ));
            }
            if tags.iter().any(|(known, _)| known == key) {
                return Err(ApiError::new(
                    400,
                    "Duplicate.TagKey",
                    "The Tag.N.Key contain duplicate key.",
                ));
            }
            tags.push((key.to_owned(), value.cloned()));
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params::new(crate::text::decode_pairs(text))
    }

    #[test]
    fn tags_are_read_up_to_the_first_gap() {
        let tags = params("Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b&Tag.4.Key=d").tags().unwrap();
        assert_eq!(tags, [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
        assert_eq!(params("Tag.1.Key=a&Tag.2.Key=a").tags().unwrap_err().code, "Duplicate.TagKey");
    }

    #[test]
    fn a_fingerprint_ignores_the_protocol_and_nothing_else() {
        let first = params("Size=20&ClientToken=t&SignatureNonce=1&Timestamp=x").fingerprint();
        assert_eq!(
            first,
            params("Size=20&ClientToken=u&SignatureNonce=2&Timestamp=y").fingerprint()
        );
        assert_ne!(first, params("Size=21&ClientToken=t").fingerprint());
    }

    #[test]
    fn the_journal_shows_no_secret() {
        let shown =
            params("OIDCToken=abc&Signature=s&SecurityToken=t&Size=20&ClientToken=c").shown();
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["ClientToken", "OIDCToken", "Size"]);
        assert_eq!(shown["OIDCToken"], "…");
    }
}
