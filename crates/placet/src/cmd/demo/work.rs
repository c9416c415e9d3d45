//! Authorize: what an agent is there for. It finds a bug, mends it, tests and commits.

use super::ground::{Ground, hold};
use super::stage::Stage;
use super::step::{End, Try};
use crate::exit::Failure;

/// Puts the sign before the whole amount instead of before its first part.
const MEND: &str =
    "s/sign \\* int(whole) \\* 100 + int(fraction)/sign * (int(whole) * 100 + int(fraction))/";

const WORK: &[Try] = &[
    Try::done(
        "looks around: git status",
        &["git", "status", "--short", "--branch"],
    )
    .says("main"),
    Try::done("reads: cat README.md", &["cat", "README.md"]).says("Ledger"),
    Try::new(
        "runs the tests: make test",
        &["make", "test"],
        // make's status for a recipe that failed.
        End::Exits(2),
    )
    .says("FAILED (failures=2)"),
    Try::done(
        "searches: grep -rn sign ledger",
        &["grep", "-rn", "sign", "ledger"],
    )
    .says("int(whole)"),
    Try::done(
        "edits: sed -i ledger/money.py",
        &["sed", "-i", MEND, "ledger/money.py"],
    ),
    Try::done(
        "runs one test: python3 -m unittest",
        &["python3", "-m", "unittest", "tests.test_money"],
    )
    .says("OK"),
    Try::done("runs the tests: make test", &["make", "test"]).says("OK"),
    Try::done(
        "writes: sh -c 'printf … > CHANGES.md'",
        &[
            "sh",
            "-c",
            "printf '%s\\n' '- Amounts that are owed add up.' > CHANGES.md",
        ],
    ),
    Try::done("cleans up: rm -rf build", &["rm", "-rf", "build"]).also(build_is_gone),
    Try::done("git add -A", &["git", "add", "-A"]),
    Try::done(
        "git commit",
        &["git", "commit", "-q", "-m", "Sign the whole amount"],
    )
    .also(commit_is_there),
    Try::done("git log", &["git", "log", "--oneline", "--stat", "-1"])
        .says("Sign the whole amount"),
];

/// The agent works.
pub(super) fn is_done(stage: &mut Stage) -> Result<(), Failure> {
    stage.attempt_all(WORK)
}

fn build_is_gone(ground: &Ground) -> Result<(), String> {
    hold(
        !ground.project().join("build").exists(),
        "the directory is still there",
    )
}

/// Seen with Git as its owner has it, not with what the agent says.
fn commit_is_there(ground: &Ground) -> Result<(), String> {
    let log = ground
        .git(&["log", "--oneline"])
        .map_err(|failure| failure.message)?;
    hold(log.stdout.lines().count() == 2, "there is no second commit")
}
