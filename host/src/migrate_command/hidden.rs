//! Values that nobody sees: keys that somebody wrote among options, attributes or parameters.

use wharf_core::types::Parameters;

/// How a key ends that holds a secret, without regard to case and to what is no letter. Names of
/// Secrets (`secretRef`, `…-secret-name`) do not end so.
const ENDS: [&str; 7] =
    ["akid", "accesskeyid", "secret", "secretaccesskey", "token", "password", "passwd"];

/// What is left out of every text about one object.
#[derive(Debug, Default)]
pub struct Hidden {
    values: Vec<String>,
}

impl Hidden {
    /// Of these maps, and of words like `key=value` in these texts and in the values of the maps.
    pub fn of(maps: &[&Parameters], texts: &[String]) -> Self {
        let mut hidden = Self::default();
        for (key, value) in maps.iter().flat_map(|map| map.iter()) {
            if is_secret(key) {
                hidden.add(value);
            }
            hidden.add_words(value);
        }
        texts.iter().for_each(|text| hidden.add_words(text));
        // The longest first: one value may be a part of another.
        hidden.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        hidden
    }

    fn add_words(&mut self, text: &str) {
        let words =
            text.split(|it: char| it.is_whitespace() || matches!(it, ',' | ';' | '&' | '?'));
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            if is_secret(key) {
                self.add(value);
            }
        }
    }

    fn add(&mut self, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.values.push(value.to_owned());
        }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The text without them.
    pub fn out_of(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, value| text.replace(value, "(not shown)"))
    }
}

fn is_secret(key: &str) -> bool {
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let word: String = letters.map(|it| it.to_ascii_lowercase()).collect();
    ENDS.iter().any(|end| word.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hidden_wherever_they_stand() {
        let map = |pairs: &[(&str, &str)]| -> Parameters {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for key in ["akId", "AKSECRET", "access_key_secret", "AccessKeyId", "x/Security-Token"] {
            let hidden = Hidden::of(&[&map(&[(key, " canary ")])], &[]);
            assert_eq!(hidden.out_of("a canary b"), "a (not shown) b", "{key}");
        }
        let options = map(&[("otherOpts", "-o a=b -o access_key_secret=canary,c")]);
        assert!(!Hidden::of(&[&options], &[]).out_of("canary").contains("canary"));
        let flags = ["ro,access_key_id=canary".to_owned()];
        assert!(!Hidden::of(&[], &flags).out_of("canary").contains("canary"));
    }

    #[test]
    fn names_of_secrets_are_none() {
        let map: Parameters = [
            "secretRef",
            "secretProviderClass",
            "csi.storage.k8s.io/provisioner-secret-name",
            "passwd_file",
            "bucket",
        ]
        .map(|key| (key.to_owned(), "seen".to_owned()))
        .into();
        assert!(Hidden::of(&[&map], &[]).is_empty());
    }
}
