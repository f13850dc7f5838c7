//! How many different ones there were, in 4 KiB: HyperLogLog, with the estimator of Ertl (New cardinality
//! estimation algorithms for HyperLogLog sketches, 2017), which is not biased in any range.

/// Bits of the hash that choose a register.
const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;
/// Bits of the hash that are left for the rank.
const RANK_BITS: u32 = u64::BITS - PRECISION;
/// A register and its value, as they are written.
const PAIR_BYTES: usize = 3;

/// The standard error of an estimate, as a share of it: 1.6 %.
pub const STANDARD_ERROR: f64 = 1.04 / 64.0;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Distinct {
    registers: Vec<u8>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            registers: vec![0; REGISTERS],
        }
    }
}

impl Distinct {
    /// Sees an element by its hash, all of whose bits must look random.
    pub fn add(&mut self, hash: u64) {
        let register = (hash >> RANK_BITS) as usize;
        let rank = (hash << PRECISION).leading_zeros().min(RANK_BITS) as u8 + 1;
        self.raise(register, rank);
    }

    fn raise(&mut self, register: usize, rank: u8) {
        if let Some(value) = self.registers.get_mut(register) {
            *value = rank.max(*value);
        }
    }

    /// Sees what `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (value, other) in self.registers.iter_mut().zip(&other.registers) {
            *value = (*value).max(*other);
        }
    }

    pub fn estimate(&self) -> u64 {
        let mut counts = [0_u32; RANK_BITS as usize + 2];
        for value in &self.registers {
            counts[usize::from(*value).min(RANK_BITS as usize + 1)] += 1;
        }
        let registers = REGISTERS as f64;
        let share = |count: u32| f64::from(count) / registers;
        let mut z = registers * tau(1.0 - share(counts[RANK_BITS as usize + 1]));
        for count in counts[1..=RANK_BITS as usize].iter().rev() {
            z = 0.5 * (z + f64::from(*count));
        }
        z += registers * sigma(share(counts[0]));
        let estimate = registers * registers / (2.0 * std::f64::consts::LN_2 * z);
        estimate.round() as u64
    }

    /// Few elements take few bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let set = self.registers.iter().enumerate().filter(|(_, it)| **it > 0);
        let pairs: Vec<u8> = set
            .flat_map(|(register, value)| {
                let [high, low] = (register as u16).to_be_bytes();
                [high, low, *value]
            })
            .collect();
        match pairs.len() < REGISTERS {
            true => pairs,
            false => self.registers.clone(),
        }
    }

    /// Reads what [`Distinct::to_bytes`] wrote; what is not understood counts as nothing.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut distinct = Self::default();
        if bytes.len() == REGISTERS {
            for (register, value) in bytes.iter().enumerate() {
                distinct.raise(register, *value);
            }
            return distinct;
        }
        for pair in bytes.chunks_exact(PAIR_BYTES) {
            distinct.raise(usize::from(u16::from_be_bytes([pair[0], pair[1]])), pair[2]);
        }
        distinct
    }
}

/// Corrects for registers that saw nothing.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// Corrects for registers that can rise no more.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_stays_within_its_error() {
        for count in [0, 1, 10, 100, 3_000, 10_000, 20_000, 100_000, 1_000_000_u64] {
            // The mean error of many runs tells a bias, the worst a fault.
            let mut sum = 0.0;
            const RUNS: u64 = 12;
            for seed in 0..RUNS {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut distinct = Distinct::default();
                for _ in 0..count {
                    let hash = random.u64(..);
                    distinct.add(hash);
                    distinct.add(hash);
                }
                let error =
                    distinct.estimate() as f64 / count.max(1) as f64 - (count.min(1) as f64);
                assert!(error.abs() < 5.0 * STANDARD_ERROR, "{count}: {error}");
                sum += error;
            }
            let mean = sum / RUNS as f64;
            assert!(mean.abs() < 2.0 * STANDARD_ERROR, "{count}: {mean}");
        }
    }

    #[test]
    fn merged_and_written_sketches_count_the_same() {
        let mut random = fastrand::Rng::with_seed(7);
        for len in [5, 1_000, 50_000] {
            let (mut left, mut right, mut both) = (
                Distinct::default(),
                Distinct::default(),
                Distinct::default(),
            );
            for index in 0..len {
                let hash = random.u64(..);
                both.add(hash);
                if index % 3 != 0 {
                    left.add(hash);
                }
                if index % 3 != 1 {
                    right.add(hash);
                }
            }
            assert_eq!(Distinct::from_bytes(&left.to_bytes()), left);
            assert!(left.to_bytes().len() <= REGISTERS);
            left.merge(&Distinct::from_bytes(&right.to_bytes()));
            assert_eq!(left, both);
        }
        let few = {
            let mut few = Distinct::default();
            few.add(0);
            few.add(u64::MAX);
            few
        };
        assert_eq!(few.to_bytes(), [0, 0, 53, 0x0f, 0xff, 1]);
        assert_eq!(few.estimate(), 2);
        // A rest that makes no pair is left out.
        assert_eq!(Distinct::from_bytes(&[9; 7]).to_bytes(), [9, 9, 9]);
    }
}
