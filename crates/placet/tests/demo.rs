//! `placet demo` as a user runs it, in a temporary directory of the test's own.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long something is waited for that happens within a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placet"));
    command
        .args(["demo", "--json"])
        .env("TMPDIR", temporary)
        // `make demo` has the scenes of MCP, and in CI must have them.
        .env_remove("PLACET_DEMO_MCP")
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {said}");
    })
}

/// Steps that came out otherwise, as they stand in the summary.
fn differing(summary: &Value) -> Vec<&Value> {
    let steps = summary["steps"]
        .as_array()
        .expect("the summary lists its steps");
    steps.iter().filter(|step| step["holds"] != true).collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir)
        .expect("the directory is there")
        .next()
        .is_none()
}

/// Waits for a file below the demo's directory.
fn await_file(temporary: &Path, name: &str) -> PathBuf {
    let began = Instant::now();
    loop {
        let mut demos = fs::read_dir(temporary)
            .expect("the directory is there")
            .flatten();
        if let Some(path) = demos.next().map(|demo| demo.path().join(name))
            && path.exists()
        {
            return path;
        }
        assert!(began.elapsed() < PATIENCE, "{name} did not appear");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nodes that serve a directory below this one.
fn nodes_below(dir: &Path) -> usize {
    let serves = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("--detached") && line.contains(&dir.display().to_string())
    };
    fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten()
        .filter(serves)
        .count()
}

#[test]
fn the_demo_comes_out_as_expected_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(temporary.path()).output().expect("placet runs");
    let summary = summary(&output);
    assert!(differing(&summary).is_empty(), "{:#?}", differing(&summary));
    assert_eq!(
        (output.status.code(), &summary["holds"]),
        (Some(0), &Value::Bool(true))
    );
    for section in ["verify", "authorize", "execute", "prove"] {
        let steps = summary["steps"].as_array().expect("steps");
        assert!(
            steps.iter().any(|step| step["section"] == section),
            "nothing in {section}"
        );
    }
    let left_out = |step: &Value| step["observed"] == "left out, nothing is shown";
    assert_eq!(
        summary["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter(|step| left_out(step))
            .count(),
        1
    );
    let figure = |name: &str| summary[name].as_u64().expect("a figure");
    assert!(figure("decisions") > 40 && figure("records") > figure("decisions"));
    assert_eq!(figure("recomputed"), figure("decisions"));
    assert_eq!(figure("proofs"), figure("decisions"));
    assert!(figure("revocation_us") > 0 && figure("revoked_processes") >= 7);
    assert!(is_empty(temporary.path()), "the demo left something behind");
    assert_eq!(nodes_below(temporary.path()), 0);
}

#[test]
fn a_demo_that_is_interfered_with_says_so_and_fails() {
    let temporary = tempfile::tempdir().expect("a directory");
    let child = demo(temporary.path()).spawn().expect("placet runs");
    // The domain is made after everything else is in place, and before anything is tried.
    await_file(temporary.path(), "domain/log");
    let precious = await_file(temporary.path(), "documents/thesis.txt");
    fs::write(precious, "something else").expect("the file is ours");
    let output = child.wait_with_output().expect("it ends");
    let summary = summary(&output);
    assert_eq!(
        (output.status.code(), &summary["holds"]),
        (Some(1), &Value::Bool(false))
    );
    let differing = differing(&summary);
    assert!(
        differing
            .iter()
            .all(|step| step["observed"].to_string().contains("outside"))
    );
    assert_eq!(summary["differing"], differing.len());
    assert!(differing.len() >= 3, "{differing:#?}");
    assert!(is_empty(temporary.path()), "the demo left something behind");
}

#[test]
fn an_interrupted_demo_ends_its_node_and_removes_its_directory() {
    let temporary = tempfile::tempdir().expect("a directory");
    let child = demo(temporary.path()).spawn().expect("placet runs");
    await_file(temporary.path(), "domain/node.sock");
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    assert!(is_empty(temporary.path()), "the demo left something behind");
    assert_eq!(nodes_below(temporary.path()), 0);
}

#[test]
fn without_its_tools_the_demo_names_them() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(temporary.path())
        .env("PATH", temporary.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("git") && said.contains("python3"), "{said}");
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_demo_that_is_kept_says_where_and_its_domain_is_usable() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(temporary.path())
        .arg("--keep")
        .output()
        .expect("placet runs");
    let summary = summary(&output);
    let kept = PathBuf::from(summary["directory"].as_str().expect("a directory"));
    let fsck = Command::new(env!("CARGO_BIN_EXE_placet"))
        .arg("--domain")
        .arg(kept.join("domain"))
        .args(["log", "fsck", "--json"])
        .output()
        .expect("placet runs");
    let report: Value = serde_json::from_slice(&fsck.stdout).expect("JSON");
    assert_eq!(
        (&report["sound"], &report["records"]),
        (&Value::Bool(true), &summary["records"])
    );
    assert_eq!(nodes_below(temporary.path()), 0);
}

#[test]
fn the_page_is_served_on_loopback_only_and_goes_with_everything() {
    let temporary = tempfile::tempdir().expect("a directory");
    let refused = demo(temporary.path())
        .args(["--page", "--listen", "0.0.0.0:0"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(is_empty(temporary.path()));
    let mut page = demo(temporary.path());
    page.args(["--page"]);
    let child = page.spawn().expect("it starts");
    await_file(temporary.path(), "domain/http.sock");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(is_empty(temporary.path()));
}
