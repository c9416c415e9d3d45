//! Trip limits: how far an execution may go, as a whole, before all of it is ended.
//!
//! What an execution may touch is enforced call by call; a trip limit says how often it may try, or
//! how much it may use, before nobody believes any more that it does what it was permitted for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What is counted over the whole tree of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trip {
    /// Processor time of all its processes together, in seconds.
    CpuTotalSecs,
    /// Programs started within any 60 seconds.
    ExecsPerMinute,
    /// Bytes sent and received, together.
    NetworkBytes,
    /// Programs started.
    Programs,
    /// Connections that the scope does not cover.
    RefusedConnects,
    /// Programs that were not let start.
    RefusedExecs,
    /// Files that were not let be read.
    RefusedReads,
    /// Files that were not let be changed.
    RefusedWrites,
    /// Refusals and other signals of every kind.
    Signals,
}

/// Limits on what is counted; what is not named has none. Passing one ends the whole tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trips(BTreeMap<Trip, u64>);

impl Trip {
    /// Every one, in order.
    pub const ALL: [Self; 9] = [
        Self::CpuTotalSecs,
        Self::ExecsPerMinute,
        Self::NetworkBytes,
        Self::Programs,
        Self::RefusedConnects,
        Self::RefusedExecs,
        Self::RefusedReads,
        Self::RefusedWrites,
        Self::Signals,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CpuTotalSecs => "cpu_total_secs",
            Self::ExecsPerMinute => "execs_per_minute",
            Self::NetworkBytes => "network_bytes",
            Self::Programs => "programs",
            Self::RefusedConnects => "refused_connects",
            Self::RefusedExecs => "refused_execs",
            Self::RefusedReads => "refused_reads",
            Self::RefusedWrites => "refused_writes",
            Self::Signals => "signals",
        }
    }

    /// What it counts, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::CpuTotalSecs => "seconds of processor time",
            Self::ExecsPerMinute => "programs started within a minute",
            Self::NetworkBytes => "bytes over the network",
            Self::Programs => "programs started",
            Self::RefusedConnects => "refused connections",
            Self::RefusedExecs => "refused programs",
            Self::RefusedReads => "refused reads",
            Self::RefusedWrites => "refused writes",
            Self::Signals => "signals",
        }
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Trips {
    /// No limits.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most that may be counted before the tree is ended.
    #[must_use]
    pub fn limit(&self, trip: Trip) -> Option<u64> {
        self.0.get(&trip).copied()
    }

    /// The limits that are set, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Trip, u64)> {
        self.0.iter().map(|(trip, limit)| (*trip, *limit))
    }

    /// The lower of both limits; where one sets none, the other's.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut both = self.0.clone();
        for (trip, limit) in other.iter() {
            let ours = both.entry(trip).or_insert(limit);
            *ours = limit.min(*ours);
        }
        Self(both)
    }

    /// The first limit of `outer` that is higher here, or missing.
    pub(crate) fn excess_over(&self, outer: &Self) -> Option<Trip> {
        let holds =
            |(trip, theirs): &(Trip, u64)| self.limit(*trip).is_some_and(|it| it <= *theirs);
        outer.iter().find(|pair| !holds(pair)).map(|(trip, _)| trip)
    }
}

impl FromIterator<(Trip, u64)> for Trips {
    fn from_iter<T: IntoIterator<Item = (Trip, u64)>>(limits: T) -> Self {
        Self(limits.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_that_scopes_are_written_with() {
        for trip in Trip::ALL {
            let written = serde_json::to_value(trip).unwrap();
            assert_eq!(written, trip.as_str());
        }
    }

    #[test]
    fn limits_are_written_as_one_object_and_read_back() {
        let trips: Trips = [(Trip::Signals, 3), (Trip::NetworkBytes, 1 << 30)]
            .into_iter()
            .collect();
        let bytes = crate::canonical::to_bytes(&trips).unwrap();
        assert_eq!(bytes, br#"{"network_bytes":1073741824,"signals":3}"#);
        let again = crate::canonical::from_bytes(&bytes, crate::canonical::Bounds::RECORD);
        assert_eq!(again, Ok(trips));
    }

    #[test]
    fn a_limit_that_is_missing_is_no_limit_at_all_and_so_goes_beyond() {
        let outer: Trips = [(Trip::Signals, 3)].into_iter().collect();
        assert_eq!(Trips::none().excess_over(&outer), Some(Trip::Signals));
        assert_eq!(outer.excess_over(&Trips::none()), None);
        assert_eq!(Trips::none().intersect(&outer), outer);
    }
}
