//! What waits for approvals, and what approvers say of it.
//!
//! An approver's act is signed by the approver's own key over the digest of the intent; it is the
//! same act that `placet approve` makes, and whoever brings it here adds nothing to it.

use placet_authority::node::wire::{ActBody, WaitingBody};
use placet_evidence::{APPROVAL_TYPE, Verdict};
use placet_types::{DomainName, ExecutionId, PrincipalId, PublicKey, Signature};
use serde::Deserialize;
use serde_json::{Value, json};

use super::acts::act;
use super::lines::{get, post};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;
use hyper::StatusCode;

/// An approver's act.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidBody {
    by: PrincipalId,
    key: PublicKey,
    #[serde(default)]
    reason: String,
    signature: Signature,
    verdict: Verdict,
}

/// The routes of approvals.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/approvals",
            Access::Member,
            list,
            "listApprovals",
            "What waits for approvals: everything for operators; for others what they asked for, or may approve",
            schemas::APPROVALS,
        ),
        get(
            "/v1/approvals/{exec}",
            Access::Member,
            read,
            "readApproval",
            "One intent that waits, with its parameters",
            schemas::APPROVAL,
        ),
        post(
            "/v1/approvals/{exec}",
            Access::Member,
            Lane::Urgent,
            say,
            "approve",
            "Approve or reject it, signed by the approver's own key",
            schemas::SAID,
            (201, schemas::RECORDED),
        ),
    ]
}

/// Everything that waits and concerns the caller, in the order in which it was asked for.
fn list(call: Call) -> Answer {
    Box::pin(async move {
        let identity = call.identity.clone();
        let items = call
            .read(move |shared| {
                let domain = shared.service.status().domain;
                let waiting = shared.service.waiting(&identity, None);
                Ok(waiting
                    .iter()
                    .map(|one| value(&domain, one))
                    .collect::<Vec<_>>())
            })
            .await?;
        reply::json(StatusCode::OK, &json!({ "items": items }))
    })
}

/// One of them.
fn read(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        let identity = call.identity.clone();
        let one = call
            .read(move |shared| {
                let domain = shared.service.status().domain;
                let waiting = shared.service.waiting(&identity, Some(exec));
                let one = waiting.first().map(|one| value(&domain, one));
                one.ok_or_else(|| none(exec))
            })
            .await?;
        reply::json(StatusCode::OK, &one)
    })
}

/// Says of one of them that it may happen, or may not.
fn say(call: Call) -> Answer {
    Box::pin(async move {
        let exec: ExecutionId = call.part(0)?;
        let said: SaidBody = call.body.json()?;
        let now = call.service().clock().wall();
        let authority = call.service().authority();
        let waits = authority.with_state(|state| {
            let mut waiting = state.waiting(now).into_iter();
            waiting.any(|(_, waits)| waits.exec == exec)
        });
        if !waits {
            return Err(none(exec));
        }
        let approve = ActBody::Approve {
            by: said.by,
            exec,
            key: said.key,
            reason: said.reason,
            signature: said.signature,
            verdict: said.verdict,
        };
        act(call, approve).await
    })
}

/// What is not for the caller is answered as what is not there.
fn none(exec: ExecutionId) -> Problem {
    Problem::not_found("nothing of this name waits for an approval of yours").about(exec)
}

fn value(domain: &DomainName, one: &WaitingBody) -> Value {
    let text = one.params.as_deref();
    let params: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    // To the byte, as they were committed to: whoever approves opens the commitment.
    let opening = text
        .zip(one.salt.as_ref())
        .map(|(params, salt)| json!({ "params": params, "salt": salt }));
    let sign = json!({
        "domain": domain, "intent": one.intent.digest(), "payload_type": APPROVAL_TYPE,
    });
    json!({
        "asked_by": one.asked_by, "exec": one.exec, "index": one.decided, "intent": &one.intent,
        "needs": one.waiting.needs, "opening": opening, "params": params, "said": one.verdicts, "sign": sign,
        "until": one.waiting.until, "words": one.waiting.in_words(),
    })
}
