//! Applying and discarding: operators' acts, recorded before they happen.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use placet_authority::ChangesReview;
use placet_authority::node::wire::ActBody;
use placet_evidence::ChangesAct;
use placet_process::changes::{ApplyError, Change, ChangeList, Kept, Staged};
use placet_types::{Digest, Writes};
use serde_json::json;

use super::print::label;
use super::{Reviewed, failure};
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show::{many, shown};

pub(super) fn apply(
    domain: &Domain,
    exec: Option<&str>,
    paths: &[OsString],
    out: Out,
) -> Result<Status, Failure> {
    let reviewed = Reviewed::open(domain, exec)?;
    let Reviewed {
        kept,
        summary,
        list,
    } = &reviewed;
    let _lock = kept.lock().map_err(failure)?;
    if kept.is_expired() {
        return Err(Failure::new("these changes have been kept past their time")
            .hint("run the command again; `placet changes discard --expired` removes them"));
    }
    let chosen = choose(list, paths)?;
    let all = chosen.len() == list.changes.len();
    let selection = list.only(chosen.clone()).encode().map_err(Failure::new)?.1;
    let staged = Staged::prepare(kept, kept.exec(), chosen.clone()).map_err(refused)?;
    let (count, already) = staged.counts();
    let review = |act| {
        ActBody::Changes(ChangesReview {
            act,
            changes: Some(summary.digest),
            count: chosen.len() as u64,
            exec: kept.exec(),
            selection: Some(selection),
        })
    };
    let index = act_recorded(domain, review(ChangesAct::Applied))?;
    if let Err(error) = staged.commit() {
        let undone = act_recorded(domain, review(ChangesAct::Undone));
        let failure = refused(error);
        return Err(match undone {
            Ok(_) => failure,
            Err(_) => failure.hint("everything was brought back, which could not be recorded"),
        });
    }
    if all {
        kept.remove()?;
    }
    let warnings: Vec<(String, &str)> = chosen
        .iter()
        .filter_map(|change| Some((label(list, change), change.warning()?)))
        .collect();
    out.value(&json!({
        "applied": count, "already": already, "exec": kept.exec(), "index": index,
        "selection": selection, "warnings": warnings,
    }));
    for (path, why) in &warnings {
        out.line(format!("{} {path} {why}", paint(WARN, "note:")));
    }
    let place = paint(DIM, format!("(record {index})"));
    let what = many(count as u64, "change");
    out.line(format!("{} {what} {place}", paint(GOOD, "applied")));
    if already > 0 {
        out.line(paint(DIM, format!("  {already} were there already")));
    }
    Ok(Status::Ok)
}

fn refused(error: ApplyError) -> Failure {
    match error {
        ApplyError::Conflicts(conflicts) => {
            let lines: Vec<String> = conflicts
                .iter()
                .take(50)
                .map(|conflict| format!("\n  {}: {}", conflict.path, conflict.why))
                .collect();
            let more = conflicts.len().saturating_sub(lines.len());
            let more = match more {
                0 => String::new(),
                more => format!("\n  and {more} more"),
            };
            Failure::new(format!(
                "nothing was applied: {} not fit what is there{}{more}",
                many(conflicts.len() as u64, "change")
                    + if conflicts.len() == 1 { " does" } else { " do" },
                lines.concat()
            ))
            .hint("name the paths that you want, or run the command again")
        }
        ApplyError::Altered(_) => Failure::unverified(error),
        ApplyError::Kept(error) => failure(error),
        ApplyError::Interrupted(_) | ApplyError::Io { .. } => Failure::new(error),
        _ => Failure::new(error),
    }
}

/// The changes at or below the paths, or all.
fn choose(list: &ChangeList, paths: &[OsString]) -> Result<Vec<Change>, Failure> {
    if paths.is_empty() {
        return Ok(list.changes.clone());
    }
    let matches = |change: &Change, path: &OsString| {
        let absolute = list
            .trees
            .get(change.tree)
            .and_then(|tree| path.as_bytes().strip_prefix(tree.as_str().as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"/"));
        let wanted = absolute.unwrap_or(path.as_bytes());
        let wanted = wanted.strip_suffix(b"/").unwrap_or(wanted);
        change.path.is_within(wanted) || path.to_str() == Some(&label(list, change))
    };
    for path in paths {
        if path.is_empty() || !list.changes.iter().any(|change| matches(change, path)) {
            return Err(Failure::new(format!(
                "{} was not changed",
                shown(&path.to_string_lossy())
            ))
            .hint("`placet changes show --name-only` prints the paths"));
        }
    }
    let chosen = list.changes.iter();
    Ok(chosen
        .filter(|change| paths.iter().any(|path| matches(change, path)))
        .cloned()
        .collect())
}

pub(super) fn discard(domain: &Domain, chosen: &[Kept], out: Out) -> Result<Status, Failure> {
    let mut discarded = Vec::new();
    for kept in chosen {
        let _lock = kept.lock().map_err(failure)?;
        let summary = super::summaries(domain, Some(kept.exec()))?.remove(&kept.exec());
        let digest: Option<Digest> = summary.map(|summary| summary.digest);
        // The list of a dry run is nobody's work: it goes without a word.
        if kept.writes() == Writes::Kept {
            act_recorded(
                domain,
                ActBody::Changes(ChangesReview {
                    act: ChangesAct::Discarded,
                    changes: digest,
                    count: summary.map_or(0, |summary| summary.count),
                    exec: kept.exec(),
                    selection: digest,
                }),
            )?;
        }
        kept.remove()?;
        discarded.push(kept.exec());
    }
    out.value(&json!({ "discarded": discarded }));
    for exec in &discarded {
        out.line(format!(
            "{} {}",
            paint(WARN, "discarded"),
            paint(BOLD, exec)
        ));
    }
    if discarded.is_empty() {
        out.line(paint(DIM, "nothing to discard"));
    }
    Ok(Status::Ok)
}
