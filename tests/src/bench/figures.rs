//! The figures of a run, as a table and as JSON.

use std::path::Path;

use serde_json::{Value, json};

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Printed, held against nothing.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Dotted name, stable between runs.
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Target,
}

impl Figure {
    /// Whether the target is met; none without one.
    pub fn met(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(least) => Some(self.value >= least),
            Target::AtMost(most) => Some(self.value <= most),
            Target::None => None,
        }
    }
}

/// The figures so far.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure without a target.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.held(name, value, unit, Target::None);
    }

    /// Adds a figure that is held against a target.
    pub fn held(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) {
        self.0.push(Figure { name: name.into(), value, unit, target });
    }

    /// Those that fall short of their target.
    pub fn short(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter().filter(|figure| figure.met() == Some(false))
    }

    /// `figure | value | target`.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|f| f.name.len()).max().unwrap_or_default();
        let mut text = format!("{:width$} | {:>20} | target\n", "figure", "value");
        text.push_str(&format!("{:-<width$}-+-{:-<20}-+-------\n", "", ""));
        for figure in &self.0 {
            let value = format!("{} {}", number(figure.value), figure.unit);
            let target = match figure.target {
                Target::AtLeast(least) => format!(">= {}", number(least)),
                Target::AtMost(most) => format!("<= {}", number(most)),
                Target::None => String::new(),
            };
            let verdict = match figure.met() {
                Some(true) => "  ok",
                Some(false) => "  SHORT",
                None => "",
            };
            text.push_str(&format!("{:width$} | {value:>20} | {target}{verdict}\n", figure.name));
        }
        text
    }

    /// The same for machines.
    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .0
            .iter()
            .map(|figure| {
                let target = match figure.target {
                    Target::AtLeast(least) => json!({ "at_least": least }),
                    Target::AtMost(most) => json!({ "at_most": most }),
                    Target::None => Value::Null,
                };
                json!({
                    "figure": figure.name, "value": figure.value, "unit": figure.unit,
                    "target": target, "met": figure.met(),
                })
            })
            .collect();
        json!({ "figures": figures })
    }

    /// Writes the JSON to `file`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        std::fs::write(file, format!("{:#}\n", self.json()))
    }
}

/// Three significant digits for small numbers, none behind the point for large ones.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        let mut figures = Figures::default();
        figures.held("a", 2.0, "x", Target::AtLeast(2.0));
        figures.held("b", 2.1, "x", Target::AtMost(2.0));
        figures.add("c", 12_345.6, "1/s");
        assert_eq!(figures.short().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["b"]);
        let table = figures.table();
        assert!(table.contains("12346 1/s") && table.contains(">= 2.00  ok"), "{table}");
        assert_eq!(figures.json()["figures"][1]["met"], false);
    }
}
