//! Environments: what gateways sign with what they attest, and how the bundle in force appraises it.

use hyper::StatusCode;
use placet_evidence::{Attestation, Environment, Nonce};
use placet_types::{DomainName, Fixed};
use serde::{Deserialize, Serialize};

use super::lines::{get, post};
use crate::call::{Answer, Call};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Lane, Route};
use crate::schemas::environment as shapes;

/// The claims and what was signed about them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedBody {
    #[serde(default)]
    attestation: Option<Attestation>,
    environment: Fixed<Environment>,
}

/// What an attestation needs from the node.
#[derive(Serialize)]
struct NonceReply {
    domain: DomainName,
    measures_gateways: bool,
    nonce: Nonce,
}

/// The routes of attestations.
pub(super) fn lines() -> Vec<Route> {
    vec![
        get(
            "/v1/attestations/nonce",
            Access::Member,
            nonce,
            "attestationNonce",
            "Something to sign with what a gateway attests; it counts as long as this node runs",
            shapes::NONCE,
        ),
        post(
            "/v1/appraisals",
            Access::Member,
            Lane::Urgent,
            appraise,
            "appraise",
            "How the bundle in force appraises an environment. Nothing is recorded",
            shapes::PRESENTED,
            (200, shapes::APPRAISED),
        ),
    ]
}

fn nonce(call: Call) -> Answer {
    Box::pin(async move {
        let authority = call.service().authority();
        let reply = NonceReply {
            domain: authority.with_state(|state| state.genesis().domain.clone()),
            measures_gateways: authority.measures_gateways(),
            nonce: authority.nonce().map_err(|denial| Problem::of(&denial))?,
        };
        reply::json(StatusCode::OK, &reply)
    })
}

fn appraise(call: Call) -> Answer {
    Box::pin(async move {
        let body: PresentedBody = call.body.json()?;
        let found = call
            .read(move |shared| {
                let attestation = body.attestation.as_ref().map(|it| (it, &it.key));
                let authority = shared.service.authority();
                authority
                    .appraise(&body.environment, attestation)
                    .map_err(|denial| Problem::of(&denial))
            })
            .await?;
        reply::json(StatusCode::OK, &found)
    })
}
