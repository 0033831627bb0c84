//! What a PersistentVolume's attributes, or a StorageClass's parameters, say of a volume. Pure but
//! for the operator's settings.
//!
//! Keys are those of the earlier driver, without regard to case and to white space around them; an
//! empty value counts as absent. Different on purpose: an unknown key and a bad value are refused,
//! where the earlier driver wrote a warning and went on with something else.
//!
//! | key | value | absent |
//! |---|---|---|
//! | `bucket` | `name`, or `name:/path` | needed |
//! | `url` | the endpoint | needed |
//! | `path` | a path inside the bucket | `/` |
//! | `otherOpts` | options for the helper: `-o a -o b=c -s` | none |
//! | `fuseType` | `ossfs`, `ossfs2`, `s3fs` | the volume's file-system type, or `ossfs` |
//! | `authType` | `sts`, `rrsa`, `csi-secret-store`, `public` | the keys in the volume's secret |
//! | `roleName` (`ramRole`), `roleArn`, `assumeRoleArn`, `secretProviderClass` | whose rights: the
//! operator's setting `account.<value>` says which account that is | the account of `authType` |
//! | `encrypted` | `aes256`, `kms` | as the bucket does |
//! | `kmsKeyId` | a key, with `encrypted: kms` | the service's own |
//! | `sigVersion` | `v1`, `v4` | as the helper does |
//! | `region` | for `v4` | the setting `region` |
//! | `readOnly` | a flag | `false` |
//! | `metricsTop` | for `ossfs` and `ossfs2` | none |
//! | `volumeAs` | for new volumes: `direct`, `sharepath`, `subpath`; `bucket`: one of its own, in
//! place of the keys `bucket` and `path` | `direct` |
//! | `bucketPrefix` | with `volumeAs: bucket`: how the bucket's name begins | none |
//! | `deleteObjects` | for new volumes, with `subpath` or `bucket`: whether what is in it is
//! deleted with it | `false` |
//!
//! Accepted without effect, because nothing here depends on them: `useSharedPath` (a volume is
//! mounted once on a node), `recovery` (every mount heals), `dnsPolicy`, `serviceAccountName`,
//! `oidcProviderArn`, `externalId` (they are of the operator's account).

use wharf_sdk::Error;
use wharf_sdk::types::Parameters;

use crate::choices::{Auth, Choice, Encryption, Helper, Signature, VolumeAs};
use crate::names::{self, shown};
use crate::other_opts::{self, HelperOption};
use crate::{endpoint, settings};

/// In the context of a volume that nobody stages: each workload has a mount of its own. Only
/// FlexVolume's translation sets it.
pub const STAGED: &str = "staged";

/// Keys as people know them, for messages.
const KEYS: &str = "bucket, url, path, otherOpts, fuseType, authType, roleName, ramRole, roleArn, \
                    assumeRoleArn, secretProviderClass, encrypted, kmsKeyId, sigVersion, region, \
                    readOnly, metricsTop, volumeAs, bucketPrefix, deleteObjects, \
                    useSharedPath, recovery, dnsPolicy, serviceAccountName, oidcProviderArn, \
                    externalId";

/// Keys that ask for what is not there, and what to do in their place.
const NOT_HERE: [(&str, &str); 3] = [
    ("secretref", "the secret in `nodePublishSecretRef` of the PersistentVolume"),
    ("containernetworkfilesystem", "`bucket` and `url`"),
    ("runtimeclass", "`runc`, which needs no attribute"),
];

/// Flags that may be false only: what they turn on is not there.
const ONLY_FALSE: [&str; 2] = ["overlay", "direct"];

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The bucket's name.
    pub bucket: String,
    /// The endpoint, normalised.
    pub url: String,
    /// A path inside the bucket.
    pub path: String,
    /// Options for the helper.
    pub options: Vec<HelperOption>,
    /// Which helper, where the attributes say.
    pub helper: Option<Helper>,
    /// Where the keys come from.
    pub auth: Auth,
    /// Whose rights.
    pub identity: Option<String>,
    /// Encryption at rest, and the key.
    pub encryption: Option<(Encryption, Option<String>)>,
    /// How the helper signs.
    pub signature: Option<Signature>,
    /// For signatures of version 4.
    pub region: Option<String>,
    /// Nothing is written.
    pub read_only: bool,
    /// How many entries of the helper's statistics are kept.
    pub metrics_top: Option<String>,
    /// What a new volume is.
    pub volume_as: VolumeAs,
    /// False: each workload has a mount of its own.
    pub is_staged: bool,
}

impl Attributes {
    /// Reads them.
    ///
    /// # Errors
    /// `invalid-argument` naming key, value and what is allowed; the value of a key that holds a
    /// secret is never shown.
    pub fn read(pairs: &Parameters) -> Result<Self, Error> {
        let mut found = Found { pairs: normalised(pairs)? };
        found.refuse_what_is_not_here()?;
        let (bucket, inside) = found.needed("bucket", names::bucket_and_path)?;
        let own_region = settings::own_region()?;
        let url = found
            .needed("url", |_, value| endpoint::endpoint(value, &bucket, own_region.as_deref()))?;
        let path = match (found.read("path", names::path)?, inside) {
            (Some(path), Some(inside)) if path != inside => {
                return Err(Error::invalid("path", &path, "one path, here or behind the bucket"));
            }
            (path, inside) => path.or(inside).unwrap_or_else(|| "/".to_owned()),
        };
        let auth = found.read("authType", Auth::read)?.unwrap_or(Auth::Keys);
        let encrypted = found.read("encrypted", Encryption::read)?;
        let key = found.read("kmsKeyId", names::word)?;
        if let (Some(key), false) = (&key, encrypted == Some(Encryption::Kms)) {
            return Err(Error::invalid("kmsKeyId", key, "with `encrypted: kms` alone"));
        }
        let attributes = Self {
            bucket,
            url,
            path,
            options: found
                .read("otherOpts", |_, value| other_opts::split(value))?
                .unwrap_or_default(),
            helper: found.read("fuseType", Helper::read)?,
            auth,
            identity: found.identity(auth)?,
            encryption: encrypted.map(|encrypted| (encrypted, key)),
            signature: found.read("sigVersion", Signature::read)?,
            region: found.read("region", names::region)?.or_else(settings::region),
            read_only: found.read("readOnly", bool::read)?.unwrap_or(false),
            metrics_top: found.read("metricsTop", names::word)?,
            volume_as: found.read("volumeAs", VolumeAs::read)?.unwrap_or(VolumeAs::Direct),
            is_staged: found.read(STAGED, bool::read)?.unwrap_or(true),
        };
        found.accept_without_effect()?;
        found.refuse_the_rest()?;
        Ok(attributes)
    }
}

/// What was given and not read yet; keys in lower case.
struct Found {
    pairs: Vec<(String, String)>,
}

impl Found {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(self.pairs.swap_remove(at).1)
    }

    fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str, &str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.take(key).map(|value| read(key, &value)).transpose()
    }

    fn needed<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str, &str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.read(key, read)?
            .ok_or_else(|| Error::invalid_request(format!("parameter `{key}` is missing")))
    }

    /// Whose rights the volume asks for: a role that another one is assumed from gives nothing by
    /// itself, so the last one counts.
    fn identity(&mut self, auth: Auth) -> Result<Option<String>, Error> {
        let (keys, what): (&[&str], _) = match auth {
            Auth::Keys | Auth::Public => (&[], ""),
            Auth::Sts => (&["roleName", "ramRole"], "authType: sts"),
            Auth::Rrsa => (&["assumeRoleArn", "roleArn", "roleName", "ramRole"], "authType: rrsa"),
            Auth::SecretStore => (&["secretProviderClass"], "authType: csi-secret-store"),
        };
        let mut identity = None;
        for key in keys {
            let value = self.read(key, names::word)?;
            identity = identity.or(value);
        }
        if auth == Auth::SecretStore && identity.is_none() {
            let text = format!("parameter `secretProviderClass` is missing, needed with `{what}`");
            return Err(Error::invalid_request(text));
        }
        Ok(identity)
    }

    fn refuse_what_is_not_here(&mut self) -> Result<(), Error> {
        for (key, instead) in NOT_HERE {
            match self.take(key).as_deref() {
                None => {}
                Some(value) if key == "runtimeclass" && value == "runc" => {}
                Some(value) => return Err(Error::invalid(key, &shown(value), instead)),
            }
        }
        for key in ONLY_FALSE {
            if self.read(key, bool::read)? == Some(true) {
                return Err(Error::invalid(key, "true", "false"));
            }
        }
        for key in ["akId", "akSecret"] {
            if self.take(key).is_some() {
                return Err(Error::invalid_request(format!(
                    "parameter `{key}` holds a key for everybody to read, which is refused"
                ))
                .with_hint(
                    "put `akId` and `akSecret` into a Secret and name it in \
                     `nodePublishSecretRef` (FlexVolume: `secretRef`); an administrator can allow \
                     them by `secret-attributes` of the driver",
                ));
            }
        }
        Ok(())
    }

    fn accept_without_effect(&mut self) -> Result<(), Error> {
        for key in ["useSharedPath", "recovery"] {
            self.read(key, bool::read)?;
        }
        for key in ["dnsPolicy", "serviceAccountName", "oidcProviderArn", "externalId"] {
            self.read(key, names::word)?;
        }
        Ok(())
    }

    fn refuse_the_rest(&self) -> Result<(), Error> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, value)) => Err(Error::unknown_key(&shown(key), &shown(value), KEYS)),
        }
    }
}

/// Keys in lower case, without white space around keys and values, and without what is empty or
/// was put there by others.
fn normalised(pairs: &Parameters) -> Result<Vec<(String, String)>, Error> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, value) in pairs {
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if value.is_empty() || is_of_others(&key) {
            continue;
        }
        match found.iter().find(|(known, _)| *known == key) {
            Some((_, known)) if known != value => {
                return Err(Error::invalid_request(format!(
                    "parameter `{}` is given twice, with two values",
                    shown(&key)
                )));
            }
            Some(_) => {}
            None => found.push((key, value.to_owned())),
        }
    }
    Ok(found)
}

/// Whether they name a bucket. A call that leaves the attributes out says nothing of the volume but
/// its id.
pub fn name_a_bucket(pairs: &Parameters) -> bool {
    pairs.iter().any(|(key, _)| key.trim().eq_ignore_ascii_case("bucket"))
}

/// What Kubernetes and its sidecars add, the cloud's own among them; of a key in lower case.
pub fn is_of_others(key: &str) -> bool {
    const PREFIXES: [&str; 2] = ["csi.storage.k8s.io/", "storage.kubernetes.io/"];
    const KEYS: [&str; 2] =
        ["csi.alibabacloud.com/reclaimpolicy", "csi.alibabacloud.com/storageclassname"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || KEYS.contains(&key)
}

#[cfg(test)]
mod tests;
