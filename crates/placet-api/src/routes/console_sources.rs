//! What people read who judge: proof bundles, and the source of the policy in force.

use hyper::StatusCode;
use placet_evidence::Entry;
use placet_evidence::proof_bundle::ProofBundle;
use placet_lineage::Graph;
use placet_types::{Denial, DenialCode, Index};
use serde_json::json;

use super::lines::{filtered, get};
use crate::call::{Answer, Call, Sees, Shared};
use crate::problem::Problem;
use crate::reply;
use crate::route::{Access, Route};
use crate::schemas;

/// The routes of what a browser reads.
pub(super) fn lines() -> Vec<Route> {
    vec![
        filtered(
            get(
                "/v1/proofs/{index}",
                Access::Public,
                proof,
                "proofBundle",
                "The proof bundle about a record; for the public without artifact and parameters",
                schemas::PROOF_BUNDLE,
            ),
            &[(
                "disclose",
                "true: with the private parameters, as far as they are the caller's to see and were not erased",
            )],
        ),
        get(
            "/v1/policy/source",
            Access::Member,
            policy,
            "policySource",
            "The bundle in force, to be read",
            schemas::POLICY_SOURCE,
        ),
    ]
}

/// The proof bundle about one record, as `placet log proof --bundle` writes it.
fn proof(call: Call) -> Answer {
    Box::pin(async move {
        let index = Index::new(call.part(0)?);
        let disclose = call.query.flag("disclose")?;
        let sees = call.sees();
        let bundle = call
            .read(move |shared| {
                let authority = shared.service.authority();
                let bundle = |related: &[Index], disclose| {
                    let bundle = authority.proof_bundle(&shared.policy, index, related, disclose);
                    bundle.map_err(|error| unavailable(&error))
                };
                match related(shared, index, &sees)? {
                    Some(related) => bundle(&related, disclose),
                    // Where anybody may read the log, what stands in it can be proven to anybody.
                    None if shared.settings.public => Ok(ProofBundle {
                        artifact: None,
                        ..bundle(&[], false)?
                    }),
                    None => {
                        let what = format!("no record of yours stands at {index}");
                        Err(Problem::not_found(what))
                    }
                }
            })
            .await?;
        reply::json(StatusCode::OK, &bundle)
    })
}

/// Further records about the same execution; `None` for what is somebody else's.
fn related(shared: &Shared, index: Index, sees: &Sees) -> Result<Option<Vec<Index>>, Problem> {
    let reader = shared.service.authority().reader();
    let record = Entry::from_bytes(reader.entry(index)?).read();
    let record = record.map_err(|error| unavailable(&error))?;
    let alone = || matches!(sees, Sees::Everything).then(Vec::new);
    let Some(exec) = record.exec() else {
        let Some((mut places, allowed)) = alone().zip(record.decided_by()) else {
            return Ok(alone());
        };
        // Of an act that needed one, the decision that allowed it.
        let decided = |graph: &Graph| graph.get(&allowed).map(|node| node.decided.index);
        places.extend(shared.lineage.look(&reader, decided)?);
        return Ok(Some(places));
    };
    let known = shared.lineage.look(&reader, |graph| {
        let node = graph.get(&exec)?;
        let places = [
            Some(node.decided),
            node.started,
            node.ended.map(|end| end.at),
        ];
        let places: Vec<Index> = places.into_iter().flatten().map(|at| at.index).collect();
        Some((sees.principal(&node.principal), places))
    })?;
    Ok(match known {
        Some((true, mut places)) => {
            places.retain(|place| *place != index);
            Some(places)
        }
        Some((false, _)) => None,
        None => alone(),
    })
}

/// The members of the bundle in force, as text.
fn policy(call: Call) -> Answer {
    Box::pin(async move {
        let value = call
            .read(|shared| {
                let authority = shared.service.authority();
                let active =
                    authority.with_state(|state| state.policy().map(|active| active.bundle));
                let none = || Problem::not_found("no policy is in force");
                let digest = active.ok_or_else(none)?;
                let members = authority.bundles().members(digest);
                let members = members.map_err(|error| unavailable(&error))?;
                let items: Vec<_> = members
                    .into_iter()
                    .map(|(path, bytes)| {
                        json!({ "path": path, "text": String::from_utf8_lossy(&bytes) })
                    })
                    .collect();
                Ok(json!({ "bundle": digest, "items": items }))
            })
            .await?;
        reply::json(StatusCode::OK, &value)
    })
}

fn unavailable(error: &impl ToString) -> Problem {
    Problem::of(&Denial::new(
        DenialCode::EvidenceUnavailable,
        error.to_string(),
    ))
}
