//! Source `addon-token`: what ACK mounts for its add-ons. Values are base64 of an AES-CBC text
//! whose first block is the initialisation vector; the key is `keyring`, beside them. That hides
//! nothing from anybody who has the file: keep the file from others.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use wharf_alicloud::timestamp;
use wharf_sdk::Error;
use wharf_sdk::auth::{Credential, Source};

use crate::keys::credential;
use crate::sealed_json;

const BLOCK: usize = 16;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    #[serde(rename = "access.key.id")]
    id: String,
    #[serde(rename = "access.key.secret")]
    secret: String,
    #[serde(rename = "security.token")]
    token: String,
    expiration: String,
    keyring: String,
}

/// Reads the file.
///
/// # Errors
/// `not-found` for a file without keys, or with keys that are over; a misconfiguration when it
/// cannot be read. No value of it is quoted but its end.
pub fn read(source: &Source, now_ms: u64) -> Result<Credential, Error> {
    let content = source.require("content")?;
    let token: Token = sealed_json::of_file("the add-on token", content)?;
    if token.id.is_empty() || token.secret.is_empty() || token.keyring.is_empty() {
        return Err(Error::not_found("the add-on token has no access key"));
    }
    let expires_at = timestamp::parse(&token.expiration)
        .ok_or_else(|| Error::misconfigured("the add-on token does not say when it ends"))?;
    if expires_at <= now_ms {
        return Err(Error::not_found(format!("the add-on token ended at {}", token.expiration)));
    }
    let open = |name: &str, value: &str| {
        decrypt(value, token.keyring.as_bytes()).ok_or_else(|| {
            Error::misconfigured(format!("`{name}` of the add-on token cannot be decrypted"))
        })
    };
    let security_token =
        if token.token.is_empty() { String::new() } else { open("security.token", &token.token)? };
    Ok(credential(
        &open("access.key.id", &token.id)?,
        &open("access.key.secret", &token.secret)?,
        &security_token,
    )
    .until_ms(expires_at))
}

fn decrypt(value: &str, key: &[u8]) -> Option<String> {
    let mut bytes = STANDARD.decode(value).ok()?;
    let (iv, text) = bytes.split_at_mut_checked(BLOCK)?;
    let plain = match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_mut::<Pkcs7>(text)
            .ok()?,
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_mut::<Pkcs7>(text)
            .ok()?,
        32 => cbc::Decryptor::<Aes256>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_mut::<Pkcs7>(text)
            .ok()?,
        _ => return None,
    };
    std::str::from_utf8(plain).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use wharf_sdk::ErrorKind;

    /// From the tests of the cloud's own driver.
    const FILE: &str = r#"{"access.key.id":"Ik032ULdaqWth2fvyigEcJHGMNNMnATo04/d+c5Jxz+bJN0Jh8fKd8A5MlNnYRwf","access.key.secret":"IDjwuQU+hced63SeMrRVBkVLQBvJu4M4KvWnYq5ysmCSZJh11xKkvUcCca6ekQnE","security.token":"PMz8KVai+0zGFRKQgtxMzU45UWkTryLO7KHmYA5nMCCITptCT/WNx+DDYAvrYugMSorxfEAj635cr94qopN0Ehft/wfnfb0jQ+7rgSzu27aiv5I8MFptekbt4fc8vygI","expiration":"2021-01-01T14:22:45Z","keyring":"fake-keyring1234"}"#;
    const ENDS: u64 = 1_609_510_965_000;

    fn opened(content: &str, now_ms: u64) -> Result<Credential, Error> {
        read(&Source::new("addon-token", [("content", content)]), now_ms)
    }

    #[test]
    fn the_file_of_the_cloud_s_own_driver_is_read() {
        let credential = opened(FILE, ENDS - 1).unwrap();
        let keys = Keys::of(&credential).unwrap();
        assert_eq!((keys.id, keys.secret.expose()), ("fake-accessKeyId", "fake-accessKeySecret"));
        assert_eq!(
            keys.token.unwrap().expose(),
            "STS.a-loooooooooooog-and-random-aweifuhaskichvaehiwciuhiuhiu-FakeSecurityToken"
        );
        assert_eq!(credential.expires_at_ms, Some(ENDS));
    }

    #[test]
    fn a_token_that_is_over_is_passed_over() {
        assert_eq!(opened(FILE, ENDS).unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(opened("{}", 0).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_wrong_key_or_a_broken_text_opens_nothing() {
        for (from, to) in [
            ("fake-keyring1234", "fake-keyring5678"),
            ("fake-keyring1234", "short"),
            ("Ik032ULdaqWth2fvyigEcJHGMNNMnATo04/d+c5Jxz+bJN0Jh8fKd8A5MlNnYRwf", "AAAA"),
            ("Ik032", "!!"),
            ("2021-01-01T14:22:45Z", "soon"),
        ] {
            let error = opened(&FILE.replace(from, to), 0).unwrap_err();
            assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{to}");
        }
    }
}
