//! Source `cloud-config`: the JSON file of the older cloud controllers, plain (`cloud-config`) or
//! with encoded values (`cloud-config.alicloud`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use wharf_sdk::Error;
use wharf_sdk::auth::{Credential, Secret, Source};

use crate::keys::credential;
use crate::sealed_json;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "Global")]
    global: Global,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Global {
    #[serde(rename = "accessKeyID")]
    id: String,
    #[serde(rename = "accessKeySecret")]
    secret: String,
}

/// Reads the file.
///
/// # Errors
/// `not-found` without keys in it; a misconfiguration when it cannot be read. Nothing of it is
/// quoted.
pub fn read(source: &Source) -> Result<Credential, Error> {
    let content = source.require("content")?;
    let config: Config = sealed_json::of_file("the cloud config", content)?;
    let Global { id, secret } = config.global;
    if id.is_empty() || secret.is_empty() {
        return Err(Error::not_found("the cloud config has no access key"));
    }
    if source.value("base64").map(Secret::expose) == Some("true") {
        return Ok(credential(&decoded(&id)?, &decoded(&secret)?, ""));
    }
    Ok(credential(&id, &secret, ""))
}

fn decoded(value: &str) -> Result<String, Error> {
    let bytes = STANDARD.decode(value.trim()).ok();
    let text =
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| Error::misconfigured("a value of the cloud config is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;

    fn keys(content: &str, base64: &str) -> Result<(String, String), Error> {
        let credential =
            read(&Source::new("cloud-config", [("content", content), ("base64", base64)]))?;
        let keys = Keys::of(&credential)?;
        Ok((keys.id.to_owned(), keys.secret.expose().to_owned()))
    }

    #[test]
    fn both_forms_of_the_file_are_read() {
        let expected = ("id".to_owned(), "secret".to_owned());
        assert_eq!(
            keys(r#"{"Global":{"accessKeyID":"id","accessKeySecret":"secret","region":"x"}}"#, "")
                .unwrap(),
            expected
        );
        assert_eq!(
            keys(r#"{"Global":{"accessKeyID":"aWQ=","accessKeySecret":"c2VjcmV0Cg=="}}"#, "true")
                .unwrap(),
            expected
        );
    }

    #[test]
    fn a_file_without_keys_is_passed_over_and_a_broken_one_is_named_and_not_quoted() {
        assert_eq!(keys(r#"{"Global":{}}"#, "").unwrap_err().kind, wharf_sdk::ErrorKind::NotFound);
        let error = keys("{\"Global\": s3cr3t", "").unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"));
        assert!(keys(r#"{"Global":{"accessKeyID":"!","accessKeySecret":"!"}}"#, "true").is_err());
    }
}
