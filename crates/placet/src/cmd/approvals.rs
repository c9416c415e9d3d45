//! `placet approvals`, `placet approve`, `placet reject`: what waits for people.

use placet_authority::node::wire::{ActBody, Request, Response, WaitingBody};
use placet_evidence::{ApprovalStatement, Verdict};
use placet_types::{PrincipalId, ProcessParams};

use crate::cli::{Approve, Global};
use crate::cmd::key;
use crate::cmd::revoke::act_recorded;
use crate::cmd::run::principal_or_own;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};
use crate::show::{command_line, list as listed, shown};

/// Shows everything that waits, each with what an approver has to know.
pub(crate) fn list(global: &Global, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let waiting = waiting(&domain)?;
    out.value(&waiting);
    if waiting.is_empty() {
        out.line(paint(DIM, "nothing waits for an approval"));
    }
    for one in &waiting {
        show(one, out);
    }
    Ok(Status::Ok)
}

/// Says of one of them that it may happen, or may not.
pub(crate) fn say(
    global: &Global,
    args: &Approve,
    verdict: Verdict,
    out: Out,
) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let one = find(waiting(&domain)?, &args.exec)?;
    let by = principal_or_own(args.principal.as_ref())?;
    let key = key::own(args.key.as_deref())?;
    let statement = ApprovalStatement {
        by: by.clone(),
        domain: domain.name.clone(),
        intent: one.intent.digest(),
        reason: args.reason.clone(),
        verdict,
    };
    let signed = statement.signed_bytes().map_err(Failure::new)?;
    let act = ActBody::Approve {
        by: by.clone(),
        exec: one.exec,
        key: key.public(),
        reason: args.reason.clone(),
        signature: key.sign(&signed),
        verdict,
    };
    let index = act_recorded(&domain, act)?;
    out.value(&serde_json::json!({
        "verdict": verdict, "exec": one.exec, "by": by, "index": index,
    }));
    if !out.is_json() {
        show(&one, out);
    }
    let word = match verdict {
        Verdict::Approve => paint(GOOD, "approved"),
        Verdict::Reject => paint(BAD, "rejected"),
    };
    out.line(format!("{word} by {by} (record {index})"));
    Ok(Status::Ok)
}

fn waiting(domain: &Domain) -> Result<Vec<WaitingBody>, Failure> {
    match domain.ask(&Request::Waiting)? {
        Response::Waiting(waiting) => Ok(waiting),
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

fn find(waiting: Vec<WaitingBody>, text: &str) -> Result<WaitingBody, Failure> {
    let mut matching = waiting
        .into_iter()
        .filter(|one| one.exec.to_string().starts_with(text) && text.starts_with("exec_"));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Failure::new(format!("more than one begins with {text}")).hint("give more digits"))
        }
        (None, _) => Err(Failure::new(format!("{text} waits for no approval"))
            .hint("`placet approvals` lists what waits")),
    }
}

fn show(one: &WaitingBody, out: Out) {
    let row = |name: &str, value: String| {
        out.line(format!("  {} {value}", paint(DIM, format!("{name:<10}"))));
    };
    out.line(paint(BOLD, one.exec));
    row("principal", one.intent.principal.to_string());
    row("action", one.intent.action.to_string());
    row("resource", shown(&one.intent.resource.id));
    for (name, value) in arguments(one) {
        row(name, value);
    }
    row("needs", one.waiting.in_words());
    row("asked by", listed(&one.asked_by));
    row("until", one.waiting.until.to_string());
    let said: Vec<String> = one
        .verdicts
        .iter()
        .map(|(by, verdict): (&PrincipalId, _)| format!("{by}: {}", verdict.as_str()))
        .collect();
    if !said.is_empty() {
        row("so far", said.join(", "));
    }
}

/// What exactly is asked: the command with its directory and purpose, or the parameters as they are.
fn arguments(one: &WaitingBody) -> Vec<(&'static str, String)> {
    let Some(text) = &one.params else {
        return vec![("arguments", "erased".to_owned())];
    };
    let Ok(params) = ProcessParams::decode(text.as_bytes()) else {
        return vec![("arguments", shown(text))];
    };
    let mut rows = vec![
        ("command", command_line(&params.argv)),
        ("directory", shown(params.cwd.as_str())),
    ];
    rows.extend(params.purpose.map(|purpose| ("purpose", shown(&purpose))));
    rows
}
