//! The scenes of a demo. On a node that serves a real domain there are none.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::stage::{NotPlayed, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn stage(call: &Call) -> Result<Arc<dyn Stage>, Problem> {
    let none = || Problem::not_found("this node is no demo; `placet demo --page` starts one");
    call.shared.stage.clone().ok_or_else(none)
}

/// Everything that can be played: nothing, but on the node of a demo.
pub(super) fn scenes(call: Call) -> Answer {
    Box::pin(async move {
        let stage = call.shared.stage.as_ref();
        let scenes = stage.map_or_else(Vec::new, |stage| stage.scenes());
        reply::json(StatusCode::OK, &json!({ "items": scenes }))
    })
}

/// Plays one of them, for an operator of the demo's domain.
pub(super) fn play(call: Call) -> Answer {
    Box::pin(async move {
        let stage = stage(&call)?;
        let NoBody {} = call.body.json()?;
        let scene: String = call.part(0)?;
        if call.operator().is_none() {
            let reason = "only an operator of the demo plays its scenes";
            return Err(Problem::of(&crate::identity::unverified(reason)));
        }
        let played = call
            .read(move |_| {
                stage.play(&scene).map_err(|not| match not {
                    NotPlayed::Unknown => Problem::not_found(not.to_string()),
                    NotPlayed::Busy => Problem::overloaded(&not.to_string()),
                    NotPlayed::Failed(why) => {
                        let code = StatusCode::INTERNAL_SERVER_ERROR;
                        Problem::new(code, "not_played", why)
                    }
                })
            })
            .await?;
        reply::json(StatusCode::OK, &played)
    })
}
