//! The pods among the chart's objects, as the checks look at them.

use serde_json::Value;

/// A pod's template, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    /// The Deployment or DaemonSet.
    pub owner: &'a Value,
    /// `spec.template`.
    pub template: &'a Value,
}

/// A container, and how it is called in a complaint.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// Its part of the pod.
    pub value: &'a Value,
    /// `DaemonSet wharf-node: container wharf`.
    pub title: String,
    /// It ends before the others begin.
    pub is_init: bool,
}

/// All pods.
pub fn pods(objects: &[Value]) -> impl Iterator<Item = Pod<'_>> {
    objects.iter().filter_map(|owner| {
        let template = owner.pointer("/spec/template")?;
        Some(Pod { owner, template })
    })
}

/// `Kind name`.
pub fn title(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// A text, or none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list, or none.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether this is `true`.
pub fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

impl<'a> Pod<'a> {
    /// Its containers, those that only begin included.
    pub fn containers(self) -> impl Iterator<Item = Container<'a>> {
        let of = move |pointer, is_init| {
            list(self.template, pointer).iter().map(move |value| Container {
                value,
                title: format!("{}: container {}", title(self.owner), text(value, "/name")),
                is_init,
            })
        };
        of("/spec/initContainers", true).chain(of("/spec/containers", false))
    }

    /// Its volumes.
    pub fn volumes(self) -> &'a [Value] {
        list(self.template, "/spec/volumes")
    }
}

impl Container<'_> {
    /// Whether it is run with this argument.
    pub fn has_argument(&self, argument: &str) -> bool {
        list(self.value, "/args").iter().any(|one| one.as_str() == Some(argument))
    }
}
