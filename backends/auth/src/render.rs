//! A credential in the files of a mount helper. Pure; where the files lie and who may read them is
//! the host's: every form wants them readable by their owner alone, and the helpers check it.
//!
//! | form | files | for |
//! |---|---|---|
//! | `ossfs-passwd` | `passwd`: `bucket:id:secret`; wants the value `bucket` | `ossfs`, as
//! `passwd_file` |
//! | `ossfs-credential-process` | `credential.json`: `AccessKeyId`, `AccessKeySecret`,
//! `SecurityToken` | `ossfs` 1.91.9 and newer and `ossfs2`, as what a `credential_process` prints |
//! | `s3fs-passwd` | `passwd`: `id:secret` | `s3fs`, as `passwd_file` |
//! | `ossfs2-conf` | `ossfs2.conf`: `--oss_access_key_id=…` and the secret | `ossfs2`, as `-c` |
//!
//! What a `credential_process` prints says nothing of its end: both helpers would run it again with
//! every request of the last twenty minutes, and new keys come with a new helper anyway. The other
//! forms have no place for a token, and a credential with one is refused: without it the keys are
//! of no use, and the helper would say so only at its first request.
//!
//! Sources: `s3fs(1)`, the pages on configuring `ossfs` and `ossfs2`, and the two programs' own
//! (`src/s3fs_cred.cpp` of `aliyun/ossfs` v1.91.9, `src/credentials` of v2.0.7).

use wharf_sdk::auth::{Credential, File, Secret};
use wharf_sdk::types::Parameters;
use wharf_sdk::{Blame, Error, ErrorKind, Pairs};

use crate::keys::Keys;

/// The forms that [`render`] knows.
pub const FORMS: [&str; 4] = [OSSFS, PROCESS, S3FS, OSSFS2];
const OSSFS: &str = "ossfs-passwd";
const PROCESS: &str = "ossfs-credential-process";
const S3FS: &str = "s3fs-passwd";
const OSSFS2: &str = "ossfs2-conf";

/// Writes a credential in a helper's form; `values` are what the plan says besides.
///
/// # Errors
/// `invalid-argument` for a form that is not known or lacks a value; `unauthenticated` for a
/// credential that the form cannot hold. No secret is quoted.
pub fn render(
    credential: &Credential,
    form: &str,
    values: &Parameters,
) -> Result<Vec<File>, Error> {
    let keys = Keys::of(credential)?;
    let (id, secret) = (keys.id, keys.secret.expose());
    check("access key id", id)?;
    check("access key secret", secret)?;
    match form {
        OSSFS => {
            let bucket = values.value("bucket").unwrap_or_default();
            check_bucket(bucket)?;
            without_token(&keys, form)?;
            Ok(vec![File::new("passwd", Secret::new(format!("{bucket}:{id}:{secret}\n")))])
        }
        S3FS => {
            without_token(&keys, form)?;
            Ok(vec![File::new("passwd", Secret::new(format!("{id}:{secret}\n")))])
        }
        OSSFS2 => {
            without_token(&keys, form)?;
            let text = format!("--oss_access_key_id={id}\n--oss_access_key_secret={secret}\n");
            Ok(vec![File::new("ossfs2.conf", Secret::new(text))])
        }
        PROCESS => printed(&keys),
        other => {
            let message = format!(
                "a credential cannot be written as `{other}`, allowed: {}",
                FORMS.join(", ")
            );
            Err(Error::new(ErrorKind::InvalidArgument, Blame::Host, message))
        }
    }
}

/// Both helpers take it apart at commas and quotation marks, which no temporary key has.
fn printed(keys: &Keys<'_>) -> Result<Vec<File>, Error> {
    let token = keys.token.ok_or_else(|| {
        let reason = "it holds temporary credentials only, and this one has no token";
        unfit(PROCESS, &format!("{reason}; use {OSSFS}"))
    })?;
    check("security token", token.expose())?;
    let parts = [keys.id, keys.secret.expose(), token.expose()];
    if parts.iter().any(|part| part.contains(['"', ',', '\\'])) {
        return Err(unfit(PROCESS, "it has a character that no key has"));
    }
    let text = format!(
        "{{\"AccessKeyId\":\"{}\",\"AccessKeySecret\":\"{}\",\"SecurityToken\":\"{}\"}}\n",
        keys.id,
        keys.secret.expose(),
        token.expose()
    );
    Ok(vec![File::new("credential.json", Secret::new(text))])
}

fn without_token(keys: &Keys<'_>, form: &str) -> Result<(), Error> {
    if keys.token.is_none() {
        return Ok(());
    }
    let reason = "it has no place for the token of a temporary credential";
    Err(unfit(form, &format!("{reason}; use {PROCESS}, or keys that last")))
}

fn unfit(form: &str, reason: &str) -> Error {
    let message = format!("the credential cannot be written as `{form}`: {reason}");
    Error::new(ErrorKind::Unauthenticated, Blame::Host, message)
}

/// Colons separate the fields of a line and white space ends it: a value that has either would be
/// read as something else.
fn check(what: &str, value: &str) -> Result<(), Error> {
    if value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        return Ok(());
    }
    let message = format!("the {what} of the credential has a character that no key has");
    Err(Error::new(ErrorKind::Unauthenticated, Blame::Host, message))
}

fn check_bucket(bucket: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !bucket.is_empty() && bucket.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("`{OSSFS}` needs a bucket's name as `bucket`, not {bucket:?}");
    Err(Error::new(ErrorKind::InvalidArgument, Blame::Backend, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::credential;
    use wharf_sdk::types::pairs;

    fn written(token: &str, form: &str) -> Result<Vec<(String, String)>, Error> {
        let credential = credential("LTAI1", "s3cr3t+/=", token);
        let files = render(&credential, form, &pairs([("bucket", "b-1")]))?;
        let text = |file: File| (file.name().to_owned(), file.content().expose().to_owned());
        Ok(files.into_iter().map(text).collect())
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_form_is_as_its_helper_reads_it() {
        for (token, form, files) in [
            ("", OSSFS, &[("passwd", "b-1:LTAI1:s3cr3t+/=\n")][..]),
            ("", S3FS, &[("passwd", "LTAI1:s3cr3t+/=\n")]),
            (
                "",
                OSSFS2,
                &[(
                    "ossfs2.conf",
                    "--oss_access_key_id=LTAI1\n--oss_access_key_secret=s3cr3t+/=\n",
                )],
            ),
            (
                "t0ken",
                PROCESS,
                &[(
                    "credential.json",
                    "{\"AccessKeyId\":\"LTAI1\",\"AccessKeySecret\":\"s3cr3t+/=\",\
                     \"SecurityToken\":\"t0ken\"}\n",
                )],
            ),
        ] {
            assert_eq!(written(token, form).unwrap(), named(files), "{form}");
        }
    }

    #[test]
    fn a_credential_that_a_form_cannot_hold_is_refused_with_the_one_that_can() {
        for (token, form, instead) in [
            ("t0ken", OSSFS, PROCESS),
            ("t0ken", S3FS, PROCESS),
            ("t0ken", OSSFS2, PROCESS),
            ("", PROCESS, OSSFS),
        ] {
            let error = written(token, form).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unauthenticated, "{form}");
            assert!(error.message.contains(instead), "{}", error.message);
        }
    }

    #[test]
    fn what_would_be_read_as_another_line_or_field_is_refused_and_not_quoted() {
        for bad in ["a\nroot:x:y", "a:b", "a b", "a\tb", "a\0", "ä"] {
            for form in FORMS {
                for keys in [
                    credential(bad, "s3cr3t", "t0ken"),
                    credential("LTAI1", bad, "t0ken"),
                    credential(bad, "s3cr3t", ""),
                    credential("LTAI1", bad, ""),
                ] {
                    let values = pairs([("bucket", "b-1")]);
                    let error = render(&keys, form, &values).unwrap_err();
                    assert!(!format!("{error:?}").contains(bad), "{form}: {error:?}");
                }
            }
            let keys = credential("LTAI1", "s3cr3t", "");
            let error = render(&keys, OSSFS, &pairs([("bucket", bad)])).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::InvalidArgument, Blame::Backend));
        }
        for bad in ["a\nb", "a\"b", "a,b", "a\\b"] {
            let token = credential("LTAI1", "s3cr3t", bad);
            let error = render(&token, PROCESS, &Parameters::new()).unwrap_err();
            assert!(!format!("{error:?}").contains(bad), "{error:?}");
        }
    }

    #[test]
    fn an_unknown_form_and_a_missing_bucket_are_named() {
        let keys = credential("LTAI1", "s3cr3t", "");
        let unknown = render(&keys, "netrc", &Parameters::new()).unwrap_err();
        assert_eq!((unknown.kind, unknown.blame), (ErrorKind::InvalidArgument, Blame::Host));
        assert!(FORMS.iter().all(|form| unknown.message.contains(form)));
        let missing = render(&keys, OSSFS, &Parameters::new()).unwrap_err();
        assert!(missing.message.contains("bucket"));
    }

    #[test]
    fn a_file_is_formatted_without_its_content() {
        let keys = credential("LTAI1", "s3cr3t", "");
        let files = render(&keys, S3FS, &Parameters::new()).unwrap();
        let shown = format!("{files:?}");
        assert!(shown.contains("passwd") && !shown.contains("s3cr3t") && !shown.contains("115"));
    }
}
