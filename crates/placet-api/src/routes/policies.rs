//! Policies: what is in force, what its tests say, and putting another bundle in force.
//!
//! A bundle is signed by operators' keys, which no node has; who uploads one must be an operator too.

use hyper::StatusCode;
use placet_authority::Authority;
use placet_authority::node::wire::ActBody;
use placet_policy::{Bundle, Rule, diff, run_tests, source};
use placet_state::State;
use placet_types::{Denial, DenialCode, Digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::acts::act;
use super::lifecycle::sees_all;
use super::lines::{get, or, post};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;

/// A bundle in its single-file form, and its digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleBody {
    archive: String,
    bundle: Digest,
}

/// A bundle to be looked at, which gets no authority by it: the digest is checked where it is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offered {
    archive: String,
    #[serde(default)]
    bundle: Option<Digest>,
}

/// The routes of policies.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/policies",
            Access::Member,
            list,
            "listPolicies",
            "The policies of the bundle in force",
            schemas::POLICIES,
        ),
        get(
            "/v1/policies/{*id}",
            Access::Member,
            read,
            "readPolicy",
            "One of them, with its source",
            schemas::POLICY,
        ),
        get(
            "/v1/policy/tests",
            Access::Member,
            tests,
            "policyTests",
            "What the bundle's own tests find, and which policies they cover",
            schemas::TESTS,
        ),
        get(
            "/v1/policy/bundles/{digest}",
            Access::Operator,
            archive,
            "readBundle",
            "A bundle that was ever in force, as it was uploaded",
            schemas::BUNDLE,
        ),
        or(
            post(
                "/v1/policy/activations",
                Access::Operator,
                Lane::Bundle,
                activate,
                "activate",
                "Put a signed bundle in force, if it is signed, compiles, passes its tests and has a higher revision",
                schemas::BUNDLE,
                (201, schemas::RECORDED),
            ),
            (
                202,
                "The bundle in force governs this, and it waits for approvals: do the same again once they are given",
                schemas::ACT_DEFERRAL,
            ),
        ),
        post(
            "/v1/policy/diff",
            Access::Member,
            Lane::Bundle,
            compare,
            "diffPolicy",
            "What a bundle changes of the one in force, policy by policy; for operators and auditors",
            schemas::OFFERED,
            (200, schemas::DIFFERENCE),
        ),
    ]
}

impl Offered {
    pub(super) fn read(&self) -> Result<Bundle, Problem> {
        let bytes = self.archive.as_bytes();
        let read = match &self.bundle {
            Some(digest) => Bundle::from_archive(bytes, digest),
            None => Bundle::of_archive(bytes),
        };
        read.map_err(|error| Problem::malformed(error.to_string()))
    }
}

/// The policies of the bundle in force, in order of their ids.
fn list(call: Call) -> Answer {
    Box::pin(async move {
        let policy = call.service().authority().policy_in_force();
        let policy = policy.ok_or_else(none_in_force)?;
        let authority = call.service().authority();
        let items: Vec<Value> = authority.with_state(|state| {
            let rules = policy.rules();
            rules.map(|rule| value(state, rule, None)).collect()
        });
        reply::json(
            StatusCode::OK,
            &json!({ "bundle": policy.digest(), "items": items }),
        )
    })
}

/// One of them, with its source.
fn read(call: Call) -> Answer {
    Box::pin(async move {
        let id: String = call.part(0)?;
        let one = call
            .read(move |shared| {
                let authority = shared.service.authority();
                let policy = authority.policy_in_force().ok_or_else(none_in_force)?;
                let missing = || Problem::not_found("no policy of the bundle in force has this id");
                let rule = policy.rule(&id).ok_or_else(missing)?;
                let bundle = bundle(authority, policy.digest())?;
                let text = source(&bundle, rule);
                Ok(authority.with_state(|state| value(state, rule, text)))
            })
            .await?;
        reply::json(StatusCode::OK, &one)
    })
}

/// What the bundle's own tests find, and which policies they cover.
fn tests(call: Call) -> Answer {
    Box::pin(async move {
        let found = call
            .read(|shared| {
                let authority = shared.service.authority();
                let policy = authority.policy_in_force().ok_or_else(none_in_force)?;
                let report = run_tests(&bundle(authority, policy.digest())?, &policy);
                let results: Vec<Value> = report
                    .results
                    .iter()
                    .map(|one| {
                        json!({
                            "command": one.command, "failure": one.failure, "file": one.file,
                            "line": one.line, "name": one.name,
                        })
                    })
                    .collect();
                Ok(json!({
                    "bundle": policy.digest(), "covered": report.covered,
                    "passed": report.passed(), "results": results, "uncovered": report.uncovered,
                }))
            })
            .await?;
        reply::json(StatusCode::OK, &found)
    })
}

/// A bundle that was ever in force, as it was uploaded.
fn archive(call: Call) -> Answer {
    Box::pin(async move {
        let digest: Digest = call.part(0)?;
        if call.operator().is_none() {
            let reason = "only operators read whole bundles";
            return Err(Problem::of(&crate::identity::unverified(reason)));
        }
        let text = call
            .read(move |shared| archive_text(shared.service.authority(), digest))
            .await?;
        let value = json!({ "archive": text, "bundle": digest });
        reply::json(StatusCode::OK, &value)
    })
}

/// Puts a bundle in force.
fn activate(call: Call) -> Answer {
    Box::pin(async move {
        let BundleBody { archive, bundle } = call.body.json()?;
        act(call, ActBody::Activate { archive, bundle }).await
    })
}

/// What would change if this bundle were in force, policy by policy. Nothing is kept of it.
fn compare(call: Call) -> Answer {
    Box::pin(async move {
        sees_all(&call)?;
        let offered: Offered = call.body.json()?;
        let differs = call
            .read(move |shared| {
                let odd = |error: String| Problem::malformed(error);
                let new = offered.read()?;
                let authority = shared.service.authority();
                let active = authority.with_state(|state| state.policy().map(|it| it.bundle));
                let old = self::bundle(authority, active.ok_or_else(none_in_force)?)?;
                let found = diff(&old, &new).map_err(|problems| {
                    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    odd(lines.join("; "))
                })?;
                let said = |all: Vec<(&String, String)>| -> Map<String, Value> {
                    let named = all.into_iter();
                    named
                        .map(|(name, what)| (name.clone(), what.into()))
                        .collect()
                };
                let changed = found.changed.iter();
                let members = found.members.iter();
                Ok(json!({
                    "added": found.added, "removed": found.removed, "same": found.is_empty(),
                    "bundle": new.digest(), "name": new.about().name, "revision": new.about().revision,
                    "changed": said(changed.map(|(id, what)| (id, words(what))).collect()),
                    "members": said(members.map(|(path, how)| (path, words(how))).collect()),
                    "words": found.to_string(),
                }))
            })
            .await?;
        reply::json(StatusCode::OK, &differs)
    })
}

/// A part of a difference as text, whatever its shape.
fn words(part: &impl serde::Serialize) -> String {
    match serde_json::to_value(part) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn none_in_force() -> Problem {
    Problem::not_found("no policy bundle is in force, or it cannot be read here")
}

fn archive_text(authority: &Authority, digest: Digest) -> Result<String, Problem> {
    let missing = || Problem::not_found("no bundle of this digest was ever in force here");
    let bytes = authority.bundles().archive(digest).map_err(|_| missing())?;
    String::from_utf8(bytes).map_err(|_| Problem::internal())
}

fn bundle(authority: &Authority, digest: Digest) -> Result<Bundle, Problem> {
    let text = archive_text(authority, digest)?;
    Bundle::from_archive(text.as_bytes(), &digest).map_err(|_| {
        let reason = "the bundle in force does not read any more";
        Problem::of(&Denial::new(DenialCode::PolicyError, reason))
    })
}

fn value(state: &State, rule: &Rule, source: Option<&str>) -> Value {
    let approvals = rule.approvals.as_ref().map(|it| {
        json!({ "count": it.needed.count, "groups": it.needed.groups, "within_secs": it.within })
    });
    let mut value = json!({
        "approvals": approvals, "description": rule.description,
        "effect": if rule.permits { "permit" } else { "forbid" },
        "file": rule.file, "id": rule.id, "lifetime_secs": rule.lifetime, "line": rule.line,
        "profile": rule.profile, "reroute": rule.reroute,
        "revoked": state.is_policy_revoked(&rule.id), "severity": rule.severity,
    });
    if let (Some(source), Value::Object(members)) = (source, &mut value) {
        members.insert("source".to_owned(), source.into());
    }
    value
}
