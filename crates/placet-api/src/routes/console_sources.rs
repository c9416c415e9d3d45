//! What people read who judge: proof bundles, and the source of the policy in force.

use hyper::StatusCode;
use placet_evidence::Entry;
use placet_evidence::proof_bundle::ProofBundle;
use placet_types::{Denial, DenialCode, Index};
use serde_json::json;

use crate::call::{Answer, Call, Sees, Shared};
use crate::problem::Problem;
use crate::reply;

/// The proof bundle about one record, as `placet log proof --bundle` writes it.
pub(super) fn proof(call: Call) -> Answer {
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
        return Ok(alone());
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
pub(super) fn policy(call: Call) -> Answer {
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
