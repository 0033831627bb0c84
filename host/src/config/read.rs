//! Reads a [`Tree`] into types. An error knows the setting and the place that it is about, so that
//! what is wrong can be taken out and the rest be read for further mistakes.

use std::fmt::Display;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::mistake::{Mistake, meant};
use super::tree::{Entry, Origin, Tree, Value};

/// A person corrects a handful at a time, and each costs another reading.
const MAX_MISTAKES: usize = 50;

/// Reads all of it, or says everything that is wrong; with what can be read without that, for
/// further checks.
pub fn read<T: DeserializeOwned>(tree: &Tree) -> Result<T, (Vec<Mistake>, Option<T>)> {
    let mut error = match T::deserialize(tree) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mut rest = tree.clone();
    let mut mistakes = Vec::new();
    loop {
        let path: Vec<String> = error.path.iter().rev().cloned().collect();
        let missing = error.missing;
        mistakes.push(error.into_mistake(tree));
        let is_filled = missing.is_some_and(|field| rest.fill(&path, field));
        if mistakes.len() >= MAX_MISTAKES || (!is_filled && !rest.remove(&path)) {
            return Err((mistakes, None));
        }
        match T::deserialize(&rest) {
            Ok(value) => return Err((mistakes, Some(value))),
            Err(next) => error = next,
        }
    }
}

/// What is wrong, on its way out of the sections around it.
#[derive(Debug)]
pub struct ReadError {
    /// From the inside to the outside.
    path: Vec<String>,
    at: Option<Origin>,
    problem: String,
    fix: String,
    /// What the section lacks.
    missing: Option<&'static str>,
}

impl ReadError {
    fn new(problem: String, fix: String) -> Self {
        Self { path: Vec::new(), at: None, problem, fix, missing: None }
    }

    fn inside(mut self, step: &str, at: &Origin) -> Self {
        self.path.push(step.to_owned());
        self.at.get_or_insert_with(|| at.clone());
        self
    }

    fn into_mistake(self, tree: &Tree) -> Mistake {
        let Self { mut path, at, problem, fix, .. } = self;
        path.reverse();
        Mistake { at: Some(at.unwrap_or_else(|| tree.origin.clone())), path, problem, fix }
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}

/// What was found is named by its kind: the value may be a secret.
impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string(), String::new())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(
            format!("{} is needed, and it is {}", words(expected), kind(found)),
            String::new(),
        )
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} is needed", words(expected)), String::new())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            "that is none of the values it can have".into(),
            format!("allowed are {}", quoted(expected)),
        )
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let fix = match meant(field, expected.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if expected.is_empty() => "nothing can stand here".to_owned(),
            None => format!("here can stand {}", quoted(expected)),
        };
        Self::new(format!("unknown field `{field}`"), fix)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("`{field}` is missing"), String::new()) }
    }
}

fn words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        text if text.starts_with("struct ") => "a section".to_owned(),
        "a map" => "a section".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" | "path string" => "a string".to_owned(),
        "usize" | "u64" | "u32" | "u16" => "a whole number".to_owned(),
        other => other.to_owned(),
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "`true` or `false`",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a section",
        _ => "something else",
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl<'de> de::Deserializer<'de> for &'de Tree {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(is) => visitor.visit_bool(*is),
            Value::Missing => visitor.visit_borrowed_str(""),
            Value::List(list) => visitor.visit_seq(List { rest: list.iter(), next: 0 }),
            Value::Table(table) => visitor.visit_map(Table { rest: table.iter(), value: None }),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Missing => visitor.visit_seq(List { rest: [].iter(), next: 0 }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(table) => match table.iter().collect::<Vec<_>>().as_slice() {
                [(name, entry)] => visitor.visit_enum(Variant { name, entry }),
                _ => Err(de::Error::invalid_type(Unexpected::Map, &"a section with one key")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

struct Table<'de> {
    rest: std::collections::btree_map::Iter<'de, String, Entry>,
    value: Option<(&'de str, &'de Entry)>,
}

impl<'de> MapAccess<'de> for Table<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, entry)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, entry));
        let name: BorrowedStrDeserializer<'de, ReadError> = BorrowedStrDeserializer::new(key);
        seed.deserialize(name).map(Some).map_err(|error| error.inside(key, &entry.key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let Some((key, entry)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(&entry.tree).map_err(|error| error.inside(key, &entry.tree.origin))
    }
}

struct List<'de> {
    rest: std::slice::Iter<'de, Tree>,
    next: usize,
}

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let Some(tree) = self.rest.next() else { return Ok(None) };
        let index = self.next.to_string();
        self.next += 1;
        seed.deserialize(tree).map(Some).map_err(|error| error.inside(&index, &tree.origin))
    }
}

/// `{ name = value }` as a case of an enum.
struct Variant<'de> {
    name: &'de str,
    entry: &'de Entry,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.name.into_deserializer();
        let variant =
            seed.deserialize(name).map_err(|error| error.inside(self.name, &self.entry.key))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Err(de::Error::invalid_type(Unexpected::Map, &"a string"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(&self.entry.tree)
            .map_err(|error| error.inside(self.name, &self.entry.tree.origin))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_any(&self.entry.tree, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_any(&self.entry.tree, visitor)
    }
}
