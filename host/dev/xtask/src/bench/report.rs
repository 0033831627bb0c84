//! The figures, as a table for people and as JSON for scripts.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
}

/// One figure, what it is held against, and what is wanted of it.
#[derive(Debug, Serialize)]
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

impl Figure {
    /// `value / against`.
    fn ratio(&self) -> Option<f64> {
        self.against.map(|(_, floor)| self.value / floor)
    }
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n{:<46} {:>12} {:<9} {:>7}  {:<40} {}\n",
            "figure", "value", "unit", "ratio", "against", "target"
        );
        for figure in &self.figures {
            let ratio =
                figure.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let against = figure
                .against
                .map_or_else(|| "-".to_owned(), |(name, value)| format!("{name} ({value:.1})"));
            let _ = writeln!(
                text,
                "{:<46} {:>12.1} {:<9} {ratio:>7}  {against:<40} {}",
                figure.what, figure.value, figure.unit, figure.target
            );
        }
        text
    }

    /// For scripts.
    pub fn json(&self) -> Result<String> {
        let rows: Vec<_> = self
            .figures
            .iter()
            .map(|figure| {
                serde_json::json!({
                    "figure": figure.what, "value": figure.value, "unit": figure.unit, "ratio": figure.ratio(),
                    "against": figure.against.map(|(name, value)| serde_json::json!({ "name": name, "value": value })), "target": figure.target,
                })
            })
            .collect();
        Ok(serde_json::to_string_pretty(&rows)?)
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
