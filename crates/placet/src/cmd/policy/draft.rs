//! What is done with a bundle's directory before it is put in force: no domain, no key, no node.

use std::io::Write as _;
use std::path::Path;

use placet_policy::{Bundle, Policy, Problem, Severity, TestReport, run_tests};
use serde_json::{Value, json};

use crate::bundle;
use crate::context::clock;
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, WARN, paint};
use crate::show;

pub(super) fn init(dir: &Path, out: Out) -> Result<Status, Failure> {
    let io = |path: &Path, error| Failure::new(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(|error| io(dir, error))?;
    let mut content = std::fs::read_dir(dir).map_err(|error| io(dir, error))?;
    if content.next().is_some() {
        return Err(Failure::new(format!("{} is not empty", dir.display()))
            .hint("name a directory that is not there yet"));
    }
    let files = bundle::starter_files();
    for (name, bytes) in &files.0 {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| io(parent, error))?;
        }
        std::fs::write(&path, bytes).map_err(|error| io(&path, error))?;
    }
    let names: Vec<&String> = files.0.keys().collect();
    out.value(&json!({ "directory": dir, "files": names }));
    out.line(format!(
        "{} the starter bundle to {}",
        paint(GOOD, "wrote"),
        paint(BOLD, dir.display())
    ));
    for name in names {
        out.line(format!("  {name}"));
    }
    let shown = dir.display();
    out.line(format!("next: change it, raise `revision` in bundle.toml, `placet policy test {shown}`, `placet policy activate {shown}`"));
    Ok(Status::Ok)
}

pub(super) fn fmt(dir: &Path, check: bool, out: Out) -> Result<Status, Failure> {
    let files = bundle::files(dir)?;
    let bundle = bundle::read(&files)?;
    let changed = placet_policy::fmt(&bundle).map_err(|problems| {
        bundle::problems_failure("some members cannot be formatted", &problems)
    })?;
    if !check {
        for (name, text) in &changed {
            let path = dir.join(name);
            replace(&path, text.as_bytes())
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        }
    }
    let names: Vec<&String> = changed.keys().collect();
    out.value(&json!({ "changed": names, "written": !check }));
    let word = if check {
        paint(WARN, "not formatted")
    } else {
        paint(GOOD, "formatted")
    };
    for name in &names {
        out.line(format!("{word} {name}"));
    }
    if names.is_empty() {
        out.line(paint(DIM, "everything is formatted"));
    }
    Ok(if check && !names.is_empty() {
        Status::Error
    } else {
        Status::Ok
    })
}

/// Puts a file in the place of another: whole, or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A name that begins with a dot is no member, should it be left behind.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let permissions = std::fs::metadata(path)?.permissions();
    let mut file = std::fs::File::create(&staged)?;
    file.set_permissions(permissions)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&staged, path)
}

pub(super) fn lint(dir: &Path, out: Out) -> Result<Status, Failure> {
    let (bundle, policy) = match compiled(dir)? {
        Ok(both) => both,
        Err(problems) => return Ok(print_problems(&problems, out)),
    };
    let found = placet_policy::lint(&bundle, &policy, Some(clock().wall()));
    if found.is_empty() {
        out.value(&json!({ "problems": [] }));
        out.line(format!(
            "{} nothing looks like a mistake",
            paint(GOOD, "clean:")
        ));
        return Ok(Status::Ok);
    }
    Ok(print_problems(&found, out))
}

pub(super) fn check(dir: &Path, out: Out) -> Result<Status, Failure> {
    let (bundle, policy) = match compiled(dir)? {
        Ok(both) => both,
        Err(problems) => return Ok(print_problems(&problems, out)),
    };
    let manifest = bundle.manifest();
    let (rules, profiles) = (policy.rules().count(), policy.profiles().count());
    out.value(&json!({
        "problems": [], "name": manifest.name, "revision": manifest.revision,
        "digest": bundle.digest(), "policies": rules, "profiles": profiles,
        "members": manifest.members.len(),
    }));
    out.line(format!(
        "{} {} revision {}: {rules} policies and {profiles} profiles in {} members",
        paint(GOOD, "sound:"),
        paint(BOLD, &manifest.name),
        manifest.revision,
        manifest.members.len()
    ));
    out.line(format!("  {}", paint(DIM, bundle.digest())));
    Ok(Status::Ok)
}

pub(super) fn test(dir: &Path, out: Out) -> Result<Status, Failure> {
    let (bundle, policy) = match compiled(dir)? {
        Ok(both) => both,
        Err(problems) => return Ok(print_problems(&problems, out)),
    };
    let report = run_tests(&bundle, &policy);
    out.value(&test_value(&report));
    print_tests(&report, out);
    Ok(if report.passed() {
        Status::Ok
    } else {
        Status::Error
    })
}

fn test_value(report: &TestReport) -> Value {
    let result = |result: &placet_policy::TestResult| {
        json!({
            "file": result.file, "line": result.line, "name": result.name,
            "command": result.command, "failure": result.failure,
        })
    };
    json!({
        "passed": report.passed(),
        "results": report.results.iter().map(result).collect::<Vec<_>>(),
        "covered": report.covered, "uncovered": report.uncovered,
    })
}

fn print_tests(report: &TestReport, out: Out) {
    for failed in report.failures() {
        let place = paint(DIM, format!("{}:{}", failed.file, failed.line));
        out.line(format!(
            "{} {} {place}",
            paint(BAD, "failed"),
            paint(BOLD, show::shown(&failed.name))
        ));
        out.line(format!("  {}", show::shown(&failed.command)));
        if let Some(why) = &failed.failure {
            out.line(format!("  {}", show::shown(why)));
        }
    }
    let (all, failed) = (report.results.len(), report.failures().count());
    out.line(match failed {
        0 => format!("{} {all} requests", paint(GOOD, "passed")),
        failed => format!(
            "{} of {all} requests",
            paint(BAD, format!("{failed} failed"))
        ),
    });
    let (covered, open) = (report.covered.len(), report.uncovered.len());
    out.line(format!(
        "coverage {covered} of {} policies determined an answer",
        covered + open
    ));
    for id in &report.uncovered {
        out.line(format!("  {} {id}", paint(WARN, "untested")));
    }
}

pub(super) fn diff(old: &Path, new: &Path, out: Out) -> Result<Status, Failure> {
    let (before, after) = (
        bundle::read(&bundle::files(old)?)?,
        bundle::read(&bundle::files(new)?)?,
    );
    let diff = placet_policy::diff(&before, &after)
        .map_err(|problems| bundle::problems_failure("a bundle does not parse", &problems))?;
    let changed: serde_json::Map<String, Value> = diff
        .changed
        .iter()
        .map(|(id, what)| (id.clone(), json!(what)))
        .collect();
    let members: serde_json::Map<String, Value> = diff
        .members
        .iter()
        .map(|(path, how)| (path.clone(), json!(how)))
        .collect();
    out.value(&json!({
        "same": diff.is_empty(), "added": diff.added, "removed": diff.removed,
        "changed": changed, "members": members,
    }));
    if diff.is_empty() {
        out.line(paint(DIM, "no difference"));
    }
    for line in diff.to_string().lines() {
        let style = match line.chars().next() {
            Some('+') => GOOD,
            Some('-') => BAD,
            _ => WARN,
        };
        out.line(paint(style, show::shown(line)));
    }
    Ok(Status::Ok)
}

/// A bundle's directory, read and compiled, or what is wrong with it.
fn compiled(dir: &Path) -> Result<Result<(Bundle, Policy), Vec<Problem>>, Failure> {
    let files = bundle::files(dir)?;
    Ok(Bundle::read(&files).and_then(|bundle| {
        let policy = Policy::compile(&bundle)?;
        Ok((bundle, policy))
    }))
}

fn print_problems(problems: &[Problem], out: Out) -> Status {
    let values: Vec<Value> = problems.iter().map(problem_value).collect();
    out.value(&json!({ "problems": values }));
    for problem in problems {
        out.line(problem_line(problem));
    }
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    let warnings = problems.len() - errors;
    out.line(paint(BOLD, format!("{errors} errors, {warnings} warnings")));
    Status::Error
}

fn problem_value(problem: &Problem) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "file": problem.file, "line": problem.line, "severity": severity, "rule": problem.rule,
        "message": problem.message,
    })
}

/// A problem, for people.
pub(super) fn problem_line(problem: &Problem) -> String {
    let line = problem
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    let word = match problem.severity {
        Severity::Error => paint(BAD, "error"),
        Severity::Warning => paint(WARN, "warning"),
    };
    let place = paint(BOLD, format!("{}{line}", show::shown(&problem.file)));
    let rule = paint(DIM, format!("[{}]", problem.rule));
    // Cedar's messages have several lines, which are part of what they say.
    let message: Vec<String> = show::shown_lines(&problem.message).collect();
    format!("{place} {word} {} {rule}", message.join("\n    "))
}
