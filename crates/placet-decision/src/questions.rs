//! Questions: decisions for somebody who only wants to know.
//!
//! Two things are decided, in this order. May whoever asks ask this? Policy says so, of the action
//! [`EVALUATE`] or [`SEARCH`] on a resource of kind `Question`. And then: may the subject? The answer
//! gives nobody authority and changes no state. Pure, as [`crate::decide`] is.

use placet_evidence::{
    Answered, Caller, CheckedDenial, Environment, FoundBySearch, History, PolicyRef,
    PrincipalStatus, QuestionOutcome, Risk,
};
use placet_policy::{Asked, Circumstances, Effect, Evaluation, Policy, Presented, Who};
use placet_state::{Principal, State, resource_digest};
use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{
    Commitment, DenialCode, Fixed, Millis, PrincipalId, Question, ResourceRef, Sought,
};

use crate::callers::is_named;
use crate::checks::deny;

/// The action of asking whether something may be done.
pub const EVALUATE: &str = "access:evaluate";
/// The action of asking who may, or what may be done.
pub const SEARCH: &str = "access:search";
/// Principals that one caller is tried as.
pub const ASKED_AS_MAX: usize = 16;
/// Candidates that one search looks at.
const CANDIDATES_MAX: u32 = 1000;

/// A question with everything that its answer is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The fold of all records before the one that will hold the answer.
    pub state: &'a State,
    /// The compiled bundle in force, if the caller has one.
    pub policy: Option<&'a Policy>,
    /// The question.
    pub question: &'a Question,
    /// Principals that the caller says it is, at least one: the first that may ask is the one that asks.
    pub askers: &'a [PrincipalId],
    /// How the caller is known.
    pub caller: &'a Caller,
    /// The machine of the node.
    pub environment: &'a Fixed<Environment>,
    /// When.
    pub time: Millis,
}

/// The answer to a question. It counts once its record is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an answer that is not committed was never given"]
pub struct Answer {
    asker: PrincipalId,
    asking: Vec<String>,
    denial: Option<CheckedDenial>,
    outcome: QuestionOutcome,
    policy: PolicyRef,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Ids of subjects or resources, or names of actions.
    pub results: Vec<String>,
    /// Where to go on; absent once every candidate was looked at.
    pub next: Option<u32>,
}

impl Answer {
    /// Yes, no, or that it may not be asked.
    #[must_use]
    pub fn outcome(&self) -> QuestionOutcome {
        self.outcome
    }

    /// Why not.
    #[must_use]
    pub fn denial(&self) -> Option<&CheckedDenial> {
        self.denial.as_ref()
    }

    /// The record of this answer.
    #[must_use]
    pub fn into_record(
        self,
        asking: &Asking<'_>,
        question: Commitment,
        found: Option<FoundBySearch>,
    ) -> Answered {
        // Nothing was given to who may not ask.
        let found = found.filter(|_| self.outcome == QuestionOutcome::Permit);
        Answered {
            asker: self.asker,
            asking: self.asking,
            caller: asking.caller.clone(),
            denial: self.denial,
            environment: asking.environment.clone(),
            found,
            outcome: self.outcome,
            policy: self.policy,
            question,
            time: asking.time,
        }
    }
}

/// Answers a question. `None` when nobody asks it.
///
/// For a search this says whether it may be asked; what it finds is [`search`]'s.
#[must_use]
pub fn answer(asking: &Asking<'_>) -> Option<Answer> {
    answer_by(asking, in_force(asking))
}

/// What would be answered if the bundle of `asking` were the one in force.
#[must_use]
pub fn suppose_answer(asking: &Asking<'_>) -> Option<Answer> {
    let policy = usable(asking, asking.policy);
    let mut answer = answer_by(asking, policy)?;
    answer.policy.bundle = asking.policy.map(Policy::digest);
    Some(answer)
}

fn answer_by(asking: &Asking<'_>, policy: Result<&Policy, CheckedDenial>) -> Option<Answer> {
    let first = asking.askers.first()?;
    let mut answer = Answer {
        asker: first.clone(),
        asking: Vec::new(),
        denial: None,
        outcome: QuestionOutcome::Refused,
        policy: PolicyRef {
            bundle: asking.state.policy().map(|active| active.bundle),
            determining: Vec::new(),
        },
    };
    let policy = match policy {
        Ok(policy) => policy,
        Err(denial) => {
            answer.denial = Some(denial);
            return Some(answer);
        }
    };
    match asker(asking, policy) {
        Ok((asker, asking)) => (answer.asker, answer.asking) = (asker, asking),
        Err((denial, asking)) => {
            (answer.denial, answer.asking) = (Some(denial), asking);
            return Some(answer);
        }
    }
    if asking.question.sought == Sought::Decision {
        answer.denial = put(asking, policy, &mut answer.policy.determining).err();
    }
    answer.outcome = match answer.denial {
        None => QuestionOutcome::Permit,
        Some(_) => QuestionOutcome::Deny,
    };
    Some(answer)
}

/// Looks for who may, or what may be done, as far as the question's span says. Says nothing of
/// whether it may be asked.
#[must_use]
pub fn search(asking: &Asking<'_>) -> Searched {
    let (Ok(policy), Some(span)) = (in_force(asking), asking.question.sought.span()) else {
        return Searched::default();
    };
    let mut found = Searched::default();
    let mut question = asking.question.clone();
    question.sought = Sought::Decision;
    let candidates = candidates(asking, policy, span.begin);
    for (looked, candidate) in (0_u32..).zip(candidates) {
        if looked >= CANDIDATES_MAX || found.results.len() >= span.limit as usize {
            found.next = span.begin.checked_add(looked);
            break;
        }
        match asking.question.sought {
            Sought::Subjects(_) => question.subject.id.clone_from(&candidate),
            Sought::Resources(_) => question.resource.id.clone_from(&candidate),
            Sought::Actions(_) => question.action.name.clone_from(&candidate),
            Sought::Decision => {}
        }
        let one = Asking {
            question: &question,
            ..*asking
        };
        if put(&one, policy, &mut Vec::new()).is_ok() {
            found.results.push(candidate);
        }
    }
    found
}

fn candidates(asking: &Asking<'_>, policy: &Policy, begin: u32) -> Vec<String> {
    let kind = match asking.question.sought {
        Sought::Subjects(_) => &asking.question.subject.kind,
        Sought::Resources(_) => &asking.question.resource.kind,
        Sought::Actions(_) => {
            let own = |name: &String| name != EVALUATE && name != SEARCH;
            let actions = policy.actions().into_iter().filter(own);
            return actions.skip(begin as usize).collect();
        }
        Sought::Decision => return Vec::new(),
    };
    let (begin, most) = (begin as usize, CANDIDATES_MAX as usize + 1);
    if kind == "Principal" {
        let principals = asking.state.principals().map(|(id, _)| id.to_string());
        return principals.skip(begin).take(most).collect();
    }
    let ids = policy.candidates(kind, begin).map(str::to_owned);
    ids.take(most).collect()
}

/// The bundle in force, while the domain is not halted.
fn in_force<'a>(asking: &Asking<'a>) -> Result<&'a Policy, CheckedDenial> {
    let active = asking.state.policy().map(|active| active.bundle);
    if active.is_none() && !asking.state.is_halted() {
        return Err(deny(
            8,
            DenialCode::NoPermit,
            "no policy bundle is in force",
        ));
    }
    let policy = asking.policy;
    usable(asking, policy.filter(|it| Some(it.digest()) == active))
}

/// The bundle, where it counts and the domain is not halted.
fn usable<'a>(
    asking: &Asking<'_>,
    policy: Option<&'a Policy>,
) -> Result<&'a Policy, CheckedDenial> {
    if asking.state.is_halted() {
        return Err(deny(3, DenialCode::Halted, "the domain is halted"));
    }
    let reason = "the bundle in force could not be compiled here";
    let policy = policy.ok_or_else(|| deny(8, DenialCode::PolicyError, reason))?;
    crate::environment::holds_at(policy, asking.time)?;
    Ok(policy)
}

type Unasked = (CheckedDenial, Vec<String>);

/// The first of the principals that may ask, and the policies that let it.
fn asker(asking: &Asking<'_>, policy: &Policy) -> Result<(PrincipalId, Vec<String>), Unasked> {
    let mut first = None;
    for id in asking.askers.iter().take(ASKED_AS_MAX) {
        match may_ask(asking, policy, id) {
            Ok(asking) => return Ok((id.clone(), asking)),
            Err(denied) => first = first.or(Some(denied)),
        }
    }
    let nobody = || deny(4, DenialCode::IdentityUnverified, "nobody asks");
    Err(first.unwrap_or_else(|| (nobody(), Vec::new())))
}

fn may_ask(asking: &Asking<'_>, policy: &Policy, id: &PrincipalId) -> Result<Vec<String>, Unasked> {
    let refused = |check, code, reason: String| (deny(check, code, reason), Vec::new());
    let unverified = |reason: &str| refused(4, DenialCode::IdentityUnverified, reason.into());
    let principal = asking.state.principal(id);
    let principal = principal.ok_or_else(|| unverified("the principal is not registered"))?;
    if principal.status == PrincipalStatus::Suspended {
        return Err(refused(
            4,
            DenialCode::Revoked,
            "the principal is suspended".into(),
        ));
    }
    let mapped = || policy.mapping().principals(asking.caller).contains(id);
    if !is_named(asking.caller, principal) && !mapped() {
        return Err(unverified("the caller may not act as this principal"));
    }
    let question = asking.question;
    let action = if question.sought == Sought::Decision {
        EVALUATE
    } else {
        SEARCH
    };
    if !policy.has_action(action) {
        let reason = format!(
            "the bundle in force takes no questions: its schema declares no action `{action}`"
        );
        return Err(refused(8, DenialCode::NoPermit, reason));
    }
    let about = about(question, id);
    let groups: Vec<String> = principal.groups.iter().cloned().collect();
    let subject = registered(id, &groups);
    let resource = Who {
        kind: "Question",
        id: if question.action.name.is_empty() {
            "*"
        } else {
            &question.action.name
        },
        given: &about,
        groups: None,
    };
    let evaluation = evaluate(
        asking,
        policy,
        Some(id),
        (subject, action, resource),
        (&Members::new(), &Members::new()),
    );
    let determining = evaluation.determining.clone();
    match verdict(asking, &evaluation) {
        Ok(()) => Ok(determining),
        Err(denial) => {
            let reason = format!("whether `{id}` may ask this ({action}): {}", denial.reason);
            Err((CheckedDenial { reason, ..denial }, determining))
        }
    }
}

/// What policies see of a question that somebody wants to ask.
fn about(question: &Question, asker: &PrincipalId) -> Members {
    let own = question.subject.kind == "Principal" && question.subject.id == asker.as_str();
    let text = |value: &str| Json::String(value.to_owned());
    Members::from([
        ("action".to_owned(), text(&question.action.name)),
        ("own".to_owned(), Json::Bool(own)),
        ("resource_kind".to_owned(), text(&question.resource.kind)),
        ("subject_kind".to_owned(), text(&question.subject.kind)),
    ])
}

fn registered<'a>(id: &'a PrincipalId, groups: &'a [String]) -> Who<'a> {
    // Nothing that is given counts beside what the log says.
    const NOTHING: &Members = &Members::new();
    Who {
        kind: "Principal",
        id: id.as_str(),
        given: NOTHING,
        groups: Some(groups),
    }
}

/// Puts the question itself to policy.
fn put(
    asking: &Asking<'_>,
    policy: &Policy,
    determining: &mut Vec<String>,
) -> Result<(), CheckedDenial> {
    let question = asking.question;
    let subject_id = principal_id(&question.subject)?;
    let resource_id = principal_id(&question.resource)?;
    let subject_groups = groups(asking.state, subject_id.as_ref())?;
    let resource_groups = groups(asking.state, resource_id.as_ref())?;
    let subject = who(&question.subject, subject_groups.as_deref());
    let resource = who(&question.resource, resource_groups.as_deref());
    let (action, said) = (
        &question.action,
        (&question.action.properties, &question.context),
    );
    let evaluation = evaluate(
        asking,
        policy,
        subject_id.as_ref(),
        (subject, &action.name, resource),
        said,
    );
    determining.clone_from(&evaluation.determining);
    verdict(asking, &evaluation)
}

fn principal_id(party: &placet_types::Party) -> Result<Option<PrincipalId>, CheckedDenial> {
    if party.kind != "Principal" {
        return Ok(None);
    }
    let unknown = |_| {
        deny(
            4,
            DenialCode::IdentityUnverified,
            "no principal has such a name",
        )
    };
    PrincipalId::parse(&party.id).map(Some).map_err(unknown)
}

/// The groups of a registered principal that may act.
fn groups(state: &State, id: Option<&PrincipalId>) -> Result<Option<Vec<String>>, CheckedDenial> {
    let Some(id) = id else {
        return Ok(None);
    };
    let reason = "the principal that is asked about is not registered";
    let principal: &Principal = state
        .principal(id)
        .ok_or_else(|| deny(4, DenialCode::IdentityUnverified, reason))?;
    if principal.status == PrincipalStatus::Suspended {
        let reason = "the principal that is asked about is suspended";
        return Err(deny(4, DenialCode::Revoked, reason));
    }
    Ok(Some(principal.groups.iter().cloned().collect()))
}

fn who<'a>(party: &'a placet_types::Party, groups: Option<&'a [String]>) -> Who<'a> {
    Who {
        kind: party.kind.as_str(),
        id: party.id.as_str(),
        given: &party.properties,
        groups,
    }
}

fn evaluate(
    asking: &Asking<'_>,
    policy: &Policy,
    principal: Option<&PrincipalId>,
    (subject, action, resource): (Who<'_>, &str, Who<'_>),
    (action_properties, context): (&Members, &Members),
) -> Evaluation {
    let (history, risk) = past(asking, principal, action, resource);
    let environment: &Environment = asking.environment;
    // A question is of the node's own machine, and nobody attests to itself.
    let appraised = policy.references().appraise(&Presented {
        attestation: None,
        environment,
        executable: None,
        time: asking.time,
    });
    policy.ask(&Asked {
        subject,
        action,
        action_properties,
        resource,
        context,
        facts: Circumstances {
            environment,
            appraisal: &appraised.appraisal,
            history: &history,
            risk: &risk,
            time: asking.time,
        },
    })
}

/// History and risk of a registered principal; nothing is known of anybody else.
fn past(
    asking: &Asking<'_>,
    id: Option<&PrincipalId>,
    action: &str,
    resource: Who<'_>,
) -> (History, Risk) {
    let Some(id) = id else {
        return (History::default(), Risk::default());
    };
    let resource = ResourceRef {
        digest: None,
        id: resource.id.to_owned(),
        kind: resource.kind.to_owned(),
    };
    let history = asking
        .state
        .history(id, (action, resource_digest(&resource)), asking.time);
    let risk = asking.state.risk(&history);
    (history, risk)
}

fn verdict(asking: &Asking<'_>, evaluation: &Evaluation) -> Result<(), CheckedDenial> {
    let usual = match evaluation.effect {
        Effect::Permit => return standing(asking, evaluation),
        Effect::Forbid => "a policy forbids it",
        Effect::NoPermit => "no policy permits it",
        Effect::Unappraised => "a policy that permits it demands an attested environment",
        Effect::Error | Effect::TooMuch => "a policy failed while it was evaluated",
    };
    // What the question lacks is the asker's to know; what failed inside a policy is not.
    let mut faults = evaluation.errors.iter();
    let lacks = faults.find(|fault| fault.policy.is_none());
    let reason = lacks.map_or_else(
        || usual.to_owned(),
        |fault| fault.message.chars().take(512).collect(),
    );
    let code = evaluation
        .effect
        .denial_code()
        .unwrap_or(DenialCode::PolicyError);
    Err(deny(8, code, reason))
}

/// A permit that stands, and needs nobody's consent.
fn standing(asking: &Asking<'_>, evaluation: &Evaluation) -> Result<(), CheckedDenial> {
    let revoked = |id: &String| asking.state.is_policy_revoked(id);
    if evaluation.determining.iter().any(revoked) {
        let reason = "the policy that permits it was revoked";
        return Err(deny(8, DenialCode::Revoked, reason));
    }
    if !evaluation.obligations.approvals.is_empty() {
        let reason = "it is permitted to an intent that others have approved";
        return Err(deny(10, DenialCode::ApprovalRequired, reason));
    }
    Ok(())
}

/// Where the state was that a search looked through.
#[must_use]
pub fn searched_at(state: &State, found: &Searched) -> FoundBySearch {
    FoundBySearch {
        at: state.next(),
        count: u32::try_from(found.results.len()).unwrap_or(u32::MAX),
    }
}
