//! The ten checks.
//!
//! Check 2 (the log is writable and the view is fresh) has no code here on purpose: a decision is
//! made for the index at which its record will stand, against the fold of everything before it, and
//! it counts only once that record is durable. A view cannot be fresher than that, and a log that
//! cannot be written yields no record, so no permit.

use placet_evidence::{
    Appraisal, Caller, CheckedDenial, GATEWAY, Grant, History, PREFIX, PolicyRef, Risk,
};
use placet_policy::{Demand, Effect, Evaluation, Policy, Profile, Request};
use placet_state::{Execution, Principal, resource_digest};
use placet_types::{
    DenialCode, ExecutionId, FixedScope, Millis, PrincipalId, ProcessParams, ProfileName, Seconds,
};

use crate::approvals::{self, Consent};
use crate::callers;
use crate::environment::{appraise, environment, policy_in_force, policy_supposed};
use crate::holds::{credentials, definition, enforceable, scope};
use crate::params::Read;
use crate::{Answer, Decision, Input};

/// Names of the checks, in order.
pub const CHECKS: [&str; 10] = [
    "the intent parses strictly",
    "the log is writable and the view of it is fresh",
    "the domain is not halted",
    "the principal is authenticated, known and active",
    "the lineage allows it",
    "the environment is trusted",
    "history and risk are known",
    "policy permits it",
    "the obligations resolve and the scope holds",
    "everybody who must has approved",
];

/// Deepest lineage: an execution has at most this many ancestors.
pub const DEPTH_MAX: u32 = 8;

type Denied = CheckedDenial;

pub(crate) fn deny(check: u8, code: DenialCode, reason: impl Into<String>) -> Denied {
    CheckedDenial {
        check,
        code,
        reason: reason.into(),
    }
}

/// What later checks use of earlier ones; also what the record says of a denial.
struct Found {
    /// How the environment was appraised, where it was attested.
    appraisal: Option<Appraisal>,
    policy: PolicyRef,
    risk: Risk,
}

/// Whether the intent is new, or was permitted before and counts in the history already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    /// Permitted at this time, and running since.
    Again(Millis),
    /// A past one, under a bundle that was not in force.
    Supposed,
}

pub(crate) fn run(input: &Input<'_>) -> Decision {
    run_as(input, Turn::First)
}

/// Runs the checks as if the bundle of the input were the one in force.
pub(crate) fn run_supposed(input: &Input<'_>) -> Decision {
    run_as(input, Turn::Supposed)
}

fn run_as(input: &Input<'_>, turn: Turn) -> Decision {
    let mut found = Found::new(input, turn);
    let answer = match checks(input, turn, &mut found) {
        Ok(Reached {
            grant,
            scope,
            consent: Consent::Given(approved_by),
        }) => Answer::Permit {
            grant: Grant {
                approved_by,
                ..grant
            },
            scope,
        },
        Ok(Reached {
            consent: Consent::Missing(waiting),
            ..
        }) => Answer::Defer(waiting),
        Err(denial) => Answer::Deny(denial),
    };
    Decision {
        answer,
        appraisal: found.appraisal,
        policy: found.policy,
        risk: found.risk,
    }
}

/// Whether the intent is an act of administration: carried out by the node itself, in no cell, and
/// possible also while nothing else is.
pub(crate) fn administers(input: &Input<'_>) -> bool {
    input.intent.action.as_str().starts_with(PREFIX)
}

/// Runs the checks again for an execution that was permitted with `scope`.
pub(crate) fn run_again(
    input: &Input<'_>,
    scope: &FixedScope,
    permitted: Millis,
) -> Result<(), Denied> {
    let turn = Turn::Again(permitted);
    let mut found = Found::new(input, turn);
    let now = checks(input, turn, &mut found)?.scope;
    match scope.excess_over(&now) {
        None => Ok(()),
        Some(_) => Err(deny(
            9,
            DenialCode::ScopeExceeded,
            "policy grants less than the scope that was granted",
        )),
    }
}

impl Found {
    fn new(input: &Input<'_>, turn: Turn) -> Self {
        let bundle = match turn {
            Turn::First | Turn::Again(_) => input.state.policy().map(|active| active.bundle),
            Turn::Supposed => input.policy.map(Policy::digest),
        };
        Self {
            appraisal: None,
            policy: PolicyRef {
                bundle,
                determining: Vec::new(),
            },
            risk: Risk::default(),
        }
    }
}

/// What is granted once everybody who must has approved.
struct Reached {
    grant: Grant,
    scope: FixedScope,
    consent: Consent,
}

fn checks(input: &Input<'_>, turn: Turn, found: &mut Found) -> Result<Reached, Denied> {
    let read = parse_params(input)?;
    not_halted(input)?;
    let principal = callers::principal(input)?;
    let ancestry = lineage(input)?;
    let policy = match turn {
        Turn::First | Turn::Again(_) => policy_in_force(input)?,
        Turn::Supposed => policy_supposed(input)?,
    };
    // Since it was permitted its gateway has watched what it attested.
    let attested_by = match turn {
        Turn::First | Turn::Supposed => input.facts.time,
        Turn::Again(permitted) => permitted,
    };
    let appraised = appraise(input, policy, attested_by);
    let attested = input.facts.attestation.is_some();
    found.appraisal = attested.then(|| appraised.appraisal.clone());
    let appraisal = if administers(input) {
        appraised.appraisal
    } else {
        let appraisal = environment(input, appraised)?;
        definition(input)?;
        appraisal
    };
    let history = history_and_risk(input, turn, found);
    let seen = (&history, &appraisal);
    let evaluation = evaluate(input, policy, principal, &ancestry, read, seen, found)?;
    let granted = resolve(input, policy, &evaluation, read)?;
    if !matches!(turn, Turn::Again(_)) {
        // What runs has its secrets already.
        credentials(input, &granted.scope)?;
    }
    let obligations = &evaluation.obligations;
    let consent = match turn {
        Turn::First | Turn::Supposed => {
            approvals::consent(input, policy, obligations, &ancestry.delegation)?
        }
        Turn::Again(_) => {
            approvals::consent_again(input, policy, obligations)?;
            Consent::Given(Vec::new())
        }
    };
    Ok(Reached {
        grant: grant(input, policy, &granted, ancestry)?,
        scope: granted.scope,
        consent,
    })
}

// 1 --------------------------------------------------------------------------------------------

fn parse_params<'a>(input: &Input<'a>) -> Result<&'a Read, Denied> {
    let malformed = |reason: String| deny(1, DenialCode::Malformed, reason);
    let action = input.intent.action.as_str();
    if !input
        .intent
        .params
        .opens_to(action, input.params.bytes(), input.params.salt())
    {
        return Err(malformed(
            "the commitment does not open to the parameters".into(),
        ));
    }
    let read = input
        .params
        .read()
        .map_err(|error| malformed(format!("parameters: {error}")))?;
    let of_process = matches!(read, Read::Process { .. });
    if of_process != (action == ProcessParams::ACTION) {
        return Err(malformed(format!(
            "the parameters are those of another action than `{action}`"
        )));
    }
    let resource = &input.intent.resource;
    if of_process && (resource.kind != "Program" || resource.digest.is_none()) {
        return Err(malformed(
            "a process needs a program with its digest as resource".into(),
        ));
    }
    if resource.is_defined() && resource.digest.is_none() {
        return Err(malformed(
            "a call of a tool names the digest of its definition".into(),
        ));
    }
    if administers(input) != (input.intent.gateway.as_str() == GATEWAY) {
        return Err(malformed(format!(
            "`{PREFIX}…` is asked for by an act of administration, and by nothing else"
        )));
    }
    Ok(read)
}

// 3 --------------------------------------------------------------------------------------------

fn not_halted(input: &Input<'_>) -> Result<(), Denied> {
    // Else nothing could let it continue.
    if input.state.is_halted() && !administers(input) {
        return Err(deny(3, DenialCode::Halted, "the domain is halted"));
    }
    Ok(())
}

// 5 --------------------------------------------------------------------------------------------

/// What an execution has from its parent.
struct Ancestry {
    depth: u32,
    delegation: Vec<PrincipalId>,
    root: ExecutionId,
    not_after: Option<Millis>,
}

fn lineage(input: &Input<'_>) -> Result<Ancestry, Denied> {
    let broken = |reason: &str| deny(5, DenialCode::LineageFragmented, reason);
    if let Caller::Execution(exec) = input.facts.caller
        && input.intent.parent != Some(exec)
    {
        return Err(broken(
            "a governed caller can only start children of its own",
        ));
    }
    let Some(parent) = input.intent.parent else {
        let root = input.facts.exec;
        return Ok(Ancestry {
            depth: 0,
            delegation: Vec::new(),
            root,
            not_after: None,
        });
    };
    let execution = input
        .state
        .execution(&parent)
        .ok_or_else(|| broken("the parent does not run"))?;
    if !execution.is_live() || execution.grant.not_after <= input.facts.time {
        return Err(broken("the parent does not run, or is being ended"));
    }
    let depth = execution.grant.depth.saturating_add(1);
    if depth > DEPTH_MAX {
        return Err(broken("the lineage is as deep as it may be"));
    }
    check_parent_scope(input, execution)?;
    Ok(Ancestry {
        depth,
        delegation: delegation(execution, &input.intent.principal),
        root: execution.grant.root,
        not_after: Some(execution.grant.not_after),
    })
}

/// The caller hands the parent's scope in; the state holds its digest, so it cannot be another one.
fn check_parent_scope(input: &Input<'_>, parent: &Execution) -> Result<(), Denied> {
    let broken = || {
        deny(
            5,
            DenialCode::LineageFragmented,
            "the parent's scope is not known",
        )
    };
    let scope = input.parent_scope.ok_or_else(broken)?;
    if scope.digest() == parent.grant.scope {
        Ok(())
    } else {
        Err(broken())
    }
}

/// The principals of the ancestors, the parent's first; one that acts as itself adds no link.
fn delegation(parent: &Execution, principal: &PrincipalId) -> Vec<PrincipalId> {
    let mut chain = parent.grant.delegation.clone();
    if parent.principal() != principal {
        chain.insert(0, parent.principal().clone());
    }
    chain
}

// 7 --------------------------------------------------------------------------------------------

fn history_and_risk(input: &Input<'_>, turn: Turn, found: &mut Found) -> History {
    let resource = resource_digest(&input.intent.resource);
    let mut history = input.state.history(
        &input.intent.principal,
        (input.intent.action.as_str(), resource),
        input.facts.time,
    );
    if matches!(turn, Turn::Again(_)) {
        // The past of an execution does not hold the execution itself.
        for count in [
            &mut history.permits_60m,
            &mut history.permits_day,
            &mut history.permits_hour,
            &mut history.permits_minute,
            &mut history.permits_resource_60m,
            &mut history.permits_resource_hour,
            &mut history.running,
        ] {
            *count = count.saturating_sub(1);
        }
    }
    found.risk = input.state.risk(&history);
    history
}

// 8 --------------------------------------------------------------------------------------------

fn evaluate(
    input: &Input<'_>,
    policy: &Policy,
    principal: &Principal,
    ancestry: &Ancestry,
    read: &Read,
    (history, appraisal): (&History, &Appraisal),
    found: &mut Found,
) -> Result<Evaluation, Denied> {
    let groups: Vec<String> = principal.groups.iter().cloned().collect();
    let evaluation = policy.evaluate(&Request {
        principal: &input.intent.principal,
        groups: &groups,
        action: &input.intent.action,
        resource: &input.intent.resource,
        params: read.given(),
        delegation: &ancestry.delegation,
        depth: ancestry.depth,
        profile_asked: input.intent.asked.profile.as_ref(),
        environment: &input.facts.environment,
        appraisal,
        history,
        risk: &found.risk,
        time: input.facts.time,
    });
    found.policy.determining.clone_from(&evaluation.determining);
    let denied = |code, reason: &str| Err(deny(8, code, reason));
    match evaluation.effect {
        Effect::Permit => {}
        Effect::Forbid => return denied(DenialCode::PolicyForbids, "a policy forbids it"),
        Effect::NoPermit => return denied(DenialCode::NoPermit, "no policy permits it"),
        Effect::Unappraised => {
            let demand = evaluation
                .obligations
                .appraisal
                .unwrap_or(Demand::Affirming);
            let unmet = policy.references().unmet(demand, appraisal);
            let reason = format!("a policy that permits it demands {unmet}");
            return denied(DenialCode::EnvironmentUntrusted, &reason);
        }
        Effect::Error => {
            return denied(
                DenialCode::PolicyError,
                "a policy failed while it was evaluated",
            );
        }
        Effect::TooMuch => {
            return denied(
                DenialCode::PolicyError,
                "the policies that apply could take too long over what is given; give less at once",
            );
        }
    }
    if evaluation
        .determining
        .iter()
        .any(|id| input.state.is_policy_revoked(id))
    {
        return denied(
            DenialCode::Revoked,
            "the policy that permits it was revoked",
        );
    }
    Ok(evaluation)
}

// 9 --------------------------------------------------------------------------------------------

struct Granted<'a> {
    profile: &'a Profile,
    scope: FixedScope,
    lifetime: Seconds,
    rerouted: Vec<ProfileName>,
}

fn resolve<'a>(
    input: &Input<'_>,
    policy: &'a Policy,
    evaluation: &Evaluation,
    read: &Read,
) -> Result<Granted<'a>, Denied> {
    let profiles = profiles(input, policy, evaluation)?;
    let Some(profile) = profiles.last().copied() else {
        return Err(deny(9, DenialCode::PolicyError, "no profile applies"));
    };
    let scope = scope(input, policy, &profiles, read)?;
    if !administers(input) {
        enforceable(input, &scope)?;
    }
    let asked = input.intent.asked.lifetime_secs;
    let lifetimes = [
        Some(profile.lifetime()),
        evaluation.obligations.lifetime,
        asked,
        Some(Seconds::new(scope.limits.wall_secs)),
    ];
    let lifetime = lifetimes.into_iter().flatten().min().unwrap_or_default();
    Ok(Granted {
        profile,
        scope,
        lifetime,
        rerouted: evaluation.obligations.rerouted.clone(),
    })
}

/// The profiles whose scopes are intersected: those of the permits (else the bundle's default), those
/// that they reroute to last, then the one that was asked for. The result is named after the last.
fn profiles<'a>(
    input: &Input<'_>,
    policy: &'a Policy,
    evaluation: &Evaluation,
) -> Result<Vec<&'a Profile>, Denied> {
    let unknown = |name: &str| {
        deny(
            9,
            DenialCode::ScopeExceeded,
            format!("the bundle has no profile `{name}`"),
        )
    };
    let mut names = evaluation.obligations.profiles.clone();
    if names.is_empty() {
        names.push(policy.default_profile().clone());
    }
    let rerouted = &evaluation.obligations.rerouted;
    names.sort_by_key(|name| rerouted.contains(name));
    names.extend(
        input
            .intent
            .asked
            .profile
            .iter()
            .filter(|name| !names.contains(name))
            .cloned()
            .collect::<Vec<_>>(),
    );
    names
        .iter()
        .map(|name| policy.profile(name).ok_or_else(|| unknown(name.as_str())))
        .collect()
}

fn grant(
    input: &Input<'_>,
    policy: &Policy,
    granted: &Granted<'_>,
    ancestry: Ancestry,
) -> Result<Grant, Denied> {
    // Windows are whole seconds, as in the artifact.
    let whole = |time: Millis| Millis::new(time.as_unix_secs().saturating_mul(1000));
    let not_before = whole(input.facts.time);
    // Authority ends with the parent's, and with the bundle that gives it.
    let ends = [
        Some(not_before.plus(granted.lifetime)),
        ancestry.not_after,
        policy
            .validity()
            .expires
            .filter(|_| !administers(input))
            .map(whole),
    ];
    let not_after = ends.into_iter().flatten().min().unwrap_or(not_before);
    if not_after <= not_before {
        return Err(deny(
            9,
            DenialCode::ScopeExceeded,
            "no lifetime is left to grant",
        ));
    }
    Ok(Grant {
        approved_by: Vec::new(),
        delegation: ancestry.delegation,
        depth: ancestry.depth,
        lease_ms: granted.profile.lease_ms(),
        not_after,
        not_before,
        profile: granted.profile.name().clone(),
        rerouted: granted.rerouted.clone(),
        root: ancestry.root,
        scope: granted.scope.digest(),
        staleness_ms: granted.profile.staleness_ms(),
    })
}
