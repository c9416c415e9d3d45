//! Who may act, and under which policy.

use hyper::StatusCode;
use serde_json::json;

use crate::call::{Answer, Call};
use crate::reply;

/// Everybody for operators, oneself for others.
pub(super) fn list(call: Call) -> Answer {
    Box::pin(async move {
        let sees = call.sees();
        let all = call.service().principals().into_iter();
        let seen: Vec<_> = all.filter(|one| sees.principal(&one.id)).collect();
        reply::json(StatusCode::OK, &json!({ "items": seen }))
    })
}

/// The bundle in force.
pub(super) fn policy(call: Call) -> Answer {
    Box::pin(async move {
        let status = call.service().status();
        let value = json!({
            "domain": status.domain, "halted": status.halted, "policy": status.policy,
            "revoked_nodes": status.revoked_nodes, "size": status.size, "writing": status.writing,
        });
        reply::json(StatusCode::OK, &value)
    })
}
