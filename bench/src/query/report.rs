//! Rows of the table.

use comfy_table::{Cell, CellAlignment, Table};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unit {
    /// Microseconds: less is better.
    Micros,
    /// Per second: more is better.
    PerSecond,
    /// Bytes of each: less is better.
    Bytes,
}

/// One work at one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// Resources, or patterns.
    pub(super) size: u64,
    pub(super) work: String,
    pub(super) unit: Unit,
    /// 0 where there is nothing to compare with, as the way to PostgreSQL and back.
    pub(super) willow: f64,
    pub(super) willow_p99: Option<f64>,
    pub(super) postgres: Option<f64>,
    pub(super) goal: Option<f64>,
    /// Times as good as PostgreSQL.
    pub(super) goal_ratio: Option<f64>,
    /// Answers of both that were compared, all equal.
    pub(super) compared: Option<u64>,
}

impl Row {
    pub(super) fn new(size: u64, work: impl Into<String>, unit: Unit, willow: f64) -> Self {
        Self {
            size,
            work: work.into(),
            unit,
            willow,
            willow_p99: None,
            postgres: None,
            goal: None,
            goal_ratio: None,
            compared: None,
        }
    }

    pub(super) const fn with_goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// How many times as good as PostgreSQL.
    fn ratio(&self) -> Option<f64> {
        let postgres = self.postgres.filter(|_| self.willow > 0.0)?;
        Some(if self.unit == Unit::PerSecond { self.willow / postgres } else { postgres / self.willow })
    }

    fn met(&self) -> Option<bool> {
        let goal = self.goal.map(|goal| match self.unit {
            Unit::PerSecond => self.willow >= goal,
            Unit::Micros | Unit::Bytes => self.willow <= goal,
        });
        let ratio = self.goal_ratio.zip(self.ratio()).map(|(goal, ratio)| ratio >= goal);
        match (goal, ratio) {
            (None, None) => None,
            (goal, ratio) => Some(goal.unwrap_or(true) && ratio.unwrap_or(true)),
        }
    }

    fn goals(&self) -> String {
        let sign = if self.unit == Unit::PerSecond { "≥" } else { "≤" };
        let goal = self.goal.map(|goal| format!("{sign} {}", self.unit.show(goal)));
        let ratio = self.goal_ratio.map(|ratio| format!("≥ {ratio}×"));
        [goal, ratio].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Unit {
    pub(super) fn show(self, number: f64) -> String {
        match self {
            Self::Micros if number >= 10_000.0 => format!("{:.1} ms", number / 1_000.0),
            Self::Micros if number >= 1_000.0 => format!("{:.2} ms", number / 1_000.0),
            Self::Micros if number >= 100.0 => format!("{number:.0} µs"),
            Self::Micros => format!("{number:.1} µs"),
            Self::PerSecond => format!("{}/s", grouped(number.round() as u64)),
            Self::Bytes => format!("{number:.0} B"),
        }
    }
}

/// With thousands separated.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    // Markdown, so that it goes into docs/benchmarks.md as it is.
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["size", "work", "Willow", "p99", "PostgreSQL", "ratio", "goal", "met", "same answers"]);
    for row in rows {
        let show = |number: Option<f64>| number.map(|number| row.unit.show(number)).unwrap_or_default();
        let ratio = row.ratio().map(|ratio| if ratio < 10.0 { format!("{ratio:.1}×") } else { format!("{ratio:.0}×") });
        let met = row.met().map(|met| if met { "yes" } else { "**no**" });
        table.add_row(
            [
                grouped(row.size),
                row.work.clone(),
                show(Some(row.willow).filter(|willow| *willow > 0.0 || row.postgres.is_none())),
                show(row.willow_p99),
                show(row.postgres),
                ratio.unwrap_or_default(),
                row.goals(),
                met.unwrap_or_default().to_owned(),
                row.compared.map(|compared| format!("{compared} of {compared}")).unwrap_or_default(),
            ]
            .map(Cell::new),
        );
    }
    for column in [0, 2, 3, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_by_number_and_ratio() {
        let row = Row { postgres: Some(50.0), goal_ratio: Some(10.0), ..Row::new(1, "w", Unit::Micros, 10.0) };
        assert_eq!(row.clone().with_goal(20.0).met(), Some(false));
        assert_eq!(Row { postgres: Some(100.0), ..row.clone() }.with_goal(20.0).met(), Some(true));
        assert_eq!(Row { postgres: None, ..row }.with_goal(9.0).met(), Some(false));
        assert_eq!(Row::new(1, "w", Unit::PerSecond, 10.0).with_goal(9.0).met(), Some(true));
        assert_eq!(Row::new(1, "w", Unit::Bytes, 10.0).met(), None);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
