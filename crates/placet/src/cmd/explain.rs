//! `placet explain`: a recorded decision in words.
//!
//! For the keeper of the domain, on the domain's own machine: it quotes policies, and parameters as
//! far as they were not erased. Nothing depends on what is said here; the record is what counts.

mod account;
mod print;

use placet_authority::proofs;
use placet_decision::CHECKS;
use placet_evidence::proof_bundle::Disclosed;
use placet_evidence::{Decided, Glance, KindName, Record, Refused};
use placet_log::{LogReader, Payload};
use placet_policy::{Explanation, Policy, Rule};
use placet_types::canonical::{self, Bounds};
use placet_types::{Index, ProcessParams, Scope};
use serde_json::json;

use crate::born::Made;
use crate::cli::{Explain, Global};
use crate::connections::Talked;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BAD, BOLD, DIM, Out, paint};
use crate::show;

/// Everything that is known about a decision.
struct Known {
    index: Index,
    decided: Box<Decided>,
    params: Params,
    /// The bundle that it was decided under, compiled; or why it is not at hand.
    policy: Option<Result<Policy, String>>,
    /// What was granted.
    scope: Option<Scope>,
    /// What policy looked at, for a denial by policy.
    explanation: Option<Explanation>,
    /// What became of it: the records about its execution.
    later: Vec<(Index, Record)>,
    /// Whom it talked to.
    talked: Talked,
    /// Which programs it made and started.
    made: Made,
}

/// The private parameters.
enum Params {
    Present(Disclosed),
    Erased,
    Lost,
}

pub(crate) fn explain(global: &Global, args: &Explain, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let reader = domain.log()?;
    let index = find::index(&reader, &args.decision, out)?;
    let record = find::record(&reader, index)?;
    if let Record::Refused(refused) = &record {
        return Ok(print_refused(index, refused, out));
    }
    let (index, decided) = decision(&reader, index, record, out)?;
    let known = Known::gather(&domain, &reader, index, decided, out)?;
    out.value(&known.value());
    print::print(&known, out);
    Ok(Status::Ok)
}

/// The decision that a record is about: itself, or what allowed a start, a signal, an end.
fn decision(
    reader: &LogReader,
    index: Index,
    record: Record,
    out: Out,
) -> Result<(Index, Box<Decided>), Failure> {
    let (kind, exec) = (record.kind().as_str(), record.exec());
    if let Record::Decided(decided) = record {
        return Ok((index, decided));
    }
    let exec = exec.ok_or_else(|| {
        Failure::new(format!("the record at {index} is of kind `{kind}`"))
            .hint("only decisions have an explanation; `placet log tail` shows records in words")
    })?;
    find::decision(reader, &exec.to_string(), out)
}

impl Known {
    fn gather(
        domain: &Domain,
        reader: &LogReader,
        index: Index,
        decided: Box<Decided>,
        out: Out,
    ) -> Result<Self, Failure> {
        let params = Params::read(reader, index)?;
        let bundle = decided.policy.bundle;
        let policy =
            bundle.map(|bundle| domain.bundles().load(bundle).map_err(|error| error.reason));
        let scope = decided.grant.as_ref().and_then(|grant| {
            let bytes = domain.blobs().get(grant.scope).ok()?;
            canonical::from_bytes(&bytes, Bounds::RECORD).ok()
        });
        let explanation = match (&policy, &params) {
            (Some(Ok(policy)), Params::Present(params))
                if account::is_denied_by_policy(&decided) =>
            {
                let state = find::state_before(domain, reader, index, out)?;
                account::explanation(&state, policy, &decided, params)
            }
            _ => None,
        };
        let later = later(reader, index, &decided)?;
        let (talked, made) = if later.is_empty() {
            (Talked::default(), Made::default())
        } else {
            let (first, exec) = (index.next(), decided.facts.exec);
            (
                Talked::read(reader, first, exec)?,
                Made::read(reader, first, exec)?,
            )
        };
        Ok(Self {
            index,
            decided,
            params,
            policy,
            scope,
            explanation,
            later,
            talked,
            made,
        })
    }

    /// The policies that determined the answer, as the bundle has them.
    fn rules(&self) -> Vec<(&String, Option<&Rule>)> {
        let policy = self.policy.as_ref().and_then(|policy| policy.as_ref().ok());
        let ids = self.decided.policy.determining.iter();
        ids.map(|id| (id, policy.and_then(|policy| policy.rule(id))))
            .collect()
    }

    fn process(&self) -> Option<ProcessParams> {
        match &self.params {
            Params::Present(disclosed) => ProcessParams::decode(disclosed.params.as_bytes()).ok(),
            Params::Erased | Params::Lost => None,
        }
    }

    fn value(&self) -> serde_json::Value {
        let denial = self.decided.denial.as_ref();
        let policy = self.policy.as_ref().and_then(|policy| policy.as_ref().ok());
        let rule = |(id, rule): (&String, Option<&Rule>)| {
            json!({
                "id": id,
                "description": rule.and_then(|rule| rule.description.as_deref()),
                "file": rule.map(|rule| &rule.file), "line": rule.map(|rule| rule.line),
                "permits": rule.map(|rule| rule.permits),
            })
        };
        let later = |(index, record): &(Index, Record)| json!({ "index": index, "kind": record.kind().as_str(), "words": show::words(record).what });
        json!({
            "index": self.index,
            "permit": denial.is_none(),
            "decided": self.decided,
            "check": denial.and_then(|denial| check_name(denial.check)),
            "remedy": denial.map(|denial| denial.code.remedy()),
            "params": self.process(),
            "params_state": self.params.as_str(),
            "bundle": policy.map(|policy| json!({
                "digest": policy.digest(), "name": policy.name(), "revision": policy.revision(),
            })),
            "policies": self.rules().into_iter().map(rule).collect::<Vec<_>>(),
            "scope": self.scope,
            "near": self.explanation.as_ref().map(|it| account::values(&it.near)),
            "looked_at": self.explanation.as_ref().map(|it| account::values(&it.determining)),
            "connections": self.talked.value(),
            "programs": self.made.value(),
            "later": self.later.iter().map(later).collect::<Vec<_>>(),
        })
    }
}

impl Params {
    fn read(reader: &LogReader, index: Index) -> Result<Self, Failure> {
        if let Some(disclosed) = proofs::disclosed(reader, index)? {
            return Ok(Self::Present(disclosed));
        }
        Ok(match reader.payload(index)? {
            Payload::Erased => Self::Erased,
            Payload::Present(_) | Payload::Damaged | Payload::None => Self::Lost,
        })
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Present(_) => "present",
            Self::Erased => "erased",
            Self::Lost => "lost",
        }
    }
}

/// What the check of this number asks.
fn check_name(check: u8) -> Option<&'static str> {
    CHECKS.get(usize::from(check).checked_sub(1)?).copied()
}

/// What became of a permit: its start, its signals, its end.
fn later(
    reader: &LogReader,
    index: Index,
    decided: &Decided,
) -> Result<Vec<(Index, Record)>, Failure> {
    let mut later = Vec::new();
    if decided.denial.is_some() {
        return Ok(later);
    }
    let exec = decided.facts.exec;
    // A refused artifact names its execution inside.
    let glanced = |glance: Glance| glance.exec == Some(exec) || glance.kind == KindName::Refused;
    for record in find::select(reader, index.next(), glanced) {
        let (index, record) = record?;
        if record.exec() == Some(exec) {
            let ended = matches!(record, Record::Ended(_));
            later.push((index, record));
            if ended {
                break;
            }
        }
    }
    Ok(later)
}

/// An attempt that never became a decision has a code as well.
fn print_refused(index: Index, refused: &Refused, out: Out) -> Status {
    let denial = &refused.denial;
    out.value(&json!({
        "index": index, "permit": false, "refused": refused, "remedy": denial.code.remedy(),
    }));
    out.line(format!(
        "{} {} {}",
        paint(BAD, "refused"),
        paint(BOLD, denial.code),
        paint(DIM, format!("record {index}, {}", refused.time))
    ));
    let stage = match refused.stage {
        placet_evidence::Stage::Intent => "an intent that could not be read",
        placet_evidence::Stage::Artifact => "an artifact that was presented",
        placet_evidence::Stage::Control => "an operator's act",
        placet_evidence::Stage::Identity => "an identity that nobody here has",
    };
    out.line(format!("  what     {stage}, by {}", show::caller(refused)));
    if let Some(exec) = refused.exec {
        out.line(format!("  about    {exec}"));
    }
    out.line(format!("  reason   {}", show::shown(&denial.reason)));
    out.line(format!("  change   {}", denial.code.remedy()));
    out.line(format!("  proof    placet log proof {index} --bundle"));
    Status::Ok
}
