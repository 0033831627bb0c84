//! The option map that comes with most call-outs: one argument, a JSON object of strings.
//!
//! Nothing of its content ever gets into a message: it may hold secrets, and kubelet puts messages
//! into events and logs.

use std::ffi::OsStr;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wharf_core::types::{Caller, Parameters, Workload};
use wharf_core::{Error, Secret};

use crate::object_name::ObjectName;

/// The kernel bounds one argument to 128 KiB where kubelet runs; this is for whoever else calls.
const MAX_BYTES: usize = 1 << 20;

const FS_TYPE: &str = "kubernetes.io/fsType";
const READ_WRITE: &str = "kubernetes.io/readwrite";
const VOLUME_NAME: &str = "kubernetes.io/pvOrVolumeName";
const SECRET: &str = "kubernetes.io/secret/";
const POD_NAME: &str = "kubernetes.io/pod.name";
const POD_NAMESPACE: &str = "kubernetes.io/pod.namespace";
const POD_UID: &str = "kubernetes.io/pod.uid";
const SERVICE_ACCOUNT: &str = "kubernetes.io/serviceAccount.name";
const FS_GROUP: &str = "kubernetes.io/mounterArgs.FsGroup";

/// An option map, read.
#[derive(PartialEq, Eq)]
pub(crate) struct Options {
    /// `kubernetes.io/fsType`; empty when nobody chose one, and after a restart of kubelet.
    pub(crate) fs_type: String,
    /// `kubernetes.io/readwrite` is `ro`.
    pub(crate) is_read_only: bool,
    /// `kubernetes.io/mounterArgs.FsGroup`: of a pod with an `fsGroup`, in `mount` alone.
    pub(crate) fs_group: Option<String>,
    /// `kubernetes.io/pvOrVolumeName`.
    pub(crate) volume_name: ObjectName,
    /// `namespace/name` of the pod, for the log; empty for every call-out but `mount`.
    pub(crate) pod: String,
    /// What the PersistentVolume's author wrote, in the order of the JSON; without Kubernetes' own
    /// keys and without secrets.
    pub(crate) chosen: Parameters,
    /// The secrets, for accounts whose source is the call, and the pod.
    pub(crate) caller: Caller,
}

impl Options {
    /// `title` begins the message of a failure; `secret_options` count as the volume's secret where
    /// it has none, and are dropped otherwise. Case does not matter.
    pub(crate) fn parse(
        title: &str,
        text: &OsStr,
        secret_options: &[String],
    ) -> Result<Self, Error> {
        let pairs = read(text).map_err(|why| Error::invalid(format!("{title}: {why}")))?;
        let mut options = Self {
            fs_type: String::new(),
            is_read_only: false,
            fs_group: None,
            volume_name: name(title, &pairs)?,
            pod: pod(&pairs),
            chosen: Vec::new(),
            caller: Caller { secrets: Vec::new(), workload: workload(&pairs) },
        };
        let mut plain = Vec::new();
        for (key, value) in pairs {
            if let Some(name) = key.strip_prefix(SECRET) {
                let secret = secret(&value).map(|secret| (name.to_owned(), secret));
                options.caller.secrets.extend(secret);
                continue;
            }
            match key.as_str() {
                FS_TYPE => options.fs_type = value,
                READ_WRITE => options.is_read_only = is_read_only(title, &value)?,
                FS_GROUP => options.fs_group = Some(group(title, value)?),
                _ if is_named(secret_options, &key) => {
                    plain.push((key, Secret::new(value)));
                }
                _ if is_reserved(&key) => {}
                _ => options.chosen.push((key, value)),
            }
        }
        // Never half of a pair from one and half from the other.
        if options.caller.secrets.is_empty() {
            options.caller.secrets = plain;
        }
        options.chosen = distinct(options.chosen).map_err(|error| error.context(title))?;
        Ok(options)
    }
}

/// What is left of the options of a PersistentVolume for a component: without Kubernetes' own keys
/// and without `secret_options`.
///
/// # Errors
/// Two spellings of one option have two values.
pub fn chosen(options: &Parameters, secret_options: &[String]) -> Result<Parameters, Error> {
    let is_chosen = |key: &str| !is_named(secret_options, key) && !is_reserved(key);
    let chosen = options.iter().filter(|(key, _)| is_chosen(key));
    distinct(chosen.cloned().collect())
}

/// Keys mean the same whatever their case: two spellings of one key must agree.
fn distinct(options: Parameters) -> Result<Parameters, Error> {
    let mut kept: Parameters = Vec::with_capacity(options.len());
    for (key, value) in options {
        match kept.iter().find(|(other, _)| other.eq_ignore_ascii_case(&key)) {
            None => kept.push((key, value)),
            Some((_, same)) if *same == value => {}
            Some((other, _)) => {
                return Err(Error::invalid(format!(
                    "`{other}` and `{key}` are the same option with two values"
                )));
            }
        }
    }
    Ok(kept)
}

/// Names of Kubernetes' own, and no longer than those.
fn pod(pairs: &[(String, String)]) -> String {
    let find = |key: &str| {
        let value = pairs.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
        let value = value.and_then(|value| ObjectName::parse("pod", OsStr::new(value)).ok());
        value.map(|value| value.as_str().to_owned())
    };
    find(POD_NAME).map_or_else(String::new, |name| {
        format!("{}/{name}", find(POD_NAMESPACE).unwrap_or_default())
    })
}

fn name(title: &str, pairs: &[(String, String)]) -> Result<ObjectName, Error> {
    let value = pairs.iter().find(|(key, _)| key == VOLUME_NAME).map(|(_, value)| value.as_str());
    let value =
        value.ok_or_else(|| Error::invalid(format!("{title}: `{VOLUME_NAME}` is missing")))?;
    ObjectName::parse("volume name", OsStr::new(value)).map_err(|error| error.context(title))
}

/// The pod, as kubelet names it with `mount`.
fn workload(pairs: &Parameters) -> Option<Workload> {
    let value = |key: &str| {
        let found = pairs.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let workload = Workload {
        name: value(POD_NAME),
        namespace: value(POD_NAMESPACE),
        uid: value(POD_UID),
        service_account: value(SERVICE_ACCOUNT),
        ephemeral: false,
    };
    (workload != Workload::default()).then_some(workload)
}

/// kubelet hands over secrets in base64. One that is not text is of no use to any account and is
/// left out: a volume that needs no secret must not fail by it, and an account that misses one says
/// which.
fn secret(value: &str) -> Option<Secret> {
    let bytes = STANDARD.decode(value).ok()?;
    String::from_utf8(bytes).ok().map(Secret::new)
}

fn is_read_only(title: &str, value: &str) -> Result<bool, Error> {
    match value {
        "ro" => Ok(true),
        "rw" | "" => Ok(false),
        _ => Err(Error::invalid(format!("{title}: `{READ_WRITE}` is neither `ro` nor `rw`"))),
    }
}

/// kubelet writes a number.
fn group(title: &str, value: String) -> Result<String, Error> {
    match value.parse::<u32>() {
        Ok(_) => Ok(value),
        Err(_) => Err(Error::invalid(format!("{title}: `{FS_GROUP}` is not a group's number"))),
    }
}

/// Keys that belong to Kubernetes, secrets and pod data among them. The API server refuses them in
/// a PersistentVolume's options.
fn is_reserved(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return false };
    ["kubernetes.io", "k8s.io"].iter().any(|domain| {
        let start = prefix.len().saturating_sub(domain.len());
        prefix.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
    })
}

fn is_named(list: &[String], key: &str) -> bool {
    list.iter().any(|name| name.eq_ignore_ascii_case(key))
}

fn read(text: &OsStr) -> Result<Parameters, String> {
    let text = text.to_str().ok_or("not UTF-8")?;
    if text.len() > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    let Pairs(pairs) = serde_json::from_str(text).map_err(|error| {
        format!("not a JSON object of strings (line {}, column {})", error.line(), error.column())
    })?;
    Ok(pairs)
}

/// A JSON object of strings in its own order. Of a repeated key the last value counts, as in Go.
struct Pairs(Parameters);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Parameters = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    match pairs.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => *known = value,
                        None => pairs.push((key, value)),
                    }
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, Error> {
        Options::parse("Mount Options illegal", OsStr::new(text), &["akSecret".to_owned()])
    }

    #[test]
    fn what_belongs_to_kubernetes_is_taken_out_and_the_rest_is_kept_as_written() {
        let options = parse(
            r#"{"kubernetes.io/fsType":"xfs","kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/readwrite":"ro","kubernetes.io/pod.uid":"u","VolumeId":"d-1"}"#,
        )
        .unwrap();
        assert_eq!(options.fs_type, "xfs");
        assert!(options.is_read_only);
        assert_eq!(options.volume_name.as_str(), "pv1");
        assert_eq!(options.chosen, [("VolumeId".to_owned(), "d-1".to_owned())]);
        assert_eq!(options.fs_group, None);
    }

    #[test]
    fn the_group_of_a_pod_is_a_number() {
        let with = |group: &str| {
            parse(&format!(
                r#"{{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/mounterArgs.FsGroup":"{group}"}}"#
            ))
        };
        assert_eq!(with("2000").unwrap().fs_group.as_deref(), Some("2000"));
        for group in ["", "-1", "staff", "4294967296"] {
            assert!(with(group).is_err(), "{group}");
        }
    }

    #[test]
    fn secrets_are_no_options_whatever_their_spelling_and_come_along_by_name() {
        let options =
            parse(r#"{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/secret/pw":"cA==","Kubernetes.IO/secret/pw":"cA==","AKSECRET":"s"}"#)
                .unwrap();
        assert_eq!(options.chosen, []);
        let secrets = |name: &str, value: &str| [(name.to_owned(), Secret::new(value))];
        assert_eq!(options.caller.secrets, secrets("pw", "p"), "the secret's, and no other");
        let plain = r#"{"kubernetes.io/pvOrVolumeName":"pv1","AKSECRET":"s"}"#;
        assert_eq!(parse(plain).unwrap().caller.secrets, secrets("AKSECRET", "s"));
        let odd = r#"{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/secret/pw":"hunter2!"}"#;
        assert_eq!(parse(odd).unwrap().caller.secrets, []);
    }

    #[test]
    fn the_pod_is_known_where_kubelet_names_it() {
        let named = r#"{"kubernetes.io/pvOrVolumeName":"pv1","kubernetes.io/pod.name":"p","kubernetes.io/pod.namespace":"n","kubernetes.io/serviceAccount.name":""}"#;
        let workload = parse(named).unwrap().caller.workload.unwrap();
        assert_eq!(
            (workload.name.as_deref(), workload.namespace.as_deref()),
            (Some("p"), Some("n"))
        );
        assert_eq!(workload.service_account, None);
        let bare = r#"{"kubernetes.io/pvOrVolumeName":"pv1"}"#;
        assert_eq!(parse(bare).unwrap().caller.workload, None);
    }

    #[test]
    fn two_spellings_of_one_option_have_to_agree() {
        let both = |a: &str, b: &str| {
            format!(r#"{{"kubernetes.io/pvOrVolumeName":"pv1","VolumeId":"{a}","volumeId":"{b}"}}"#)
        };
        assert_eq!(parse(&both("d-1", "d-1")).unwrap().chosen.len(), 1);
        assert!(parse(&both("d-1", "d-2")).err().unwrap().message.contains("two values"));
    }

    #[test]
    fn a_message_never_shows_what_the_map_holds() {
        for text in [
            r#"{"pw":hunter2}"#,
            r#"{"pw":42,"x":"hunter2"}"#,
            r#"["hunter2"]"#,
            "hunter2",
            r#"{"kubernetes.io/readwrite":"hunter2"}"#,
            "",
        ] {
            let message = parse(text).err().unwrap().to_string();
            assert!(!message.contains("hunter2") && !message.contains("42"), "{message}");
        }
    }

    #[test]
    fn only_objects_of_strings_are_options() {
        for text in
            ["{", "null", "[]", r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":{"b":"c"}}"#, r#"{} {}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
