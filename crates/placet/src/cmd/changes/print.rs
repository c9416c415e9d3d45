//! Changes as people read them.

use std::time::Duration;

use placet_process::changes::{Change, ChangeList, Content, Effect, FileKind};
use placet_types::Writes;
use serde_json::json;
use similar::{ChangeTag, TextDiff};

use super::{Reviewed, failure};
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show::{many, shown};

/// How long one file may take to compare; then the difference is coarser.
const DIFF_PATIENCE: Duration = Duration::from_millis(500);

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Diff,
    Stat,
    Names,
}

pub(super) fn show(reviewed: &Reviewed, form: Form, out: Out) -> Result<Status, Failure> {
    let list = &reviewed.list;
    out.value(&json!({
        "summary": reviewed.summary, "list": list,
        "warnings": list.changes.iter()
            .filter_map(|change| Some((label(list, change), change.warning()?)))
            .collect::<Vec<_>>(),
    }));
    if out.is_json() {
        return Ok(Status::Ok);
    }
    for change in &list.changes {
        match form {
            Form::Names => out.line(label(list, change)),
            Form::Stat | Form::Diff => one(reviewed, change, form, out)?,
        }
    }
    if form != Form::Names {
        let trees: Vec<&str> = list.trees.iter().map(|tree| tree.as_str()).collect();
        out.line(paint(
            DIM,
            format!(
                "{} in {}, {} B; {}",
                many(list.changes.len() as u64, "change"),
                trees.join(" and "),
                list.bytes(),
                reviewed.summary.digest
            ),
        ));
    }
    Ok(Status::Ok)
}

/// The path as it is printed, and taken by `apply`: below the tree, or absolute where it is not the first one.
pub(super) fn label(list: &ChangeList, change: &Change) -> String {
    match list.trees.get(change.tree).filter(|_| change.tree > 0) {
        Some(tree) => format!("{tree}/{}", change.path),
        None => change.path.to_string(),
    }
}

fn one(reviewed: &Reviewed, change: &Change, form: Form, out: Out) -> Result<(), Failure> {
    let (word, style) = match change.effect() {
        Effect::Added => ("added", GOOD),
        Effect::Changed => ("changed", WARN),
        Effect::Removed => ("removed", BAD),
        Effect::Replaced => ("replaced", WARN),
    };
    let path = label(&reviewed.list, change);
    let details = details(change);
    let diff = difference(reviewed, change)?;
    let lines = match (&diff, form) {
        (Some(diff), Form::Stat) => format!(" {}", counts(diff)),
        _ => String::new(),
    };
    out.line(format!(
        "{} {}{}{lines}",
        paint(style, format!("{word:8}")),
        paint(BOLD, path),
        paint(DIM, details)
    ));
    if let Some(warning) = change.warning() {
        out.line(format!("  {} it {warning}", paint(BAD, "warning:")));
    }
    if change.raced {
        let why = "the original changed while the execution ran: this cannot be applied";
        out.line(format!("  {} {why}", paint(BAD, "conflict:")));
    }
    if let (Some(diff), Form::Diff) = (&diff, form) {
        for line in diff {
            let style = match line.0 {
                ChangeTag::Insert => GOOD,
                ChangeTag::Delete => BAD,
                ChangeTag::Equal => DIM,
            };
            out.line(paint(style, &line.1));
        }
    }
    Ok(())
}

fn details(change: &Change) -> String {
    let kind = |kind: FileKind| match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::Fifo => "named pipe",
        FileKind::Socket => "socket",
        FileKind::Device => "device",
    };
    let mut parts = Vec::new();
    match (&change.before, &change.after) {
        (Some(before), Some(after)) if before.kind != after.kind => {
            parts.push(format!("{} became {}", kind(before.kind), kind(after.kind)));
        }
        (_, Some(after)) if after.kind != FileKind::File => parts.push(kind(after.kind).into()),
        (Some(before), None) if before.kind != FileKind::File => {
            parts.push(kind(before.kind).into());
        }
        _ => {}
    }
    match (&change.before, &change.after) {
        (Some(before), Some(after)) if before.mode != after.mode => {
            parts.push(format!("mode {:04o} to {:04o}", before.mode, after.mode));
        }
        (None, Some(after)) if after.kind != FileKind::Symlink => {
            parts.push(format!("mode {:04o}", after.mode));
        }
        _ => {}
    }
    if let Some(target) = change
        .after
        .as_ref()
        .and_then(|after| after.target.as_ref())
    {
        parts.push(format!("to {target}"));
    }
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}

type Lines = Vec<(ChangeTag, String)>;

/// The difference of two texts, in lines; `None` where there is nothing to compare.
fn difference(reviewed: &Reviewed, change: &Change) -> Result<Option<Lines>, Failure> {
    let is_file = |kind: Option<FileKind>| kind.is_none_or(|kind| kind == FileKind::File);
    let kinds = (
        change.before.as_ref().map(|before| before.kind),
        change.after.as_ref().map(|after| after.kind),
    );
    let no_file = kinds.0 != Some(FileKind::File) && kinds.1 != Some(FileKind::File);
    if reviewed.list.writes != Writes::Kept || no_file || !is_file(kinds.0) || !is_file(kinds.1) {
        return Ok(None);
    }
    let [before, after] = reviewed.kept.contents(change).map_err(failure)?;
    let text = |content: Option<Content>| match content {
        None => Some(String::new()),
        Some(Content::Text(text)) => Some(text),
        Some(Content::Binary) => None,
    };
    let (Some(before), Some(after)) = (text(before), text(after)) else {
        let words = "  binary, or larger than 1 MiB: compared by digest only".to_owned();
        return Ok(Some(vec![(ChangeTag::Equal, words)]));
    };
    let diff = TextDiff::configure()
        .timeout(DIFF_PATIENCE)
        .diff_lines(&before, &after);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        lines.push((ChangeTag::Equal, format!("  {}", hunk.header())));
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Insert => "+",
                ChangeTag::Delete => "-",
                ChangeTag::Equal => " ",
            };
            // A governed program wrote these lines: nothing in them may reach the terminal as it is.
            let line = change.value().trim_end_matches('\n');
            lines.push((change.tag(), format!("  {sign}{}", shown(line))));
        }
    }
    Ok(Some(lines))
}

fn counts(lines: &Lines) -> String {
    let count = |tag| lines.iter().filter(|line| line.0 == tag).count();
    match (count(ChangeTag::Insert), count(ChangeTag::Delete)) {
        (0, 0) => "binary".to_owned(),
        (added, removed) => format!("+{added} -{removed}"),
    }
}
