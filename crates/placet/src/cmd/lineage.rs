//! `placet lineage`: which execution led to which.

use placet_lineage::{Answer, Charset, Export, FindError, Graph, Node, Query, Role, Style, Tree};
use placet_types::{ExecutionId, Index};
use serde_json::json;

use crate::born::Made;
use crate::cli::{Global, Lineage, LineageFormat};
use crate::cmd::executions::{node_value, status, style};
use crate::connections::Talked;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BOLD, DIM, Out, paint};
use crate::show;

pub(crate) fn lineage(global: &Global, command: &Lineage, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    match command {
        Lineage::Tree { exec, ascii } => tree(&domain, exec.as_deref(), *ascii, out),
        Lineage::Show { exec } => show_one(&domain, exec, out),
        Lineage::Export { format } => export(&domain, *format, out),
    }
}

/// Paints the parts of a drawing.
struct Painted;

impl Style for Painted {
    fn paint(&self, role: Role, text: &str) -> String {
        if let Role::Status(state) = role {
            return paint(style(state), text);
        }
        if [Role::Branch, Role::Index, Role::Detail, Role::Policy].contains(&role) {
            return paint(DIM, text);
        }
        if role == Role::Exec {
            paint(BOLD, text)
        } else {
            text.to_owned()
        }
    }
}

fn tree(domain: &Domain, exec: Option<&str>, ascii: bool, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let (from, within) = match exec {
        None => (Index::default(), None),
        Some(text) => {
            // Children stand behind their parent in the log.
            let (index, decided) = find::decision(&reader, text, out)?;
            (index, Some(decided.facts.exec))
        }
    };
    let graph = find::graph(&reader, from, out)?;
    let query = Query {
        within,
        ..Query::default()
    };
    let nodes: Result<Vec<_>, _> = graph.select(&query).map(node_value).collect();
    out.value(&nodes?);
    let charset = if ascii {
        Charset::Ascii
    } else {
        Charset::Unicode
    };
    let drawing = Tree::of(&graph)
        .charset(charset)
        .at(clock().wall())
        .only(query)
        .render(&Painted);
    if drawing.is_empty() {
        out.line(paint(
            DIM,
            "nothing was decided yet; begin with `placet run -- ls`",
        ));
    } else {
        out.line(drawing.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}

fn show_one(domain: &Domain, text: &str, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let graph = find::graph(&reader, Index::default(), out)?;
    let node = graph.find(text).map_err(|error| {
        let failure = Failure::new(format!("{}: {error}", show::shown(text)));
        if error == FindError::Unknown {
            failure.hint("`placet executions` lists what was decided")
        } else {
            failure
        }
    })?;
    let ids = |nodes: Vec<&Node>| nodes.iter().map(|node| node.exec).collect::<Vec<_>>();
    let ancestors = ids(graph.ancestors(&node.exec).collect());
    let children = ids(graph.children(&node.exec).collect());
    let mut value = node_value(node)?;
    if let serde_json::Value::Object(members) = &mut value {
        members.insert("ancestors".to_owned(), json!(ancestors));
        members.insert("children".to_owned(), json!(children));
    }
    let talked = Talked::read(&reader, node.decided.index.next(), node.exec)?;
    if let serde_json::Value::Object(members) = &mut value {
        members.insert("connections".to_owned(), talked.value());
    }
    let made = Made::read(&reader, node.decided.index.next(), node.exec)?;
    if let serde_json::Value::Object(members) = &mut value {
        members.insert("programs".to_owned(), made.value());
    }
    out.value(&value);
    print_node(node, out);
    talked.print(out);
    made.print(out);
    print_family(&graph, "above", &ancestors, out);
    print_family(&graph, "below", &children, out);
    Ok(Status::Ok)
}

fn print_node(node: &Node, out: Out) {
    let row = |name: &str, text: String| {
        out.line(format!("  {}  {text}", paint(DIM, format!("{name:<10}"))))
    };
    out.line(format!(
        "{} {}",
        paint(BOLD, node.exec),
        paint(style(node.status()), status(node))
    ));
    row(
        "action",
        format!(
            "{} {} {}",
            node.action,
            node.resource.kind,
            show::shown(&node.resource.id)
        ),
    );
    row("principal", node.principal.to_string());
    if !node.delegation.is_empty() {
        row("acts for", show::list(&node.delegation));
    }
    if let Answer::Deferred(until) = &node.answer {
        row("waits until", until.to_string());
    }
    if let Answer::Denied(denial) = &node.answer {
        row("reason", show::shown(&denial.reason));
    }
    if let Answer::Permitted(permission) = &node.answer {
        row("profile", permission.profile.to_string());
        if !permission.approved_by.is_empty() {
            row("approved", show::list(&permission.approved_by));
        }
        row("until", permission.not_after.to_string());
    }
    row("policies", show::list(&node.policies));
    row(
        "decided",
        format!("{} (record {})", node.decided.time, node.decided.index),
    );
    if let Some(at) = node.started {
        row("started", format!("{} (record {})", at.time, at.index));
    }
    if let Some(end) = node.ended {
        row(
            "ended",
            format!("{} (record {})", end.at.time, end.at.index),
        );
        if let Some(exit) = end.exit {
            row("exit", show::exit(exit));
        }
        if let Some(usage) = end.usage {
            let (wall, cpu) = (show::duration(usage.wall_ms), show::duration(usage.cpu_ms));
            row(
                "used",
                format!("{wall}, {cpu} of processor, {} KiB", usage.rss_kib_max),
            );
            if let Some(network) = usage.network {
                let placet_evidence::NetworkUsage {
                    failed,
                    opened,
                    received_bytes,
                    refused,
                    sent_bytes,
                } = network;
                row(
                    "network",
                    format!(
                        "{opened} connections, {failed} failed, {refused} refused; {sent_bytes} bytes sent, {received_bytes} received"
                    ),
                );
            }
        }
    }
    if let Some(ran) = node.ran_ms(Some(clock().wall())) {
        row("ran", show::duration(ran));
    }
    if node.signals > 0 || node.refused > 0 {
        row(
            "notable",
            format!(
                "{} signals, {} refused attempts",
                node.signals, node.refused
            ),
        );
    }
}

fn print_family(graph: &Graph, name: &str, family: &[ExecutionId], out: Out) {
    for node in family.iter().filter_map(|exec| graph.get(exec)) {
        let (what, status) = (
            show::cut(&node.resource.id, 60),
            paint(style(node.status()), status(node)),
        );
        out.line(format!(
            "  {}  {} {what} {status}",
            paint(DIM, format!("{name:<10}")),
            node.exec
        ));
    }
}

fn export(domain: &Domain, format: LineageFormat, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let graph = find::graph(&reader, Index::default(), out)?;
    let export = Export::of(&graph, &domain.name);
    let values = match format {
        LineageFormat::Otlp => vec![export.otlp()],
        LineageFormat::Prov => vec![export.prov()],
        LineageFormat::Openlineage => export.openlineage(),
    };
    for value in values {
        if !out.stream(&value.to_string()) {
            break;
        }
    }
    Ok(Status::Ok)
}
