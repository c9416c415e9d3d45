//! `cargo xtask bench`: the figures of SPECIFICATION.md, measured here and now.
//!
//! Builds in release and runs the artifact's benchmark, the log's, and `placet-bench`. Each prints
//! its own figures and what it compares with; the last one ends with a table of what the issues ask for, what was
//! measured, and whether that is enough. What is measured by name only (`crowd`) is missing in it and said to be.

use std::path::Path;
use std::process::Command;

/// A log of a million entries, on a disk; removed when it was measured.
const LOG: &str = "target/bench-log";

/// The programs, each with its arguments after `cargo`.
const STEPS: [&[&str]; 4] = [
    &["build", "--release", "--locked", "--package", "placet"],
    &[
        "bench",
        "--locked",
        "--package",
        "placet-artifact",
        "--bench",
        "verify",
    ],
    &[
        "run",
        "--release",
        "--locked",
        "--package",
        "placet-log",
        "--example",
        "log_bench",
        "--",
        LOG,
        "1000000",
        "256",
    ],
    // Last: it ends with the table of all of them.
    &["run", "--release", "--locked", "--package", "placet-bench"],
];

/// Runs every benchmark, or `placet-bench` alone with the part that `args` names.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let figures = root.join("target/figures");
    // What an earlier run left there counts for nothing.
    drop(std::fs::remove_file(&figures));
    let log = root.join(LOG);
    drop(std::fs::remove_dir_all(&log));
    for step in STEPS {
        let is_ours = step.contains(&"placet-bench");
        if !args.is_empty() && !is_ours && !step.contains(&"build") {
            continue;
        }
        let mut command = cargo(root);
        command.args(step).env("PLACET_FIGURES", &figures);
        if is_ours && let Some(part) = args.first() {
            command.args(["--", part]);
        }
        let status = command
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        drop(std::fs::remove_dir_all(&log));
        if !status.success() {
            return Err(format!("`cargo {}` failed: {status}", step.join(" ")));
        }
    }
    Ok(())
}

fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    #[expect(
        clippy::disallowed_methods,
        reason = "a chore of the repository runs cargo"
    )]
    let mut command = Command::new(program);
    command
        .current_dir(root)
        .env("CARGO_TARGET_DIR", root.join("target"));
    command
}
