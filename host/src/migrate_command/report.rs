//! What is said about each object, and how it is printed.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::objects::Object;
use super::yaml;

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It goes on as it is.
    Unchanged,
    /// It stays, and another object takes its part.
    Changes,
    /// A person has to decide something first.
    Person,
}

/// One object.
#[derive(Debug, Serialize)]
pub struct Item {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, where that distinguishes it from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The volume of it that is meant, where it is not one itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The driver that it is of.
    pub driver: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, and what else there is to know; the first says it.
    pub says: Vec<String>,
    /// What to do, if anything is to be done, in this order.
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Debug, Default, Serialize)]
pub struct Step {
    /// What, and why.
    pub what: String,
    /// Commands that do it; none of them deletes, detaches or unmounts anything.
    pub run: Vec<String>,
    /// An object to create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<Value>,
    /// Commands that only look.
    pub look: Vec<String>,
    /// What they print when it is well.
    pub expect: String,
    /// The way back from here.
    pub back: String,
}

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// In the order of the input; volumes that stand in pods after all others.
    pub objects: Vec<Item>,
    /// Objects that were not looked at: of other kinds and of other drivers.
    pub not_looked_at: usize,
}

impl Report {
    /// Whether something cannot go on without a person.
    pub fn needs_a_person(&self) -> bool {
        self.count(Verdict::Person) > 0
    }

    /// Adds what is said of an object; `None`: nothing, it is of another driver.
    pub fn take(&mut self, item: Option<Item>) {
        match item {
            Some(item) => self.objects.push(item),
            None => self.not_looked_at += 1,
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.objects.iter().filter(|item| item.verdict == verdict).count()
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for item in &self.objects {
            item.write_text(&mut text);
        }
        let [unchanged, changes, person] =
            [Verdict::Unchanged, Verdict::Changes, Verdict::Person].map(|it| self.count(it));
        let _ = write!(
            text,
            "{unchanged} go on as they are, {changes} change, {person} need a person; {} objects \
             are of other kinds or drivers",
            self.not_looked_at
        );
        text
    }
}

impl Item {
    /// Nothing is said of this object yet.
    pub fn unchanged(object: &Object, driver: &str) -> Self {
        Self {
            kind: object.kind,
            namespace: None,
            name: object.name.clone(),
            volume: None,
            driver: driver.to_owned(),
            verdict: Verdict::Unchanged,
            says: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn write_text(&self, text: &mut String) {
        let Self { kind, namespace, name, volume, driver, verdict, says, steps } = self;
        let namespace = namespace.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
        let volume = volume.as_ref().map(|it| format!(", volume {it}")).unwrap_or_default();
        let verdict = match verdict {
            Verdict::Unchanged => "goes on as it is",
            Verdict::Changes => "changes",
            Verdict::Person => "needs a person",
        };
        let _ = writeln!(text, "{kind} {namespace}{name}{volume} ({driver}): {verdict}");
        for said in says {
            let _ = writeln!(text, "  {said}");
        }
        for (n, step) in steps.iter().enumerate() {
            step.write_text(n + 1, steps.len(), text);
        }
        text.push('\n');
    }
}

impl Step {
    /// Commands begin at the margin, so that they can be copied with their documents.
    fn write_text(&self, n: usize, of: usize, text: &mut String) {
        let _ = writeln!(text, "\n  Step {n} of {of}: {}", self.what);
        for command in &self.run {
            let _ = writeln!(text, "{command}");
        }
        if let Some(object) = &self.apply {
            let _ = writeln!(text, "kubectl create -f - <<'EOF'\n{}EOF", yaml::written(object));
        }
        if !self.look.is_empty() {
            let _ = writeln!(text, "  Look: {}", self.expect);
            for command in &self.look {
                let _ = writeln!(text, "{command}");
            }
        }
        let _ = writeln!(text, "  Back: {}", self.back);
    }
}
