//! What the benchmark has measured: one row for each thing, family and trace.

use serde::Serialize;

/// Runs that a row has at the least, unless `--quick` asks for fewer.
pub const RUNS: usize = 5;

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The part of the benchmark, for instance `packet path`.
    pub what: &'static str,
    /// Who was measured, for instance `cerco`.
    pub peer: String,
    /// `IPv4`, `IPv6`, or `both`.
    pub family: &'static str,
    /// The sources, for instance `1M sources`; empty where there are none.
    pub trace: String,
    /// The smallest sample, in `unit`.
    pub best: f64,
    /// The middle sample (the mean of both middle ones of an even number), in `unit`.
    pub median: f64,
    /// For instance `ns/packet`.
    pub unit: &'static str,
    /// How many samples there are.
    pub runs: usize,
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
