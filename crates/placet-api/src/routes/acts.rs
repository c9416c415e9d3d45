//! Operators' acts. Who may do them is checked where an attempt is recorded: in the node.

use std::sync::Arc;

use hyper::StatusCode;
use placet_authority::node::Acted;
use placet_authority::node::wire::ActBody;
use placet_evidence::Selector;
use placet_types::Digest;
use serde::Deserialize;
use serde_json::json;

use super::lines::{or, post};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply::{self, Reply};
use crate::route::{Access, Lane, Route};
use crate::schemas;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationBody {
    reason: String,
    selector: Selector,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeBody {
    #[serde(default)]
    node: Option<Digest>,
    reason: String,
}

/// The routes of acts of operators.
pub(super) fn lines() -> Vec<Route> {
    vec![
        post(
            "/v1/revocations",
            Access::Operator,
            Lane::Urgent,
            revoke,
            "revoke",
            "End authority early",
            schemas::REVOCATION,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/halt",
            Access::Operator,
            Lane::Urgent,
            halt,
            "halt",
            "Halt the whole domain",
            schemas::REASON,
            (201, schemas::RECORDED),
        ),
        or(
            post(
                "/v1/resume",
                Access::Operator,
                Lane::Urgent,
                resume,
                "resume",
                "Let a halted domain continue, or a node that was revoked",
                schemas::RESUMPTION,
                (201, schemas::RECORDED),
            ),
            (
                202,
                "The bundle in force governs this, and it waits for approvals: do the same again once they are given",
                schemas::ACT_DEFERRAL,
            ),
        ),
    ]
}

fn revoke(call: Call) -> Answer {
    Box::pin(async move {
        let RevocationBody { reason, selector } = call.body.json()?;
        act(call, ActBody::Revoke { reason, selector }).await
    })
}

fn halt(call: Call) -> Answer {
    Box::pin(async move {
        let ReasonBody { reason } = call.body.json()?;
        act(call, ActBody::Halt { reason }).await
    })
}

fn resume(call: Call) -> Answer {
    Box::pin(async move {
        let ResumeBody { node, reason } = call.body.json()?;
        act(call, ActBody::Resume { node, reason }).await
    })
}

/// Acts have room of their own, so that no crowd of readers is in their way.
pub(super) async fn act(call: Call, act: ActBody) -> Result<Reply, Problem> {
    let shared = Arc::clone(&call.shared);
    let full = || Problem::overloaded("too many acts at once");
    let room = shared.room.acts.try_acquire().map_err(|_| full())?;
    let (service, identity) = (call.service().clone(), call.identity);
    let done = tokio::task::spawn_blocking(move || service.act(act, &identity)).await;
    drop(room);
    match done {
        Ok(Ok(Acted::Done(index))) => reply::json(StatusCode::CREATED, &json!({ "index": index })),
        Ok(Ok(Acted::Waits(deferred))) => reply::json(
            StatusCode::ACCEPTED,
            &json!({
                "decision": "defer", "exec": deferred.exec, "index": deferred.index,
                "waiting": deferred.waiting,
            }),
        ),
        Ok(Err(denial)) => Err(Problem::of(&denial)),
        Err(_) => Err(Problem::internal()),
    }
}
