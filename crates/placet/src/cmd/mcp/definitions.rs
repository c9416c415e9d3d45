//! What tools say they are: what counts, what has changed, and to approve the change.

use placet_authority::DefinitionReview;
use placet_authority::node::wire::{ActBody, DefinitionBody, Request, Response};
use placet_types::Digest;
use similar::{ChangeTag, TextDiff};

use super::kept::Kept;
use crate::cli::Global;
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show::{short, shown};

const KIND: &str = "McpTool";

fn counting(domain: &Domain) -> Result<Vec<DefinitionBody>, Failure> {
    match domain.ask(&Request::Definitions)? {
        Response::Definitions(all) => Ok(all),
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

fn kept(domain: &Domain) -> Kept {
    Kept(domain.dir.definitions())
}

pub(super) fn list(global: &Global, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let mut all = counting(&domain)?;
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let kept = kept(&domain);
    let changed = |one: &DefinitionBody| kept.now(&one.id).filter(|now| *now != one.digest);
    let values: Vec<_> = all
        .iter()
        .map(|one| {
            serde_json::json!({
                "tool": one.id, "digest": one.digest, "since": one.since, "now": kept.now(&one.id),
            })
        })
        .collect();
    out.value(&serde_json::Value::Array(values));
    if all.is_empty() {
        out.line(paint(DIM, "no tool was called yet"));
    }
    for one in &all {
        let note = match changed(one) {
            None => String::new(),
            Some(now) => format!("  {} {}", paint(BAD, "changed to"), short(&now)),
        };
        out.line(format!(
            "{}  {}  {}{note}",
            shown(&one.id),
            short(&one.digest),
            paint(DIM, format!("(since record {})", one.since))
        ));
    }
    Ok(Status::Ok)
}

/// What counts and what is offered, as far as both are known.
struct Both {
    counts: Option<Digest>,
    now: Digest,
}

fn both(domain: &Domain, tool: &str) -> Result<Both, Failure> {
    let counts = counting(domain)?
        .into_iter()
        .find(|one| one.kind == KIND && one.id == tool)
        .map(|one| one.digest);
    let now = kept(domain).now(tool).or(counts).ok_or_else(|| {
        Failure::new(format!("no tool {} was seen", shown(tool)))
            .hint("a tool is SERVER/NAME; `placet mcp pins` lists those that count")
    })?;
    Ok(Both { counts, now })
}

pub(super) fn diff(global: &Global, tool: &str, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let both = both(&domain, tool)?;
    show(&domain, tool, &both, out);
    let same = both.counts == Some(both.now);
    Ok(if same { Status::Ok } else { Status::Error })
}

fn show(domain: &Domain, tool: &str, both: &Both, out: Out) {
    let kept = kept(domain);
    let text = |digest: Digest| kept.get(digest).map(|text| pretty(&text));
    let new = text(both.now);
    let old = both.counts.and_then(text);
    out.value(&serde_json::json!({
        "tool": tool, "counts": both.counts, "now": both.now,
        "old": old, "new": new,
    }));
    let name = paint(BOLD, shown(tool));
    match both.counts {
        Some(counts) if counts == both.now => {
            out.line(format!("{name} is what was approved, {}", short(&counts)));
            return;
        }
        Some(counts) => out.line(format!("{name} {} → {}", short(&counts), short(&both.now))),
        None => out.line(format!("{name} is new, {}", short(&both.now))),
    }
    let Some(new) = new else {
        out.line(paint(WARN, "its definition is not kept here any more"));
        return;
    };
    if both.counts.is_some() && old.is_none() {
        out.line(paint(
            WARN,
            "what counts is not kept here; all of what it is now:",
        ));
    }
    let old = old.unwrap_or_default();
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        let line = shown(change.value().trim_end_matches('\n'));
        out.line(match change.tag() {
            ChangeTag::Delete => paint(BAD, format!("- {line}")).to_string(),
            ChangeTag::Insert => paint(GOOD, format!("+ {line}")).to_string(),
            ChangeTag::Equal => format!("  {line}"),
        });
    }
}

/// A definition for people: one member a line.
fn pretty(text: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
    pretty.unwrap_or_else(|_| text.to_owned()) + "\n"
}

pub(super) fn approve(
    global: &Global,
    tool: &str,
    digest: Option<Digest>,
    reason: &str,
    out: Out,
) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let both = both(&domain, tool)?;
    if let Some(wanted) = digest.filter(|wanted| *wanted != both.now) {
        return Err(Failure::new(format!(
            "{} is {} now, and not {wanted}",
            shown(tool),
            both.now
        ))
        .hint("look at `placet mcp diff` again"));
    }
    if !out.is_json() {
        show(&domain, tool, &both, out);
    }
    let review = DefinitionReview {
        digest: both.now,
        id: tool.to_owned(),
        kind: KIND.to_owned(),
        reason: reason.to_owned(),
    };
    let index = act_recorded(&domain, ActBody::Definition(review))?;
    out.value(&serde_json::json!({ "tool": tool, "digest": both.now, "index": index }));
    out.line(format!(
        "{} {} as {} {}",
        paint(GOOD, "approved"),
        shown(tool),
        short(&both.now),
        paint(DIM, format!("(record {index})"))
    ));
    Ok(Status::Ok)
}
