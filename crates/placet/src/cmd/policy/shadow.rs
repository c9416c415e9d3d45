//! `placet policy shadow`: a bundle that is decided beside the one in force.

use std::path::Path;

use placet_authority::node::Connection;
use placet_authority::node::wire::{ActBody, LifecycleBody, Request, Response};
use placet_authority::shadow::ShadowReport;
use serde_json::{Value, json};

use super::force::{signed, tested};
use super::replay::{counts, listed};
use crate::bundle;
use crate::cli::Shadow;
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};
use crate::show::{many, shown};

/// Differences that are listed for people; programs get more.
const LISTED_MAX: usize = 20;

pub(super) fn shadow(domain: &Domain, act: &Shadow, out: Out) -> Result<Status, Failure> {
    match act {
        Shadow::Set { dir, reason } => set(domain, dir, reason, out),
        Shadow::Show => show(domain, out),
        Shadow::Clear { reason } => clear(domain, reason, out),
    }
}

fn set(domain: &Domain, dir: &Path, reason: &str, out: Out) -> Result<Status, Failure> {
    let bundle = bundle::read(&bundle::files(dir)?)?;
    tested(&bundle, out)?;
    let act = ActBody::Shadow {
        bundle: Some(signed(domain, &bundle)?),
        reason: reason.to_owned(),
    };
    let index = act_recorded(domain, act)?;
    let manifest = bundle.manifest();
    out.value(&json!({
        "name": manifest.name, "revision": manifest.revision, "digest": bundle.digest(), "index": index,
    }));
    out.line(format!(
        "{} {} revision {} {}",
        paint(GOOD, "decided beside the bundle in force:"),
        paint(BOLD, &manifest.name),
        manifest.revision,
        paint(DIM, format!("(record {index})"))
    ));
    Ok(Status::Ok)
}

fn clear(domain: &Domain, reason: &str, out: Out) -> Result<Status, Failure> {
    let act = ActBody::Shadow {
        bundle: None,
        reason: reason.to_owned(),
    };
    let index = act_recorded(domain, act)?;
    out.value(&json!({ "index": index }));
    out.line(format!(
        "nothing is decided beside the bundle in force any more {}",
        paint(DIM, format!("(record {index})"))
    ));
    Ok(Status::Ok)
}

/// Which bundles are in use, where, and what the one beside would have changed.
pub(crate) fn lifecycle(mut node: Connection) -> Result<LifecycleBody, Failure> {
    match node.ask(&Request::Lifecycle)? {
        Response::Lifecycle(found) => Ok(*found),
        Response::Error(denial) => Err(denial.into()),
        _ => Err(Failure::unverified(
            "the node gave an answer that does not fit",
        )),
    }
}

fn show(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let Some(report) = lifecycle(domain.node()?)?.shadow else {
        out.value(&Value::Null);
        out.line("no bundle is decided beside the one in force");
        return Ok(Status::Ok);
    };
    out.value(&report);
    print(&report, out);
    Ok(Status::Ok)
}

fn print(report: &ShadowReport, out: Out) {
    let ShadowReport { since, from, .. } = report;
    out.line(format!(
        "{} revision {} {}",
        paint(BOLD, shown(&report.name)),
        report.revision,
        paint(DIM, format!("since record {since}"))
    ));
    out.line(format!("  {}", paint(DIM, report.bundle)));
    if let Some(problem) = &report.problem {
        let problem = shown(problem);
        out.line(format!("  {} {problem}", paint(BAD, "not usable here:")));
        return;
    }
    if from.get() > since.get().saturating_add(1) {
        let note = format!(
            "counted from record {from}; for what was before: placet policy replay --since {since}"
        );
        out.line(format!("  {}", paint(DIM, note)));
    }
    let behind = report.size.get().saturating_sub(report.found.through.get());
    if behind > 0 {
        let behind = format!("{} not looked at yet", many(behind, "record"));
        out.line(format!("  {}", paint(DIM, behind)));
    }
    counts(&report.found, out);
    let all = &report.found.listed;
    listed(all.iter().rev().take(LISTED_MAX), out);
    if all.len() > LISTED_MAX {
        out.line(paint(DIM, "… the latest of them; --json lists up to 256"));
    }
}
