//! `placet halt` and `placet resume`: the whole domain.

use placet_authority::node::wire::ActBody;

use crate::cli::{Global, Reason, Resume};
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, GOOD, Out, paint};

pub(crate) fn halt(global: &Global, args: &Reason, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let index = act_recorded(
        &domain,
        ActBody::Halt {
            reason: args.reason.clone(),
        },
    )?;
    out.value(&serde_json::json!({ "halted": true, "index": index }));
    out.line(format!(
        "{} {} (record {index})",
        paint(BAD, "halted"),
        domain.name
    ));
    Ok(Status::Ok)
}

pub(crate) fn resume(global: &Global, args: &Resume, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let index = act_recorded(
        &domain,
        ActBody::Resume {
            node: args.node,
            reason: args.reason.clone(),
        },
    )?;
    if let Some(node) = args.node {
        out.value(&serde_json::json!({ "node": node, "index": index }));
        out.line(format!(
            "{} node:{node} (record {index})",
            paint(GOOD, "resumed")
        ));
        return Ok(Status::Ok);
    }
    out.value(&serde_json::json!({ "halted": false, "index": index }));
    out.line(format!(
        "{} {} (record {index})",
        paint(GOOD, "resumed"),
        domain.name
    ));
    Ok(Status::Ok)
}
