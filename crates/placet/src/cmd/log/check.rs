//! `placet log fsck` and `placet log replay`: whether the log is what was written, and whether the
//! decisions in it are what they must be.

use placet_authority::init::public_policy;
use placet_authority::replay::{self, ReplayReport, Sources};
use placet_evidence::{Entry, Record};
use placet_log::fsck::{self, HeadState, Report};
use placet_log::{EntryCheck, LogReader};
use placet_tlog::note::VerifierKey;
use placet_types::{Index, PublicKey};
use serde_json::json;

use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};

/// Indices that are listed for people; programs get all.
const LISTED_MAX: usize = 20;

pub(super) fn fsck(domain: &Domain, repair: bool, out: Out) -> Result<Status, Failure> {
    let policy = public_policy(&domain.dir)?;
    let log = policy
        .logs()
        .first()
        .ok_or_else(|| Failure::new("the policy names no log"))?;
    let check = entry_check(domain, log.key(), out);
    if repair {
        mend(domain, log.key(), &check, out)?;
    }
    let bar = out.progress("checking", 0);
    let report = fsck::check(&domain.dir.log(), log.key(), &check, &mut |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
    });
    bar.finish_and_clear();
    let report = report.map_err(Failure::new)?;
    let status = if is_damaged(&report) {
        Status::Unverified
    } else {
        Status::Ok
    };
    out.value(&fsck_value(domain, &report, status == Status::Ok));
    fsck_lines(domain, &report, out);
    Ok(status)
}

fn mend(domain: &Domain, key: &VerifierKey, check: &EntryCheck, out: Out) -> Result<(), Failure> {
    let busy = || {
        Failure::new("a node serves this domain: the log is being written")
            .hint("end it first, with `placet node stop`; without --repair fsck runs beside it")
    };
    if domain.running_node()?.is_some() {
        return Err(busy());
    }
    match fsck::repair(&domain.dir.log(), key, check) {
        Ok(recovery) => {
            out.line(format!(
                "{} the derived files",
                paint(GOOD, "computed anew")
            ));
            if recovery.cut_bytes > 0 {
                let bytes = recovery.cut_bytes;
                out.line(format!(
                    "{} {bytes} bytes of an interrupted append",
                    paint(WARN, "cut")
                ));
            }
            Ok(())
        }
        Err(placet_log::OpenError::Locked) => Err(busy()),
        // What keeps the log from opening is what the check will name.
        Err(error) => {
            out.note(format!("{} {error}", paint(BAD, "not repaired:")));
            Ok(())
        }
    }
}

/// Judges entries that the log key does not vouch for by the record key of the genesis record.
fn entry_check(domain: &Domain, key: &VerifierKey, out: Out) -> EntryCheck {
    let dir = domain.dir.log();
    let proven = LogReader::open(&dir, key).map(|reader| reader.entry(Index::default()).ok());
    let entry = match proven {
        Ok(Some(entry)) => Some(entry),
        // Too damaged to be proven here. Were this one forged, the check would report index 0.
        Ok(None) | Err(_) => fsck::first_entry(&dir).ok().flatten(),
    };
    let Some(key) = entry.and_then(record_key) else {
        out.note(paint(
            WARN,
            "the genesis record does not read: signatures of records are not checked",
        ));
        return EntryCheck::none_required();
    };
    EntryCheck::new(move |_, entry: &[u8]| Entry::from_bytes(entry.to_vec()).open(&key).is_ok())
}

fn record_key(entry: Vec<u8>) -> Option<PublicKey> {
    let Ok(Record::Genesis(genesis)) = Entry::from_bytes(entry).read() else {
        return None;
    };
    Some(genesis.keys.record)
}

/// A torn tail and a half-written slot of the head are what an interrupted or a running append
/// leaves; nothing that was acknowledged is in them.
fn is_damaged(report: &Report) -> bool {
    !report.is_evidence_sound() || report.derived.is_some() || report.payloads.first_bad.is_some()
}

fn fsck_value(domain: &Domain, report: &Report, sound: bool) -> serde_json::Value {
    let (head, slot) = match report.head {
        HeadState::Signed { size, damaged_slot } => (json!({ "signed": size }), damaged_slot),
        HeadState::Missing => (json!("missing"), false),
        HeadState::NotSigned => (json!("not_signed"), false),
    };
    let bad = report
        .evidence
        .map(|bad| json!({ "index": bad.index, "damage": bad.damage.to_string() }));
    let payloads = report.payloads;
    json!({
        "sound": sound, "domain": domain.name, "records": report.size, "frames": report.frames,
        "segments": report.segments, "head": head, "head_slot_damaged": slot, "damage": bad,
        "torn_bytes": report.torn_bytes,
        "derived": report.derived.map(|fault| fault.to_string()),
        "payloads": {
            "present": payloads.present, "erased": payloads.erased,
            "half_erased": payloads.half_erased, "damaged": payloads.damaged,
            "first_bad": payloads.first_bad,
        },
        "root": report.root.to_string(),
    })
}

fn fsck_lines(domain: &Domain, report: &Report, out: Out) {
    out.line(format!("log of {}", paint(BOLD, &domain.name)));
    let head = match report.head {
        HeadState::Signed { size, .. } => format!("signed, {size} records"),
        HeadState::Missing => paint(BAD, "missing: what the log must hold is unknown"),
        HeadState::NotSigned => paint(
            BAD,
            "not signed by the log key of domain.tlog-policy, or of another log",
        ),
    };
    out.line(format!("  head      {head}"));
    let (size, frames, segments) = (report.size, report.frames, report.segments);
    out.line(format!(
        "  records   {size} sound, in {frames} batches and {segments} segment files"
    ));
    let payloads = report.payloads;
    out.line(format!(
        "  payloads  {} present, {} erased, {} half erased, {} damaged",
        payloads.present, payloads.erased, payloads.half_erased, payloads.damaged
    ));
    let derived = report.derived.map(|fault| paint(BAD, fault));
    out.line(format!(
        "  derived   {}",
        derived.unwrap_or_else(|| "sound".to_owned())
    ));
    for line in findings(report) {
        out.line(line);
    }
}

fn findings(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(bad) = report.evidence {
        lines.push(format!(
            "{} at index {}: {}",
            paint(BAD, "damaged"),
            paint(BOLD, bad.index),
            bad.damage
        ));
        lines.push(hint("the evidence cannot be mended; restore the directory, or keep it as it is for whoever investigates"));
    }
    if let Some(index) = report.payloads.first_bad {
        lines.push(format!(
            "{} private parameters at index {index}",
            paint(BAD, "damaged")
        ));
        lines.push(hint(
            "the record is proven all the same; `placet log erase` completes an erasure",
        ));
    }
    if report.derived.is_some() {
        lines.push(hint(
            "`placet log fsck --repair` computes derived files anew; no evidence is in them",
        ));
    }
    if report.torn_bytes > 0 {
        let bytes = report.torn_bytes;
        lines.push(format!(
            "{} {bytes} bytes of an append under way or interrupted",
            paint(WARN, "open end:")
        ));
        lines.push(hint(
            "nothing in them was acknowledged; the next node cuts them",
        ));
    }
    if let HeadState::Signed {
        damaged_slot: true, ..
    } = report.head
    {
        lines.push(paint(
            WARN,
            "one of the two slots of the head is half written; the other one counts",
        ));
    }
    if !is_damaged(report) {
        let clean = "every record is the one that was signed";
        lines.push(format!("{} {clean}", paint(GOOD, "sound:")));
    }
    lines
}

fn hint(text: &str) -> String {
    format!("  {} {text}", paint(DIM, "hint:"))
}

pub(super) fn replay(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let bar = out.progress("replaying", reader.size().get());
    let (bundles, blobs) = (domain.bundles(), domain.blobs());
    let sources = Sources {
        reader: &reader,
        bundles: &bundles,
        blobs: &blobs,
    };
    let report = replay::replay(sources, |index| bar.set_position(index.get()));
    bar.finish_and_clear();
    let report = report?;
    out.value(&json!({
        "holds": report.holds(), "records": report.records, "same": report.same,
        "different": report.different, "erased": report.erased,
        "unreadable": report.unreadable, "without_policy": report.without_policy,
    }));
    replay_lines(&report, out);
    Ok(if report.holds() {
        Status::Ok
    } else {
        Status::Unverified
    })
}

fn replay_lines(report: &ReplayReport, out: Out) {
    out.line(format!("{} records", report.records));
    out.line(format!("  same            {}", report.same));
    let row = |name: &str, indices: &[Index], bad: bool, meaning: &str| {
        let count = match (indices.is_empty(), bad) {
            (false, true) => paint(BAD, indices.len()),
            _ => indices.len().to_string(),
        };
        let meaning = if indices.is_empty() {
            String::new()
        } else {
            paint(DIM, format!("  {meaning}"))
        };
        out.line(format!("  {name:<14}  {count}{meaning}"));
        for index in indices.iter().take(LISTED_MAX) {
            out.line(format!("    record {index}"));
        }
        if let Some(more) = indices
            .len()
            .checked_sub(LISTED_MAX)
            .filter(|more| *more > 0)
        {
            out.line(format!("    and {more} more; --json lists all"));
        }
    };
    row(
        "different",
        &report.different,
        true,
        "computed again, these decisions come out otherwise",
    );
    row(
        "erased",
        &report.erased,
        false,
        "proven, not recomputable: erased on purpose",
    );
    row(
        "unreadable",
        &report.unreadable,
        true,
        "private parameters missing or damaged without a record that says why",
    );
    row(
        "without policy",
        &report.without_policy,
        true,
        "the bundle in force then is not kept here, or is damaged",
    );
    if report.holds() {
        out.line(format!(
            "{} every decision that can be computed again is the same",
            paint(GOOD, "holds:")
        ));
    } else {
        out.line(format!(
            "{} the log does not follow from its own records",
            paint(BAD, "does not hold:")
        ));
    }
}
