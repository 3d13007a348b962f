//! `--keep-service`: how long one service is kept.

use std::time::Duration;

/// One service's times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepService {
    /// Which.
    pub service: String,
    /// By the minute.
    pub hourly: Duration,
    /// By the hour.
    pub daily: Duration,
}

// === impl KeepService ===

impl KeepService {
    /// Reads `checkout=90d,1000d`.
    ///
    /// # Errors
    /// Says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || "expected SERVICE=HOURLY,DAILY, for example checkout=90d,1000d".to_owned();
        let (service, times) = text.rsplit_once('=').ok_or_else(expected)?;
        let (hourly, daily) = times.split_once(',').ok_or_else(expected)?;
        let time = |text: &str| {
            humantime::parse_duration(text.trim()).map_err(|error| format!("{text:?}: {error}"))
        };
        if service.is_empty() {
            return Err(expected());
        }
        Ok(Self { service: service.to_owned(), hourly: time(hourly)?, daily: time(daily)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_service_are_read() {
        const DAY: Duration = Duration::from_secs(86_400);
        let keep = KeepService::parse("a=b=90d,1000d").expect("fine");
        assert_eq!((&*keep.service, keep.hourly, keep.daily), ("a=b", 90 * DAY, 1000 * DAY));
        for wrong in ["checkout", "checkout=90d", "=1d,2d", "checkout=1d,soon"] {
            KeepService::parse(wrong).expect_err(wrong);
        }
        let error = KeepService::parse("checkout=1d,soon").expect_err("no time");
        assert!(error.contains("soon"), "{error}");
    }
}
