//! When the node checks its log beside its service, and at what cost.

use std::time::Duration;

use placet_authority::node::checks::{Percent, Schedule};
use serde::Deserialize;

use super::ConfigError;

/// The longest time from one check to the next that makes sense: a year.
const HOURS_MAX: u64 = 366 * 24;

/// How checks of the log are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Of one core, in percent, at most.
    pub core_percent: u8,
    /// From one check to the next; 0 for only when an operator asks.
    pub every_hours: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            core_percent: 10,
            every_hours: 24,
        }
    }
}

impl Checks {
    /// What it means.
    pub(super) fn settle(self) -> Result<Schedule, ConfigError> {
        let out = |name, what| ConfigError::Check(name, what);
        let percent = Percent::new(self.core_percent);
        if self.every_hours > HOURS_MAX {
            return Err(out("every_hours", "0 to 8784"));
        }
        let every = Duration::from_secs(self.every_hours.saturating_mul(3600));
        Ok(Schedule {
            every: (!every.is_zero()).then_some(every),
            percent: percent.ok_or_else(|| out("core_percent", "1 to 100"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_time_that_is_none_is_refused() {
        let settled = |core_percent, every_hours| {
            Checks {
                core_percent,
                every_hours,
            }
            .settle()
        };
        let usual = Checks::default().settle().unwrap();
        assert_eq!(usual.every, Some(Duration::from_secs(86_400)));
        assert_eq!(settled(1, 0).unwrap().every, None);
        assert!(settled(0, 24).is_err());
        assert!(settled(101, 24).is_err());
        assert!(settled(10, HOURS_MAX + 1).is_err());
    }
}
