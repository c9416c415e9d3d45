//! Samples, and how they are printed.

use std::time::Duration;

/// Times of one thing, in the order that they were taken.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn new(samples: Vec<Duration>) -> Self {
        let mut samples = samples;
        samples.sort();
        Self(samples)
    }

    /// The sample below which `part` of a hundred lie.
    pub(crate) fn percentile(&self, part: usize) -> Duration {
        let at = (self.0.len() * part / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn print(&self, name: &str) {
        let micros = |part| self.percentile(part).as_secs_f64() * 1e6;
        println!(
            "{name:<44} p50 {:>10.1} us   p99 {:>10.1} us   n {}",
            micros(50),
            micros(99),
            self.0.len()
        );
    }
}

/// A ratio of two medians.
pub(crate) fn ratio(name: &str, of: &Samples, to: &Samples) -> f64 {
    let ratio = of.percentile(50).as_secs_f64() / to.percentile(50).as_secs_f64();
    println!("{name:<44} {ratio:.2} x");
    ratio
}

/// What was measured on.
pub(crate) fn machine() {
    let line = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found = text
            .lines()
            .find(|line| line.starts_with(key))
            .map(str::to_owned);
        found.unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}; {cores} cores; load {}",
        line("/proc/cpuinfo", "model name"),
        load.trim()
    );
    println!("{}", line("/proc/version", "Linux"));
}
