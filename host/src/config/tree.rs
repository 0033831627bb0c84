//! A configuration as it was written: values with the position that each comes from. Files are
//! parsed into it, laid over each other, and read into types by [`super::read`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file that a person or a tool wrote.
    File(PathBuf),
    /// A preset that comes with Wharf, by name.
    Preset(String),
    /// An environment variable of this process.
    Environment(String),
    /// Nobody said anything.
    Default,
}

/// The position of a value: in which source, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which text.
    pub source: Arc<Source>,
    /// The line, from 1; 0 where the source has no lines.
    pub line: usize,
    /// The column, from 1, in characters; 0 where the source has no lines.
    pub column: usize,
}

impl Origin {
    /// The source as a whole.
    pub fn whole(source: Source) -> Self {
        Self { source: Arc::new(source), line: 0, column: 0 }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&*self.source, self.line) {
            (source, 0) => source.fmt(f),
            (source @ Source::File(_), line) => write!(f, "{source}:{line}"),
            (source, line) => write!(f, "{source}, line {line}"),
        }
    }
}

/// A value and its position.
#[derive(Debug, Clone)]
pub struct Tree {
    /// What stands there.
    pub value: Value,
    /// Where.
    pub origin: Origin,
}

/// What TOML has, without its dates: no setting is one.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string, or a date as it is written.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `[…]`, or sections in double brackets.
    List(Vec<Tree>),
    /// A section.
    Table(BTreeMap<String, Entry>),
    /// What a section needs and does not have, while the rest is read for further mistakes.
    Missing,
}

/// What stands under a key, and where the key does.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The position of the key.
    pub key: Origin,
    /// The value.
    pub tree: Tree,
}

impl Tree {
    /// Reads the text of one source.
    ///
    /// # Errors
    /// Everything that is no TOML.
    pub fn parse(text: &str, source: Source) -> Result<Self, Vec<Mistake>> {
        let line_index = LineIndex::new(text, source);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(line_index.table(table.get_ref(), line_index.at(0)));
        }
        let mistake = |error: &toml::de::Error| {
            let at =
                error.span().map_or_else(|| line_index.at(0), |span| line_index.at(span.start));
            Mistake::new(error.message()).at(&at)
        };
        Err(errors.iter().map(mistake).collect())
    }

    /// A section with nothing in it.
    pub fn empty(source: Source) -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin: Origin::whole(source) }
    }

    /// The value at this path, of keys and of positions in lists.
    pub fn find(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &self.value {
            Value::Table(table) => table.get(first)?.tree.find(rest),
            Value::List(list) => list.get(first.parse::<usize>().ok()?)?.find(rest),
            _ => None,
        }
    }

    /// The keys of the section at this path.
    pub fn keys(&self, path: &[&str]) -> Vec<&str> {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        match self.find(&path).map(|tree| &tree.value) {
            Some(Value::Table(table)) => table.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The position of what is at this path; where nothing is, of the nearest section around it.
    pub fn origin_of(&self, path: &[String]) -> &Origin {
        let Some((first, rest)) = path.split_first() else { return &self.origin };
        match &self.value {
            Value::Table(table) => table.get(first).map_or(&self.origin, |entry| match rest {
                [] => &entry.key,
                rest => entry.tree.origin_of(rest),
            }),
            Value::List(list) => first
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get(index))
                .map_or(&self.origin, |tree| tree.origin_of(rest)),
            _ => &self.origin,
        }
    }

    /// The first value whose origin is like that, and where it is.
    pub fn first_from(
        &self,
        is: impl Fn(&Origin) -> bool + Copy,
    ) -> Option<(Vec<String>, &Origin)> {
        let children: Vec<(String, &Self)> = match &self.value {
            Value::Table(table) => {
                table.iter().map(|(key, entry)| (key.clone(), &entry.tree)).collect()
            }
            Value::List(list) => {
                list.iter().enumerate().map(|(index, tree)| (index.to_string(), tree)).collect()
            }
            _ => return is(&self.origin).then(|| (Vec::new(), &self.origin)),
        };
        children.into_iter().find_map(|(step, tree)| {
            let (mut path, origin) = tree.first_from(is)?;
            path.insert(0, step);
            Some((path, origin))
        })
    }

    /// Puts a default where nothing is; sections on the way are made.
    pub fn fill_in(&mut self, path: &[&str], value: Value) {
        let origin = Origin::whole(Source::Default);
        let Some((first, rest)) = path.split_first() else { return };
        let Value::Table(table) = &mut self.value else { return };
        let entry = table.entry((*first).to_owned()).or_insert_with(|| Entry {
            key: origin.clone(),
            tree: Self {
                value: if rest.is_empty() { value.clone() } else { Value::Table(BTreeMap::new()) },
                origin,
            },
        });
        entry.tree.fill_in(rest, value);
    }

    /// Puts something empty where a section lacks what it needs; `false` where that cannot be.
    pub fn fill(&mut self, path: &[String], key: &str) -> bool {
        let Some(tree) = self.find_mut(path) else { return false };
        let Value::Table(table) = &mut tree.value else { return false };
        if table.contains_key(key) {
            return false;
        }
        let missing = Self { value: Value::Missing, origin: tree.origin.clone() };
        table.insert(key.to_owned(), Entry { key: tree.origin.clone(), tree: missing });
        true
    }

    fn find_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &mut self.value {
            Value::Table(table) => table.get_mut(first)?.tree.find_mut(rest),
            Value::List(list) => list.get_mut(first.parse::<usize>().ok()?)?.find_mut(rest),
            _ => None,
        }
    }

    /// Takes out what is at this path; `false` where nothing is.
    pub fn remove(&mut self, path: &[String]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let Some(tree) = self.find_mut(parents) else { return false };
        match &mut tree.value {
            Value::Table(table) => table.remove(last).is_some(),
            Value::List(list) => match last.parse::<usize>() {
                Ok(index) if index < list.len() => {
                    list.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Lays another one over this: sections key by key; anything else takes the place of what was
    /// there.
    pub fn merge_over(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(under), Value::Table(over)) => {
                for (key, entry) in over {
                    match under.get_mut(&key) {
                        Some(there) => there.tree.merge_over(entry.tree),
                        None => {
                            under.insert(key, entry);
                        }
                    }
                }
            }
            (_, value) => *self = Self { value, origin: over.origin },
        }
    }

    /// As TOML's own value, for printing.
    pub fn plain(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Boolean(is) => toml::Value::Boolean(*is),
            Value::Missing => toml::Value::String(String::new()),
            Value::List(list) => toml::Value::Array(list.iter().map(Self::plain).collect()),
            Value::Table(table) => toml::Value::Table(
                table.iter().map(|(key, entry)| (key.clone(), entry.tree.plain())).collect(),
            ),
        }
    }
}

/// Turns positions in a text into lines.
struct LineIndex<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    source: Arc<Source>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str, source: Source) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self { text, lines: std::iter::once(0).chain(ends).collect(), source: Arc::new(source) }
    }

    fn at(&self, position: usize) -> Origin {
        let line = self.lines.partition_point(|begin| *begin <= position).max(1);
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(begin..position).unwrap_or_default();
        Origin { source: Arc::clone(&self.source), line, column: before.chars().count() + 1 }
    }

    fn tree(&self, value: &Spanned<DeValue<'_>>) -> Tree {
        let origin = self.at(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                // Larger numbers stay text, which no setting takes for a number.
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::Text(number.to_string()),
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Text(number.to_string()),
            },
            DeValue::Boolean(is) => Value::Boolean(*is),
            DeValue::Datetime(date) => Value::Text(date.to_string()),
            DeValue::Array(list) => {
                Value::List(list.iter().map(|value| self.tree(value)).collect())
            }
            DeValue::Table(table) => return self.table(table, origin),
        };
        Tree { value, origin }
    }

    fn table(&self, table: &DeTable<'_>, origin: Origin) -> Tree {
        let entry = |(key, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let entry = Entry { key: self.at(key.span().start), tree: self.tree(value) };
            (key.get_ref().to_string(), entry)
        };
        Tree { value: Value::Table(table.iter().map(entry).collect()), origin }
    }
}

/// A file as a source.
pub fn file(path: &Path) -> Source {
    Source::File(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Tree {
        Tree::parse(text, file(Path::new("/w.toml"))).unwrap()
    }

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_value_knows_its_line_and_column() {
        let tree = parse("a = 1\n[b]\n  c = [\"x\",\n  \"y\"]\n");
        assert_eq!(tree.origin_of(&path("a")).to_string(), "/w.toml:1");
        let key = tree.origin_of(&path("b/c"));
        assert_eq!((key.line, key.column), (3, 3));
        assert_eq!(tree.origin_of(&path("b/c/1")).line, 4);
        assert_eq!(tree.origin_of(&path("b/none")).line, 2, "of the section around it");
    }

    #[test]
    fn what_is_laid_over_replaces_values_and_lists_and_joins_sections() {
        let mut under = parse("[a]\nx = 1\ny = [1, 2]\n[b]\nz = 1\n");
        under.merge_over(parse("[a]\ny = [3]\n"));
        let joined = "[a]\nx = 1\ny = [3]\n\n[b]\nz = 1\n";
        assert_eq!(toml::to_string(&under.plain()).unwrap(), joined);
    }

    #[test]
    fn every_place_that_is_no_toml_is_named() {
        let errors = Tree::parse("a = \nb = 2\nc 3\n", file(Path::new("/w.toml"))).unwrap_err();
        let lines: Vec<_> =
            errors.iter().filter_map(|mistake| Some(mistake.at.as_ref()?.line)).collect();
        assert!(lines.contains(&1) && lines.contains(&3), "{lines:?}");
    }

    #[test]
    fn an_element_is_taken_out_of_a_section_and_of_a_list() {
        let mut tree = parse("a = [1, 2]\n[b]\nc = 1\n");
        assert!(tree.remove(&path("a/0")) && tree.remove(&path("b/c")));
        assert!(!tree.remove(&path("a/7")) && !tree.remove(&path("x/y")));
        assert_eq!(toml::to_string(&tree.plain()).unwrap(), "a = [2]\n\n[b]\n");
    }
}
