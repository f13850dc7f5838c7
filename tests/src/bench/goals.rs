//! What cerco must reach, as a table, and whether the measured rows say that it does.
//!
//! Judged is the median of a ratio (of the medians of both rows), beside it the ratio of the bests is
//! shown. A goal whose rows are missing, or have too few runs, is neither met nor missed.

mod table;

use serde::Serialize;

use super::row::Row;
pub use table::GOALS;

/// One condition.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub id: &'static str,
    /// What is compared, in words, with all that could be understood in two ways.
    pub text: &'static str,
    pub measure: Measure,
    pub limit: Limit,
    /// Unit of the limit; empty for a ratio.
    pub unit: &'static str,
    /// Runs that each row must have.
    pub runs: usize,
}

/// Which rows are meant.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    pub what: &'static str,
    pub peer: &'static str,
    /// `None`: whatever the row has.
    pub family: Option<&'static str>,
    pub trace: Option<&'static str>,
}

/// How the number comes out of the rows.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// The first by the second.
    Ratio(Pick, Pick),
    /// The first less the second.
    Difference(Pick, Pick),
    /// The median of a row.
    Median(Pick),
    /// Every single sample of a row.
    Every(Pick),
}

/// What the number must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Between(f64, f64),
}

impl Limit {
    fn holds(self, number: f64) -> bool {
        match self {
            Self::AtMost(most) => number <= most,
            Self::Below(most) => number < most,
            Self::AtLeast(least) => number >= least,
            Self::Between(least, most) => (least..=most).contains(&number),
        }
    }
}

/// A goal, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub id: &'static str,
    pub goal: &'static str,
    pub limit: Limit,
    pub unit: &'static str,
    /// The median, or the ratio or difference of medians; of [`Measure::Every`] the worst sample.
    pub measured: Option<f64>,
    /// The same of the best samples.
    pub best: Option<f64>,
    /// `None`: not measured.
    pub met: Option<bool>,
    /// Why it is not known whether the goal is met.
    pub reason: Option<String>,
    pub rows: Vec<RowName>,
}

/// Names a row that a number comes from, or should have come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowName {
    pub what: String,
    pub peer: String,
    pub family: String,
    pub trace: String,
}

/// All goals of the table.
pub fn judge(rows: &[Row]) -> Vec<Judged> {
    GOALS.iter().map(|goal| goal.judge(rows)).collect()
}

/// Whether every goal is known to be met.
pub fn all_met(goals: &[Judged]) -> bool {
    goals.iter().all(|goal| goal.met == Some(true))
}

impl Goal {
    pub fn judge(&self, rows: &[Row]) -> Judged {
        let picks = self.measure.picks();
        let mut judged = Judged {
            id: self.id,
            goal: self.text,
            limit: self.limit,
            unit: self.unit,
            measured: None,
            best: None,
            met: None,
            reason: None,
            rows: picks.iter().map(Pick::name).collect(),
        };
        let mut found = Vec::new();
        for pick in &picks {
            match pick.find(rows) {
                Some(row) => found.push(row),
                None => {
                    judged.reason = Some(format!("no row {pick}"));
                    return judged;
                }
            }
        }
        judged.rows = found.iter().map(|row| RowName::of(row)).collect();
        let both = |of: fn(&Row) -> f64| self.measure.number(&found, of);
        judged.best = both(|row| row.best);
        judged.measured = match self.measure {
            Measure::Every(_) => both(|row| row.worst),
            _ => both(|row| row.median),
        };
        let runs = found.iter().map(|row| row.runs).min().unwrap_or(0);
        if runs < self.runs {
            judged.reason = Some(format!("{runs} runs, {} are needed", self.runs));
            return judged;
        }
        judged.met = match self.measure {
            Measure::Every(_) => Some(
                [judged.best, judged.measured]
                    .into_iter()
                    .flatten()
                    .all(|number| self.limit.holds(number)),
            ),
            _ => judged.measured.map(|number| self.limit.holds(number)),
        };
        judged
    }
}

impl Measure {
    fn picks(&self) -> Vec<Pick> {
        match *self {
            Self::Ratio(first, second) | Self::Difference(first, second) => vec![first, second],
            Self::Median(only) | Self::Every(only) => vec![only],
        }
    }

    fn number(&self, rows: &[&Row], of: fn(&Row) -> f64) -> Option<f64> {
        let first = of(rows.first()?);
        match self {
            Self::Ratio(..) => Some(first / of(rows.get(1)?)),
            Self::Difference(..) => Some(first - of(rows.get(1)?)),
            Self::Median(_) | Self::Every(_) => Some(first),
        }
    }
}

impl Pick {
    /// Of several rows the one with the largest median: the least favourable.
    fn find<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        rows.iter()
            .filter(|row| {
                row.what == self.what
                    && row.peer == self.peer
                    && self.family.is_none_or(|family| row.family == family)
                    && self.trace.is_none_or(|trace| row.trace == trace)
            })
            .max_by(|a, b| a.median.total_cmp(&b.median))
    }

    fn name(&self) -> RowName {
        RowName {
            what: self.what.to_owned(),
            peer: self.peer.to_owned(),
            family: self.family.unwrap_or_default().to_owned(),
            trace: self.trace.unwrap_or_default().to_owned(),
        }
    }
}

impl RowName {
    fn of(row: &Row) -> Self {
        Self {
            what: row.what.clone(),
            peer: row.peer.clone(),
            family: row.family.clone(),
            trace: row.trace.clone(),
        }
    }
}

impl std::fmt::Display for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.what, self.peer)?;
        for part in [self.family, self.trace].into_iter().flatten() {
            write!(f, ", {part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
