//! Gateways that wait for commands: how many the domain offers, and what each says of itself.
//!
//! Each keeps a file beside its socket. It runs as the user of the domain directory, and what the file counts is that user's word, for people
//! and their meters; that the gateway is there is told by the lock that it holds. Nothing is decided by any of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dir::{DomainDir, GATEWAYS_MAX};

/// Reasons that are told apart, at most.
const REASONS_MAX: usize = 32;
/// Where those are counted that are not.
const OTHERS: &str = "others";
/// Longest file that is read.
const SAID_BYTES_MAX: u64 = 16 << 10;

/// What a gateway says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Its process.
    pub pid: u32,
    /// Commands that it ran.
    pub served: u64,
    /// Cells that wait now.
    pub waiting: u64,
    /// Cells that it built ahead.
    pub built: u64,
    /// Of those, used.
    pub taken: u64,
    /// Why the last one could not be built.
    pub failed: Option<String>,
    /// Callers that were declined, by that in which they stand otherwise.
    pub declined: BTreeMap<String, u64>,
}

impl Said {
    /// Counts a caller that was declined. What it was for is a short name, or one of many that are counted together.
    pub fn decline(&mut self, part: String) {
        let known = self.declined.contains_key(&part);
        let fits = is_name(&part) && self.declined.len() < REASONS_MAX;
        let part = if known || fits {
            part
        } else {
            OTHERS.to_owned()
        };
        let count = self.declined.entry(part).or_default();
        *count = count.saturating_add(1);
    }

    /// The same, whatever wrote it.
    fn bounded(mut self) -> Self {
        for (part, count) in std::mem::take(&mut self.declined) {
            let fits = is_name(&part) && self.declined.len() < REASONS_MAX;
            let part = if fits { part } else { OTHERS.to_owned() };
            let sum = self.declined.entry(part).or_default();
            *sum = sum.saturating_add(count);
        }
        self
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn keep(&self, dir: &DomainDir, number: usize) -> io::Result<()> {
        let path = said_at(dir, number);
        let beside = path.with_extension("new");
        fs::write(&beside, serde_json::to_string(self)?)?;
        fs::rename(&beside, &path)
    }

    /// What an earlier gateway of this number said is nobody's any more; there need not be any.
    pub fn forget(dir: &DomainDir, number: usize) {
        fs::remove_file(said_at(dir, number)).unwrap_or(());
    }
}

/// Whether it can stand in a label of a meter.
fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | ' ');
    !part.is_empty() && part.len() <= 32 && part.chars().all(plain)
}

/// Those of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// How many may wait.
    pub offered: usize,
    /// Those that are there, by their numbers.
    pub staying: BTreeMap<usize, Said>,
    /// Of those, how many wait: the others are at work.
    pub waiting: usize,
}

impl Gateways {
    /// As they are now.
    #[must_use]
    pub fn of(dir: &DomainDir) -> Self {
        let one = |number: usize| Some((number, said(dir, number)?));
        let staying: BTreeMap<usize, Said> = (0..GATEWAYS_MAX).filter_map(one).collect();
        // It has a socket while it waits, and no longer.
        let waits = |number: &&usize| dir.gateways().join(format!("{number}.sock")).exists();
        Self {
            offered: dir.gateways_offered(),
            waiting: staying.keys().filter(waits).count(),
            staying,
        }
    }
}

fn said_at(dir: &DomainDir, number: usize) -> PathBuf {
    dir.gateways().join(format!("{number}.json"))
}

fn said(dir: &DomainDir, number: usize) -> Option<Said> {
    let file = File::open(said_at(dir, number)).ok()?;
    let mut text = String::new();
    file.take(SAID_BYTES_MAX).read_to_string(&mut text).ok()?;
    let said: Said = serde_json::from_str(&text).ok()?;
    // What lies here may be of one that is gone. The lock is asked last: where nobody holds it, asking takes it for a moment.
    let lives = Path::new("/proc").join(said.pid.to_string()).exists();
    (lives && is_held(&dir.gateways().join(format!("{number}.lock")))).then(|| said.bounded())
}

fn is_held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|lock| lock.try_lock().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_names_and_only_so_many_are_told_apart() {
        let mut said = Said::default();
        for _ in 0..2 {
            said.decline("cgroup".to_owned());
            said.decline("attr/current".to_owned());
            said.decline("a \"quoted\" error (os error 2)".to_owned());
        }
        let counted = |said: &Said, part: &str| said.declined.get(part).copied();
        assert_eq!(counted(&said, "cgroup"), Some(2));
        assert_eq!(counted(&said, "attr/current"), Some(2));
        assert_eq!(counted(&said, OTHERS), Some(2));
        for number in 0..2 * REASONS_MAX {
            said.decline(format!("part {number}"));
        }
        assert!(said.declined.len() <= REASONS_MAX + 1);
        said.decline("cgroup".to_owned());
        assert_eq!(counted(&said, "cgroup"), Some(3));
        let total: u64 = said.declined.values().sum();
        assert_eq!(total, 7 + 2 * REASONS_MAX as u64);
        // A file may say anything.
        let mut written = Said::default();
        for number in 0..2 * REASONS_MAX {
            written.declined.insert(format!("{number}\n"), 1);
            written.declined.insert(format!("{number}"), u64::MAX);
        }
        let read = written.bounded();
        assert!(read.declined.len() <= REASONS_MAX + 1);
        assert!(read.declined.keys().all(|part| is_name(part)));
    }
}
