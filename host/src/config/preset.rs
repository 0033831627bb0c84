//! Presets: data that stand for a page of configuration. The file says `[preset] name = "…"` and a
//! few parameters; what the preset has is laid under what the file says.
//!
//! Presets are files beside the components of a cloud (`backends/*/preset.toml`), built into the
//! binary by name. The host knows their grammar and nothing of what they say.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::mistake::{Mistake, meant};
use super::read;
use super::tree::{Entry, Origin, Source, Tree, Value};

/// Every preset by its name: `PRESETS`.
mod built_in {
    include!(concat!(env!("OUT_DIR"), "/presets.rs"));
}

/// What a file says of the preset that it builds on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PresetSection {
    /// Which.
    pub name: String,
    /// Which of its parts; unset: all.
    #[serde(default)]
    pub drivers: Option<Vec<String>>,
    /// Values of its parameters; unset: what the environment says, or the preset's own.
    #[serde(flatten)]
    pub parameters: BTreeMap<String, String>,
}

/// A preset as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Preset {
    /// What it is for, in a line.
    pub about: String,
    /// What it has to be given.
    #[serde(default)]
    pub parameter: BTreeMap<String, Parameter>,
    /// The names of its parts.
    #[serde(skip)]
    pub parts: Vec<String>,
    #[serde(skip)]
    name: String,
    /// What is written.
    #[serde(skip)]
    tree: Option<Tree>,
}

/// What a preset has to be given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameter {
    /// What it is, in a line.
    pub about: String,
    /// The environment variable that says it where the file does not.
    #[serde(default)]
    pub environment: Option<String>,
    /// Its value where nobody says it; unset: it has to be said. May name other parameters.
    #[serde(default)]
    pub default: Option<String>,
    /// Few need it: a new file does not show it.
    #[serde(default)]
    pub rare: bool,
    /// A value to show to people.
    #[serde(default)]
    pub example: Option<String>,
    /// Its values, and what further words each stands for; empty: any.
    #[serde(default)]
    pub choice: BTreeMap<String, BTreeMap<String, Word>>,
}

/// What a word stands for.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Word {
    /// A text, or a part of one.
    Text(String),
    /// The whole value.
    Is(bool),
}

/// Lays the preset that the configuration names under it. Returns what is wrong with what it says
/// of the preset.
pub fn merge_under(tree: &mut Tree) -> Vec<Mistake> {
    let Some(section) = tree.find(&["preset".to_owned()]) else { return Vec::new() };
    let expanded = read::read::<PresetSection>(section).map_err(|(mistakes, _)| mistakes).and_then(
        |section| {
            let at_name = ["preset".to_owned(), "name".to_owned()];
            let preset = Preset::find(&section.name).map_err(|mistake| {
                vec![mistake.of(&["preset", "name"]).at(tree.origin_of(&at_name))]
            })?;
            preset.expand(&section, tree, &|name| std::env::var(name).ok())
        },
    );
    match expanded {
        Ok(mut expanded) => {
            let over = std::mem::replace(tree, Tree::empty(Source::Default));
            expanded.origin = over.origin.clone();
            expanded.merge_over(over);
            *tree = expanded;
            Vec::new()
        }
        Err(mistakes) => mistakes,
    }
}

/// A value of a parameter and who says it.
#[derive(Debug, Clone)]
struct Said {
    word: Word,
    by: Origin,
}

impl Preset {
    /// The names of all presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        built_in::PRESETS.iter().map(|(name, _)| *name)
    }

    /// The preset of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Self, Mistake> {
        let Some((known, text)) = built_in::PRESETS.iter().find(|(known, _)| *known == name) else {
            let mistake = Mistake::new(format!("there is no preset \"{name}\""));
            let known: Vec<&str> = Self::names().collect();
            return Err(mistake.fix(match meant(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there is {}", known.join(", ")),
            }));
        };
        Self::parse(known, text).map_err(|mistakes| {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            Mistake::new(format!("the preset \"{name}\" of this build is wrong: {first}"))
        })
    }

    fn parse(name: &str, text: &'static str) -> Result<Self, Vec<Mistake>> {
        let tree = Tree::parse(text, Source::Preset(name.to_owned()))?;
        let mut preset: Self = read::read(&tree).map_err(|(mistakes, _)| mistakes)?;
        preset.parts = tree.keys(&["part"]).into_iter().map(str::to_owned).collect();
        preset.name = name.to_owned();
        preset.tree = Some(tree);
        Ok(preset)
    }

    /// What the preset stands for. `tree`: where `section` is written.
    ///
    /// # Errors
    /// Everything that it should be given and is not, or is given wrongly.
    pub fn expand(
        &self,
        section: &PresetSection,
        tree: &Tree,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Tree, Vec<Mistake>> {
        let mut mistakes = self.unknown(section);
        let words = self.words(section, tree, environment, &mut mistakes);
        for mistake in &mut mistakes {
            let at = tree.origin_of(&mistake.path).clone();
            mistake.at.get_or_insert(at);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut expanded = Tree::empty(Source::Preset(self.name.clone()));
        let Some(written) = &self.tree else { return Ok(expanded) };
        let of_part = |part: &String| ["part".to_owned(), part.clone()];
        let parts = section.drivers.as_ref().unwrap_or(&self.parts).iter().map(of_part);
        let shared = written.find(&["shared".to_owned()]).into_iter();
        for fragment in shared.chain(parts.filter_map(|part| written.find(&part))) {
            let mut fragment = fragment.clone();
            fill(&mut fragment, &words);
            expanded.merge_over(fragment);
        }
        Ok(expanded)
    }

    /// Parts and parameters that the preset does not have.
    fn unknown(&self, section: &PresetSection) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (index, part) in section.drivers.iter().flatten().enumerate() {
            if !self.parts.contains(part) {
                let problem = format!("preset \"{}\" has no driver \"{part}\"", self.name);
                let mistake = Mistake::new(problem).of(&["preset", "drivers", &index.to_string()]);
                mistakes.push(mistake.fix(format!("it has {}", self.parts.join(", "))));
            }
        }
        for key in section.parameters.keys().filter(|key| !self.parameter.contains_key(*key)) {
            let known = || self.parameter.keys().map(String::as_str);
            let fix = match meant(key, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it takes {}", known().collect::<Vec<_>>().join(", ")),
            };
            let problem = format!("preset \"{}\" takes no `{key}`", self.name);
            mistakes.push(Mistake::new(problem).of(&["preset", key]).fix(fix));
        }
        mistakes
    }

    /// Every word that the configuration may name, and who says what it stands for.
    fn words(
        &self,
        section: &PresetSection,
        tree: &Tree,
        environment: &dyn Fn(&str) -> Option<String>,
        mistakes: &mut Vec<Mistake>,
    ) -> BTreeMap<String, Said> {
        let mut words = BTreeMap::new();
        for (key, parameter) in &self.parameter {
            let Some((value, by)) = self.value(key, parameter, section, tree, environment) else {
                mistakes.push(lacking(key, parameter));
                continue;
            };
            let choice = parameter.choice.get(&value);
            if choice.is_none() && !parameter.choice.is_empty() {
                let allowed: Vec<_> = parameter.choice.keys().map(String::as_str).collect();
                let mistake = Mistake::new(format!("`{key}` has no such value"));
                let mistake = mistake.of(&["preset", key]).at(&by);
                mistakes.push(mistake.fix(format!("allowed are {}", allowed.join(", "))));
            }
            for (word, stands_for) in choice.into_iter().flatten() {
                words.insert(word.clone(), Said { word: stands_for.clone(), by: by.clone() });
            }
            words.insert(key.clone(), Said { word: Word::Text(value), by });
        }
        // Defaults may name other parameters, which name none themselves.
        let plain = words.clone();
        for said in words.values_mut() {
            if let Word::Text(text) = &said.word {
                said.word = Word::Text(replace(text, &plain).0);
            }
        }
        words
    }

    fn value(
        &self,
        key: &str,
        parameter: &Parameter,
        section: &PresetSection,
        tree: &Tree,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Option<(String, Origin)> {
        if let Some(value) = section.parameters.get(key) {
            let path = ["preset".to_owned(), key.to_owned()];
            return Some((value.clone(), tree.origin_of(&path).clone()));
        }
        let variable = parameter.environment.as_ref();
        let set = variable.and_then(|name| Some((environment(name)?, name)));
        if let Some((value, name)) = set.filter(|(value, _)| !value.is_empty()) {
            return Some((value, Origin::whole(Source::Environment(name.clone()))));
        }
        let by = Origin::whole(Source::Preset(self.name.clone()));
        parameter.default.clone().map(|value| (value, by))
    }
}

fn lacking(key: &str, parameter: &Parameter) -> Mistake {
    let example = parameter.example.as_deref().unwrap_or("…");
    let mut fix = format!("write `{key} = \"{example}\"` into [preset]");
    if let Some(variable) = &parameter.environment {
        fix.push_str(&format!(", or set the environment variable {variable}"));
    }
    Mistake::new(format!("`{key}` is not known: {}", parameter.about)).of(&["preset"]).fix(fix)
}

/// Puts values in the place of `${word}`. What is empty then is left out, as if nobody wrote it.
fn fill(tree: &mut Tree, words: &BTreeMap<String, Said>) {
    match &mut tree.value {
        Value::Table(table) => {
            for entry in table.values_mut() {
                fill(&mut entry.tree, words);
            }
            table.retain(|_, Entry { tree, .. }| !matches!(&tree.value, Value::Missing));
        }
        Value::List(list) => list.iter_mut().for_each(|tree| fill(tree, words)),
        Value::Text(text) if text.contains("${") => {
            let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let whole = whole.and_then(|word| words.get(word));
            let (value, by) = match whole {
                Some(Said { word: Word::Is(is), by }) => (Value::Boolean(*is), Some(by.clone())),
                _ => {
                    let (text, by) = replace(text, words);
                    let is_nothing = text.is_empty();
                    (if is_nothing { Value::Missing } else { Value::Text(text) }, by)
                }
            };
            tree.value = value;
            // A value that a person or the environment decides is theirs.
            if let Some(by) = by.filter(|by| !matches!(*by.source, Source::Preset(_))) {
                tree.origin = by;
            }
        }
        _ => {}
    }
}

/// The text with every `${word}` replaced, and who says the first of them that somebody says.
fn replace(text: &str, words: &BTreeMap<String, Said>) -> (String, Option<Origin>) {
    let (mut filled, mut by, mut rest) = (String::with_capacity(text.len()), None, text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let known = after.split_once('}').and_then(|(word, tail)| Some((words.get(word)?, tail)));
        let Some((said, tail)) = known else {
            filled.push_str("${");
            rest = after;
            continue;
        };
        filled.push_str(match &said.word {
            Word::Text(value) => value,
            Word::Is(true) => "true",
            Word::Is(false) => "false",
        });
        if by.is_none() && !matches!(*said.by.source, Source::Preset(_)) {
            by = Some(said.by.clone());
        }
        rest = tail;
    }
    filled.push_str(rest);
    (filled, by)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const TEXT: &str = "about = \"a cloud\"\n\
        [parameter.region]\nabout = \"the region\"\nenvironment = \"REGION\"\nexample = \"r-1\"\n\
        [parameter.network]\nabout = \"which\"\ndefault = \"inside\"\n\
        choice.inside = { suffix = \"-in\", private = true }\n\
        choice.outside = { suffix = \"\", private = false }\n\
        [parameter.host]\nabout = \"the host\"\ndefault = \"api${suffix}.${region}.test\"\n\
        [parameter.cluster]\nabout = \"the cluster\"\ndefault = \"\"\n\
        [shared.endpoint.api]\nurl = \"https://${host}\"\nprivate = \"${private}\"\n\
        [part.disk.backend.disk.config]\nregion = \"${region}\"\ncluster = \"${cluster}\"\n\
        [part.file.backend.file]\n";

    fn expand(section: &str, variables: &[(&str, &str)]) -> Result<Tree, Vec<Mistake>> {
        let tree = tree(&format!("[preset]\nname = \"x\"\n{section}"));
        let section = tree.find(&["preset".to_owned()]).unwrap();
        let section: PresetSection = read::read(section).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        };
        Preset::parse("x", TEXT).unwrap().expand(&section, &tree, &variable)
    }

    fn plain(tree: &Tree) -> toml::Table {
        toml::from_str(&toml::to_string(&tree.plain()).unwrap()).unwrap()
    }

    #[test]
    fn words_stand_for_what_the_file_the_environment_or_the_preset_says() {
        let tree = expand("", &[("REGION", "r-2")]).unwrap();
        let expanded = plain(&tree);
        assert_eq!(expanded["endpoint"]["api"]["url"].as_str(), Some("https://api-in.r-2.test"));
        assert_eq!(expanded["endpoint"]["api"]["private"].as_bool(), Some(true));
        let region = ["backend", "disk", "config", "region"].map(str::to_owned);
        let origin = &tree.find(&region).unwrap().origin;
        assert_eq!(origin.to_string(), "environment variable REGION");
        let said = "region = \"r-3\"\nnetwork = \"outside\"\n";
        let tree = expand(said, &[("REGION", "r-2")]).unwrap();
        let expanded = plain(&tree);
        assert_eq!(expanded["endpoint"]["api"]["url"].as_str(), Some("https://api.r-3.test"));
        assert_eq!(expanded["endpoint"]["api"]["private"].as_bool(), Some(false));
        assert_eq!(tree.find(&region).unwrap().origin.to_string(), "/w.toml:3");
    }

    #[test]
    fn what_is_no_word_of_the_preset_stays_as_it_is_written() {
        let said = |text: &str| Said {
            word: Word::Text(text.to_owned()),
            by: Origin::whole(Source::Preset("x".to_owned())),
        };
        let words = BTreeMap::from([("a".to_owned(), said("1")), ("b".to_owned(), said("${a}"))]);
        for (text, filled) in [
            ("${a}${a}-${a}", "11-1"),
            ("${c} ${a} ${", "${c} 1 ${"),
            ("${ ${a}", "${ 1"),
            ("}${a", "}${a"),
            ("${b}", "${a}"),
        ] {
            assert_eq!(replace(text, &words).0, filled);
        }
    }

    #[test]
    fn what_nobody_says_is_left_out_and_parts_are_chosen() {
        let all = plain(&expand("region = \"r\"\n", &[]).unwrap());
        assert!(!all["backend"]["disk"]["config"].as_table().unwrap().contains_key("cluster"));
        assert!(all["backend"].as_table().unwrap().contains_key("file"));
        let one = plain(&expand("region = \"r\"\ndrivers = [\"disk\"]\n", &[]).unwrap());
        assert!(!one["backend"].as_table().unwrap().contains_key("file"));
    }

    #[test]
    fn everything_that_is_not_said_or_said_wrongly_is_named_at_its_place() {
        let mistakes =
            expand("netwrok = \"inside\"\nnetwork = \"lan\"\ndrivers = [\"dsk\"]\n", &[]);
        let said: Vec<_> = mistakes.unwrap_err().iter().map(ToString::to_string).collect();
        for part in [
            "no driver \"dsk\"; it has disk, file (line 5",
            "takes no `netwrok`; did you mean `network`? (line 3",
            "`network` has no such value; allowed are inside, outside (line 4",
            "`region` is not known: the region; write `region = \"r-1\"` into [preset], or set the \
             environment variable REGION (line 1",
        ] {
            assert!(said.iter().any(|said| said.contains(part)), "{part}: {said:#?}");
        }
        assert_eq!(said.len(), 4, "{said:#?}");
    }

    #[test]
    fn every_preset_of_this_build_can_be_read() {
        for name in Preset::names() {
            let preset = Preset::find(name).unwrap();
            assert!(!preset.parts.is_empty() && !preset.about.is_empty(), "{name}");
        }
        assert!(Preset::find("none").unwrap_err().text().contains("there is no preset"));
    }
}
