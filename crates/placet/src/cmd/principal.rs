//! `placet principal`: who may act.

use placet_authority::node::wire::{ActBody, PrincipalBody, Request, Response};
use placet_evidence::PrincipalStatus;
use placet_types::{PrincipalId, Thumbprint};

use crate::cli::{Global, Principal};
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::Out;

pub(crate) fn principal(global: &Global, command: &Principal, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let body = match command {
        Principal::List => return list(&domain, out),
        Principal::Set {
            id,
            groups,
            uids,
            keys,
            acts_for,
            mapped,
        } => PrincipalBody {
            acts_for: acts_for.clone(),
            groups: groups.clone(),
            id: id.clone(),
            keys: keys.clone(),
            status: PrincipalStatus::Active,
            // One that is known by its key need not be anybody on this machine.
            uids: if uids.is_empty() && keys.is_empty() && !mapped {
                vec![rustix::process::getuid().as_raw()]
            } else {
                uids.clone()
            },
        },
        Principal::AddKey { id, key } => with_key(known(&domain, id)?, key),
        Principal::RemoveKey { id, key } => without_key(known(&domain, id)?, key)?,
        Principal::Suspend { id } => PrincipalBody {
            status: PrincipalStatus::Suspended,
            ..known(&domain, id)?
        },
        Principal::Restore { id } => PrincipalBody {
            status: PrincipalStatus::Active,
            ..known(&domain, id)?
        },
    };
    let index = act_recorded(&domain, ActBody::Principal(body.clone()))?;
    out.value(&serde_json::json!({ "principal": body, "index": index }));
    out.line(format!(
        "{} is {} (record {index})",
        body.id,
        word(body.status)
    ));
    Ok(Status::Ok)
}

/// The principal with one more key; everything else of it stays.
fn with_key(mut body: PrincipalBody, key: &Thumbprint) -> PrincipalBody {
    if !body.keys.contains(key) {
        body.keys.push(key.clone());
    }
    body
}

fn without_key(mut body: PrincipalBody, key: &Thumbprint) -> Result<PrincipalBody, Failure> {
    let before = body.keys.len();
    body.keys.retain(|own| own != key);
    if body.keys.len() == before {
        let what = format!("{key} is no key of {}", body.id);
        return Err(Failure::new(what).hint("`placet principal list --json` shows its keys"));
    }
    Ok(body)
}

fn all(domain: &Domain) -> Result<Vec<PrincipalBody>, Failure> {
    match domain.ask(&Request::Principals)? {
        Response::Principals(all) => Ok(all),
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

/// A principal that is registered.
pub(crate) fn known(domain: &Domain, id: &PrincipalId) -> Result<PrincipalBody, Failure> {
    all(domain)?
        .into_iter()
        .find(|principal| principal.id == *id)
        .ok_or_else(|| {
            Failure::new(format!("{id} is not registered"))
                .hint("`placet principal list` shows who is; `placet principal set` registers")
        })
}

fn list(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let all = all(domain)?;
    out.value(&all);
    let row = |principal: &PrincipalBody| {
        let uids: Vec<String> = principal.uids.iter().map(u32::to_string).collect();
        let acts_for: Vec<String> = principal.acts_for.iter().map(ToString::to_string).collect();
        vec![
            principal.id.to_string(),
            word(principal.status).to_owned(),
            principal.groups.join(","),
            uids.join(","),
            principal.keys.len().to_string(),
            acts_for.join(","),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    out.table(
        &["PRINCIPAL", "STATUS", "GROUPS", "UIDS", "KEYS", "ACTS FOR"],
        &rows,
    );
    Ok(Status::Ok)
}

fn word(status: PrincipalStatus) -> &'static str {
    match status {
        PrincipalStatus::Active => "active",
        PrincipalStatus::Suspended => "suspended",
    }
}
