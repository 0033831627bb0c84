//! The figures, as a table for people and as JSON for scripts.

use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

/// One figure, what it is held against, and what is wanted of it.
#[derive(Debug)]
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is compared with, and that one's value in the same unit.
    pub against: Option<(&'static str, f64)>,
    /// What is wanted.
    pub target: &'static str,
}

/// A figure as scripts read it, and as one process hands it to another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    figure: String,
    value: f64,
    unit: String,
    ratio: Option<f64>,
    against: Option<Against>,
    target: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Against {
    name: String,
    value: f64,
}

impl From<Figure> for Row {
    fn from(figure: Figure) -> Self {
        let against = |(name, value): (&str, f64)| Against { name: name.to_owned(), value };
        Self {
            figure: figure.what.to_owned(),
            value: figure.value,
            unit: figure.unit.to_owned(),
            ratio: figure.against.map(|(_, floor)| figure.value / floor),
            against: figure.against.map(against),
            target: figure.target.to_owned(),
        }
    }
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.add_row(figure.into());
    }

    /// Adds what another process measured.
    pub fn add_row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n{:<46} {:>12} {:<9} {:>7}  {:<40} {}\n",
            "figure", "value", "unit", "ratio", "against", "target"
        );
        for Row { figure, value, unit, ratio, against, target } in &self.rows {
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let against = against.as_ref().map_or_else(
                || "-".to_owned(),
                |Against { name, value }| format!("{name} ({value:.1})"),
            );
            let _ = writeln!(
                text,
                "{figure:<46} {value:>12.1} {unit:<9} {ratio:>7}  {against:<40} {target}"
            );
        }
        text
    }

    /// For scripts.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.rows)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_with_its_ratio() {
        let mut report = Report::default();
        report.add(Figure {
            what: "init",
            value: 600.0,
            unit: "µs",
            against: Some(("no-op", 400.0)),
            target: "≤ 2 ×",
        });
        report.add(Figure {
            what: "failed",
            value: 0.0,
            unit: "calls",
            against: None,
            target: "0",
        });
        assert!(report.table().contains("1.50"));
        let rows: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(rows.get(0).and_then(|row| row.get("ratio")), Some(&serde_json::json!(1.5)));
        assert_eq!(rows.get(1).and_then(|row| row.get("ratio")), Some(&serde_json::Value::Null));
    }
}
