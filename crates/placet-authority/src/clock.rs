//! The only place where the authority reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use placet_types::Millis;

/// Time as the authority sees it.
pub trait Clock: Send + Sync {
    /// Wall-clock time. It may jump; records never go back.
    fn wall(&self) -> Millis;

    /// Time since some fixed point, which only goes forward: for leases.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The machine's clocks.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock that others are handed"
        )]
        let start = Instant::now();
        Self { start }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Millis {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock that others are handed"
        )]
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
