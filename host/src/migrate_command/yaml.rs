//! YAML as values, bounded. What kubectl prints needs neither anchors nor tags, so a text that has
//! them is refused: nothing here grows beyond the text that it was read from.
//!
//! No value of the text ever gets into a message: objects hold secrets now and then.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// Objects are nested ten deep or so; the rest is for what others add to them.
const MAX_DEPTH: usize = 64;
/// A PersistentVolume has about a hundred values: 20,000 of them. A value takes some hundred bytes.
const MAX_VALUES: usize = 2_000_000;

/// Every document of the text that is not empty, in its order.
///
/// # Errors
/// Where and why it is no YAML, or more than is read.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            format!("{}: this is no YAML: {}", place(error.marker()), error.info())
        })?;
        reader.take(event).map_err(|why| format!("{}: {why}", at(&span)))?;
    }
    Ok(reader.documents)
}

fn at(span: &Span) -> String {
    place(&span.start)
}

fn place(marker: &saphyr_parser::Marker) -> String {
    format!("line {}, column {}", marker.line(), marker.col() + 1)
}

/// What is open, and what is done.
#[derive(Default)]
struct Reader {
    documents: Vec<Value>,
    open: Vec<Open>,
    values: usize,
}

/// A list or a map whose end has not come yet.
enum Open {
    List(Vec<Value>),
    Map { done: Map<String, Value>, key: Option<String> },
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        const ANCHOR: &str = "anchors and aliases are not read; kubectl prints none";
        const TAG: &str = "tags are not read; kubectl prints none";
        match event {
            Event::Alias(_)
            | Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _) => Err(ANCHOR.to_owned()),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(TAG.to_owned()),
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.value(plain(&text), Some(&text)),
            Event::Scalar(text, ..) => self.value(Value::String(text.to_string()), Some(&text)),
            Event::SequenceStart(..) => self.begin(Open::List(Vec::new())),
            Event::MappingStart(..) => self.begin(Open::Map { done: Map::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(done)) => self.value(Value::Array(done), None),
                Some(Open::Map { done, .. }) => self.value(Value::Object(done), None),
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}; no Kubernetes object is"));
        }
        self.open.push(open);
        Ok(())
    }

    /// `text`: what stands there, if it can be a key.
    fn value(&mut self, value: Value, text: Option<&str>) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values; give it in parts"));
        }
        match self.open.last_mut() {
            None if value.is_null() => {}
            None => self.documents.push(value),
            Some(Open::List(done)) => done.push(value),
            Some(Open::Map { done, key: key @ Some(_) }) => {
                done.insert(key.take().unwrap_or_default(), value);
            }
            Some(Open::Map { done, key }) => {
                let name = text.ok_or("a key is no text")?;
                if done.contains_key(name) {
                    return Err("a key is there twice".to_owned());
                }
                *key = Some(name.to_owned());
            }
        }
        Ok(())
    }
}

/// A scalar without quotation marks, by YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
            text.parse::<Number>().map_or_else(|_| Value::String(text.to_owned()), Value::Number)
        }
        _ => Value::String(text.to_owned()),
    }
}

/// A value as YAML: maps and lists in lines of their own, every text in quotation marks, so that
/// nothing in it ends a document or a here-document of a shell.
pub fn written(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (n, (key, value)) in map.iter().enumerate() {
                if n > 0 || text.ends_with('\n') {
                    pad(indent, text);
                }
                text.push_str(&key_text(key));
                text.push(':');
                below(value, indent, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (n, value) in list.iter().enumerate() {
                if n > 0 || text.ends_with('\n') {
                    pad(indent, text);
                }
                text.push('-');
                text.push(' ');
                write(value, indent + 2, text);
            }
        }
        other => text.push_str(&format!("{other}\n")),
    }
}

/// What stands behind a key.
fn below(value: &Value, indent: usize, text: &mut String) {
    let is_nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if is_nested {
        text.push('\n');
        write(value, indent + 2, text);
    } else {
        text.push(' ');
        write(value, indent, text);
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn key_text(key: &str) -> String {
    let is_word = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
    let is_plain = key.starts_with(|it: char| it.is_ascii_alphabetic()) && key.chars().all(is_word);
    let is_plain = is_plain && matches!(plain(key), Value::String(_));
    if is_plain { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_read_and_empty_ones_left_out() {
        let text =
            "---\na: 1\n---\n---\n# nothing\n---\nb:\n- x\n- \"1\"\n- 0755\n- yes\n- ~\n...\n";
        let read = documents(text).unwrap();
        assert_eq!(read, [json!({"a": 1}), json!({"b": ["x", "1", "0755", "yes", null]})]);
        assert_eq!(
            documents("{\"a\": {\"b\": [true, -1.5]}}").unwrap(),
            [json!({"a": {"b": [true, -1.5]}})]
        );
        assert_eq!(documents("").unwrap(), [] as [Value; 0]);
    }

    #[test]
    fn what_would_grow_is_refused() {
        for bomb in [
            "a: &a [x]\nb: *a\n",
            "a: &a x\n",
            "&a {}",
            "a: *b\n",
            "- &x [1]\n- [*x, *x]\n- <<: *x\n",
        ] {
            let refused = documents(bomb).unwrap_err();
            assert!(refused.contains("line "), "{refused}");
        }
        assert!(documents("a: !!binary aGk=\n").unwrap_err().contains("tags"));
        assert!(documents("a: 1\na: 2\n").unwrap_err().contains("twice"));
        assert!(documents("? {a: 1}\n: 2\n").unwrap_err().contains("key"));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(documents(&deep(MAX_DEPTH)).is_ok());
        assert!(documents(&deep(MAX_DEPTH + 1)).unwrap_err().contains("deeper"));
        assert!(documents(&deep(100_000)).is_err());
        let wide = format!("[{}]", "0,".repeat(MAX_VALUES));
        assert!(documents(&wide).unwrap_err().contains("in parts"));
    }

    #[test]
    fn what_is_no_yaml_is_said_without_its_words() {
        for broken in ["a: [canary", "canary: \"x", "a: b: canary", "- a\ncanary: x"] {
            let refused = documents(broken).unwrap_err();
            assert!(!refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let value = json!({
            "apiVersion": "v1", "empty": {}, "none": [], "no": "no", "number": 3,
            "odd key": "EOF\nEOF\n'\"\u{1b}", "null": null, "true": "true",
            "list": [{"a": "1", "b": ["x", {"c": "y"}]}, [["z"]], "- w"],
            "deep": {"er": {"still": true}},
        });
        let text = written(&value);
        assert_eq!(documents(&text).unwrap(), [value], "{text}");
        assert!(!text.lines().any(|line| line == "EOF"), "{text}");
    }
}
