//! Sans-IO: exponential backoff with jitter; the random fraction comes in as an argument.

use std::time::Duration;

/// Waiting times that double from `base` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (0 = none), shortened by up to half by `jitter` in [0, 1).
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.base.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_ceiling() {
        let b = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) };
        assert_eq!(b.wait(0, 0.0), Duration::ZERO);
        assert_eq!(b.wait(1, 0.0), Duration::from_secs(1));
        assert_eq!(b.wait(4, 0.0), Duration::from_secs(8));
        assert_eq!(b.wait(40, 0.0), Duration::from_secs(300));
        assert_eq!(b.wait(4, 1.0), Duration::from_secs(4));
    }
}
