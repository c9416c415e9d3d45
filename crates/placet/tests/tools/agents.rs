//! Claude Code and Codex themselves, as their registry gives them: a session of each under `coding-agent`. The model is
//! a script, everything else is theirs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::domain::{Domain, ran};
use crate::installed;
use crate::job::{living, mark};

const MODEL: &str = include_str!("model.py");

const PACKAGES: [&str; 2] = ["@anthropic-ai/claude-code@2.1.197", "@openai/codex@0.171.0"];

const CLAUDE: &str = if cfg!(target_arch = "x86_64") {
    "@anthropic-ai/claude-code-linux-x64/claude"
} else {
    "@anthropic-ai/claude-code-linux-arm64/claude"
};
const CODEX: &str = if cfg!(target_arch = "x86_64") {
    "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
} else {
    "@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex"
};

/// The sandbox around it is Placet's, so Codex does not make one; and it asks nobody.
const CODEX_OPTIONS: [&str; 8] = [
    "exec",
    "--skip-git-repo-check",
    "--dangerously-bypass-approvals-and-sandbox",
    "-c",
    "model_provider=scripted",
    "-c",
    "model_providers.scripted={name=\"scripted\",base_url=\"@URL@/v1\",env_key=\"MODEL_KEY\",wire_api=\"responses\"}",
    "look around",
];

/// One session: the agent is told to run this command, and tells its model what came of it.
fn session(domain: &Domain, name: &str, program: &Path, options: &[&str]) {
    let at = domain.work().join(name);
    if fs::hard_link(program, &at).is_err() {
        fs::copy(program, &at).unwrap();
    }
    let mark = mark();
    let command = format!(
        "sleep {mark} > /dev/null 2>&1 & echo {name} > made-by-{name}; cat ../secret; git push; bwrap --version; echo over"
    );
    let (asks, result) = (domain.work().join("model.py"), format!("result-{name}"));
    let own = at.to_str().unwrap();
    let run = [
        "run",
        "--as",
        "agent:coder",
        "--profile",
        "coding-agent",
        "--",
    ];
    let model = [
        "/usr/bin/python3",
        asks.to_str().unwrap(),
        &command,
        &result,
    ];
    let done = ran(&mut domain.command(&[&run[..], &model, &[own], options].concat()));
    assert_eq!(done.code, 0, "{name}: {done:?}");
    assert!(done.stdout.contains("all done"), "{name}: {done:?}");
    assert!(
        done.stderr.contains(" refusals inside; "),
        "{name}: {done:?}"
    );
    // What the agent has left running ends with it.
    assert!(living(&mark).is_empty(), "{name}");
    let made = fs::read_to_string(domain.work().join(format!("made-by-{name}")));
    assert_eq!(made.unwrap(), format!("{name}\n"));
    let told = fs::read_to_string(domain.work().join(result)).unwrap();
    assert_eq!(told.matches("Killed").count(), 2, "{name}: {told}");
    assert!(
        told.contains("over") && told.contains("No such file"),
        "{told}"
    );
    assert!(!told.contains("hidden"), "{name}: {told}");
    assert_decided(domain, own);
    fs::remove_file(at).unwrap();
}

/// Agent, shell and what the shell may not start are executions, each below the other.
fn assert_decided(domain: &Domain, agent: &str) {
    let all = domain.executions();
    let id = |it: &Value| it["resource"]["id"].as_str().unwrap().to_owned();
    let agent = all.iter().find(|it| id(it) == agent).unwrap();
    let above = |it: &Value| all.iter().find(|one| one["exec"] == it["parent"]).cloned();
    for program in ["/git", "/bwrap"] {
        let denied = |it: &&Value| it["status"] == "denied" && id(it).ends_with(program);
        let mut line = vec![all.iter().rfind(denied).unwrap().clone()];
        assert_eq!(line[0]["answer"]["denied"]["code"], "policy_forbids");
        while let Some(next) = above(&line[line.len() - 1]) {
            line.push(next);
        }
        assert!(id(&line[1]).ends_with("sh"), "{line:?}");
        assert!(line.contains(agent), "{line:?}");
    }
}

#[test]
fn claude_code_and_codex_work_and_what_they_start_is_decided() {
    let modules = installed::npm(&PACKAGES);
    let domain = Domain::new();
    fs::create_dir(domain.path("home/.coding-agent")).unwrap();
    fs::write(domain.path("secret"), "hidden\n").unwrap();
    fs::write(domain.work().join("model.py"), MODEL).unwrap();
    let claude = ["-p", "look around", "--allowedTools", "Bash"];
    session(&domain, "claude", &modules.join(CLAUDE), &claude);
    session(&domain, "codex", &modules.join(CODEX), &CODEX_OPTIONS);
    domain.assert_intact();
}
