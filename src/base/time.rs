//! The clocks: the only file outside tests that reads them. Cores get time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
pub fn now() -> Instant {
    #[allow(clippy::disallowed_methods)]
    Instant::now()
}

/// The wall clock, in milliseconds since 1970 (UTC).
pub fn unix_ms() -> u64 {
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// Time since boot including suspend, so that a sleeping machine cannot believe its lease still runs.
pub fn since_boot() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(t.tv_sec.max(0) as u64, t.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// A moment in the Gregorian calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year; 0 is the one before 1.
    pub year: i64,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Second of the day.
    pub second_of_day: u32,
}

impl Civil {
    /// The moment so many seconds after 1970 began.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days in eras of 400 years that begin in March.
        let z = days + 719_468;
        let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let year = year_of_era + era * 400 + i64::from(month < 3);
        Civil { year, month: month as u8, day: day as u8, second_of_day: rest as u32 }
    }

    /// Seconds from 1970 to it.
    pub fn to_unix(self) -> i64 {
        let year = self.year - i64::from(self.month < 3);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let shifted = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * shifted + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * 86_400 + i64::from(self.second_of_day)
    }

    /// Hour, minute and second.
    pub fn clock(self) -> (u32, u32, u32) {
        let s = self.second_of_day;
        (s / 3600, s / 60 % 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dates_go_and_come_back(seconds in -62_135_596_800i64..253_402_300_800) {
            let civil = Civil::from_unix(seconds);
            prop_assert!((1..=9999).contains(&civil.year) && (1..=12).contains(&civil.month));
            prop_assert_eq!(civil.to_unix(), seconds);
        }
    }

    #[test]
    fn known_dates() {
        for (seconds, year, month, day, clock) in [
            (0, 1970, 1, 1, (0, 0, 0)),
            (1_709_210_096, 2024, 2, 29, (12, 34, 56)),
            (4_102_444_799, 2099, 12, 31, (23, 59, 59)),
            (-62_135_596_800, 1, 1, 1, (0, 0, 0)),
        ] {
            let civil = Civil::from_unix(seconds);
            assert_eq!((civil.year, civil.month, civil.day, civil.clock()), (year, month, day, clock));
        }
    }
}
