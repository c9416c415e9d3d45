//! `placet verify`: a proof bundle checked offline, step by step.
//!
//! Needs the bundle and the domain's public policy file, from where the verifier trusts it, and
//! nothing else: no domain, no node, no network, no clock. With the policy bundle that was in force, how a
//! machine was appraised is computed again.

mod attested;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use placet_authority::activate::Bundles;
use placet_evidence::proof_bundle::{self, BYTES_MAX, ProofBundle, Report, Step, StepOutcome};
use serde_json::json;

use self::attested::Rules;
use crate::cli::{Global, Verify};
use crate::context::{domain_path, open_dir};
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show;

/// The policy file that is trusted.
struct Trusted {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Taken from the domain of this machine, because none was named.
    own: bool,
}

pub(crate) fn verify(global: &Global, args: &Verify, out: Out) -> Result<Status, Failure> {
    let bundle = read_bundle(&args.bundle)?;
    let trusted = trusted(global, args.policy.as_deref())?;
    let mut report = proof_bundle::verify(&bundle, &trusted.bytes);
    let kept = |digest| {
        let dir = open_dir(&domain_path(global).ok()?).ok()?;
        Bundles::new(dir.bundles()).load(digest).ok()
    };
    let rules = match &args.rules {
        Some(path) => Rules::Named(path),
        None if trusted.own => Rules::Kept(&kept),
        None => Rules::None,
    };
    attested::check(&mut report, &bundle, &rules)?;
    let other_policy = carries_other_policy(&bundle, &trusted);
    out.value(&value(&report, &trusted, other_policy)?);
    let from = if trusted.own {
        "of the domain on this machine"
    } else {
        "that you named"
    };
    out.line(format!(
        "under the policy file {from}, {}",
        paint(BOLD, trusted.path.display())
    ));
    if other_policy {
        let text = "the bundle carries another policy file; what a bundle says of whom to trust never counts";
        out.line(format!("{} {text}", paint(WARN, "note:")));
    }
    for line in lines(&report) {
        out.line(line);
    }
    conclude(&report, out);
    Ok(if report.holds() {
        Status::Ok
    } else {
        Status::Unverified
    })
}

fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("`placet log proof --bundle <decision>` writes a bundle")
    };
    let mut bytes = Vec::new();
    // One byte more than a bundle can have, so that a longer one is refused for its length.
    let limit = BYTES_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}

fn trusted(global: &Global, named: Option<&Path>) -> Result<Trusted, Failure> {
    let (path, own) = match named {
        Some(path) => (path.to_owned(), false),
        None => (own_policy(global)?, true),
    };
    let bytes = std::fs::read(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(Trusted { path, bytes, own })
}

fn own_policy(global: &Global) -> Result<PathBuf, Failure> {
    let hint = "name the policy file of the domain that you trust with --policy; its keeper has it from `placet log policy`";
    match open_dir(&domain_path(global)?) {
        Ok(dir) => Ok(dir.policy_file()),
        Err(failure) => Err(failure.hint(hint)),
    }
}

fn carries_other_policy(bundle: &[u8], trusted: &Trusted) -> bool {
    ProofBundle::parse(bundle).is_ok_and(|bundle| bundle.policy.as_bytes() != trusted.bytes)
}

/// What a step asks, in words. The same step proves the record and what is related to it.
fn question(name: &str, related: bool) -> &str {
    match name {
        "policy" => "the policy file reads",
        "bundle" => "the bundle reads strictly",
        "genesis in the log" => "the log that the policy names has the genesis record",
        "genesis" => "the genesis record is whole and names the domain's keys",
        "log key" => "the genesis record names the log key that the policy names",
        "record in the log" if related => "a further record is in the log",
        "record in the log" => "the record is in the log",
        "record" => "the domain's record key signed the record",
        "related record" => "the domain's record key signed the further record",
        "decided by" => "the further record is the permit for exactly this act",
        "same execution" => "the further record is about the same execution",
        "artifact keys" => "each role of the domain has a key of its own",
        "artifact" => "the artifact is the one that the record names, signed by the domain",
        "bindings" => "the artifact allows what was decided, and nothing else",
        "attestation" => "the gateway signed what the record says of its machine",
        "appraisal" => "the machine was judged by the reference values that were in force",
        "parameters" => "the disclosed parameters are the ones that were decided about",
        other => other,
    }
}

/// What was found where it says more than the question.
fn found<'a>(name: &str, found: &'a str) -> Option<&'a str> {
    let said = ["bundle", "log key", "artifact keys", "parameters"];
    (!said.contains(&name)).then_some(found)
}

fn lines(report: &Report) -> impl Iterator<Item = String> {
    let mut related = false;
    report.steps.iter().map(move |step| {
        let line = line(step, related);
        related |= step.name == "record";
        line
    })
}

fn line(step: &Step, related: bool) -> String {
    let question = question(step.name, related);
    let (mark, style, detail) = match &step.outcome {
        StepOutcome::Holds(detail) => ('✓', GOOD, found(step.name, detail)),
        StepOutcome::Fails(why) => ('✗', BAD, Some(why.as_str())),
        StepOutcome::CannotTell(why) => ('?', WARN, Some(why.as_str())),
    };
    let detail = detail.map(|detail| paint(DIM, format!(" ({})", show::shown(detail))));
    format!(
        "  {} {question}{}",
        paint(style, mark),
        detail.unwrap_or_default()
    )
}

fn conclude(report: &Report, out: Out) {
    if let Some(step) = report.failed() {
        let at = paint(BOLD, step.name);
        out.line(format!(
            "{} at `{at}`; nothing after it was looked at",
            paint(BAD, "FAILED")
        ));
        return;
    }
    let open = |step: &&Step| matches!(step.outcome, StepOutcome::CannotTell(_));
    let note = match report.steps.iter().filter(open).count() {
        0 => String::new(),
        1 => " but for one thing that the bundle does not tell (?)".to_owned(),
        open => format!(" but for {open} things that the bundle does not tell (?)"),
    };
    out.line(format!("{}{}", paint(GOOD, "VERIFIED"), paint(DIM, note)));
    if let Some(record) = &report.record {
        let words = show::words(record);
        let who = if words.who.is_empty() {
            String::new()
        } else {
            format!(" {},", words.who)
        };
        let what = paint(words.style, words.what);
        out.line(format!(
            "  {} at {},{who} {what}",
            record.kind().as_str(),
            record.time()
        ));
    }
}

fn value(
    report: &Report,
    trusted: &Trusted,
    other_policy: bool,
) -> serde_json::Result<serde_json::Value> {
    let step = |step: &Step| {
        let (outcome, detail) = match &step.outcome {
            StepOutcome::Holds(found) => ("holds", found),
            StepOutcome::Fails(why) => ("fails", why),
            StepOutcome::CannotTell(why) => ("cannot_tell", why),
        };
        json!({ "step": step.name, "outcome": outcome, "detail": detail })
    };
    Ok(json!({
        "verified": report.holds(),
        "failed": report.failed().map(|step| step.name),
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "policy": trusted.path, "own_policy": trusted.own, "other_policy_in_bundle": other_policy,
        "record": report.record.as_ref().map(show::predicate).transpose()?,
    }))
}
