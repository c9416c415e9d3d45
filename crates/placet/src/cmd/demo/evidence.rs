//! Prove: the log is whole, its decisions follow from it, and a stranger can check both with one
//! public file. Then somebody changes it.

use std::fs;
use std::path::{Path, PathBuf};

use placet_evidence::proof_bundle::ProofBundle;
use placet_evidence::{CheckedDenial, Outcome};
use placet_tlog::note::{SignatureKind, VerifierKey};
use placet_types::{DenialCode, Index};
use serde_json::Value;

use super::ground::Ground;
use super::presentation::key;
use super::process::Finished;
use super::report::Seen;
use super::stage::Stage;
use super::step::decided;
use crate::exit::{Failure, UNVERIFIED};

/// The policy file that the auditor has had from the beginning.
const TRUSTED: &str = "domain.tlog-policy";
/// First bytes of a batch in a segment file.
const FRAME: &[u8] = b"PLACETF1";

/// A change to a bundle, what it is called, and the step of verification that finds it.
struct Forgery {
    what: &'static str,
    step: &'static str,
    forge: fn(&mut ProofBundle, &ProofBundle),
}

const FORGERIES: &[Forgery] = &[
    Forgery {
        what: "a bundle, one character of its record changed",
        step: "record in the log",
        forge: |bundle, _| bundle.record.entry = with_another_middle(&bundle.record.entry),
    },
    Forgery {
        what: "a bundle with the proof of another record",
        step: "record in the log",
        forge: |bundle, other| bundle.record.proof.clone_from(&other.record.proof),
    },
    Forgery {
        what: "a bundle that discloses other parameters",
        step: "parameters",
        forge: |bundle, other| bundle.disclosed.clone_from(&other.disclosed),
    },
];

/// Every byte of the log is checked.
pub(super) fn is_whole(stage: &mut Stage) -> Result<(), Failure> {
    stage.ground.stop_node()?;
    let records = stage.ground.records(Index::default())?;
    stage.report.figures.records = records.len() as u64;
    let seen = sound(&stage.ground.placet(&["log", "fsck", "--json"])?)?;
    stage.add("placet log fsck", "sound", seen)?;
    let public: String = records
        .iter()
        .map(|(_, record)| format!("{record:?}\n"))
        .collect();
    let free = stage
        .ground
        .is_free_of_canary(&public)
        .map(|()| "not in any record".to_owned());
    stage.add(
        "the secret, in the public log",
        "not in any record",
        Seen::of(free),
    )
}

/// Every decision is computed again.
pub(super) fn recomputes(stage: &mut Stage) -> Result<(), Failure> {
    let decisions = decisions(stage)?.len() as u64;
    let replay = stage.ground.placet(&["log", "replay", "--json"])?;
    let report = replay.json()?;
    let same = report.get("same").and_then(Value::as_u64).unwrap_or(0);
    stage.report.figures.decisions = decisions;
    stage.report.figures.recomputed = same;
    let observed = format!("{same} of {decisions} the same");
    let fits = replay.status.success()
        && report.get("holds").and_then(Value::as_bool) == Some(true)
        && same == decisions;
    let seen = if fits {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    };
    stage.add("placet log replay", "every decision the same", seen)
}

/// An auditor gets a bundle for each decision, and checks them with the public policy file alone.
pub(super) fn convinces(stage: &mut Stage) -> Result<(), Failure> {
    let decisions = decisions(stage)?;
    let mut refused = Vec::new();
    for (index, _) in &decisions {
        let name = hand_over(stage, *index)?;
        if !verify(stage, TRUSTED, &name)?.status.success() {
            refused.push(index.to_string());
        }
    }
    let verified = decisions.len().saturating_sub(refused.len());
    stage.report.figures.proofs = verified as u64;
    let observed = match refused.as_slice() {
        [] => format!("{verified} of {} verify", decisions.len()),
        refused => format!("{} do not", refused.join(", ")),
    };
    let seen = if refused.is_empty() {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    };
    stage.add(
        "placet verify, offline, for every decision",
        "every one verifies",
        seen,
    )?;
    forgeries_are_refused(stage, &decisions)
}

/// What was changed in the log is found, at its index, and nothing runs on it.
pub(super) fn shows_damage(stage: &mut Stage) -> Result<(), Failure> {
    let index = first_refusal(&stage.ground)?;
    let altered = copy_of_domain(&stage.ground, "altered")?;
    flip_a_byte(&stage.ground, &altered, index)?;
    let seen = names(&fsck(&stage.ground, &altered)?, index)?;
    stage.add(
        "one byte of a denial changed: fsck",
        &format!("damaged at {index}"),
        seen,
    )?;
    let domain = altered.display().to_string();
    let ran = stage
        .ground
        .placet(&["--domain", &domain, "run", "--as=agent:coder", "--", "ls"])?;
    let seen = exits(&ran, UNVERIFIED);
    stage.add(
        "  a command under that log",
        &format!("exit {UNVERIFIED}"),
        seen,
    )?;
    let cut = copy_of_domain(&stage.ground, "cut")?;
    let index = cut_last_batch(&cut)?;
    let seen = names(&fsck(&stage.ground, &cut)?, index)?;
    stage.add(
        "the last batch cut off: fsck",
        &format!("damaged at {index}"),
        seen,
    )?;
    let seen = sound(&stage.ground.placet(&["log", "fsck", "--json"])?)?;
    stage.add("the log itself: fsck", "sound", seen)
}

/// Every decision in the log, and whether it was a permit.
fn decisions(stage: &Stage) -> Result<Vec<(Index, Outcome)>, Failure> {
    let records = stage.ground.records(Index::default())?;
    Ok(decided(&records)
        .map(|(index, decided)| (index, decided.outcome))
        .collect())
}

/// Gives the auditor the bundle about a record; gives its name.
fn hand_over(stage: &Stage, index: Index) -> Result<String, Failure> {
    let about = index.to_string();
    let args = ["log", "proof", &about, "--bundle", "--disclose"];
    let bundle = stage.ground.placet(&args)?.successful("placet log proof")?;
    let name = format!("{about}.json");
    fs::write(stage.ground.auditor().join(&name), bundle.stdout)?;
    Ok(name)
}

fn verify(stage: &Stage, policy: &str, bundle: &str) -> Result<Finished, Failure> {
    stage
        .ground
        .as_auditor(&["verify", "--json", "--policy", policy, bundle])
}

fn forgeries_are_refused(stage: &mut Stage, decisions: &[(Index, Outcome)]) -> Result<(), Failure> {
    let mut permits = decisions
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Permit)
        .map(|(index, _)| *index);
    let (Some(one), Some(other)) = (permits.next(), permits.next()) else {
        return Err(Failure::new("there are not two permits to forge from"));
    };
    let other = bundle(stage, other)?;
    for Forgery { what, step, forge } in FORGERIES {
        let mut forged = bundle(stage, one)?;
        forge(&mut forged, &other);
        fs::write(stage.ground.auditor().join("forged.json"), forged.encode()?)?;
        let seen = fails(&verify(stage, TRUSTED, "forged.json")?, step)?;
        stage.add(what, &failing(step), seen)?;
    }
    let name = format!("{one}.json");
    fs::write(
        stage.ground.auditor().join("other.tlog-policy"),
        other_policy(stage)?,
    )?;
    let step = "genesis in the log";
    let seen = fails(&verify(stage, "other.tlog-policy", &name)?, step)?;
    stage.add(
        "a true bundle, under another log's key",
        &failing(step),
        seen,
    )
}

fn failing(step: &str) -> String {
    format!("fails, {step}")
}

/// Whether verification failed at this step.
fn fails(verify: &Finished, step: &str) -> Result<Seen, Failure> {
    let report = verify.json()?;
    let failed = report
        .get("failed")
        .and_then(Value::as_str)
        .unwrap_or("no step");
    let observed = format!("fails at `{failed}`, {}", verify.how());
    let fits = failed == step && verify.status.code() == Some(UNVERIFIED.into());
    Ok(if fits {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    })
}

fn bundle(stage: &Stage, index: Index) -> Result<ProofBundle, Failure> {
    let bytes = fs::read(stage.ground.auditor().join(format!("{index}.json")))?;
    ProofBundle::parse(&bytes).map_err(Failure::new)
}

/// The policy file of a log with the same name and another key.
fn other_policy(stage: &Stage) -> Result<String, Failure> {
    let text = fs::read_to_string(stage.ground.auditor().join(TRUSTED))?;
    let policy = placet_tlog::Policy::parse(text.as_bytes()).map_err(Failure::new)?;
    let log = policy
        .logs()
        .first()
        .ok_or_else(|| Failure::new("the policy names no log"))?;
    let name = log.key().name().clone();
    let other = VerifierKey::new(name, SignatureKind::Ed25519, key()?.public());
    let swapped = text.replace(&log.key().to_string(), &other.to_string());
    if swapped == text {
        return Err(Failure::new("the key was not found in the policy file"));
    }
    Ok(swapped)
}

fn exits(finished: &Finished, status: u8) -> Seen {
    let observed = finished.how();
    let fits = finished.status.code() == Some(status.into());
    if fits {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    }
}

fn sound(fsck: &Finished) -> Result<Seen, Failure> {
    let report = fsck.json()?;
    let count = report.get("records").and_then(Value::as_u64).unwrap_or(0);
    let fits = fsck.status.success() && report.get("sound").and_then(Value::as_bool) == Some(true);
    let observed = format!("{count} records");
    Ok(if fits {
        Seen::holds(format!("sound, {observed}"))
    } else {
        Seen::differs(observed)
    })
}

/// Whether `fsck` names this index, and no other.
fn names(fsck: &Finished, index: Index) -> Result<Seen, Failure> {
    let report = fsck.json()?;
    let damage = report.get("damage").filter(|damage| !damage.is_null());
    let Some(damage) = damage else {
        return Ok(Seen::differs("nothing found"));
    };
    let found = damage.get("index").and_then(Value::as_u64);
    let words = damage
        .get("damage")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let observed = format!(
        "{}: {words}",
        found.map_or_else(String::new, |at| format!("at {at}"))
    );
    let fits = found == Some(index.get()) && fsck.status.code() == Some(UNVERIFIED.into());
    Ok(if fits {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    }
    .at(index))
}

pub(super) fn fsck(ground: &Ground, domain: &Path) -> Result<Finished, Failure> {
    ground.placet(&[
        "--domain",
        &domain.display().to_string(),
        "log",
        "fsck",
        "--json",
    ])
}

/// The first denial by policy: what somebody might want to be forgotten.
pub(super) fn first_refusal(ground: &Ground) -> Result<Index, Failure> {
    let records = ground.records(Index::default())?;
    let forbidden = |denial: &CheckedDenial| denial.code == DenialCode::PolicyForbids;
    let mut decided = decided(&records);
    let found = decided.find(|(_, decided)| decided.denial.as_ref().is_some_and(forbidden));
    found
        .map(|(index, _)| index)
        .ok_or_else(|| Failure::new("nothing was forbidden"))
}

pub(super) fn copy_of_domain(ground: &Ground, name: &str) -> Result<PathBuf, Failure> {
    let to = ground.root().join(name);
    copy(&ground.domain_dir(), &to)?;
    Ok(to)
}

/// Copies directories and files with their permissions; a socket is left where it is.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Changes one bit in the middle of a record, where it lies in its segment.
pub(super) fn flip_a_byte(ground: &Ground, domain: &Path, index: Index) -> Result<(), Failure> {
    let entry = ground.log()?.entry(index)?;
    for path in segments(domain)? {
        let mut bytes = fs::read(&path)?;
        let at = bytes
            .windows(entry.len())
            .position(|window| window == entry);
        if let Some(byte) = at.and_then(|at| bytes.get_mut(at + entry.len() / 2)) {
            *byte ^= 1;
            return Ok(fs::write(&path, bytes)?);
        }
    }
    Err(Failure::new(format!(
        "the record at {index} was not found in a segment file"
    )))
}

/// Cuts the last batch off; gives the index that it began with.
fn cut_last_batch(domain: &Path) -> Result<Index, Failure> {
    let missing = || Failure::new("no batch was found in a segment file");
    let path = segments(domain)?.pop().ok_or_else(missing)?;
    let bytes = fs::read(&path)?;
    let at = bytes
        .windows(FRAME.len())
        .rposition(|window| window == FRAME)
        .ok_or_else(missing)?;
    let (kept, cut) = bytes.split_at(at);
    let first = cut
        .get(FRAME.len()..)
        .and_then(|rest| rest.first_chunk::<8>());
    let first = first.ok_or_else(missing)?;
    fs::write(&path, kept)?;
    Ok(Index::new(u64::from_be_bytes(*first)))
}

/// The segment files of a domain, in order.
fn segments(domain: &Path) -> Result<Vec<PathBuf>, Failure> {
    let found = fs::read_dir(domain.join("log/segments"))?;
    let mut paths: Vec<PathBuf> = found
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

/// The same text with another character in its middle.
fn with_another_middle(text: &str) -> String {
    let middle = text.chars().count() / 2;
    let other = |letter: char| if letter == 'A' { 'B' } else { 'A' };
    let change = |(at, letter)| if at == middle { other(letter) } else { letter };
    text.chars().enumerate().map(change).collect()
}
