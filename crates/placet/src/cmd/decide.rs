//! `placet decide`: what would happen, and why.

use placet_types::{Images, PathSet, ProfileName, Scope, Writes};

use crate::cli::{Decide, Global};
use crate::cmd::run::{command, failure, program_of};
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};

pub(crate) fn decide(global: &Global, args: &Decide, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    let command = command(&args.call)?;
    let (call, preview) = domain
        .gateway()?
        .preview(&command)
        .map_err(|error| failure(error, program_of(&args.call)))?;
    out.value(&serde_json::json!({
        "permit": preview.denial.is_none(), "intent": call.intent, "preview": preview,
    }));
    let line = command.argv.join(" ");
    match &preview.denial {
        None => out.line(format!("{} {line}", paint(GOOD, "permit"))),
        Some(denial) => {
            out.line(format!("{} {line}", paint(BAD, "deny")));
            out.line(format!("  code      {}", paint(BOLD, denial.code)));
        }
    }
    out.line(format!("  as        {}", command.principal));
    out.line(format!("  program   {}", call.program.path));
    out.line(format!("  policies  {}", list(&preview.determining)));
    out.line(format!(
        "  risk      {} {}",
        preview.risk.score,
        list(&preview.risk.factors)
    ));
    if let Some(grant) = &preview.grant {
        out.line(format!("  profile   {}", grant.profile));
        if !grant.rerouted.is_empty() {
            out.line(format!("  rerouted  {}", rerouted_to(&grant.rerouted)));
        }
        out.line(format!("  until     {}", grant.not_after));
    }
    if let Some(scope) = &preview.scope {
        print_scope(scope, out);
    }
    for line in preview.explanation.lines() {
        out.line(format!("  {}", paint(DIM, line)));
    }
    Ok(if preview.denial.is_none() {
        Status::Ok
    } else {
        Status::Denied
    })
}

/// A scope, one line a kind.
pub(crate) fn print_scope(scope: &Scope, out: Out) {
    let paths = |set: &PathSet| {
        set.iter()
            .map(|path| path.as_str().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let writes = match scope.writes {
        Writes::Direct => "",
        Writes::Kept => " (to a copy; the changes are kept for review)",
        Writes::Discarded => " (to a copy that is discarded: a dry run)",
    };
    out.line(format!("  write     {}{writes}", paths(&scope.write)));
    out.line(format!("  read      {}", paths(&scope.read)));
    out.line(format!("  exec      {}", paths(&scope.exec)));
    if let Images::Listed(digests) = &scope.exec_digests {
        let digests: Vec<String> = digests.iter().map(ToString::to_string).collect();
        out.line(format!("  digests   {}", digests.join(" ")));
    }
    let peers: Vec<String> = scope.network.rules().map(ToString::to_string).collect();
    out.line(format!("  network   {}", list(&peers)));
    let limits = scope.limits;
    out.line(format!(
        "  limits    {} s, {} s of processor, {} MiB, {} processes",
        limits.wall_secs,
        limits.cpu_secs,
        limits.memory_bytes >> 20,
        limits.processes
    ));
    let tree = [
        limits
            .tree_memory_bytes
            .map(|bytes| format!("{} MiB", bytes >> 20)),
        limits
            .tree_cpu_percent
            .map(|percent| format!("{percent} % of a processor")),
    ];
    let tree: Vec<String> = tree.into_iter().flatten().collect();
    if !tree.is_empty() {
        out.line(format!("  together  {}", tree.join(", ")));
    }
}

/// Where policy sent what would have run elsewhere.
pub(crate) fn rerouted_to(profiles: &[ProfileName]) -> String {
    let names: Vec<&str> = profiles.iter().map(ProfileName::as_str).collect();
    format!("by policy, to {}", names.join(" and "))
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}
