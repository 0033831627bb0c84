//! The Kubernetes objects of the input: which are there, and one field of one of them.
//!
//! Names are checked here, because they stand in commands that a person runs. A message names a
//! field and never shows what is in it.

use serde_json::Value;
use wharf_core::types::Parameters;

use super::yaml;

/// An etcd with more of them at once has other troubles; give them in parts.
const MAX_OBJECTS: usize = 20_000;

/// What the objects say that others ask about.
pub const KINDS: [&str; 15] = [
    "PersistentVolume",
    "StorageClass",
    "VolumeSnapshotClass",
    "CSIDriver",
    "PersistentVolumeClaim",
    "VolumeAttachment",
    "Node",
    "Pod",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// One object.
pub struct Object {
    /// Its kind, one of [`KINDS`].
    pub kind: &'static str,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    value: Value,
}

/// What was read.
#[derive(Default)]
pub struct Objects {
    /// Objects of known kinds, in the order of the input.
    pub known: Vec<Object>,
    /// How many of other kinds there were.
    pub others: usize,
}

impl Objects {
    /// Reads documents, and what is in lists.
    ///
    /// # Errors
    /// Why this is no list of Kubernetes objects; where.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut objects = Self::default();
        for (n, document) in yaml::documents(text)?.into_iter().enumerate() {
            objects.add(document, None, &format!("document {}", n + 1))?;
        }
        if objects.known.is_empty() {
            return Err(format!(
                "there is no object that is looked at on standard input ({} others); try `kubectl \
                 get pv,pvc,sc -o yaml | wharf migrate`",
                objects.others
            ));
        }
        Ok(objects)
    }

    fn add(&mut self, value: Value, kind: Option<&str>, place: &str) -> Result<(), String> {
        let Value::Object(mut fields) = value else {
            return Err(format!("{place} is no Kubernetes object"));
        };
        let kind = fields.get("kind").and_then(Value::as_str).or(kind).map(str::to_owned);
        let Some(kind) = kind else {
            return Err(format!("{place} has no `kind`"));
        };
        if let Some(of) = kind.strip_suffix("List") {
            // Items of a list of one kind do not say it again.
            let of = (!of.is_empty()).then_some(of);
            let items = match fields.remove("items") {
                Some(Value::Array(items)) => items,
                None | Some(Value::Null) => Vec::new(),
                Some(_) => return Err(format!("`items` of {place} is no list")),
            };
            for (n, item) in items.into_iter().enumerate() {
                self.add(item, of, &format!("{place}, item {}", n + 1))?;
            }
            return Ok(());
        }
        let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
            self.others += 1;
            return Ok(());
        };
        if self.known.len() == MAX_OBJECTS {
            return Err(format!("more than {MAX_OBJECTS} objects; give them in parts"));
        }
        let value = Value::Object(fields);
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").filter(|name| is_name(name)).map(str::to_owned);
        let name = name.ok_or_else(|| {
            format!("{place}, a {kind}: `metadata.name` is missing, or no name of Kubernetes")
        })?;
        let namespace = text("/metadata/namespace").map(str::to_owned);
        if namespace.as_deref().is_some_and(|namespace| !is_name(namespace)) {
            return Err(format!("{kind} {name}: `metadata.namespace` is no name of Kubernetes"));
        }
        self.known.push(Object { kind, name, namespace, value });
        Ok(())
    }

    /// Those of one kind.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Object> {
        self.known.iter().filter(move |object| object.kind == kind)
    }
}

/// A name as the API server takes it, so also one that a shell takes as it stands.
pub fn is_name(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
        && bytes.iter().all(|byte| is_edge(byte) || matches!(byte, b'-' | b'.'))
}

impl Object {
    /// A PersistentVolume that is in no cluster: what one would say of a volume that has none.
    pub fn volume(name: &str, value: Value) -> Self {
        Self { kind: "PersistentVolume", name: name.to_owned(), namespace: None, value }
    }

    /// A text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self, field: &str) -> Result<Option<&str>, String> {
        match self.at(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "no text")),
        }
    }

    /// The name of another object.
    ///
    /// # Errors
    /// It is none.
    pub fn name_in(&self, field: &str) -> Result<Option<&str>, String> {
        match self.text(field)?.filter(|name| !name.is_empty()) {
            Some(name) if !is_name(name) => Err(self.wrong(field, "no name of Kubernetes")),
            name => Ok(name),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        match self.at(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(field, "neither `true` nor `false`")),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// It is none.
    pub fn texts(&self, field: &str) -> Result<Vec<String>, String> {
        let wrong = || self.wrong(field, "no list of texts");
        match self.at(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// A map of texts.
    ///
    /// # Errors
    /// It is none.
    pub fn pairs(&self, field: &str) -> Result<Parameters, String> {
        match self.at(field) {
            None | Some(Value::Null) => Ok(Parameters::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| match value {
                    Value::String(value) => Ok((key.clone(), value.clone())),
                    _ => Err(self.wrong(&format!("{field}.{key}"), "no text: write it in quotes")),
                })
                .collect(),
            Some(_) => Err(self.wrong(field, "no map of texts")),
        }
    }

    /// Whatever is there; `a.b.c` for fields, numbers for items.
    pub fn at(&self, field: &str) -> Option<&Value> {
        self.value.pointer(&format!("/{}", field.replace('.', "/")))
    }

    fn wrong(&self, field: &str, what: &str) -> String {
        format!("{} {}: `{field}` is {what}", self.kind, self.name)
    }
}

/// Texts by their keys, as an object has them.
pub fn texts(pairs: &Parameters) -> Value {
    pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_opened_and_other_kinds_counted() {
        let text = "kind: List\nitems:\n- {kind: PersistentVolume, metadata: {name: a}}\n- {kind: \
                    Secret, metadata: {name: s}}\n---\nkind: StorageClassList\nitems:\n- \
                    {metadata: {name: b}}\n---\nkind: NodeList\nitems: null\n";
        let read = Objects::read(text).unwrap();
        let names: Vec<_> = read.known.iter().map(|it| (it.kind, it.name.as_str())).collect();
        assert_eq!(
            (names, read.others),
            (vec![("PersistentVolume", "a"), ("StorageClass", "b")], 1)
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        for (text, said) in [
            ("", "kubectl get"),
            ("kind: Secret\nmetadata: {name: a}\n", "1 others"),
            ("- 1\n", "document 1"),
            ("a: 1\n", "no `kind`"),
            ("kind: List\nitems: 1\n", "`items`"),
            ("kind: List\nitems: [x]\n", "document 1, item 1"),
            ("kind: PersistentVolume\n", "metadata.name"),
            ("kind: PersistentVolume\nmetadata: {name: \"$(x)\"}\n", "metadata.name"),
            ("kind: Pod\nmetadata: {name: a, namespace: \"; x\"}\n", "metadata.namespace"),
        ] {
            let Err(refused) = Objects::read(text) else { panic!("{text}") };
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_named_and_not_shown() {
        let text = "kind: PersistentVolume\nmetadata: {name: a}\nspec: {o: {k: 815}, l: [815], t: \
                    815, n: a b}\n";
        let read = Objects::read(text).unwrap();
        let object = &read.known[0];
        for refused in [
            object.pairs("spec.o").unwrap_err(),
            object.texts("spec.l").unwrap_err(),
            object.text("spec.t").unwrap_err(),
            object.flag("spec.t").unwrap_err(),
            object.name_in("spec.n").unwrap_err(),
        ] {
            assert!(refused.starts_with("PersistentVolume a: `spec."), "{refused}");
            assert!(!refused.contains("815"), "{refused}");
        }
        assert_eq!(object.pairs("spec.none").unwrap(), Parameters::new());
    }
}
