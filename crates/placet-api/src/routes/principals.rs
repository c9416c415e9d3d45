//! Who may act, and under which policy.

use hyper::StatusCode;
use serde_json::json;

use super::lines::get;
use crate::call::{Answer, Call};
use crate::reply;
use crate::route::{Access, Route};
use crate::schemas;

/// The routes of principals and what is in force.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/principals",
            Access::Member,
            list,
            "listPrincipals",
            "Who may act: everybody for operators, oneself for others",
            schemas::PRINCIPALS,
        ),
        get(
            "/v1/policy",
            Access::Member,
            policy,
            "policyStatus",
            "The bundle in force, and the state of the domain",
            schemas::STATUS,
        ),
    ]
}

/// Everybody for operators, oneself for others.
fn list(call: Call) -> Answer {
    Box::pin(async move {
        let sees = call.sees();
        let all = call.service().principals().into_iter();
        let seen: Vec<_> = all.filter(|one| sees.principal(&one.id)).collect();
        reply::json(StatusCode::OK, &json!({ "items": seen }))
    })
}

/// The bundle in force.
fn policy(call: Call) -> Answer {
    Box::pin(async move {
        let status = call.service().status();
        let value = json!({
            "domain": status.domain, "halted": status.halted, "policy": status.policy,
            "revoked_nodes": status.revoked_nodes, "size": status.size, "writing": status.writing,
        });
        reply::json(StatusCode::OK, &value)
    })
}
