//! `placet policy status`: what is in force, and what was.

use placet_authority::node::wire::{GatewayBundleBody, LifecycleBody};
use placet_evidence::{Glance, KindName, PolicyActivated, Record};
use placet_log::LogReader;
use placet_policy::Policy;
use placet_types::Index;
use serde_json::{Value, json};

use super::shadow::lifecycle;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show;

/// Every activation, in order: the last one is in force.
pub(super) fn activations(
    reader: &LogReader,
    out: Out,
) -> Result<Vec<(Index, PolicyActivated)>, Failure> {
    let bar = out.progress("reading the log", reader.size().get());
    let glanced = |glance: Glance| {
        bar.inc(1);
        glance.kind == KindName::Policy
    };
    let mut found = Vec::new();
    for record in find::select(reader, Index::default(), glanced) {
        let (index, record) = record?;
        if let Record::Policy(activated) = record {
            found.push((index, activated));
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

pub(super) fn status(domain: &Domain, out: Out) -> Result<Status, Failure> {
    // Reading needs no node: where none runs, none decides.
    let in_use = domain.running_node()?.map(lifecycle).transpose()?;
    let history = activations(&domain.log()?, out)?;
    let Some((index, active)) = history.last() else {
        out.value(&json!({ "active": Value::Null, "history": [] }));
        out.line(format!(
            "{}: every intent is denied",
            paint(BAD, "no bundle is in force")
        ));
        return Ok(Status::Ok);
    };
    let policy = domain.bundles().load(active.bundle);
    let status = if policy.is_ok() {
        Status::Ok
    } else {
        Status::Unverified
    };
    let compiled = policy.as_ref().ok();
    out.value(&json!({
        "active": value(*index, active),
        "policies": compiled.map(|policy| policy.rules().map(|rule| &rule.id).collect::<Vec<_>>()),
        "validity": compiled.map(Policy::validity),
        "problem": policy.as_ref().err().map(|error| &error.reason),
        "history": history.iter().map(|(index, one)| value(*index, one)).collect::<Vec<_>>(),
        "nodes": in_use.as_ref().map_or(&[][..], |it| &it.nodes),
        "gateways": in_use.as_ref().map_or(&[][..], |it| &it.gateways),
        "shadow": in_use.as_ref().and_then(|it| it.shadow.as_ref()).map(|it| json!({
            "digest": it.bundle, "name": it.name, "revision": it.revision, "since": it.since,
        })),
    }));
    print_active(*index, active, out);
    match &policy {
        Ok(policy) => print_policy(policy, out),
        Err(error) => {
            let reason = show::shown(&error.reason);
            out.line(format!("  {} {reason}", paint(BAD, "not usable here:")));
        }
    }
    if let Some(beside) = in_use.as_ref().and_then(|it| it.shadow.as_ref()) {
        out.line(format!(
            "  beside    {} revision {} (record {}; placet policy shadow show)",
            show::shown(&beside.name),
            beside.revision,
            beside.since
        ));
    }
    out.line(String::new());
    print_history(&history, out);
    match &in_use {
        Some(in_use) => print_in_use(in_use, out),
        None => {
            out.line("\nno node runs: what is decided beside, and where, is known to a running one")
        }
    }
    Ok(status)
}

/// What each node decides with, and what each gateway holds.
fn print_in_use(in_use: &LifecycleBody, out: Out) {
    let none = || "none".to_owned();
    let nodes = in_use.nodes.iter().map(|it| {
        let usable = if it.usable { "decides" } else { "denies all" };
        vec![
            format!("node {}", it.node),
            it.bundle.as_ref().map_or_else(none, show::short),
            it.since.map_or_else(none, |since| since.to_string()),
            format!("{usable}, at record {}", it.index),
        ]
    });
    let gateways = in_use.gateways.iter().map(|it| {
        vec![
            format!("gateway {} on {}", it.gateway, show::short(&it.machine)),
            show::short(&it.bundle),
            it.since.to_string(),
            format!(
                "{} running, {} not started{}",
                it.running,
                it.authorized,
                attested(it)
            ),
        ]
    });
    let rows: Vec<Vec<String>> = nodes.chain(gateways).collect();
    out.line(String::new());
    out.table(&["WHERE", "DIGEST", "SINCE RECORD", "WHAT"], &rows);
}

/// How a gateway was appraised last, and how long ago it attested.
pub(crate) fn attested(it: &GatewayBundleBody) -> String {
    match (it.appraisal, it.attested_secs) {
        (Some(status), Some(secs)) => {
            format!(", appraised as {}, attested {secs} s ago", status.as_str())
        }
        _ => ", not attested".to_owned(),
    }
}

fn value(index: Index, one: &PolicyActivated) -> Value {
    json!({
        "index": index, "time": one.time, "name": one.name, "revision": one.revision,
        "digest": one.bundle, "by": one.by, "signers": one.signers,
    })
}

fn print_active(index: Index, active: &PolicyActivated, out: Out) {
    let name = paint(BOLD, &active.name);
    out.line(format!(
        "{} {name} revision {}",
        paint(GOOD, "in force:"),
        active.revision
    ));
    out.line(format!("  digest    {}", active.bundle));
    out.line(format!(
        "  since     {} (record {index}, by {})",
        active.time, active.by
    ));
    out.line(format!("  signed    {}", show::list(&active.signers)));
}

fn print_policy(policy: &Policy, out: Out) {
    let (permits, forbids): (Vec<_>, Vec<_>) = policy.rules().partition(|rule| rule.permits);
    out.line(format!(
        "  policies  {} permits, {} forbids",
        permits.len(),
        forbids.len()
    ));
    out.line(format!(
        "  profiles  {}",
        show::list(policy.profiles().map(|profile| profile.name()))
    ));
    let validity = policy.validity();
    if !validity.holds_at(clock().wall()) {
        out.line(format!(
            "  {}",
            paint(WARN, "its validity does not include now")
        ));
    } else if let Some(end) = validity.expires {
        out.line(format!("  expires   {end}"));
    }
}

fn print_history(history: &[(Index, PolicyActivated)], out: Out) {
    let row = |(index, one): &(Index, PolicyActivated)| {
        vec![
            one.revision.to_string(),
            one.name.clone(),
            one.time.to_string(),
            one.by.to_string(),
            index.to_string(),
            paint(DIM, show::short(&one.bundle)),
        ]
    };
    let rows: Vec<Vec<String>> = history.iter().map(row).collect();
    out.table(
        &[
            "REVISION",
            "NAME",
            "IN FORCE FROM",
            "BY",
            "RECORD",
            "DIGEST",
        ],
        &rows,
    );
}
