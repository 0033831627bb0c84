//! Which account's credential a helper gets, and in which form. The backend never sees a key: it
//! knows the names of the secrets that came along, and nothing else of them.

use wharf_sdk::types::{Caller, Parameters, pairs};
use wharf_sdk::{Error, ErrorKind};

use crate::attributes::Attributes;
use crate::choices::{Auth, Helper};
use crate::settings;

/// An account, and the form of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The operator's name for the account.
    pub account: String,
    /// One of the authenticator's forms.
    pub form: &'static str,
    /// What the form wants besides.
    pub values: Parameters,
}

/// Permanent keys for `ossfs`.
const OSSFS: &str = "ossfs-passwd";
/// Temporary ones for `ossfs` and `ossfs2`.
const TEMPORARY: &str = "ossfs-credential-process";
/// Permanent keys for `ossfs2`.
const OSSFS2: &str = "ossfs2-conf";
/// Permanent keys for `s3fs`.
const S3FS: &str = "s3fs-passwd";

/// The credential of a mount; `None` for a bucket of everybody.
///
/// # Errors
/// `invalid-argument` where the helper cannot take such a credential; a setting that is missing.
pub fn choose(
    attributes: &Attributes,
    helper: Helper,
    caller: &Caller,
) -> Result<Option<Credential>, Error> {
    let account = settings::account_for_mounts(attributes.auth, attributes.identity.as_deref())?;
    let Some(account) = account else { return public(helper).map(|()| None) };
    let has_token =
        caller.secrets.iter().any(|name| name.trim().eq_ignore_ascii_case("SecurityToken"));
    if has_token && attributes.auth == Auth::Keys && !attributes.is_staged {
        let text = "the secret of the volume has a `SecurityToken`: such keys end, and over \
                    FlexVolume nobody brings the next ones, because kubelet calls `mount` once";
        return Err(Error::invalid_request(text).with_hint(
            "use keys that last, or `authType: sts` or `rrsa`, whose keys the node renews",
        ));
    }
    let is_temporary = match attributes.auth {
        Auth::Sts | Auth::Rrsa => true,
        Auth::Keys => has_token,
        Auth::SecretStore | Auth::Public => false,
    };
    let form = match (helper, is_temporary) {
        (Helper::Ossfs, false) => OSSFS,
        (Helper::Ossfs2, false) => OSSFS2,
        (Helper::S3fs, false) => S3FS,
        (Helper::Ossfs | Helper::Ossfs2, true) => TEMPORARY,
        (Helper::S3fs, true) => {
            return Err(Error::invalid(
                "fuseType",
                helper.name(),
                "ossfs, ossfs2: this one takes no temporary credentials",
            ));
        }
    };
    let values = if form == OSSFS {
        pairs([("bucket", attributes.bucket.as_str())])
    } else {
        Parameters::new()
    };
    Ok(Some(Credential { account, form, values }))
}

fn public(helper: Helper) -> Result<(), Error> {
    match helper {
        Helper::Ossfs | Helper::S3fs => Ok(()),
        Helper::Ossfs2 => {
            Err(Error::invalid("authType", "public", "every other with `fuseType: ossfs2`"))
        }
    }
}

/// Half of a pair of keys is a mistake that a person should hear of by name, and before anything is
/// started.
///
/// # Errors
/// `unauthenticated` naming what is missing.
pub fn check_names(auth: Auth, caller: &Caller) -> Result<(), Error> {
    if auth != Auth::Keys {
        return Ok(());
    }
    let has =
        |name: &str| caller.secrets.iter().any(|secret| secret.trim().eq_ignore_ascii_case(name));
    for (id, secret) in [("akId", "akSecret"), ("AccessKeyId", "AccessKeySecret")] {
        let missing = match (has(id), has(secret)) {
            (true, false) => secret,
            (false, true) => id,
            _ => continue,
        };
        let text = format!("the secret of the volume has no `{missing}`");
        return Err(Error {
            kind: ErrorKind::Unauthenticated,
            ..Error::invalid_request(text)
                .with_hint("both keys of a pair are needed: `akId` and `akSecret`")
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::testing::FakeHost;

    fn chosen(
        fuse_type: Helper,
        more: &[(&str, &str)],
        secrets: &[&str],
    ) -> Result<Option<(String, &'static str)>, Error> {
        let given = [("bucket", "b-1"), ("url", "h.example")];
        let attributes = Attributes::read(&pairs(given.into_iter().chain(more.iter().copied())))?;
        let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
        let caller = Caller { secrets, ..Caller::unknown() };
        let credential = choose(&attributes, fuse_type, &caller)?;
        Ok(credential.map(|credential| (credential.account, credential.form)))
    }

    #[test]
    fn every_helper_gets_the_form_that_it_reads() {
        for (helper, auth, secrets, account, form) in [
            (Helper::Ossfs, "", &["akId", "akSecret"][..], "oss-keys", OSSFS),
            (Helper::Ossfs2, "", &["akId", "akSecret"], "oss-keys", OSSFS2),
            (Helper::S3fs, "", &["akId", "akSecret"], "oss-keys", S3FS),
            (Helper::Ossfs, "", &["accesskeyid", "securitytoken"], "oss-keys", TEMPORARY),
            (Helper::Ossfs2, "sts", &[], "oss-sts", TEMPORARY),
            (Helper::Ossfs, "rrsa", &[], "oss-rrsa", TEMPORARY),
        ] {
            let found = chosen(helper, &[("authType", auth)], secrets).unwrap();
            assert_eq!(found, Some((account.to_owned(), form)), "{helper:?} {auth}");
        }
        assert_eq!(chosen(Helper::Ossfs, &[("authType", "public")], &[]).unwrap(), None);
    }

    #[test]
    fn what_a_helper_cannot_take_is_refused() {
        for (helper, auth, secrets) in [
            (Helper::S3fs, "sts", &[][..]),
            (Helper::S3fs, "", &["SecurityToken"]),
            (Helper::Ossfs2, "public", &[]),
        ] {
            let refused = chosen(helper, &[("authType", auth)], secrets).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{helper:?} {auth}");
        }
    }

    #[test]
    fn keys_that_end_and_that_nobody_renews_are_refused() {
        let flexvolume = (crate::attributes::STAGED, "false");
        let token = ["AccessKeyId", "AccessKeySecret", "SecurityToken"];
        let refused = chosen(Helper::Ossfs, &[flexvolume], &token).unwrap_err();
        assert!(refused.message.contains("kubelet calls `mount` once"), "{}", refused.message);
        assert!(refused.hint.unwrap().contains("authType: sts"));
        for (auth, secrets) in [("sts", &[][..]), ("rrsa", &[]), ("", &token[..2])] {
            chosen(Helper::Ossfs, &[flexvolume, ("authType", auth)], secrets).unwrap();
        }
    }

    #[test]
    fn a_store_of_secrets_is_an_account_of_the_operator_s() {
        let store = [("authType", "csi-secret-store"), ("secretProviderClass", "c")];
        assert!(
            chosen(Helper::Ossfs, &store, &[]).unwrap_err().hint.unwrap().contains("account.c")
        );
        let _host = FakeHost::install().with_config("account.c", "vault");
        let found = chosen(Helper::Ossfs, &store, &[]).unwrap();
        assert_eq!(found, Some(("vault".to_owned(), OSSFS)));
    }

    #[test]
    fn half_a_pair_of_keys_is_named() {
        for (secrets, missing) in [
            (&["akId"][..], "akSecret"),
            (&["akSecret"], "akId"),
            (&["AccessKeySecret", "SecurityToken"], "AccessKeyId"),
        ] {
            let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
            let caller = Caller { secrets, ..Caller::unknown() };
            let refused = check_names(Auth::Keys, &caller).unwrap_err();
            assert!(refused.message.contains(missing), "{}", refused.message);
            check_names(Auth::Sts, &caller).unwrap();
        }
        check_names(Auth::Keys, &Caller::unknown()).unwrap();
    }
}
