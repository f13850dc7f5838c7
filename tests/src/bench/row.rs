//! What the benchmark has measured: one row for each thing, family and trace.

use serde::Serialize;

use super::part::Part;

/// Runs that a row has at the least, unless `--quick` asks for fewer.
pub const RUNS: usize = 5;

/// One measured number. All units are of the kind where less is better, or counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub part: Part,
    /// The thing measured, for instance `packet path`; see [`super::names`].
    pub what: String,
    /// Who was measured, for instance `cerco`.
    pub peer: String,
    /// `IPv4`, `IPv6`, or `both`.
    pub family: String,
    /// The sources, for instance `1M sources`; empty where there are none.
    pub trace: String,
    /// The smallest sample, in `unit`.
    pub best: f64,
    /// The middle sample (the mean of both middle ones of an even number), in `unit`.
    pub median: f64,
    /// The largest sample, in `unit`.
    pub worst: f64,
    /// For instance `ns/packet`.
    pub unit: String,
    /// How many samples there are.
    pub runs: usize,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub part: Part,
    pub what: &'a str,
    pub peer: &'a str,
    pub family: &'a str,
    pub trace: &'a str,
    pub unit: &'a str,
}

impl Row {
    /// `samples`: one for each round; not empty, and without NaN.
    pub fn new(subject: Subject<'_>, samples: &[f64]) -> Self {
        let (best, median) = best_and_median(samples);
        Self {
            part: subject.part,
            what: subject.what.to_owned(),
            peer: subject.peer.to_owned(),
            family: subject.family.to_owned(),
            trace: subject.trace.to_owned(),
            best,
            median,
            worst: samples.iter().copied().fold(best, f64::max),
            unit: subject.unit.to_owned(),
            runs: samples.len(),
        }
    }
}

/// Best and median of `samples`, which are not empty and hold no NaN.
pub fn best_and_median(samples: &[f64]) -> (f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    };
    (sorted[0], median)
}

#[cfg(test)]
mod tests {
    use super::best_and_median;

    #[test]
    fn median_is_the_middle_or_the_mean_of_both_middles() {
        for (samples, expected) in [
            (&[3.0][..], (3.0, 3.0)),
            (&[5.0, 1.0, 3.0], (1.0, 3.0)),
            (&[4.0, 1.0, 3.0, 2.0], (1.0, 2.5)),
        ] {
            assert_eq!(best_and_median(samples), expected, "{samples:?}");
        }
    }
}
