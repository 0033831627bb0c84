//! Source `cli-config`: `~/.aliyun/config.json`, for people who try something on their own machine.

use serde::Deserialize;
use wharf_sdk::Error;
use wharf_sdk::auth::{Credential, Secret, Source};

use crate::keys::credential;
use crate::{ecs_ram_role, sealed_json};

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
/// `not-found` for a profile that is missing or was never filled in. A misconfiguration when the
/// file cannot be read, or when the profile is of another mode: whoever chose it wants that
/// identity, and not the next source's. Of the file, the profile's name and mode are quoted.
pub fn read(source: &Source) -> Result<Credential, Error> {
    let content = source.require("content")?;
    let config: Config = sealed_json::of_file("the CLI configuration", content)?;
    let name = source.value("profile").map_or(config.current.as_str(), Secret::expose);
    let about = |what: &str| format!("profile `{name}` of the CLI configuration {what}");
    let profile = config
        .profiles
        .iter()
        .find(|profile| profile.name == name)
        .ok_or_else(|| Error::not_found(about("does not exist")))?;
    let has_keys = !profile.access_key_id.is_empty() && !profile.access_key_secret.is_empty();
    match profile.mode.as_str() {
        "AK" if has_keys => Ok(credential(&profile.access_key_id, &profile.access_key_secret, "")),
        "StsToken" if has_keys && !profile.sts_token.is_empty() => {
            Ok(credential(&profile.access_key_id, &profile.access_key_secret, &profile.sts_token))
        }
        "EcsRamRole" => {
            ecs_ram_role::ask(Some(profile.ram_role_name.as_str()).filter(|role| !role.is_empty()))
        }
        // No mode: what the CLI writes before `aliyun configure` is through.
        "AK" | "StsToken" | "" => Err(Error::not_found(about("has no keys"))),
        mode => Err(Error::misconfigured(about(&format!(
            "is of mode `{mode}`, which is not supported here"
        )))
        .with_hint("name a profile of mode AK, StsToken or EcsRamRole as `profile`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use wharf_alicloud::metadata::ROLE_PATH;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    const FILE: &str = r#"{"current":"default","profiles":[
        {"name":"default","mode":"AK","access_key_id":"a","access_key_secret":"b","sts_token":"stale"},
        {"name":"temporary","mode":"StsToken","access_key_id":"c","access_key_secret":"d","sts_token":"t"},
        {"name":"sso","mode":"CloudSSO","access_token":"s3cr3t"}, {"name":"empty","mode":"AK"}, {"name":"new"},
        {"name":"machine","mode":"EcsRamRole","ram_role_name":"worker"}]}"#;

    fn profile(name: &str) -> Result<Credential, Error> {
        read(&Source::new("cli-config", [("content", FILE), ("profile", name)]))
    }

    #[test]
    fn the_current_profile_is_read_unless_another_is_named() {
        let current = profile("").unwrap();
        assert!(
            Keys::of(&current).unwrap().id == "a" && Keys::of(&current).unwrap().token.is_none()
        );
        assert_eq!(Keys::of(&profile("temporary").unwrap()).unwrap().token.unwrap().expose(), "t");
    }

    #[test]
    fn a_profile_that_is_empty_or_missing_is_passed_over() {
        for (name, word) in [("empty", "no keys"), ("new", "no keys"), ("other", "does not exist")]
        {
            let error = profile(name).unwrap_err();
            assert!(
                error.kind == ErrorKind::NotFound && error.message.contains(word),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn a_profile_of_another_mode_is_an_error_that_names_the_mode_and_what_to_do() {
        let error = profile("sso").unwrap_err();
        assert_eq!(error.kind, ErrorKind::FailedPrecondition);
        assert!(
            error.message.contains("CloudSSO")
                && error.hint.as_deref().is_some_and(|hint| hint.contains("StsToken"))
        );
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_profile_of_the_machine_s_role_asks_for_that_role() {
        let answer = r#"{"Code":"Success","AccessKeyId":"STS.a","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2023-10-26T10:22:32Z"}"#;
        let host = FakeHost::install()
            .answering("PUT /latest/api/token", Response::new(200, "T"))
            .answering(&format!("GET {ROLE_PATH}worker"), Response::new(200, answer));
        assert_eq!(Keys::of(&profile("machine").unwrap()).unwrap().id, "STS.a");
        assert_eq!(host.requests().len(), 2);
    }
}
