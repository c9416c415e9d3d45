//! One look at the log: what is amiss in it, and how bad that is.

use std::path::PathBuf;

use placet_log::fsck::{self, HeadState, Report};
use placet_log::{EntryCheck, LogReader};
use placet_tlog::note::VerifierKey;
use placet_types::Index;

use super::{Check, Finding};
use crate::activate::Bundles;
use crate::authority::Authority;
use crate::blobs::Blobs;
use crate::dir::DomainDir;
use crate::init::public_policy;
use crate::node::server::ServeError;
use crate::opening::OpenError;
use crate::replay::{ReplayReport, Sources, replay};

/// How often something is looked at that is not the same twice.
const LOOKS_MAX: usize = 4;

/// Where the log is, and what it is checked with.
pub(super) struct Place {
    log: PathBuf,
    key: VerifierKey,
    pub(super) reader: LogReader,
    bundles: Bundles,
    blobs: Blobs,
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) index: Option<Index>,
    pub(super) detail: Option<String>,
    pub(super) records: u64,
}

impl Place {
    pub(super) fn new(dir: &DomainDir, authority: &Authority) -> Result<Self, ServeError> {
        let policy = public_policy(dir)?;
        let log = policy.logs().first();
        let none = || ServeError::Scrub("the policy names no log".into());
        Ok(Self {
            log: dir.log(),
            key: log.ok_or_else(none)?.key().clone(),
            reader: authority.reader(),
            bundles: authority.bundles().clone(),
            blobs: authority.blobs().clone(),
        })
    }

    /// Looks once. `step` is told how many records were looked at.
    pub(super) fn look(&self, check: Check, step: &mut dyn FnMut(u64)) -> Found {
        match check {
            Check::Fsck => self.fsck(step),
            Check::Replay => self.replay(step),
        }
    }

    fn fsck(&self, step: &mut dyn FnMut(u64)) -> Found {
        let check = EntryCheck::none_required();
        let told = &mut |it: fsck::Progress| step(it.records);
        match fsck::check(&self.log, &self.key, &check, told) {
            Ok(report) => of_fsck(&report),
            Err(error) => Found::unread(error.to_string()),
        }
    }

    fn replay(&self, step: &mut dyn FnMut(u64)) -> Found {
        let sources = Sources {
            reader: &self.reader,
            bundles: &self.bundles,
            blobs: &self.blobs,
        };
        match replay(sources, |index| step(index.get().saturating_add(1))) {
            Ok(report) => of_replay(&report),
            Err(OpenError::Entry { index, error }) => Found::damaged(index, error.to_string(), 0),
            Err(OpenError::Fold { index, error }) => Found::damaged(index, error.to_string(), 0),
            Err(error) => Found::unread(error.to_string()),
        }
    }
}

impl Found {
    fn damaged(index: Index, detail: String, records: u64) -> Self {
        Self {
            finding: Finding::Damaged,
            index: Some(index),
            detail: Some(detail),
            records,
        }
    }

    fn remark(index: Option<Index>, detail: String, records: u64) -> Self {
        Self {
            finding: Finding::Remark,
            index,
            detail: Some(detail),
            records,
        }
    }

    const fn unread(detail: String) -> Self {
        Self {
            finding: Finding::Unread,
            index: None,
            detail: Some(detail),
            records: 0,
        }
    }

    const fn sound(records: u64) -> Self {
        Self {
            finding: Finding::Sound,
            index: None,
            detail: None,
            records,
        }
    }

    /// Whether a node may serve on what was found.
    pub(super) fn verdict(&self, check: Check) -> Result<(), ServeError> {
        let index = self.index.unwrap_or_default();
        match (self.finding, check) {
            (Finding::Sound | Finding::Remark, _) => Ok(()),
            (Finding::Damaged, Check::Fsck) => Err(ServeError::Damaged(index)),
            (Finding::Damaged, Check::Replay) => Err(ServeError::Inconsistent(index)),
            (Finding::Unread, _) => Err(ServeError::Scrub(self.detail.clone().unwrap_or_default())),
        }
    }
}

/// Looks until the same is found twice: whoever reads beside a writer may see half of a write, but never
/// in the same place again. What is sound once is sound.
pub(super) fn twice(mut look: impl FnMut() -> Found) -> Found {
    let mut before = look();
    for _ in 1..LOOKS_MAX {
        if before.finding == Finding::Sound {
            break;
        }
        let again = look();
        if (again.finding, again.index) == (before.finding, before.index) {
            return again;
        }
        before = again;
    }
    match before.finding {
        Finding::Sound => before,
        Finding::Remark | Finding::Damaged | Finding::Unread => {
            Found::unread("what was amiss was elsewhere each time".into())
        }
    }
}

fn of_fsck(report: &Report) -> Found {
    let records = report.size;
    if let Some(bad) = report.evidence {
        return Found::damaged(bad.index, bad.damage.to_string(), records);
    }
    let head = Index::new(0);
    match report.head {
        HeadState::Missing => return Found::damaged(head, "the head is missing".into(), records),
        HeadState::NotSigned => {
            return Found::damaged(
                head,
                "the head is not signed by the log key".into(),
                records,
            );
        }
        HeadState::Signed {
            damaged_slot: true, ..
        } => {
            return Found::remark(
                None,
                "one of the head's two slots does not read".into(),
                records,
            );
        }
        HeadState::Signed { .. } => {}
    }
    if let Some(first) = report.payloads.first_bad {
        let detail = "private parameters are damaged, or half erased".into();
        return Found::remark(Some(first), detail, records);
    }
    match report.derived {
        Some(fault) => Found::remark(None, fault.to_string(), records),
        // Bytes behind the last frame are what is being written.
        None => Found::sound(records),
    }
}

fn of_replay(report: &ReplayReport) -> Found {
    let records = report.records;
    if let Some(first) = report.different.first() {
        let more = report.different.len();
        let detail = format!("computed again, {more} decisions come out otherwise");
        return Found::damaged(*first, detail, records);
    }
    let cannot = [
        (
            &report.unreadable,
            "private parameters are missing or damaged",
        ),
        (
            &report.without_policy,
            "the bundle in force then is not kept here, or is damaged",
        ),
    ];
    for (indices, why) in cannot {
        if let Some(first) = indices.first() {
            let detail = format!(
                "{} decisions cannot be computed again: {why}",
                indices.len()
            );
            return Found::remark(Some(*first), detail, records);
        }
    }
    Found::sound(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(at: u64) -> Found {
        Found::damaged(Index::new(at), "altered".into(), 9)
    }

    fn looked(found: &[Found]) -> (Found, usize) {
        let mut count = 0;
        let last = twice(|| {
            let one = found[count.min(found.len() - 1)].clone();
            count += 1;
            one
        });
        (last, count)
    }

    #[test]
    fn what_is_found_counts_only_when_it_is_found_again() {
        assert_eq!(looked(&[Found::sound(9)]), (Found::sound(9), 1));
        assert_eq!(looked(&[damaged(3)]), (damaged(3), 2));
        assert_eq!(looked(&[damaged(8), Found::sound(9)]), (Found::sound(9), 2));
        assert_eq!(
            looked(&[damaged(8), damaged(3), damaged(3)]),
            (damaged(3), 3)
        );
        let moving: Vec<Found> = (3..9).map(damaged).collect();
        let (found, looks) = looked(&moving);
        assert_eq!((found.finding, looks), (Finding::Unread, LOOKS_MAX));
    }

    #[test]
    fn only_damage_ends_a_service_and_each_check_says_which() {
        let verdict = |found: Found, check| found.verdict(check).map_err(|it| it.to_string());
        assert_eq!(verdict(Found::sound(1), Check::Fsck), Ok(()));
        let remark = Found::remark(None, "a derived file is missing".into(), 1);
        assert_eq!(verdict(remark, Check::Fsck), Ok(()));
        let fsck = verdict(damaged(4), Check::Fsck).unwrap_err();
        assert!(fsck.contains("damaged at index 4"), "{fsck}");
        let replay = verdict(damaged(4), Check::Replay).unwrap_err();
        assert!(replay.contains("the decision at index 4"), "{replay}");
    }
}
