//! Searches: who may, and what may be done. In pages, of what the bundle's directory and the log name.

use std::sync::Arc;

use hyper::StatusCode;
use placet_authority::questions::Query;
use placet_decision::Searched;
use placet_evidence::QuestionOutcome;
use placet_types::canonical::Json;
use placet_types::{Digest, Question, Sought, Span};
use serde::Serialize;
use tokio::sync::oneshot;

use super::asked::{Parts, about};
use super::{query, refused, room};
use crate::call::{Answer, Call, answered};
use crate::problem::Problem;
use crate::reply;

/// Results of a page where the asker does not say.
const LIMIT: u32 = 100;
/// Most results of a page.
const LIMIT_MAX: u32 = 1000;

#[derive(Serialize)]
struct SearchReply {
    page: Page,
    results: Vec<Found>,
}

#[derive(Serialize)]
struct Page {
    count: usize,
    /// Empty at the end.
    next_token: String,
}

/// An entity or an action.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Action {
        name: String,
    },
    Party {
        id: String,
        #[serde(rename = "type")]
        kind: String,
    },
}

/// Subjects that may.
pub(in crate::routes) fn subjects(call: Call) -> Answer {
    search(call, Sought::Subjects)
}

/// Resources that it may be done to.
pub(in crate::routes) fn resources(call: Call) -> Answer {
    search(call, Sought::Resources)
}

/// Actions that may be done.
pub(in crate::routes) fn actions(call: Call) -> Answer {
    search(call, Sought::Actions)
}

fn search(call: Call, sought: fn(Span) -> Sought) -> Answer {
    Box::pin(async move {
        let body = call.body.i_json()?;
        let (limit, token) = page(&body)?;
        let from = |begin| sought(Span { begin, limit });
        let mut question = about(&Parts::of(&body)?, from(0))?;
        let context = context(&call, &question)?;
        if let Some(token) = token {
            question.sought = from(call.shared.pages.open(&token, &context)?);
        }
        let query = query(&call, question.clone())?;
        let room = room(&call, 1)?;
        let (answer, found) = run(&call, query).await?;
        drop(room);
        if answer.outcome != QuestionOutcome::Permit {
            return Err(refused(answer));
        }
        let next_token = match found.next {
            Some(next) => call.shared.pages.seal(next, &context)?,
            None => String::new(),
        };
        let results = results(&question, found);
        let page = Page {
            count: results.len(),
            next_token,
        };
        reply::json(StatusCode::OK, &SearchReply { page, results })
    })
}

async fn run(
    call: &Call,
    query: Query,
) -> Result<(placet_authority::questions::Asked, Searched), Problem> {
    let (sender, receiver) = oneshot::channel();
    call.read(move |shared| {
        let then = move |answer| drop(sender.send(answer));
        Ok(shared.service.search_then(query, then)?)
    })
    .await?;
    answered(receiver).await
}

fn results(question: &Question, found: Searched) -> Vec<Found> {
    let party = |id: String, kind: &str| Found::Party {
        id,
        kind: kind.to_owned(),
    };
    let results = found.results.into_iter();
    match question.sought {
        Sought::Subjects(_) => results
            .map(|id| party(id, &question.subject.kind))
            .collect(),
        Sought::Resources(_) => results
            .map(|id| party(id, &question.resource.kind))
            .collect(),
        Sought::Actions(_) => results.map(|name| Found::Action { name }).collect(),
        Sought::Decision => Vec::new(),
    }
}

/// What a token goes on with: the same question, of the same asker, over the same candidates.
fn context(call: &Call, question: &Question) -> Result<Vec<u8>, Problem> {
    let mut question = question.clone();
    question.sought = match question.sought {
        Sought::Subjects(_) => Sought::Subjects(Span { begin: 0, limit: 0 }),
        Sought::Resources(_) => Sought::Resources(Span { begin: 0, limit: 0 }),
        Sought::Actions(_) => Sought::Actions(Span { begin: 0, limit: 0 }),
        Sought::Decision => Sought::Decision,
    };
    let caller = call
        .identity
        .caller()
        .ok_or_else(Problem::unauthenticated)?;
    let caller = serde_json::to_vec(&caller).map_err(|_| Problem::internal())?;
    let authority = call.service().authority();
    let over = authority.with_state(|state| {
        let bundle = state.policy().map(|active| active.bundle.to_string());
        format!(
            "{} {}",
            bundle.unwrap_or_default(),
            state.principals().count()
        )
    });
    let parts = [
        Digest::of(&question.to_canonical()),
        Digest::of(&caller),
        Digest::of(over.as_bytes()),
    ];
    Ok(parts
        .iter()
        .flat_map(|part| part.to_string().into_bytes())
        .collect())
}

/// The limit and the token of the page that is asked for.
fn page(body: &Json) -> Result<(u32, Option<Arc<str>>), Problem> {
    let page = match body.get("page") {
        None => return Ok((LIMIT, None)),
        Some(page @ Json::Object(_)) => page,
        Some(_) => return Err(Problem::malformed("page: an object")),
    };
    let limit = match page.get("limit") {
        None => LIMIT,
        Some(Json::Number(limit)) if limit.fract() == 0.0 && *limit >= 1.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, and between 1 and the bound"
            )]
            let limit = limit.min(f64::from(LIMIT_MAX)) as u32;
            limit
        }
        Some(_) => return Err(Problem::malformed("page.limit: a whole number above 0")),
    };
    match page.get("token") {
        None => Ok((limit, None)),
        Some(Json::String(token)) if token.is_empty() => Ok((limit, None)),
        Some(Json::String(token)) => Ok((limit, Some(token.as_str().into()))),
        Some(_) => Err(Problem::malformed("page.token: a string")),
    }
}
