//! `placet revoke`: authority ended early.

use placet_authority::node::wire::{ActBody, Request, Response};
use placet_evidence::{Selector, Waiting};
use placet_types::{Denial, DenialCode, ExecutionId, Index, PrincipalId};

use crate::cli::{Global, Revoke};
use crate::cmd::principal::known;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, DIM, Out, WARN, paint};
use crate::show::shown;

pub(crate) fn revoke(global: &Global, args: &Revoke, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let selector = selector(&domain, &args.selector)?;
    let act = ActBody::Revoke {
        reason: args.reason.clone(),
        selector: selector.clone(),
    };
    let index = act_recorded(&domain, act)?;
    if let Selector::Policy(id) = &selector
        && !out.is_json()
        && !is_in_force(&domain, id)?
    {
        let note = format!("no policy of the bundle in force has the id {}", shown(id));
        out.note(format!("{} {note}", paint(WARN, "note:")));
    }
    out.value(&serde_json::json!({ "revoked": selector, "index": index }));
    out.line(format!(
        "{} {selector} {}",
        paint(BAD, "revoked"),
        paint(DIM, format!("(record {index})"))
    ));
    Ok(Status::Ok)
}

/// Whether the bundle in force has a policy of this id. One that cannot be read might.
fn is_in_force(domain: &Domain, id: &str) -> Result<bool, Failure> {
    let Response::Status(status) = domain.ask(&Request::Status)? else {
        return Ok(true);
    };
    let bundle = status
        .policy
        .and_then(|active| domain.bundles().load(active.bundle).ok());
    Ok(bundle.is_none_or(|policy| policy.rules().any(|rule| rule.id == id)))
}

/// Does an operator's act and gives the index of its record.
pub(crate) fn act_recorded(domain: &Domain, act: ActBody) -> Result<Index, Failure> {
    recorded(&domain.ask(&Request::Act(act))?)
}

/// The index of the record of an act; a failure that says so where it has to be approved first.
pub(crate) fn recorded(response: &Response) -> Result<Index, Failure> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else is answered does not fit"
    )]
    match response {
        Response::Recorded { index } => Ok(*index),
        Response::Deferred(waits) => Err(Failure::from(Denial::new(
            DenialCode::ApprovalRequired,
            format!(
                "nothing was changed yet: it waits as {} for {} until {}",
                waits.exec,
                needed(&waits.waiting),
                waits.waiting.until
            ),
        ))
        .hint(format!(
            "approvers see it with `placet approvals` and say `placet approve {}`; then run the same command again",
            waits.exec
        ))),
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

fn needed(waiting: &Waiting) -> String {
    let needs = waiting.needs.iter().map(|need| {
        let count = need.count;
        format!("{count} of {}", need.groups.join(", "))
    });
    needs.collect::<Vec<_>>().join(" and ")
}

fn selector(domain: &Domain, text: &str) -> Result<Selector, Failure> {
    if let Some(name) = text.strip_prefix("principal:") {
        let id = PrincipalId::parse(name).map_err(Failure::new)?;
        return known(domain, &id).map(|known| Selector::Principal(known.id));
    }
    if text == "everything" {
        return Ok(Selector::Everything);
    }
    if let Some(group) = text.strip_prefix("group:") {
        return Ok(Selector::Group(group.to_owned()));
    }
    if let Some(machine) = text.strip_prefix("node:") {
        return machine.parse().map(Selector::Node).map_err(Failure::new);
    }
    if let Some(id) = text.strip_prefix("policy:") {
        return Ok(Selector::Policy(id.to_owned()));
    }
    if let Some(exec) = text.strip_prefix("subtree:") {
        return live_execution(domain, exec).map(Selector::Subtree);
    }
    if let Some(digits) = text.strip_prefix("art_") {
        return live_execution(domain, &format!("exec_{digits}")).map(Selector::Artifact);
    }
    if text.starts_with("exec_") {
        return live_execution(domain, text).map(Selector::Execution);
    }
    Err(Failure::new(format!("{text} is no selector")).hint("see `placet revoke --help`"))
}

/// The execution, authorized or running, whose id begins with `text`.
pub(crate) fn live_execution(domain: &Domain, text: &str) -> Result<ExecutionId, Failure> {
    let Response::Executions(all) = domain.ask(&Request::Executions)? else {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    };
    let mut matching = all
        .iter()
        .map(|one| one.exec)
        .filter(|id| id.to_string().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(exec), None) => Ok(exec),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "more than one execution begins with {text}"
        ))
        .hint("give more digits")),
        (None, _) => Err(
            Failure::new(format!("no execution {text} is authorized or running"))
                .hint("`placet executions --running` lists them"),
        ),
    }
}
