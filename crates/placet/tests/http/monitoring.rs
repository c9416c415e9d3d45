//! What is shipped for Prometheus and Grafana, held to what a node exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::place::{Node, Place, eventually};

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

/// Has a gateway wait, run a command, and leave one to a caller that stands otherwise; gives what the node says of it then.
fn with_a_gateway(place: &Place, node: &Node<'_>) -> String {
    let run = ["run", "--", "true"];
    let says = |line: &str| {
        let text = String::from_utf8(node.get("/metrics").body).unwrap();
        text.lines().any(|one| one == line).then_some(text)
    };
    // The first command finds nobody, and leaves a gateway behind.
    place.ok(&run);
    eventually("a gateway that waits", || {
        says("placet_gateways{state=\"waiting\"} 1")
    });
    place.ok(&run);
    eventually("a command that it ran", || {
        says("placet_gateway_commands_total{gateway=\"0\"} 1")
    });
    eventually("that it waits again", || {
        says("placet_gateways{state=\"waiting\"} 1")
    });
    let caller = place.command(&run);
    let mut nice = Command::new("nice");
    nice.args(["-n", "3"]).arg(caller.get_program());
    nice.args(caller.get_args()).env_clear();
    nice.current_dir(caller.get_current_dir().unwrap());
    nice.envs(
        caller
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    assert!(nice.status().unwrap().success());
    eventually("a caller that it declined", || {
        says("placet_gateway_declined_total{gateway=\"0\",part=\"scheduling\"} 1")
    })
}

#[test]
fn gateways_that_wait_are_in_the_meters_and_gone_from_them_with_the_last() {
    let place = Place::new();
    place.stop_node();
    place.configure("gateways = 1\n");
    let node = place.up();
    let said = with_a_gateway(&place, &node);
    for line in [
        "placet_gateways_offered 1",
        "placet_gateways{state=\"working\"} 0",
    ] {
        assert!(said.contains(&format!("{line}\n")), "{line}\n{said}");
    }
    // What it holds ready is built in its own time, and what it says of that is what its user is told.
    let sample = |name: &str| {
        let text = String::from_utf8(node.get("/metrics").body).unwrap();
        let line = format!("{name}{{gateway=\"0\"}} ");
        let value = text.lines().find_map(|one| one.strip_prefix(&line));
        value.map(|value| value.parse::<u64>().unwrap())
    };
    eventually("a cell that waits", || {
        (sample("placet_gateway_cells_waiting")? > 0).then_some(())
    });
    assert!(
        sample("placet_gateway_cells_built_total") >= sample("placet_gateway_cells_used_total")
    );
    let status: Value = serde_json::from_str(&place.ok(&["gateway", "status", "--json"])).unwrap();
    assert_eq!(status["offered"], 1, "{status}");
    assert_eq!(status["gateways"][0]["served"], 1, "{status}");
    // One that was killed is not there, whatever it has left.
    let pid = status["gateways"][0]["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    eventually("that it is gone", || {
        sample("placet_gateway_commands_total")
            .is_none()
            .then_some(())
    });
    let text = String::from_utf8(node.get("/metrics").body).unwrap();
    assert!(
        text.contains("placet_gateways{state=\"waiting\"} 0\n"),
        "{text}"
    );
}

#[test]
fn rules_and_dashboard_ask_for_what_a_node_exports_and_prometheus_takes_them() {
    let place = Place::new();
    let node = place.up();
    node.started(&["true"]);
    with_a_gateway(&place, &node);
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
