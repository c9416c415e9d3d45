//! The routes of a bundle's life beside and after its activation.

use super::{get, lifecycle, post};
use crate::route::{Access, Lane, Route};
use crate::schemas::{self, lifecycle as shapes};

pub(super) fn table() -> Vec<Route> {
    vec![
        get(
            "/v1/policy/shadow",
            Access::Member,
            lifecycle::shadow,
            "readShadow",
            "What the bundle that is decided beside the one in force would have changed, for operators and auditors",
            shapes::SHADOW,
        ),
        post(
            "/v1/policy/shadow",
            Access::Operator,
            Lane::Bundle,
            lifecycle::set_shadow,
            "setShadow",
            "Decide a signed bundle beside the one in force from here on. It gives no authority",
            shapes::SHADOW_BUNDLE,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/policy/shadow/clear",
            Access::Operator,
            Lane::Urgent,
            lifecycle::clear_shadow,
            "clearShadow",
            "Decide no bundle beside the one in force any more",
            schemas::REASON,
            (201, schemas::RECORDED),
        ),
        post(
            "/v1/policy/replay",
            Access::Member,
            Lane::Bundle,
            lifecycle::replay,
            "replayPolicy",
            "What a bundle would have changed in the recorded past, for operators and auditors; one at a time, for at most 30 seconds",
            shapes::REPLAY,
            (200, shapes::SUPPOSED),
        ),
        get(
            "/v1/policy/activations",
            Access::Member,
            lifecycle::activations,
            "listActivations",
            "The bundles that were put in force, the latest first, at most 1000",
            shapes::ACTIVATIONS,
        ),
        get(
            "/v1/policy/coverage",
            Access::Member,
            lifecycle::coverage,
            "policyCoverage",
            "How often each policy of the bundle in force determined a recorded decision, for operators and auditors",
            shapes::COVERAGE,
        ),
        get(
            "/v1/policy/nodes",
            Access::Member,
            lifecycle::nodes,
            "policyNodes",
            "Which bundle each node decides with and each gateway holds, for operators and auditors",
            shapes::NODES,
        ),
    ]
}
