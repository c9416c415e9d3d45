//! `placet executions`: what runs, and what has run.

use anstyle::Style;
use placet_authority::node::wire::{ExecutionBody, Request, Response};
use placet_lineage::{Node, Query, Status as State};
use placet_types::Millis;
use serde_json::json;

use crate::cli::{Executions, Global};
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BAD, DIM, GOOD, Out, WARN, paint};
use crate::show;

const HEADING: [&str; 6] = [
    "EXECUTION",
    "STATUS",
    "AGE",
    "PRINCIPAL",
    "PROGRAM",
    "RECORD",
];

pub(crate) fn executions(global: &Global, args: &Executions, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    if args.running {
        live(&domain, args, out)
    } else {
        past(&domain, args, out)
    }
}

/// What the node holds to be authorized or running. Without a node nothing is.
fn live(domain: &Domain, args: &Executions, out: Out) -> Result<Status, Failure> {
    let mut all = Vec::new();
    if let Some(mut link) = domain.running_node()? {
        let Response::Executions(live) = link.ask(&Request::Executions)? else {
            return Err(Failure::unverified(
                "the node gave an answer that does not fit",
            ));
        };
        all = live;
    }
    all.retain(|one| {
        args.principal
            .as_ref()
            .is_none_or(|who| one.intent.principal == *who)
    });
    all.sort_by_key(|one| one.decided);
    all.drain(..all.len().saturating_sub(args.limit));
    out.value(&all);
    let now = clock().wall();
    let rows: Vec<Vec<String>> = all.iter().map(|one| live_row(one, now)).collect();
    print(&rows, "nothing is authorized or runs now", out);
    Ok(Status::Ok)
}

fn live_row(one: &ExecutionBody, now: Millis) -> Vec<String> {
    let (word, since) = match one.running_since {
        Some(since) => ("running", since),
        None => ("authorized", one.grant.not_before),
    };
    let status = match one.ending {
        Some(cause) => paint(BAD, format!("{word}, ending ({cause})")),
        None => paint(GOOD, word),
    };
    vec![
        one.exec.to_string(),
        status,
        show::age(now, since),
        one.intent.principal.to_string(),
        show::cut(&one.intent.resource.id, 60),
        one.decided.to_string(),
    ]
}

/// The latest executions and denied intents, as the log has them.
fn past(domain: &Domain, args: &Executions, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let query = Query {
        principal: args.principal.clone(),
        ..Query::default()
    };
    let wanted = |decided: &placet_evidence::Decided| {
        args.principal
            .as_ref()
            .is_none_or(|who| decided.intent.principal == *who)
    };
    let from = find::begin_of_latest(&reader, args.limit, wanted, out)?;
    let graph = find::graph(&reader, from, out)?;
    let nodes: Vec<&Node> = graph.select(&query).collect();
    let values: Result<Vec<_>, _> = nodes.iter().map(|node| node_value(node)).collect();
    out.value(&values?);
    let now = clock().wall();
    let rows: Vec<Vec<String>> = nodes.iter().map(|node| row(node, now)).collect();
    print(
        &rows,
        "nothing was decided yet; begin with `placet run -- ls`",
        out,
    );
    Ok(Status::Ok)
}

fn print(rows: &[Vec<String>], none: &str, out: Out) {
    if rows.is_empty() {
        out.line(paint(DIM, none));
    } else {
        out.table(&HEADING, rows);
    }
}

/// A node of the lineage with its status, for programs.
pub(crate) fn node_value(node: &Node) -> serde_json::Result<serde_json::Value> {
    let mut value = serde_json::to_value(node)?;
    if let serde_json::Value::Object(members) = &mut value {
        members.insert("status".to_owned(), json!(node.status()));
    }
    Ok(value)
}

fn row(node: &Node, now: Millis) -> Vec<String> {
    vec![
        node.exec.to_string(),
        paint(style(node.status()), status(node)),
        show::age(now, node.decided.time),
        node.principal.to_string(),
        show::cut(&node.resource.id, 60),
        node.decided.index.to_string(),
    ]
}

/// The status with its reason, where there is one.
pub(crate) fn status(node: &Node) -> String {
    let word = node.status().as_str();
    let exit = node.ended.and_then(|end| end.exit);
    match (node.code(), node.status(), exit) {
        (Some(code), ..) => format!("{word} ({code})"),
        (None, State::Failed, Some(exit)) => format!("{word} ({})", show::exit(exit)),
        (None, ..) => word.to_owned(),
    }
}

/// How a status looks.
pub(crate) fn style(status: State) -> Style {
    match status {
        State::Running | State::Authorized => GOOD,
        State::Completed | State::Unseen => Style::new(),
        State::Failed | State::Lapsed | State::Deferred => WARN,
        State::Denied | State::Terminated => BAD,
    }
}
