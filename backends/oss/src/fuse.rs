//! The mount of a volume in the words of its helper: source and options, one each. Pure.

use wharf_sdk::Error;
use wharf_sdk::plan::FuseMount;
use wharf_sdk::types::{Caller, MountOptions};

use crate::attributes::Attributes;
use crate::choices::{Auth, Encryption, Helper, Signature};
use crate::credentials;
use crate::other_opts::{self, HelperOption};

/// A helper's mount, and whether nothing is written through it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// For the host.
    pub fuse: FuseMount,
    /// The volume's own wish; the call's comes to it.
    pub read_only: bool,
}

/// What the earlier driver passes to `ossfs` unless a volume says otherwise, but for `use_metrics`:
/// only the `ossfs` of its own images knows that, and the public one does not start with it.
const OSSFS_USUAL: [&str; 3] = ["dbglevel=warn", "allow_other", "listobjectsv2"];
/// The same for `ossfs2`; its log goes where its output goes.
const OSSFS2_USUAL: [&str; 1] = ["log_level=info"];
/// The same for `s3fs`.
const S3FS_USUAL: [&str; 3] = OSSFS_USUAL;

/// The mount of this volume.
///
/// # Errors
/// `invalid-argument` for what the helper cannot do.
pub fn mount(
    attributes: &Attributes,
    options: &MountOptions,
    caller: &Caller,
) -> Result<Mount, Error> {
    let helper = helper(attributes, options)?;
    credentials::check_names(attributes.auth, caller)?;
    let credential = credentials::choose(attributes, helper, caller)?;
    let mut given = attributes.options.clone();
    for flag in &options.flags {
        given.extend(other_opts::mount_option(flag)?);
    }
    let is_for_reading = asks_for_reading(&given);
    given.retain(|option| !matches!(option, HelperOption::Named(word) if is_ro_or_rw(word)));
    let mut words = own_words(attributes, helper)?;
    let usual: &[&str] = match helper {
        Helper::Ossfs => &OSSFS_USUAL,
        Helper::Ossfs2 => &OSSFS2_USUAL,
        Helper::S3fs => &S3FS_USUAL,
    };
    let name = |word: &str| word.split_once('=').map_or(word, |(name, _)| name).to_owned();
    let is_given = |word: &&str| given.iter().any(|option| option.name() == name(word));
    words.extend(usual.iter().filter(|word| !is_given(word)).map(|word| (*word).to_owned()));
    let prefix = if helper == Helper::Ossfs2 { "--" } else { "-o" };
    let mut arguments: Vec<_> = words.iter().map(|word| format!("{prefix}{word}")).collect();
    for option in given {
        arguments.push(match (option, helper) {
            (HelperOption::Named(word), _) => format!("{prefix}{word}"),
            (HelperOption::Flag(flag), Helper::Ossfs | Helper::S3fs) => flag,
            (HelperOption::Flag(flag), Helper::Ossfs2) => {
                return Err(Error::invalid("otherOpts", &flag, "`-o` before each option"));
            }
        });
    }
    let fuse = FuseMount::new(helper.name(), source(attributes), arguments);
    let fuse = match credential {
        None => fuse,
        Some(credential) => {
            fuse.with_credential(credential.account, credential.form, credential.values)
        }
    };
    Ok(Mount { fuse, read_only: attributes.read_only || is_for_reading })
}

/// `bucket`, or `bucket:/path`.
pub fn source(attributes: &Attributes) -> String {
    match attributes.path.as_str() {
        "/" => attributes.bucket.clone(),
        path => format!("{}:{path}", attributes.bucket),
    }
}

/// The attribute says it, or else the volume's file-system type, as with the earlier driver.
fn helper(attributes: &Attributes, options: &MountOptions) -> Result<Helper, Error> {
    use crate::choices::Choice as _;
    match (attributes.helper, options.fs_type.as_str()) {
        (Some(helper), _) => Ok(helper),
        (None, "") => Ok(Helper::Ossfs),
        (None, fs_type) => Helper::read("fsType", fs_type),
    }
}

/// The last of `ro` and `rw` counts.
fn asks_for_reading(options: &[HelperOption]) -> bool {
    let last = options.iter().rev().find_map(|option| match option {
        HelperOption::Named(word) if is_ro_or_rw(word) => Some(word.as_str()),
        _ => None,
    });
    last.is_some_and(|word| matches!(word, "ro" | "ro=true"))
}

fn is_ro_or_rw(word: &str) -> bool {
    matches!(word, "ro" | "rw" | "ro=true" | "ro=false")
}

/// What the attributes say, without prefix.
fn own_words(attributes: &Attributes, helper: Helper) -> Result<Vec<String>, Error> {
    match helper {
        Helper::Ossfs => ossfs(attributes),
        Helper::Ossfs2 => ossfs2(attributes),
        Helper::S3fs => s3fs(attributes),
    }
}

fn ossfs(attributes: &Attributes) -> Result<Vec<String>, Error> {
    let mut words = vec![format!("url={}", attributes.url)];
    words.extend(sse(attributes));
    words.extend(attributes.metrics_top.iter().map(|top| format!("metrics_top={top}")));
    match attributes.signature {
        None => {}
        Some(Signature::V1) => words.push("sigv1".to_owned()),
        Some(Signature::V4) => {
            words.push("sigv4".to_owned());
            words.push(format!("region={}", region(attributes)?));
        }
    }
    words.extend(public(attributes));
    Ok(words)
}

fn ossfs2(attributes: &Attributes) -> Result<Vec<String>, Error> {
    if attributes.encryption.is_some() {
        return Err(Error::invalid_request(
            "parameter `encrypted` is not for `fuseType: ossfs2`, which has no such option",
        )
        .with_hint("encrypt the bucket itself, or use `fuseType: ossfs`"));
    }
    let mut words = vec![
        format!("oss_endpoint={}", attributes.url),
        format!("oss_bucket={}", attributes.bucket),
        format!("oss_bucket_prefix={}", attributes.path),
    ];
    words.extend(attributes.metrics_top.iter().map(|top| format!("metrics_top={top}")));
    match attributes.signature {
        None => {}
        Some(Signature::V4) => words.push(format!("oss_region={}", region(attributes)?)),
        Some(Signature::V1) => {
            return Err(Error::invalid("sigVersion", "v1", "v4 with `fuseType: ossfs2`"));
        }
    }
    Ok(words)
}

fn s3fs(attributes: &Attributes) -> Result<Vec<String>, Error> {
    if let Some((Encryption::Kms, _)) = attributes.encryption {
        return Err(Error::invalid("encrypted", "kms", "aes256 with `fuseType: s3fs`"));
    }
    let mut words = vec![format!("url={}", attributes.url)];
    words.extend(sse(attributes));
    match attributes.signature {
        None => {}
        Some(Signature::V1) => {
            return Err(Error::invalid("sigVersion", "v1", "v4 with `fuseType: s3fs`"));
        }
        Some(Signature::V4) => {
            words.push("sigv4".to_owned());
            words.push(format!("endpoint={}", region(attributes)?));
        }
    }
    words.extend(public(attributes));
    Ok(words)
}

fn sse(attributes: &Attributes) -> Option<String> {
    attributes.encryption.as_ref().map(|encryption| match encryption {
        (Encryption::Aes256, _) => "use_sse".to_owned(),
        (Encryption::Kms, None) => "use_sse=kmsid".to_owned(),
        (Encryption::Kms, Some(key)) => format!("use_sse=kmsid:{key}"),
    })
}

fn public(attributes: &Attributes) -> Option<String> {
    (attributes.auth == Auth::Public).then(|| "public_bucket=1".to_owned())
}

fn region(attributes: &Attributes) -> Result<&str, Error> {
    attributes.region.as_deref().ok_or_else(|| {
        Error::invalid("sigVersion", "v4", "with a `region`, which signatures of version 4 name")
    })
}

#[cfg(test)]
mod tests;
