//! `cargo xtask bench`: the figures of SPECIFICATION.md, measured here and now.
//!
//! Builds in release and runs `placet-bench`, the artifact's benchmark and the log's. Each prints
//! its own figures and what it compares with; nothing is judged here.

use std::path::Path;
use std::process::Command;

/// The programs, each with its arguments after `cargo`.
const STEPS: [&[&str]; 4] = [
    &["build", "--release", "--locked", "--package", "placet"],
    &["run", "--release", "--locked", "--package", "placet-bench"],
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
    ],
];

/// Runs every benchmark, or `placet-bench` alone with the part that `args` names.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    for step in STEPS {
        let is_ours = step.contains(&"placet-bench");
        if !args.is_empty() && !is_ours && !step.contains(&"build") {
            continue;
        }
        let mut command = cargo(root);
        command.args(step);
        if is_ours && let Some(part) = args.first() {
            command.args(["--", part]);
        }
        let status = command
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
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
