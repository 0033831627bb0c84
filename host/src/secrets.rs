//! Reads the sources of credentials that the configuration names, each time a credential is
//! obtained, so that rotated keys are found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use wharf_core::{Blame, Error, ErrorKind, Secret};
use wharf_runtime::{CALL_SOURCE, Source, SourceReader};

use crate::config::{self, Found, SourceValue};

/// A key file has a line, a token file a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One source of an account.
pub struct ConfiguredSource {
    account: String,
    kind: String,
    values: BTreeMap<String, SourceValue>,
}

impl ConfiguredSource {
    /// The source of this account.
    pub fn new(account: &str, source: &config::Source) -> Self {
        Self {
            account: account.to_owned(),
            kind: source.kind.clone(),
            values: source.values.clone(),
        }
    }

    fn value(&self, key: &str, value: &SourceValue) -> Result<Secret, Error> {
        match value {
            SourceValue::Plain(value) | SourceValue::Found(Found::Value(value)) => {
                Ok(Secret::new(value))
            }
            SourceValue::Found(Found::Env(name)) => std::env::var(name)
                .map(Secret::new)
                .map_err(|_| self.empty(key, &format!("environment variable {name} is not set"))),
            SourceValue::Found(Found::File(path)) => self.file(key, path),
        }
    }

    fn file(&self, key: &str, path: &Path) -> Result<Secret, Error> {
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
        {
            Ok(_) => Ok(Secret::new(text.trim())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(self.empty(key, &format!("there is no file {}", path.display())))
            }
            Err(error) => Err(Error::new(
                ErrorKind::Unauthenticated,
                Blame::Host,
                format!(
                    "account \"{}\": {key} cannot be read from {}: {error}",
                    self.account,
                    path.display()
                ),
            )
            .with_hint("the file must be readable for the user that Wharf runs as")),
        }
    }

    fn empty(&self, key: &str, why: &str) -> Error {
        Error::not_found(format!(
            "account \"{}\": source `{}` has no {key}: {why}",
            self.account, self.kind
        ))
    }
}

impl SourceReader for ConfiguredSource {
    fn is_call(&self) -> bool {
        self.kind == CALL_SOURCE
    }

    fn read(&self) -> Result<Source, Error> {
        let values = self
            .values
            .iter()
            .map(|(key, value)| Ok((key.clone(), self.value(key, value)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Source { kind: self.kind.clone(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> ConfiguredSource {
        ConfiguredSource::new("cloud", &toml::from_str(text).unwrap())
    }

    #[test]
    fn values_come_from_text_and_files_without_the_white_space_of_an_editor() {
        let file = std::env::temp_dir().join(format!("wharf-key-{}", std::process::id()));
        std::fs::write(&file, "  secret\n").unwrap();
        let read = source(&format!(
            "kind = \"static\"\nid = \"a\"\nkey = {{ file = \"{}\" }}",
            file.display()
        ))
        .read()
        .unwrap();
        let values: Vec<_> =
            read.values.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert_eq!(values, [("id", "a"), ("key", "secret")]);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_source_that_is_not_here_says_so_and_lets_the_next_one_try() {
        for text in [
            "kind = \"static\"\nkey = { env = \"WHARF_NO_SUCH_VARIABLE\" }",
            "kind = \"static\"\nkey = { file = \"/nonexistent/key\" }",
        ] {
            let error = source(text).read().err().unwrap();
            assert_eq!(error.kind, ErrorKind::NotFound);
            assert!(error.message.contains("account \"cloud\""), "{error}");
        }
    }
}
