//! Whether the node lives, whether it can decide, and what it counts.

use hyper::StatusCode;
use serde_json::json;

use super::lines::{get, text};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Route};
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

fn metrics(call: Call) -> Answer {
    Box::pin(async move {
        let text = call.shared.requests.render(&call.shared);
        let kind = "text/plain; version=0.0.4";
        Ok(reply::bytes(StatusCode::OK, kind, text))
    })
}
