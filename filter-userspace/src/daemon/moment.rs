//! A moment on two clocks.

use std::time::{Duration, SystemTime};

use crate::kernel;

/// A moment on both clocks: people say when a rule ends on the one that they set, the kernel ends it on the
/// one that nobody sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    pub wall: SystemTime,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub boot_ns: u64,
}

impl Moment {
    pub fn now() -> Self {
        /// A thread that is not stopped between two clocks reads both in far less.
        const APART_NS: u64 = 100_000;
        const TRIES: usize = 20;
        let read = || {
            let boot_ns = kernel::boot_ns();
            let wall = SystemTime::now();
            let took = kernel::boot_ns() - boot_ns;
            (took, Self { wall, boot_ns })
        };
        let mut closest = read();
        for _ in 1..TRIES {
            if closest.0 <= APART_NS {
                break;
            }
            let next = read();
            if next.0 < closest.0 {
                closest = next;
            }
        }
        closest.1
    }

    /// This one, unless somebody has set the clock since. So the end of a rule stays the same number however often
    /// it is asked for, and what is compared shows no change where there is none.
    pub fn or_now(self) -> Self {
        const SET: Duration = Duration::from_secs(1);
        let now = Self::now();
        let since = Duration::from_nanos(now.boot_ns.saturating_sub(self.boot_ns));
        let drift = match now.wall.duration_since(self.wall + since) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        match drift < SET {
            true => self,
            false => now,
        }
    }

    /// `time` as nanoseconds of CLOCK_BOOTTIME, as far as nobody sets the clock; what is over is now.
    pub fn boot_ns_at(&self, time: SystemTime) -> u64 {
        let left = time.duration_since(self.wall).unwrap_or_default();
        let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        self.boot_ns.saturating_add(left)
    }

    /// Nanoseconds of CLOCK_BOOTTIME as a time that people read; of what is before 1970, this moment.
    pub fn wall_at(&self, boot_ns: u64) -> SystemTime {
        let ahead = Duration::from_nanos(boot_ns.saturating_sub(self.boot_ns));
        let behind = Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns));
        let wall = self.wall.checked_add(ahead);
        let wall = wall.and_then(|wall| wall.checked_sub(behind));
        wall.unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_go_there_and_back() {
        let moment = Moment {
            wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            boot_ns: 5_000_000_000,
        };
        let later = moment.wall + Duration::from_millis(1_500);
        assert_eq!(moment.boot_ns_at(later), 6_500_000_000);
        assert_eq!(moment.wall_at(6_500_000_000), later);
        let earlier = moment.wall - Duration::from_nanos(3);
        assert_eq!(moment.wall_at(4_999_999_997), earlier);
        assert_eq!(moment.boot_ns_at(earlier), moment.boot_ns);
    }
}
