//! Whether the node lives, whether it can decide, and what it counts.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::lines::{get, post, text};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;

/// The routes of what the service says of itself.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/healthz",
            Access::Anyone,
            alive,
            "healthz",
            "The process serves",
            schemas::HEALTH,
        ),
        get(
            "/readyz",
            Access::Anyone,
            ready,
            "readyz",
            "The log is written and intents are decided",
            schemas::HEALTH,
        ),
        text(
            "/metrics",
            Access::Meters,
            metrics,
            "metrics",
            "Meters, for Prometheus",
            "text/plain; version=0.0.4",
        ),
        get(
            "/v1/log/checks",
            Access::Public,
            checks,
            "logChecks",
            "What the node found when it last read its log through, and made its decisions again",
            schemas::CHECKS,
        ),
        post(
            "/v1/log/checks",
            Access::Operator,
            Lane::Read,
            check_now,
            "checkLog",
            "Check the log now, beside the service; one check at a time. Damage ends the service",
            schemas::NOTHING,
            (202, schemas::CHECKS),
        ),
    ]
}

/// The process serves.
fn alive(_: Call) -> Answer {
    Box::pin(async { reply::json(StatusCode::OK, &json!({ "status": "ok" })) })
}

/// The log is written, the view is fresh, and intents are taken.
fn ready(call: Call) -> Answer {
    Box::pin(async move {
        match call.service().ready() {
            // It serves all the same: what was good before is in force.
            Ok(())
                if call
                    .shared
                    .tls
                    .as_ref()
                    .is_some_and(|tls| tls.failing() > 0) =>
            {
                let value = json!({ "status": "ok", "certificates": "stale" });
                reply::json(StatusCode::OK, &value)
            }
            Ok(()) => reply::json(StatusCode::OK, &json!({ "status": "ok" })),
            Err(denial) => Err(Problem::of(&denial)),
        }
    })
}

/// What the last checks of the log found.
fn checks(call: Call) -> Answer {
    Box::pin(async move { reply::json(StatusCode::OK, &call.service().checks()) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// Has the log checked. It changes nothing, and takes no more than its share; still it is for operators to ask.
fn check_now(call: Call) -> Answer {
    Box::pin(async move {
        let NoBody {} = call.body.json()?;
        if call.operator().is_none() {
            let reason = "only an operator has the log checked";
            return Err(Problem::of(&crate::identity::unverified(reason)));
        }
        if !call.service().check_now() {
            return Err(Problem::not_found("this node makes no checks by itself"));
        }
        reply::json(StatusCode::ACCEPTED, &call.service().checks())
    })
}

fn metrics(call: Call) -> Answer {
    Box::pin(async move {
        let text = call.shared.requests.render(&call.shared);
        let kind = "text/plain; version=0.0.4";
        Ok(reply::bytes(StatusCode::OK, kind, text))
    })
}
