//! A driver's answer, read as kubelet reads it: by Go's `encoding/json`.
//!
//! Keys are matched without regard to case, unknown keys are ignored, of repeated keys the last
//! wins, `null` leaves the default alone (but for `capabilities`, where it is a nil pointer), and
//! anything before or after the one object is an error.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// `DriverCapabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Volumes are attached before they are mounted.
    pub attach: bool,
    /// Files are relabelled.
    pub selinux_relabel: bool,
    /// The pod's directory is measured.
    pub supports_metrics: bool,
    /// Files get the pod's group.
    pub fs_group: bool,
    /// `expandfs` is called.
    pub requires_fs_resize: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            attach: true,
            selinux_relabel: true,
            supports_metrics: false,
            fs_group: true,
            requires_fs_resize: true,
        }
    }
}

/// `DriverStatus`, of a call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverStatus {
    /// `device`.
    pub device: String,
    /// `volumeName`.
    pub volume_name: String,
    /// `attached`.
    pub attached: bool,
    /// `volumeNewSize`.
    pub volume_new_size: i64,
    /// `None`: the driver wrote `null`, on which Kubernetes dies after `init`.
    pub capabilities: Option<Capabilities>,
}

/// What Kubernetes makes of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `Success`.
    Success(DriverStatus),
    /// `Not supported`.
    NotSupported,
    /// Any other status.
    Failure {
        /// The status.
        status: String,
        /// `message`.
        message: String,
    },
    /// Not one JSON object of the right types.
    Unreadable(String),
}

/// `handleCmdResponse`.
pub fn read_status(output: &[u8]) -> Verdict {
    if output.iter().all(u8::is_ascii_whitespace) {
        return Verdict::Unreadable("unexpected end of JSON input".to_owned());
    }
    match serde_json::from_slice::<Answer>(output)
        .map_err(|error| error.to_string())
        .and_then(Raw::of)
    {
        Err(why) => Verdict::Unreadable(why),
        Ok(raw) => match raw.status.as_str() {
            "Success" => Verdict::Success(raw.fields),
            "Not supported" => Verdict::NotSupported,
            _ => Verdict::Failure { status: raw.status, message: raw.message },
        },
    }
}

/// A JSON object with its keys in order and its repetitions, or `null`.
struct Answer(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Answer, E> {
                Ok(Answer(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Answer(pairs))
            }
        }
        deserializer.deserialize_any(Pairs)
    }
}

struct Raw {
    status: String,
    message: String,
    fields: DriverStatus,
}

impl Raw {
    fn of(answer: Answer) -> Result<Self, String> {
        let fields = DriverStatus {
            device: String::new(),
            volume_name: String::new(),
            attached: false,
            volume_new_size: 0,
            capabilities: Some(Capabilities::default()),
        };
        let mut raw = Self { status: String::new(), message: String::new(), fields };
        for (key, value) in answer.0 {
            raw.take(&key, &value)?;
        }
        Ok(raw)
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key.to_lowercase().as_str() {
            "status" => text(key, value, &mut self.status),
            "message" => text(key, value, &mut self.message),
            "device" => text(key, value, &mut self.fields.device),
            "volumename" => text(key, value, &mut self.fields.volume_name),
            "attached" => flag(key, value, &mut self.fields.attached),
            "volumenewsize" => number(key, value, &mut self.fields.volume_new_size),
            "capabilities" => self.capabilities(value),
            _ => Ok(()),
        }
    }

    fn capabilities(&mut self, value: &Value) -> Result<(), String> {
        if value.is_null() {
            self.fields.capabilities = None;
            return Ok(());
        }
        let given = value.as_object().ok_or_else(|| wrong("capabilities", value))?;
        let mut has = self.fields.capabilities.unwrap_or(Capabilities {
            attach: false,
            selinux_relabel: false,
            supports_metrics: false,
            fs_group: false,
            requires_fs_resize: false,
        });
        for (key, value) in given {
            match key.to_lowercase().as_str() {
                "attach" => flag(key, value, &mut has.attach)?,
                "selinuxrelabel" => flag(key, value, &mut has.selinux_relabel)?,
                "supportsmetrics" => flag(key, value, &mut has.supports_metrics)?,
                "fsgroup" => flag(key, value, &mut has.fs_group)?,
                "requiresfsresize" => flag(key, value, &mut has.requires_fs_resize)?,
                _ => {}
            }
        }
        self.fields.capabilities = Some(has);
        Ok(())
    }
}

fn text(key: &str, value: &Value, to: &mut String) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::String(text) => to.clone_from(text),
        other => return Err(wrong(key, other)),
    }
    Ok(())
}

fn flag(key: &str, value: &Value, to: &mut bool) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::Bool(flag) => *to = *flag,
        other => return Err(wrong(key, other)),
    }
    Ok(())
}

fn number(key: &str, value: &Value, to: &mut i64) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::Number(number) => *to = number.as_i64().ok_or_else(|| wrong(key, value))?,
        other => return Err(wrong(key, other)),
    }
    Ok(())
}

fn wrong(key: &str, value: &Value) -> String {
    format!("json: cannot unmarshal {value} into field {key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(output: &str) -> DriverStatus {
        match read_status(output.as_bytes()) {
            Verdict::Success(status) => status,
            other => panic!("{output}: {other:?}"),
        }
    }

    #[test]
    fn plain_success_has_kubernetes_defaults() {
        let status = success("{\"status\":\"Success\"}\n  ");
        assert_eq!(status.capabilities, Some(Capabilities::default()));
        assert_eq!((status.device.as_str(), status.attached), ("", false));
    }

    #[test]
    fn capabilities_are_merged_onto_the_defaults() {
        let status = success(r#"{"status":"Success","capabilities":{"attach":false}}"#);
        assert_eq!(
            status.capabilities,
            Some(Capabilities { attach: false, ..Capabilities::default() })
        );
    }

    #[test]
    fn null_capabilities_are_the_pointer_that_kubelet_dies_of() {
        assert_eq!(success(r#"{"status":"Success","capabilities":null}"#).capabilities, None);
    }

    #[test]
    fn keys_are_matched_without_regard_to_case_and_status_is_exact() {
        assert_eq!(
            success(r#"{"STATUS":"Success","Device":"/dev/vdb","unknown":[1]}"#).device,
            "/dev/vdb"
        );
        for output in [
            r#"{"status":"success"}"#,
            r#"{"status":"Not Supported"}"#,
            r#"{"status":"Failure"}"#,
            "{}",
            "null",
        ] {
            assert!(matches!(read_status(output.as_bytes()), Verdict::Failure { .. }), "{output}");
        }
        assert_eq!(read_status(br#"{"status":"Not supported"}"#), Verdict::NotSupported);
        assert_eq!(success(r#"{"status":"Failure","Status":"Success"}"#).device, "");
    }

    #[test]
    fn anything_around_the_object_makes_it_unreadable() {
        for output in [
            "",
            "\n",
            "warning\n{\"status\":\"Success\"}",
            "{\"status\":\"Success\"}\nwarning",
            "{\"status\":\"Success\"}{\"status\":\"Success\"}",
            "[]",
            "\"Success\"",
            "{\"status\":\"Success\"",
        ] {
            assert!(matches!(read_status(output.as_bytes()), Verdict::Unreadable(_)), "{output}");
        }
    }

    #[test]
    fn wrong_types_make_it_unreadable() {
        for field in [
            r#""attached":"true""#,
            r#""volumeNewSize":"10""#,
            r#""capabilities":{"attach":"false"}"#,
            r#""device":1"#,
            r#""volumeNewSize":1.5"#,
        ] {
            let output = format!("{{\"status\":\"Success\",{field}}}");
            assert!(matches!(read_status(output.as_bytes()), Verdict::Unreadable(_)), "{output}");
        }
    }
}
