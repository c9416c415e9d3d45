//! The scenes of a demo. On a node that serves a real domain there are none.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::lines::{get, post};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;
use crate::stage::{NotPlayed, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn stage(call: &Call) -> Result<Arc<dyn Stage>, Problem> {
    let none = || Problem::not_found("this node is no demo; `placet demo --page` starts one");
    call.shared.stage.clone().ok_or_else(none)
}

/// The routes of a demo.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/demo",
            Access::Member,
            scenes,
            "demoScenes",
            "What can be played here: nothing, but on the node of a demo",
            schemas::SCENES,
        ),
        post(
            "/v1/demo/{scene}",
            Access::Member,
            Lane::Read,
            play,
            "demoPlay",
            "Play a scene of a demo; there are none on other nodes",
            schemas::NOTHING,
            (200, schemas::PLAYED),
        ),
    ]
}

/// Everything that can be played: nothing, but on the node of a demo.
fn scenes(call: Call) -> Answer {
    Box::pin(async move {
        let stage = call.shared.stage.as_ref();
        let scenes = stage.map_or_else(Vec::new, |stage| stage.scenes());
        reply::json(StatusCode::OK, &json!({ "items": scenes }))
    })
}

/// Plays one of them, for an operator of the demo's domain.
fn play(call: Call) -> Answer {
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
