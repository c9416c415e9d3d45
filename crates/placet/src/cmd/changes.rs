//! `placet changes`: what executions changed in copies, reviewed and applied.

mod apply;
mod print;

use std::collections::BTreeMap;

use placet_evidence::{ChangeSummary, KindName, Record};
use placet_process::changes::{ChangeList, Kept, KeptError, KeptState};
use placet_types::{ExecutionId, Index, Writes};
use serde_json::json;

use crate::cli::{Changes, Global};
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{DIM, Out, paint};
use crate::show::many;

pub(crate) fn changes(global: &Global, command: &Changes, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    match command {
        Changes::List => list(&domain, out),
        Changes::Show {
            exec,
            stat,
            name_only,
        } => {
            let reviewed = Reviewed::open(&domain, exec.as_deref())?;
            let form = match (stat, name_only) {
                (true, _) => print::Form::Stat,
                (_, true) => print::Form::Names,
                _ => print::Form::Diff,
            };
            print::show(&reviewed, form, out)
        }
        Changes::Apply { exec, paths } => apply::apply(&domain, exec.as_deref(), paths, out),
        Changes::Discard { exec, expired } => {
            let chosen = match exec {
                Some(exec) => vec![kept(&domain, Some(exec))?],
                None => Kept::all(&domain.dir.changes())?
                    .into_iter()
                    .filter(|kept| *expired && kept.is_expired())
                    .collect(),
            };
            apply::discard(&domain, &chosen, out)
        }
    }
}

/// Kept changes with their list, which is the one that the log names.
pub(super) struct Reviewed {
    pub(super) kept: Kept,
    pub(super) summary: ChangeSummary,
    pub(super) list: ChangeList,
}

impl Reviewed {
    pub(super) fn open(domain: &Domain, text: Option<&str>) -> Result<Self, Failure> {
        let kept = kept(domain, text)?;
        match kept.state() {
            KeptState::Running => return Err(failure(KeptError::Busy)),
            KeptState::Unlisted => return Err(failure(KeptError::Unlisted)),
            KeptState::Listed => {}
        }
        let summary = summaries(domain, Some(kept.exec()))?
            .remove(&kept.exec())
            .ok_or_else(|| {
                Failure::unverified(format!("no record names the changes of {}", kept.exec())).hint(
                    "its end was not recorded, so nothing proves what it changed; discard them",
                )
            })?;
        let list = kept.list(&summary.digest).map_err(failure)?;
        Ok(Self {
            kept,
            summary,
            list,
        })
    }
}

/// What is kept of the execution whose id begins with `text`, or of the only one of which anything is.
fn kept(domain: &Domain, text: Option<&str>) -> Result<Kept, Failure> {
    let all = Kept::all(&domain.dir.changes())?;
    let Some(text) = text else {
        return only(all);
    };
    let mut matching = all
        .into_iter()
        .filter(|kept| text.len() > "exec_".len() && kept.exec().to_string().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(kept), None) => Ok(kept),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "more than one execution begins with {text}"
        ))
        .hint("give more digits")),
        (None, _) => Err(
            Failure::new(format!("nothing is kept of {}", crate::show::shown(text)))
                .hint("`placet changes list` lists what is kept"),
        ),
    }
}

/// The one that waits for a review; of none or several that is said.
fn only(all: Vec<Kept>) -> Result<Kept, Failure> {
    let waits = |kept: &Kept| kept.writes() == Writes::Kept && !kept.is_expired();
    let mut waiting: Vec<Kept> = all.into_iter().filter(waits).collect();
    match (waiting.pop(), waiting.len()) {
        (Some(kept), 0) => Ok(kept),
        (Some(_), others) => {
            let each = format!("changes of {} executions are kept: which?", others + 1);
            Err(Failure::new(each).hint("`placet changes list` lists them"))
        }
        (None, _) => Err(Failure::new("no changes are kept")
            .hint("`placet run --profile copy -- CMD` keeps some")),
    }
}

pub(super) fn failure(error: KeptError) -> Failure {
    match error {
        KeptError::Altered => Failure::unverified(error).hint(
            "somebody changed it in the domain directory; `placet changes discard` removes it",
        ),
        KeptError::None(_)
        | KeptError::Busy
        | KeptError::Unlisted
        | KeptError::DryRun
        | KeptError::Io(_) => Failure::new(error),
        _ => Failure::new(error),
    }
}

/// What the records of ends say of changes.
fn summaries(
    domain: &Domain,
    only: Option<ExecutionId>,
) -> Result<BTreeMap<ExecutionId, ChangeSummary>, Failure> {
    let reader = domain.log()?;
    let ends = find::select(&reader, Index::default(), |glance| {
        let about = |exec| only.is_none_or(|only| only == exec);
        glance.kind == KindName::Ended && glance.exec.is_none_or(about)
    });
    let mut found = BTreeMap::new();
    for end in ends {
        if let (_, Record::Ended(end)) = end?
            && let Some(changes) = end.usage.and_then(|usage| usage.changes)
        {
            found.insert(end.exec, changes);
        }
    }
    Ok(found)
}

fn list(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let all = Kept::all(&domain.dir.changes())?;
    let summaries = summaries(domain, None)?;
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    for kept in &all {
        let state = match kept.state() {
            KeptState::Running => "running",
            KeptState::Unlisted => "unlisted",
            KeptState::Listed if kept.is_expired() => "expired",
            KeptState::Listed if kept.writes() == Writes::Discarded => "dry run",
            KeptState::Listed => "kept",
        };
        let summary = summaries.get(&kept.exec());
        values.push(json!({ "exec": kept.exec(), "state": state, "changes": summary }));
        rows.push(vec![
            kept.exec().to_string(),
            state.to_owned(),
            summary.map_or_else(|| "-".into(), |summary| many(summary.count, "change")),
            summary.map_or_else(|| "-".into(), |summary| format!("{} B", summary.bytes)),
        ]);
    }
    out.value(&json!({ "changes": values }));
    if rows.is_empty() {
        out.line(paint(DIM, "nothing is kept"));
    } else {
        out.table(&["execution", "state", "changes", "size"], &rows);
    }
    Ok(Status::Ok)
}
