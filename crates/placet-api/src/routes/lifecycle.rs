//! The life of bundles: beside the one in force, over the recorded past, in use where and how often.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use placet_authority::node::wire::{ActBody, BundleBody};
use placet_authority::replay::Sources;
use placet_authority::suppose::{Supposed, Supposition, supposed};
use placet_policy::{Bundle, Policy};
use placet_types::{Digest, Index, Millis};
use serde::Deserialize;
use serde_json::{Value, json};

use super::acts::act;
use super::lines::{get, post};
use crate::call::{Answer, Call, Sees, Shared};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas;
use crate::schemas::lifecycle as shapes;

/// Longest replay over HTTP. What it has found by then is its answer, and says how far it came.
const REPLAY: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowBody {
    archive: String,
    bundle: Digest,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    archive: String,
    #[serde(default)]
    bundle: Option<Digest>,
    #[serde(default)]
    from: Index,
    #[serde(default)]
    since: Millis,
}

/// Only who sees everything sees what is about everybody.
pub(super) fn sees_all(call: &Call) -> Result<(), Problem> {
    match call.sees() {
        Sees::Everything => Ok(()),
        Sees::Only(_) => {
            let reason = "only operators and auditors see what concerns everybody";
            Err(Problem::of(&crate::identity::unverified(reason)))
        }
    }
}

/// The routes of a bundle's life beside and after its activation.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/policy/shadow",
            Access::Member,
            shadow,
            "readShadow",
            "What the bundle that is decided beside the one in force would have changed, for operators and auditors",
            shapes::SHADOW,
        ),
        post(
            "/v1/policy/shadow",
            Access::Operator,
            Lane::Bundle,
            set_shadow,
            "setShadow",
            "Decide a signed bundle beside the one in force from here on. It gives no authority",
            shapes::SHADOW_BUNDLE,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/policy/shadow/clear",
            Access::Operator,
            Lane::Urgent,
            clear_shadow,
            "clearShadow",
            "Decide no bundle beside the one in force any more",
            schemas::REASON,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/policy/replay",
            Access::Member,
            Lane::Bundle,
            replay,
            "replayPolicy",
            "What a bundle would have changed in the recorded past, for operators and auditors; one at a time, for at most 30 seconds",
            shapes::REPLAY,
            (200, shapes::SUPPOSED),
        ),
        get(
            "/v1/policy/activations",
            Access::Member,
            activations,
            "listActivations",
            "The bundles that were put in force, the latest first, at most 1000",
            shapes::ACTIVATIONS,
        ),
        get(
            "/v1/policy/coverage",
            Access::Member,
            coverage,
            "policyCoverage",
            "How often each policy of the bundle in force determined a recorded decision, for operators and auditors",
            shapes::COVERAGE,
        ),
        get(
            "/v1/policy/nodes",
            Access::Member,
            nodes,
            "policyNodes",
            "Which bundle each node decides with and each gateway holds, for operators and auditors",
            shapes::NODES,
        ),
    ]
}

/// What the bundle beside the one in force would have changed.
fn shadow(call: Call) -> Answer {
    Box::pin(async move {
        sees_all(&call)?;
        let report = call.service().authority().shadow();
        reply::json(StatusCode::OK, &json!({ "shadow": report }))
    })
}

fn set_shadow(call: Call) -> Answer {
    Box::pin(async move {
        let ShadowBody {
            archive,
            bundle,
            reason,
        } = call.body.json()?;
        let bundle = Some(BundleBody { archive, bundle });
        act(call, ActBody::Shadow { bundle, reason }).await
    })
}

fn clear_shadow(call: Call) -> Answer {
    Box::pin(async move {
        let ReasonBody { reason } = call.body.json()?;
        let bundle = None;
        act(call, ActBody::Shadow { bundle, reason }).await
    })
}

/// Tells a replay that nobody waits for it any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a bundle would have changed. The bundle need not be signed: it gets no authority.
fn replay(call: Call) -> Answer {
    Box::pin(async move {
        sees_all(&call)?;
        let body: ReplayBody = call.body.json()?;
        let full = || Problem::overloaded("another replay runs; try again when it is done");
        // It goes where the work goes: who went away does not make room for another.
        let room = Arc::clone(&call.shared.room.replays);
        let room = room.try_acquire_owned().map_err(|_| full())?;
        let gone = Arc::new(AtomicBool::new(false));
        let waits = Waits(Arc::clone(&gone));
        let found = call
            .read(move |shared| {
                let found = replayed(shared, &body, &gone);
                drop(room);
                found
            })
            .await?;
        drop(waits);
        reply::json(StatusCode::OK, &found)
    })
}

fn replayed(shared: &Shared, body: &ReplayBody, gone: &AtomicBool) -> Result<Supposed, Problem> {
    let archive = body.archive.as_bytes();
    let bundle = match &body.bundle {
        Some(digest) => Bundle::from_archive(archive, digest),
        None => Bundle::of_archive(archive),
    };
    let bundle = bundle.map_err(|error| Problem::malformed(error.to_string()))?;
    let policy = Policy::compile(&bundle).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Problem::malformed(lines.join("; "))
    })?;
    let authority = shared.service.authority();
    let reader = authority.reader();
    let sources = Sources {
        reader: &reader,
        bundles: authority.bundles(),
        blobs: authority.blobs(),
    };
    let supposition = Supposition {
        policy: &policy,
        from: body.from,
        since: body.since,
    };
    let clock = shared.service.clock();
    let until = clock.monotonic().saturating_add(REPLAY);
    let goes_on = |_| {
        let over =
            gone.load(Ordering::Relaxed) || *shared.stopping.borrow() || clock.monotonic() >= until;
        if over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    supposed(sources, supposition, goes_on).map_err(|_| crate::index::damaged())
}

/// The bundles that were put in force, the latest first.
fn activations(call: Call) -> Answer {
    Box::pin(async move {
        let items = call
            .read(|shared| {
                let reader = shared.service.authority().reader();
                shared.lifecycle.look(&reader, |past| -> Vec<Value> {
                    let latest = past.activations().rev();
                    let each = latest.map(|(index, one)| {
                        json!({
                            "bundle": one.bundle, "by": one.by, "index": index, "name": one.name,
                            "revision": one.revision, "signers": one.signers, "time": one.time,
                        })
                    });
                    each.collect()
                })
            })
            .await?;
        reply::json(StatusCode::OK, &json!({ "items": items }))
    })
}

/// How often each policy determined a recorded decision since its bundle is in force.
fn coverage(call: Call) -> Answer {
    Box::pin(async move {
        sees_all(&call)?;
        let found = call
            .read(|shared| {
                let authority = shared.service.authority();
                let none = || {
                    Problem::not_found("no policy bundle is in force, or it cannot be read here")
                };
                let policy = authority.policy_in_force().ok_or_else(none)?;
                let reader = authority.reader();
                shared.lifecycle.look(&reader, |past| {
                    let items: Vec<Value> = policy
                        .rules()
                        .map(|rule| {
                            let used = past.determined(policy.digest(), &rule.id);
                            json!({
                                "decisions": used.map_or(0, |used| used.count), "id": rule.id,
                                "last": used.map(|used| used.last),
                            })
                        })
                        .collect();
                    json!({
                        "bundle": policy.digest(), "decisions": past.decisions(policy.digest()),
                        "items": items,
                    })
                })
            })
            .await?;
        reply::json(StatusCode::OK, &found)
    })
}

/// Which bundle is in use where.
fn nodes(call: Call) -> Answer {
    Box::pin(async move {
        sees_all(&call)?;
        let found = call.read(|shared| Ok(shared.service.lifecycle())).await?;
        let value = json!({ "gateways": found.gateways, "nodes": found.nodes });
        reply::json(StatusCode::OK, &value)
    })
}
