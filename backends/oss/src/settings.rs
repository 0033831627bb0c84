//! The operator's settings, as far as a plan depends on them. They are the same for every call of
//! one configuration, so a plan that depends on them is still a pure one.

use wharf_sdk::{Error, config};

use crate::choices::Auth;

/// The account that signs this backend's own requests.
pub fn account() -> String {
    config::get("account").unwrap_or_else(|| "cloud".to_owned())
}

/// Where this machine is, if the operator says so and its network is the cloud's.
///
/// # Errors
/// `network` is neither `vpc` nor `public`.
pub fn own_region() -> Result<Option<String>, Error> {
    match config::get("network").as_deref() {
        None | Some("vpc") => Ok(config::get("region")),
        Some("public") => Ok(None),
        Some(other) => Err(Error::misconfigured(format!(
            "setting `network` of the backend is `{other}`, allowed: vpc, public"
        ))),
    }
}

/// The region that signatures of version 4 name, where a volume does not say.
pub fn region() -> Option<String> {
    config::get("region")
}

/// The account whose credential a helper gets. `identity` is the role, or the class of secrets,
/// that the volume names: only the operator says what it stands for.
///
/// # Errors
/// The volume names one that the settings do not know.
pub fn account_for_mounts(auth: Auth, identity: Option<&str>) -> Result<Option<String>, Error> {
    let (key, usual) = match auth {
        Auth::Public => return Ok(None),
        Auth::Keys => ("keys-account", "oss-keys"),
        Auth::Sts => ("sts-account", "oss-sts"),
        Auth::Rrsa => ("rrsa-account", "oss-rrsa"),
        Auth::SecretStore => ("secret-store-account", "oss-secret-store"),
    };
    let Some(identity) = identity else {
        return Ok(Some(config::get(key).unwrap_or_else(|| usual.to_owned())));
    };
    let setting = format!("account.{identity}");
    config::get(&setting).map(Some).ok_or_else(|| {
        Error::misconfigured(format!(
            "the volume asks for the rights of `{identity}`, and no setting says which account \
             that is"
        ))
        .with_hint(format!("an administrator can set `{setting}` for the backend"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::testing::FakeHost;

    #[test]
    fn a_role_of_a_volume_is_an_account_of_the_operator_s_or_nothing() {
        let _host = FakeHost::install().with_config("account.reader", "r1");
        let named = account_for_mounts(Auth::Sts, Some("reader")).unwrap();
        assert_eq!(named.as_deref(), Some("r1"));
        let unknown = account_for_mounts(Auth::Sts, Some("root")).unwrap_err();
        assert!(unknown.hint.unwrap().contains("account.root"));
        assert_eq!(account_for_mounts(Auth::Public, None).unwrap(), None);
    }

    #[test]
    fn the_own_region_counts_inside_of_the_cloud_s_network_alone() {
        let region = |network: &str| {
            let host = FakeHost::install().with_config("region", "cn-x");
            let _host = host.with_config("network", network);
            own_region()
        };
        assert_eq!(region("").unwrap().as_deref(), Some("cn-x"));
        assert_eq!(region("public").unwrap(), None);
        assert!(region("lan").unwrap_err().message.contains("vpc, public"));
    }
}
