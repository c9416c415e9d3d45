//! What people read who judge: proof bundles, and the source of the policy in force.

use hyper::StatusCode;
use placet_evidence::Entry;
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
                let related = related(shared, index, &sees)?;
                let authority = shared.service.authority();
                let bundle = authority.proof_bundle(&shared.policy, index, &related, disclose);
                bundle.map_err(|error| unavailable(&error))
            })
            .await?;
        reply::json(StatusCode::OK, &bundle)
    })
}

/// Further records about the same execution. What is somebody else's is answered as what is not there.
fn related(shared: &Shared, index: Index, sees: &Sees) -> Result<Vec<Index>, Problem> {
    let reader = shared.service.authority().reader();
    let record = Entry::from_bytes(reader.entry(index)?).read();
    let record = record.map_err(|error| unavailable(&error))?;
    let none = || Problem::not_found(format!("no record of yours stands at {index}"));
    let Some(exec) = record.exec() else {
        let everything = matches!(sees, Sees::Everything);
        return if everything {
            Ok(Vec::new())
        } else {
            Err(none())
        };
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
    match known {
        Some((true, mut places)) => {
            places.retain(|place| *place != index);
            Ok(places)
        }
        None if matches!(sees, Sees::Everything) => Ok(Vec::new()),
        Some((false, _)) | None => Err(none()),
    }
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
