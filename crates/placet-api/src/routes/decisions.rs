//! Recorded decisions, for programs and in words.

use hyper::StatusCode;
use placet_authority::proofs;
use placet_decision::CHECKS;
use placet_evidence::{CheckedDenial, Decided, Entry, Outcome, Record};
use placet_log::LogReader;
use placet_types::canonical::{Bounds, Json};
use placet_types::{Denial, DenialCode, Index};
use serde_json::{Value, json};

use super::lines::{filtered, get};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Route};
use crate::schemas;

/// The routes of decisions.
pub(super) fn lines() -> Vec<Route> {
    vec![filtered(
        get(
            "/v1/decisions/{index}",
            Access::Member,
            read,
            "readDecision",
            "A recorded decision, in words too",
            schemas::DECISION,
        ),
        &[(
            "disclose",
            "true: with the private parameters, as far as they were not erased",
        )],
    )]
}

/// The decision at an index.
fn read(call: Call) -> Answer {
    Box::pin(async move {
        let index = Index::new(call.part(0)?);
        let disclose = call.query.flag("disclose")?;
        let sees = call.sees();
        let value = call
            .read(move |shared| {
                let reader = shared.service.authority().reader();
                let decided = decided(&reader, index)?;
                if !sees.principal(&decided.intent.principal) {
                    return Err(none(index));
                }
                let params = if disclose {
                    params(&reader, index)?
                } else {
                    None
                };
                Ok(value(index, &decided, params.as_ref()))
            })
            .await?;
        reply::json(StatusCode::OK, &value)
    })
}

fn decided(reader: &LogReader, index: Index) -> Result<Box<Decided>, Problem> {
    let record = Entry::from_bytes(reader.entry(index)?)
        .read()
        .map_err(|_| {
            let reason = "the record does not read";
            Problem::of(&Denial::new(DenialCode::EvidenceUnavailable, reason))
        })?;
    if let Record::Decided(decided) = record {
        Ok(decided)
    } else {
        Err(none(index))
    }
}

/// What is somebody else's is answered as what is not there.
fn none(index: Index) -> Problem {
    Problem::not_found(format!("no decision of yours stands at {index}"))
}

fn params(reader: &LogReader, index: Index) -> Result<Option<Value>, Problem> {
    let disclosed = proofs::disclosed(reader, index)?;
    let text = disclosed.map(|disclosed| disclosed.params);
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn value(index: Index, decided: &Decided, params: Option<&Value>) -> Value {
    let denial = decided.denial.as_ref();
    let check = denial.and_then(|denial| check_name(denial.check));
    json!({
        "index": index,
        "decision": match decided.outcome {
            Outcome::Permit => "permit",
            Outcome::Deny => "deny",
            Outcome::Defer => "defer",
        },
        "waiting": decided.waits,
        "code": denial.map(|denial| denial.code),
        "check": denial.map(|denial| denial.check),
        "check_name": check,
        "remedy": denial.map(|denial| denial.code.remedy()),
        "words": words(decided),
        "params": params,
        "record": decided,
    })
}

fn check_name(check: u8) -> Option<&'static str> {
    CHECKS.get(usize::from(check).checked_sub(1)?).copied()
}

/// The decision as sentences. Texts of callers are cut and cannot forge a line.
fn words(decided: &Decided) -> Vec<String> {
    let intent = &decided.intent;
    let resource: String = intent.resource.id.escape_debug().take(256).collect();
    let mut words = vec![format!(
        "{} asked to {} {resource} through gateway {}.",
        intent.principal, intent.action, intent.gateway
    )];
    match (&decided.denial, &decided.grant) {
        (Some(denial), _) => words.extend(denied(denial)),
        (None, Some(grant)) => words.push(format!(
            "It was permitted under profile {} until {}, with a lease of {} ms.",
            grant.profile, grant.not_after, grant.lease_ms
        )),
        (None, None) => words.extend(decided.waits.iter().map(|waits| {
            let (who, until) = (waits.in_words(), waits.until);
            format!("It waits for the approval of {who}, until {until}.")
        })),
    }
    if !decided.policy.determining.is_empty() {
        let policies = decided.policy.determining.join(", ");
        words.push(format!("Determined by {policies}."));
    }
    if decided.risk.score > 0 {
        let factors = decided.risk.factors.join(", ");
        words.push(format!(
            "Its risk was {} of 100: {factors}.",
            decided.risk.score
        ));
    }
    words
}

/// Which check denied, why, and what would have to change.
fn denied(denial: &CheckedDenial) -> [String; 2] {
    let check = check_name(denial.check).unwrap_or("unknown");
    let (code, reason) = (denial.code, &denial.reason);
    [
        format!(
            "It was denied with {code} by check {} ({check}): {reason}.",
            denial.check
        ),
        format!("What would have to change: {}.", code.remedy()),
    ]
}

/// The record of an entry, for programs: its own members, whatever its kind.
pub(crate) fn predicate(entry: &[u8]) -> Option<Value> {
    let bounds = Bounds::RECORD;
    let envelope = Json::parse(entry, bounds).ok()?;
    let payload = envelope.get("payload")?.as_str()?;
    let statement = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, payload);
    let statement: Value = serde_json::from_slice(&statement.ok()?).ok()?;
    statement.get("predicate").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denial_is_said_in_words_with_its_check_and_what_to_change() {
        let checks = u8::try_from(CHECKS.len()).unwrap();
        let mut remedies = std::collections::BTreeSet::new();
        for (at, code) in DenialCode::ALL.iter().enumerate() {
            let check = u8::try_from(at).unwrap() % checks + 1;
            let reason = "this was so".to_owned();
            let [why, remedy] = denied(&CheckedDenial {
                check,
                code: *code,
                reason,
            });
            let name = check_name(check).unwrap();
            assert_eq!(
                why,
                format!("It was denied with {code} by check {check} ({name}): this was so.")
            );
            assert!(!remedy.contains("..") && remedy.len() > 40, "{remedy}");
            assert!(remedies.insert(remedy), "{code} says what another says");
        }
        assert_eq!(check_name(0), None);
        assert_eq!(check_name(checks + 1), None);
    }
}
