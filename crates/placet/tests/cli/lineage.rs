//! `placet lineage`: trees, single executions, exports.

use serde_json::Value;

use crate::domain::{Domain, parsed};

/// A shell that asks for a command, which becomes its child, and a command of its own.
fn family() -> (Domain, Vec<String>) {
    let domain = Domain::new();
    let script = "/run/placet/placet run -- true";
    domain.ok(&["run", "--as", "agent:coder", "--", "sh", "-c", script]);
    domain.ok(&["run", "--", "true"]);
    let all = domain.executions();
    let ids = all
        .iter()
        .map(|one| one["exec"].as_str().unwrap().to_owned())
        .collect();
    (domain, ids)
}

#[test]
fn the_tree_shows_which_execution_led_to_which() {
    let (domain, ids) = family();
    let text = domain.ok(&["lineage", "tree"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with(&format!("✓ {}", &ids[0][..15])),
        "{text}"
    );
    assert!(
        lines[1].starts_with(&format!("└─ ✓ {}", &ids[1][..15])),
        "{text}"
    );
    assert!(
        lines[2].starts_with(&format!("✓ {}", &ids[2][..15])),
        "{text}"
    );
    let ascii = domain.ok(&["lineage", "tree", "--ascii"]);
    assert!(ascii.is_ascii() && ascii.contains("`- + "), "{ascii}");
    // One execution and what is below it, by the beginning of its id.
    let below = domain.ok(&["lineage", "tree", &ids[0][..20]]);
    assert_eq!(below.lines().count(), 2, "{below}");
    assert_eq!(domain.ok(&["lineage", "tree", &ids[1]]).lines().count(), 1);
    let nodes = domain.json(&["lineage", "tree"]);
    assert_eq!(nodes[1]["parent"], nodes[0]["exec"]);
    assert_eq!(nodes[1]["root"], nodes[0]["exec"]);
}

#[test]
fn one_execution_is_shown_with_its_family() {
    let (domain, ids) = family();
    let parent = domain.json(&["lineage", "show", &ids[0]]);
    assert_eq!(parent["children"], serde_json::json!([ids[1]]));
    let child = domain.json(&["lineage", "show", &ids[1][..20]]);
    assert_eq!(child["ancestors"], serde_json::json!([ids[0]]));
    assert_eq!(child["status"], "completed");
    let text = domain.ok(&["lineage", "show", &ids[1]]);
    for part in [
        "principal",
        "agent:coder",
        "above",
        &ids[0],
        "exit 0",
        "profile",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let said = domain.fails(
        1,
        &["lineage", "show", "exec_00000000000000000000000000000000"],
    );
    assert!(
        said.contains("no execution is named so") && said.contains("placet executions"),
        "{said}"
    );
    domain.fails(1, &["lineage", "show", "dec_4"]);
    domain.fails(1, &["lineage", "tree", "exec_"]);
}

#[test]
fn every_export_has_every_execution() {
    let (domain, ids) = family();
    let digits = |id: &String| id.replace("exec_", "");
    let otlp = parsed(&domain.ok(&["lineage", "export"]));
    let spans = &otlp["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 3);
    // The child's span is below the parent's.
    let parent = Value::String(digits(&ids[0])[..16].to_owned());
    assert!(
        spans
            .as_array()
            .unwrap()
            .iter()
            .any(|span| span["parentSpanId"] == parent),
        "{spans}"
    );
    let prov = parsed(&domain.ok(&["lineage", "export", "--format", "prov"]));
    for id in &ids {
        assert!(
            prov["activity"]
                .get(format!("exec:{}", digits(id)))
                .is_some(),
            "{prov}"
        );
    }
    let text = domain.ok(&["lineage", "export", "--format", "openlineage"]);
    let kinds: Vec<Value> = text
        .lines()
        .map(|line| parsed(line)["eventType"].clone())
        .collect();
    assert_eq!(kinds.len(), 6, "{text}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "START").count(), 3);
    domain.fails(2, &["lineage", "export", "--format", "xml"]);
}

#[test]
fn a_domain_in_which_nothing_happened_has_an_empty_tree() {
    let domain = Domain::new();
    assert!(
        domain
            .ok(&["lineage", "tree"])
            .contains("nothing was decided yet")
    );
    assert_eq!(domain.json(&["lineage", "tree"]), Value::Array(Vec::new()));
    assert_eq!(
        domain.ok(&["lineage", "export", "--format", "openlineage"]),
        ""
    );
}

/// What a drawing says beside the ids, times and places that are another run's.
fn plain(tree: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut kept = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let is_time = ["ms", "s"].contains(&word.trim_end_matches(';'))
                || (["ms", "s"].contains(&next) && word.starts_with(|c: char| c.is_ascii_digit()));
            if is_time || word.starts_with("exec_") || word.starts_with('#') {
                continue;
            }
            let word = word.rsplit('/').next().unwrap();
            kept.push(word.trim_end_matches(','));
        }
        kept.join(" ")
    };
    tree.lines().map(line).collect()
}

#[test]
fn the_tree_shows_what_allowed_each_program_and_what_forbade_one() {
    let domain = Domain::new();
    domain.activate_changed(&[(
        "profiles/agent.toml",
        "exec_in_writable = false",
        "exec_in_writable = false\nexec_check = \"decide\"",
    )]);
    domain.ok(&["run", "--", "git", "init", "-q"]);
    // Git starts what it takes for an editor by itself, without a shell between.
    let script = "export GIT_EDITOR=ssh GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
        GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; git commit -q --allow-empty; true";
    domain.ok(&["run", "--as", "agent:coder", "--", "bash", "-c", script]);
    let tree = domain.ok(&["lineage", "tree", "--ascii"]);
    let expected = [
        "+ process:run git user:op completed by operators-run; profile operator",
        "+ process:run bash agent:coder completed by agents-script; profile agent",
        "`- ! process:run git agent:coder failed with status 1 by agents-git; profile agent",
        "`- x process:run ssh agent:coder denied policy_forbids (check 8) by agents-no-network-tools",
    ];
    assert_eq!(plain(&tree), expected, "{tree}");
}
