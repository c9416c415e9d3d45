//! Notes of what happened in a tree, on their way to the log: batched and bounded.
//!
//! Each kind is one record for any number of events. At most [`PER_FLUSH`] records a second and
//! [`PER_EXECUTION`] in all are written while the tree lives; what is beyond waits, and is counted
//! into the records that are written once the tree is gone. So a tree that is refused a million
//! things costs the log no more than one that is refused a thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_authority::node::wire::SignalBody;
use placet_evidence::SignalKind;
use placet_types::{DenialCode, ExecutionId};

/// How often notes are recorded.
const EVERY: Duration = Duration::from_secs(1);
/// Records in one go.
const PER_FLUSH: usize = 4;
/// Records while the tree lives.
const PER_EXECUTION: u32 = 256;
/// Kinds that wait at a time; what is beyond counts under the last of its code.
const KINDS_MAX: usize = 32;

/// What is noted: what it points to, what it counts as, and the words for it.
pub(crate) type Kind = (DenialCode, SignalKind, &'static str);

/// Notes that wait.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: BTreeMap<Kind, Note>,
    flushed: Duration,
    written: u32,
}

/// Events of one kind since the last record.
#[derive(Debug, Default)]
struct Note {
    count: u64,
    last: String,
}

impl Notes {
    /// Takes note of one event, or of several that nothing more is known of.
    pub(crate) fn take(&mut self, kind: Kind, count: u64, last: String) {
        let full = self.waiting.len() >= KINDS_MAX && !self.waiting.contains_key(&kind);
        let kind = if full {
            (kind.0, kind.1, "more than can be told apart")
        } else {
            kind
        };
        let note = self.waiting.entry(kind).or_default();
        note.count = note.count.saturating_add(count);
        note.last = last;
    }

    /// The records that are due.
    pub(crate) fn due(&mut self, exec: ExecutionId, now: Duration) -> Vec<SignalBody> {
        let early = now.saturating_sub(self.flushed) < EVERY;
        if early || self.waiting.is_empty() || self.written >= PER_EXECUTION {
            return Vec::new();
        }
        self.flushed = now;
        let due: Vec<SignalBody> = std::iter::from_fn(|| self.waiting.pop_first())
            .take(PER_FLUSH)
            .map(|(kind, note)| body(exec, kind, &note))
            .collect();
        let records = u32::try_from(due.len()).unwrap_or(u32::MAX);
        self.written = self.written.saturating_add(records);
        due
    }

    /// What is left when the tree is gone.
    pub(crate) fn rest(&mut self, exec: ExecutionId) -> Vec<SignalBody> {
        let rest = std::mem::take(&mut self.waiting);
        rest.into_iter()
            .map(|(kind, note)| body(exec, kind, &note))
            .collect()
    }
}

fn body(exec: ExecutionId, (code, kind, words): Kind, note: &Note) -> SignalBody {
    let detail = if note.last.is_empty() {
        words.to_owned()
    } else {
        format!("{words}: {}", note.last)
    };
    SignalBody {
        code,
        count: note.count,
        detail,
        ends: false,
        exec,
        kind: Some(kind),
        trip: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: ExecutionId = ExecutionId::new([1; 16]);
    const REFUSED: Kind = (
        DenialCode::ScopeExceeded,
        SignalKind::RefusedConnect,
        "a connection was refused",
    );

    #[test]
    fn any_number_of_events_of_one_kind_is_one_record_a_second() {
        let mut notes = Notes::default();
        let mut records = Vec::new();
        for ms in 0..10_000 {
            notes.take(REFUSED, 1, ms.to_string());
            records.extend(notes.due(EXEC, Duration::from_millis(ms)));
        }
        records.extend(notes.rest(EXEC));
        assert!(records.len() <= 11, "{}", records.len());
        assert_eq!(records.iter().map(|it| it.count).sum::<u64>(), 10_000);
        assert_eq!(records[1].detail, "a connection was refused: 2000");
    }

    #[test]
    fn a_tree_that_is_busy_for_days_writes_a_bounded_number_of_records_and_loses_no_count() {
        let mut notes = Notes::default();
        let mut records = Vec::new();
        for second in 0..100_000 {
            notes.take(REFUSED, 3, String::new());
            records.extend(notes.due(EXEC, Duration::from_secs(second)));
        }
        records.extend(notes.rest(EXEC));
        assert_eq!(records.len(), 257);
        assert_eq!(records.iter().map(|it| it.count).sum::<u64>(), 300_000);
    }

    #[test]
    fn many_kinds_at_once_are_spread_over_seconds() {
        const WORDS: [&str; 40] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t", "u", "v", "w", "x", "y", "z", "A", "B", "C", "D", "E", "F", "G", "H",
            "I", "J", "K", "L", "M", "N",
        ];
        let mut notes = Notes::default();
        for words in WORDS {
            let kind = (DenialCode::Anomaly, SignalKind::RefusedExec, words);
            notes.take(kind, 1, String::new());
        }
        assert!(notes.waiting.len() <= KINDS_MAX + 1);
        assert_eq!(notes.due(EXEC, Duration::from_secs(5)).len(), PER_FLUSH);
        assert!(notes.due(EXEC, Duration::from_millis(5_999)).is_empty());
        assert_eq!(notes.due(EXEC, Duration::from_secs(6)).len(), PER_FLUSH);
        let rest: u64 = notes.rest(EXEC).iter().map(|it| it.count).sum();
        assert_eq!(rest, 40 - 2 * PER_FLUSH as u64);
    }
}
