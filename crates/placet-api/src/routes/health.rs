//! Whether the node lives, whether it can decide, and what it counts.

use hyper::StatusCode;
use serde_json::json;

use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;

/// The process serves.
pub(super) fn alive(_: Call) -> Answer {
    Box::pin(async { reply::json(StatusCode::OK, &json!({ "status": "ok" })) })
}

/// The log is written, the view is fresh, and intents are taken.
pub(super) fn ready(call: Call) -> Answer {
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

pub(super) fn metrics(call: Call) -> Answer {
    Box::pin(async move {
        let text = call.shared.requests.render(&call.shared);
        let kind = "text/plain; version=0.0.4";
        Ok(reply::bytes(StatusCode::OK, kind, text))
    })
}
