//! Source `cli-config`: `~/.aliyun/config.json`, for people who try something on their own machine.

use serde::Deserialize;
use wharf_sdk::Error;
use wharf_sdk::auth::{Credential, Secret, Source};

use crate::ecs_ram_role;
use crate::keys::credential;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    current: String,
    profiles: Vec<Profile>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    mode: String,
    access_key_id: String,
    access_key_secret: String,
    sts_token: String,
    ram_role_name: String,
}

/// Reads the profile that is named, or the current one.
///
/// # Errors
/// `not-found` for a profile that is missing, empty, or of a mode that this source does not know. Nothing of it is quoted.
pub fn read(source: &Source) -> Result<Credential, Error> {
    let content = source.require("content")?;
    let config: Config = serde_json::from_str(content.expose())
        .map_err(|error| Error::misconfigured(format!("the CLI configuration is not JSON (line {})", error.line())))?;
    let name = source.value("profile").map_or(config.current.as_str(), Secret::expose);
    let missing = |what: &str| Error::not_found(format!("profile `{name}` of the CLI configuration {what}"));
    let profile = config.profiles.iter().find(|profile| profile.name == name).ok_or_else(|| missing("does not exist"))?;
    let has_keys = !profile.access_key_id.is_empty() && !profile.access_key_secret.is_empty();
    match profile.mode.as_str() {
        "AK" if has_keys => Ok(credential(&profile.access_key_id, &profile.access_key_secret, "")),
        "StsToken" if has_keys && !profile.sts_token.is_empty() => {
            Ok(credential(&profile.access_key_id, &profile.access_key_secret, &profile.sts_token))
        }
        "EcsRamRole" => ecs_ram_role::ask(Some(profile.ram_role_name.as_str()).filter(|role| !role.is_empty())),
        "AK" | "StsToken" => Err(missing("has no keys")),
        mode => {
            Err(missing(&format!("is of mode `{mode}`, which is not supported here")).with_hint("use a profile of mode AK, StsToken or EcsRamRole"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use wharf_sdk::ErrorKind;

    const FILE: &str = r#"{"current":"default","profiles":[
        {"name":"default","mode":"AK","access_key_id":"a","access_key_secret":"b","sts_token":"stale"},
        {"name":"temporary","mode":"StsToken","access_key_id":"c","access_key_secret":"d","sts_token":"t"},
        {"name":"sso","mode":"CloudSSO"}, {"name":"empty","mode":"AK"}]}"#;

    fn profile(name: &str) -> Result<Credential, Error> {
        read(&Source::new("cli-config", [("content", FILE), ("profile", name)]))
    }

    #[test]
    fn the_current_profile_is_read_unless_another_is_named() {
        let current = profile("").unwrap();
        assert!(Keys::of(&current).unwrap().id == "a" && Keys::of(&current).unwrap().token.is_none());
        assert_eq!(Keys::of(&profile("temporary").unwrap()).unwrap().token.unwrap().expose(), "t");
    }

    #[test]
    fn a_profile_that_is_of_no_use_is_passed_over() {
        for (name, word) in [("sso", "CloudSSO"), ("empty", "no keys"), ("other", "does not exist")] {
            let error = profile(name).unwrap_err();
            assert!(error.kind == ErrorKind::NotFound && error.message.contains(word), "{}", error.message);
        }
    }
}
