//! The OpenID AuthZEN Authorization API 1.0: questions, and decisions in answer to them.
//!
//! Whoever asks is a policy enforcement point of its own: it gets a decision with its record, and no
//! artifact. At this level what is unknown is ignored, as the standard demands; everything else is
//! read as strictly as elsewhere.

pub(super) mod asked;
pub(super) mod search;

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::HOST;
use placet_authority::questions::{Asked, Query};
use placet_authority::{Denied, Unavailable};
use placet_evidence::QuestionOutcome;
use placet_types::canonical::Json;
use placet_types::{Index, Question};
use serde::Serialize;
use tokio::sync::oneshot;

use super::lines::{get, post};
use crate::call::{Answer, Call, answered};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas::authzen as shapes;

/// Most questions of one batch.
pub(crate) const BATCH_MAX: usize = 256;

/// What a question is answered with.
#[derive(Serialize)]
struct DecisionReply {
    decision: bool,
    context: Context,
}

/// Beside a decision: the record that says so, and why not.
#[derive(Default, Serialize)]
struct Context {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Index>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

/// Why one question of a batch was not asked.
#[derive(Serialize)]
struct ItemError {
    message: String,
    status: u16,
}

#[derive(Serialize)]
struct BatchReply {
    evaluations: Vec<DecisionReply>,
}

/// When a batch stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Semantic {
    All,
    UntilDeny,
    UntilPermit,
}

/// The routes of questions.
pub(super) fn lines() -> Vec<Route> {
    vec![
        post(
            "/access/v1/evaluation",
            Access::Member,
            Lane::Intent,
            evaluation,
            "evaluate",
            "AuthZEN: may this subject do this? A denial is 200 with decision false",
            shapes::QUESTION,
            (200, shapes::ANSWER),
        ),
        post(
            "/access/v1/evaluations",
            Access::Member,
            Lane::Intent,
            evaluations,
            "evaluateMany",
            "AuthZEN: many questions at once; what stands beside them is what they leave out",
            shapes::QUESTIONS,
            (200, shapes::ANSWERS),
        ),
        post(
            "/access/v1/search/subject",
            Access::Member,
            Lane::Intent,
            search::subjects,
            "searchSubjects",
            "AuthZEN: who may do this?",
            shapes::SUBJECT_SEARCH,
            (200, shapes::FOUND),
        ),
        post(
            "/access/v1/search/resource",
            Access::Member,
            Lane::Intent,
            search::resources,
            "searchResources",
            "AuthZEN: what may it be done to?",
            shapes::RESOURCE_SEARCH,
            (200, shapes::FOUND),
        ),
        post(
            "/access/v1/search/action",
            Access::Member,
            Lane::Intent,
            search::actions,
            "searchActions",
            "AuthZEN: what may be done?",
            shapes::ACTION_SEARCH,
            (200, shapes::FOUND),
        ),
        get(
            "/.well-known/authzen-configuration",
            Access::Anyone,
            metadata,
            "authzenConfiguration",
            "AuthZEN: what this decision point offers, and where",
            shapes::METADATA,
        ),
    ]
}

/// One question.
fn evaluation(call: Call) -> Answer {
    Box::pin(async move {
        let body = call.body.i_json()?;
        let question = asked::question(&asked::Parts::of(&body)?)?;
        reply::json(StatusCode::OK, &single(&call, question).await?)
    })
}

/// Many questions. What stands beside them is what they leave out, each as a whole.
fn evaluations(call: Call) -> Answer {
    Box::pin(async move {
        let body = call.body.i_json()?;
        let defaults = asked::Parts::of(&body)?;
        let items = match body.get("evaluations") {
            Some(Json::Array(items)) => items.as_slice(),
            None => &[],
            Some(_) => return Err(Problem::malformed("evaluations: an array")),
        };
        let semantic = semantic(&body)?;
        if items.is_empty() {
            let question = asked::question(&defaults)?;
            return reply::json(StatusCode::OK, &single(&call, question).await?);
        }
        if items.len() > BATCH_MAX {
            let detail = format!("evaluations: at most {BATCH_MAX} at a time");
            return Err(Problem::malformed(detail));
        }
        let questions = items.iter().map(|item| {
            let own = asked::Parts::of(item)?;
            asked::question(&own.or(&defaults))
        });
        let evaluations = match semantic {
            Semantic::All => all(&call, questions.collect()).await?,
            Semantic::UntilDeny | Semantic::UntilPermit => {
                until(
                    &call,
                    questions.collect(),
                    semantic == Semantic::UntilPermit,
                )
                .await?
            }
        };
        reply::json(StatusCode::OK, &BatchReply { evaluations })
    })
}

/// What this decision point offers, and where.
fn metadata(call: Call) -> Answer {
    Box::pin(async move {
        // One that this listener answers to: that was checked before.
        let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(Problem::internal)?.to_lowercase();
        let base = format!("{}://{host}", call.channel.scheme());
        let places = [
            ("access_evaluation_endpoint", "/access/v1/evaluation"),
            ("access_evaluations_endpoint", "/access/v1/evaluations"),
            ("policy_decision_point", ""),
            ("search_action_endpoint", "/access/v1/search/action"),
            ("search_resource_endpoint", "/access/v1/search/resource"),
            ("search_subject_endpoint", "/access/v1/search/subject"),
        ];
        let places = places.map(|(name, path)| (name, format!("{base}{path}")));
        reply::json(StatusCode::OK, &BTreeMap::from(places))
    })
}

fn semantic(body: &Json) -> Result<Semantic, Problem> {
    let options = match body.get("options") {
        None => return Ok(Semantic::All),
        Some(options @ Json::Object(_)) => options,
        Some(_) => return Err(Problem::malformed("options: an object")),
    };
    match options.get("evaluations_semantic") {
        None => Ok(Semantic::All),
        Some(Json::String(text)) => match text.as_str() {
            "execute_all" => Ok(Semantic::All),
            "deny_on_first_deny" => Ok(Semantic::UntilDeny),
            "permit_on_first_permit" => Ok(Semantic::UntilPermit),
            _ => Err(Problem::malformed(
                "evaluations_semantic: execute_all, deny_on_first_deny or permit_on_first_permit",
            )),
        },
        Some(_) => Err(Problem::malformed("evaluations_semantic: a string")),
    }
}

type Waiting = oneshot::Receiver<Result<Asked, Unavailable>>;

/// Queues a question; its answer comes once its record is durable.
fn put(call: &Call, question: Question) -> Result<Waiting, Problem> {
    let query = query(call, question)?;
    let (sender, receiver) = oneshot::channel();
    let then = move |answer| drop(sender.send(answer));
    call.service().ask_then(query, then)?;
    Ok(receiver)
}

fn query(call: &Call, question: Question) -> Result<Query, Problem> {
    let authority = call.service().authority();
    let identity = &call.identity;
    Ok(Query {
        question,
        askers: authority.with_access(|access| identity.principals(access)),
        caller: identity.caller().ok_or_else(Problem::unauthenticated)?,
        environment: call.shared.environment.clone(),
    })
}

async fn single(call: &Call, question: Question) -> Result<DecisionReply, Problem> {
    let room = room(call, 1)?;
    let answer = answered(put(call, question)?).await?;
    drop(room);
    match answer.outcome {
        QuestionOutcome::Refused => Err(refused(answer)),
        QuestionOutcome::Permit | QuestionOutcome::Deny => Ok(decision(answer)),
    }
}

/// Room for as many questions as may be on their way at once.
fn room(call: &Call, questions: usize) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
    let questions = u32::try_from(questions).unwrap_or(u32::MAX);
    let busy = |_| Problem::overloaded("too many intents and questions are waiting");
    call.shared
        .room
        .intents
        .try_acquire_many(questions)
        .map_err(busy)
}

/// All of them at once: they are answered in the order in which they stand.
async fn all(
    call: &Call,
    questions: Vec<Result<Question, Problem>>,
) -> Result<Vec<DecisionReply>, Problem> {
    let room = room(call, questions.len())?;
    let mut waiting = Vec::with_capacity(questions.len());
    for question in questions {
        waiting.push(match question {
            Ok(question) => Ok(put(call, question)?),
            Err(problem) => Err(problem),
        });
    }
    let mut replies = Vec::with_capacity(waiting.len());
    for one in waiting {
        replies.push(match one {
            Ok(receiver) => item(answered(receiver).await?),
            Err(problem) => not_asked(&problem),
        });
    }
    drop(room);
    Ok(replies)
}

/// One after the other, up to the first decision that is `last`.
async fn until(
    call: &Call,
    questions: Vec<Result<Question, Problem>>,
    last: bool,
) -> Result<Vec<DecisionReply>, Problem> {
    let room = room(call, 1)?;
    let mut replies = Vec::new();
    for question in questions {
        let reply = match question {
            Ok(question) => item(answered(put(call, question)?).await?),
            Err(problem) => not_asked(&problem),
        };
        let ends = reply.decision == last;
        replies.push(reply);
        if ends {
            break;
        }
    }
    drop(room);
    Ok(replies)
}

/// A question of a batch: that it may not be asked is its own failure.
fn item(answer: Asked) -> DecisionReply {
    if answer.outcome != QuestionOutcome::Refused {
        return decision(answer);
    }
    let record = answer.index;
    let mut reply = not_asked(&refused(answer));
    reply.context.record = Some(record);
    reply
}

fn not_asked(problem: &Problem) -> DecisionReply {
    let error = ItemError {
        message: problem.detail().to_owned(),
        status: problem.status(),
    };
    DecisionReply {
        decision: false,
        context: Context {
            code: Some(problem.code()),
            error: Some(error),
            ..Context::default()
        },
    }
}

fn decision(answer: Asked) -> DecisionReply {
    let denial = answer.denial;
    DecisionReply {
        decision: answer.outcome == QuestionOutcome::Permit,
        context: Context {
            code: denial.as_ref().map(|denial| denial.code.as_str()),
            error: None,
            remedy: denial.as_ref().map(|denial| denial.code.remedy()),
            reason: denial.map(|denial| denial.reason),
            record: Some(answer.index),
        },
    }
}

/// Whoever asks may not ask this.
fn refused(answer: Asked) -> Problem {
    let Some(denial) = answer.denial else {
        return Problem::internal();
    };
    Problem::from(Denied {
        index: answer.index,
        exec: None,
        denial,
    })
}
