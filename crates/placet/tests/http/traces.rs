//! Traces, to a collector that reads them with OpenTelemetry's own definitions.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::installed::pypi;
use crate::place::{Node, Place, eventually};

/// A collector process. It ends with this value.
struct Collector {
    child: Child,
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Collector {
    /// Answers with these statuses, one after the other, and with the last one from then on.
    fn start(statuses: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/collector.py");
        let mut command = Command::new(pypi(&["opentelemetry-proto==1.45.2"]).join("python"));
        command.args([script, statuses]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, port, lines }
    }

    /// The next span that came.
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a meter says.
fn meter(node: &Node<'_>, name: &str) -> u64 {
    let text = String::from_utf8(node.get("/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |rest| rest.trim().parse().unwrap())
}

#[test]
fn spans_of_what_finished_reach_a_collector_under_the_ids_of_the_lineage_without_arguments() {
    let place = Place::new();
    let mut collector = Collector::start("503,200");
    place.configure(&format!(
        "[traces]\notlp = \"http://127.0.0.1:{}\"\n",
        collector.port
    ));
    let node = place.up();
    let exec = node.started(&["true"]);
    node.post(
        &format!("/v1/executions/{exec}/end"),
        &serde_json::json!({ "outcome": "completed" }),
    )
    .expect(200);
    let denied = place.intent("agent:coder", &["ssh", "hunter2@example.org"]);
    let problem = node.post("/v1/intents", &denied).expect(403);
    // The first message is refused, and comes again.
    let mut came = Vec::new();
    while came
        .iter()
        .filter(|one: &&Value| one["status"] == 200)
        .count()
        < 2
    {
        came.push(collector.next());
    }
    assert_eq!(came[0]["status"], 503);
    came.retain(|one| one["status"] == 200);
    for (one, exec, code, length) in [
        (&came[0], exec.as_str(), 1, true),
        (&came[1], problem["exec"].as_str().unwrap(), 2, false),
    ] {
        let id = exec.strip_prefix("exec_").unwrap();
        assert_eq!(
            (&one["path"], &one["kind"]),
            (&"/v1/traces".into(), &"application/json".into())
        );
        assert_eq!(
            (&one["trace"], &one["span"]),
            (&id.into(), &id.get(..16).unwrap().into()),
            "{one}"
        );
        assert_eq!(
            (&one["name"], &one["code"]),
            (&"process:run".into(), &code.into()),
            "{one}"
        );
        assert_eq!(one["length"].as_u64().unwrap() > 0, length, "{one}");
        assert_eq!(one["attributes"]["placet.execution.id"], exec);
        assert!(!one.to_string().contains("hunter2"), "{one}");
    }
    eventually("the count", || {
        (meter(&node, "placet_traces_spans_total{outcome=\"exported\"}") == 2).then_some(())
    });
}

#[test]
fn a_collector_that_is_away_holds_nobody_up_and_what_it_missed_is_counted() {
    let place = Place::new();
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    place.configure(&format!("[traces]\notlp = \"http://127.0.0.1:{port}\"\n"));
    let node = place.up();
    for _ in 0..3 {
        let denied = place.intent("agent:coder", &["ssh", "example.org"]);
        node.post("/v1/intents", &denied).expect(403);
    }
    eventually("what was dropped", || {
        (meter(&node, "placet_traces_spans_total{outcome=\"dropped\"}") == 3).then_some(())
    });
    assert!(node.said().contains("traces"), "{}", node.said());
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
}
