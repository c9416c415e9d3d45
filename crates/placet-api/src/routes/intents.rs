//! Submitting intents.

use std::borrow::Cow;

use hyper::StatusCode;
use placet_authority::submission::{Deferred, IntentForm};
use placet_authority::{Answer as Decided, Permitted, Submission};
use placet_decision::Params;
use placet_evidence::{Attestation, Caller, Environment, Grant, NETWORK_UID, Waiting};
use placet_types::{
    ActionName, Asked, Commitment, ExecutionId, Fixed, FixedIntent, FixedScope, GatewayName, Index,
    Intent, PrincipalId, PublicKey, ResourceRef, Salt,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::lines::{or, post};
use crate::call::{Answer, Call, answered};
use crate::identity::Identity;
use crate::problem::Problem;
use crate::reply::{self, Reply};
use crate::route::{Access, Lane, Route};
use crate::schemas;

/// An intent as a caller writes it. The node commits to the parameters, unless the caller has done
/// so with a salt of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntentBody {
    action: ActionName,
    #[serde(default)]
    asked: Asked,
    /// What the gateway signed about the machine.
    #[serde(default)]
    attestation: Option<Attestation>,
    /// The machine that is to carry it out; absent for the one that the node runs on.
    #[serde(default)]
    environment: Option<Fixed<Environment>>,
    gateway: GatewayName,
    /// The gateway's key, which the artifact is bound to.
    holder: PublicKey,
    params: Box<RawValue>,
    #[serde(default)]
    parent: Option<ExecutionId>,
    principal: PrincipalId,
    resource: ResourceRef,
    #[serde(default)]
    salt: Option<Salt>,
}

/// What is permitted.
#[derive(Serialize)]
struct PermitReply<'a> {
    decision: &'static str,
    exec: ExecutionId,
    index: Index,
    artifact: &'a str,
    receipt: ReceiptReply<'a>,
    grant: &'a Grant,
    scope: &'a FixedScope,
    intent: FixedIntent,
    salt: Salt,
}

/// What waits for approvals.
#[derive(Serialize)]
struct DeferReply {
    decision: &'static str,
    exec: ExecutionId,
    index: Index,
    waiting: Waiting,
    intent: FixedIntent,
    salt: Salt,
}

/// The proof that the decision is in the log.
#[derive(Serialize)]
struct ReceiptReply<'a> {
    entry: Cow<'a, str>,
    proof: Cow<'a, str>,
}

/// The routes of intents.
pub(super) fn lines() -> Vec<Route> {
    vec![or(
        post(
            "/v1/intents",
            Access::Member,
            Lane::Intent,
            submit,
            "submit",
            "Decide an intent. Denied is 403 with the code",
            schemas::INTENT,
            (201, schemas::PERMIT),
        ),
        (202, "It waits for approvals", schemas::DEFERRAL),
    )]
}

/// Decides an intent, for real.
fn submit(call: Call) -> Answer {
    Box::pin(async move {
        let busy = || Problem::overloaded("too many intents are waiting");
        let shared = std::sync::Arc::clone(&call.shared);
        let waiting = shared.room.intents.try_acquire().map_err(|_| busy())?;
        let (submission, intent, salt) = submission(&call)?;
        let (sender, receiver) = oneshot::channel();
        let then = move |answer| drop(sender.send(answer));
        call.service().submit_then(submission, then)?;
        let answer = answered(receiver).await?;
        drop(waiting);
        match answer {
            Decided::Permitted(permitted) => permit(&permitted, intent, salt),
            Decided::Denied(denied) => Err(denied.into()),
            Decided::Deferred(deferred) => defer(*deferred, intent, salt),
        }
    })
}

fn submission(call: &Call) -> Result<(Submission, FixedIntent, Salt), Problem> {
    let body: IntentBody = call.body.json()?;
    let caller = call
        .identity
        .caller()
        .ok_or_else(Problem::unauthenticated)?;
    let environment = match body.environment {
        Some(environment) => environment,
        None if call.channel.is_local() => call.shared.environment.clone(),
        None => {
            let detail = "environment: say which machine is to carry it out; only for callers on the node's own machine is it known";
            return Err(Problem::malformed(detail));
        }
    };
    let salt = match body.salt {
        Some(salt) => salt,
        None => draw()?,
    };
    // The strict reader has written the body anew, so this is its canonical spelling.
    let params = body.params.get().as_bytes().to_vec();
    let intent = Intent {
        params: Commitment::to(body.action.as_str(), &params, &salt),
        action: body.action,
        asked: body.asked,
        gateway: body.gateway,
        parent: body.parent,
        principal: body.principal,
        resource: body.resource,
    };
    let fixed = Fixed::new(intent).map_err(|_| Problem::internal())?;
    let caller_uid = match &call.identity {
        Identity::Unix(uid) => *uid,
        Identity::Key(_)
        | Identity::Session { .. }
        | Identity::Spiffe(..)
        | Identity::Token(..)
        | Identity::Public => NETWORK_UID,
    };
    let submission = Submission {
        intent: IntentForm::Settled(fixed.clone()),
        params: Params::new(params, salt.clone()),
        holder: body.holder,
        environment,
        bearer: None,
        attestation: body.attestation,
        caller,
        caller_uid,
    };
    Ok((submission, fixed, salt))
}

fn draw() -> Result<Salt, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Problem::internal())?;
    Ok(Salt::new(bytes))
}

fn permit(permitted: &Permitted, intent: FixedIntent, salt: Salt) -> Result<Reply, Problem> {
    let permit = PermitReply {
        decision: "permit",
        exec: permitted.exec,
        index: permitted.index,
        artifact: permitted.artifact.as_str(),
        receipt: ReceiptReply {
            entry: text(&permitted.receipt.entry),
            proof: text(&permitted.receipt.proof),
        },
        grant: &permitted.grant,
        scope: &permitted.scope,
        intent,
        salt,
    };
    reply::json(StatusCode::CREATED, &permit)
}

/// Bytes that are text, as entries and proofs are, at no cost.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Not decided for good: the same intent, sent again with this salt, is decided by what approvers have
/// said of it.
fn defer(deferred: Deferred, intent: FixedIntent, salt: Salt) -> Result<Reply, Problem> {
    let defer = DeferReply {
        decision: "defer",
        exec: deferred.exec,
        index: deferred.index,
        waiting: deferred.waiting,
        intent,
        salt,
    };
    reply::json(StatusCode::ACCEPTED, &defer)
}

/// How a caller stands in records.
pub(super) fn caller(call: &Call) -> Result<Caller, Problem> {
    call.identity.caller().ok_or_else(Problem::unauthenticated)
}
