//! What is shipped for Prometheus and Grafana, held to what a node exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::place::{Node, Place};

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../console/monitoring"
    ))
    .join(name)
}

/// The names of what a node exports, each with the labels that it has, once it has done something.
fn exported(node: &Node<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let text = String::from_utf8(node.get("/metrics").body).unwrap();
    let sample = Regex::new(r"(?m)^([a-z_]+)(?:\{(.*)\})? ").unwrap();
    let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for found in sample.captures_iter(&text) {
        let labels = found.get(2).map_or("", |labels| labels.as_str());
        let labels = label.captures_iter(labels).map(|one| one[1].to_owned());
        all.entry(found[1].to_owned()).or_default().extend(labels);
    }
    all
}

/// Whether each meter that an expression names is exported, with each label that is asked of it.
fn hold(expression: &str, exported: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let meter = Regex::new(r"\b(placet_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let named: Vec<_> = meter.captures_iter(expression).collect();
    for one in &named {
        let labels = exported.get(&one[1]);
        let labels =
            labels.unwrap_or_else(|| panic!("no node exports {} of: {expression}", &one[1]));
        for asked in label.captures_iter(one.get(2).map_or("", |labels| labels.as_str())) {
            let known = labels.contains(&asked[1]) || ["instance", "job"].contains(&&asked[1]);
            assert!(
                known,
                "{} has no label {}: {expression}",
                &one[1], &asked[1]
            );
        }
    }
    // What is grouped by must be a label too.
    let by = Regex::new(r"by \(([^)]*)\)").unwrap();
    for group in by.captures_iter(expression) {
        for asked in group[1].split(',').map(str::trim) {
            let mut labels = named.iter().map(|one| &exported[&one[1]]);
            let known =
                ["instance", "job"].contains(&asked) || labels.any(|all| all.contains(asked));
            assert!(known, "nothing has the label {asked}: {expression}");
        }
    }
    named.len()
}

/// The texts of these members, wherever they stand.
fn members<'a>(value: &'a Value, name: &str, all: &mut Vec<&'a str>) {
    match value {
        Value::Object(own) => {
            for (key, value) in own {
                match value.as_str() {
                    Some(text) if key == name => all.push(text),
                    _ => members(value, name, all),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, name, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn promtool(args: &[&str]) -> String {
    let output = Command::new("promtool").args(args).output();
    let output = output.unwrap_or_else(|error| {
        panic!("promtool, which scripts/setup-test-tools.sh installs: {error}")
    });
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

#[test]
fn rules_and_dashboard_ask_for_what_a_node_exports_and_prometheus_takes_them() {
    let place = Place::new();
    let node = place.up();
    node.started(&["true"]);
    let denied = place.intent("agent:coder", &["git", "push"]);
    assert_eq!(node.post("/v1/intents", &denied).status, 403);
    let exported = exported(&node);

    let rules = shipped("placet.rules.yml");
    let said = promtool(&["check", "rules", rules.to_str().unwrap()]);
    let text = std::fs::read_to_string(&rules).unwrap();
    let alerts = text.matches("- alert:").count();
    assert!(said.contains(&format!("{alerts} rules found")), "{said}");
    // Comments aside, what a rules file says of meters is in its expressions.
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    assert!(hold(&code.join("\n"), &exported) >= alerts);

    let text = std::fs::read_to_string(shipped("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    members(&dashboard, "expr", &mut expressions);
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(
        expressions.len() >= panels.len() && panels.len() > 4,
        "{expressions:?}"
    );
    let file = place.path("dashboard.rules.yml");
    let mut yaml = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (at, expression) in expressions.iter().enumerate() {
        assert!(hold(expression, &exported) > 0, "{expression}");
        // Grafana fills its variables in before Prometheus sees them.
        let filled = expression
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*");
        yaml.push_str(&format!(
            "  - record: dashboard:panel_{at}\n    expr: {}\n",
            Value::from(filled)
        ));
    }
    std::fs::write(&file, yaml).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    // What is exported is what Prometheus reads.
    let metrics = node.get("/metrics").body;
    let scraped = place.path("metrics");
    std::fs::write(&scraped, metrics).unwrap();
    let input = std::fs::File::open(&scraped).unwrap();
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(input)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success(), "{said}");
}
