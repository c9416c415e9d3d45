//! What outlasts a request: subscriptions and tasks, over Streamable HTTP on either side, in each revision.

use std::fs;

use serde_json::{Value, json};

use crate::domain::{Domain, await_some};
use crate::elsewhere::reaching;
use crate::http::{Listening, opening};
use crate::listening::{alone, until};
use crate::place::{OPEN, records};

/// Under this name the protocol says which subscription something belongs to.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const URI: &str = "note://one";

/// A gateway that listens, before a server elsewhere: which is another gateway that listens.
fn chain(domain: &Domain) -> (Listening, Listening) {
    let far = Listening::of_test_server(domain, &[]);
    let headers = json!({ "Authorization": format!("Bearer {}", far.token) });
    let server = json!({ "type": "http", "url": far.url(), "headers": headers });
    let config = domain.work().join("mcp.json");
    fs::write(
        &config,
        json!({ "mcpServers": { "far": server } }).to_string(),
    )
    .unwrap();
    let near = Listening::start(domain, &["--config", config.to_str().unwrap()]);
    (near, far)
}

/// What was decided about the server elsewhere for this action, and how it ended.
fn governed(domain: &Domain, action: &str) -> Vec<(String, Value)> {
    let records = records(domain);
    let decided = records.iter().filter(|record| {
        let intent = &record["record"]["intent"];
        intent["action"] == action
            && intent["resource"]["id"]
                .as_str()
                .unwrap()
                .starts_with("far")
    });
    let ended = |exec: &Value| {
        let is_end = |record: &&Value| record["kind"] == "ended" && record["exec"] == *exec;
        let end = records.iter().find(is_end);
        end.map_or(Value::Null, |end| end["record"]["outcome"].clone())
    };
    decided
        .map(|record| {
            let exec = record["exec"].as_str().unwrap().to_owned();
            (exec, ended(&record["exec"]))
        })
        .collect()
}

#[test]
fn subscriptions_and_tasks_last_over_http_on_either_side_in_the_revisions_with_sessions() {
    let domain = reaching(OPEN, "");
    let (near, _far) = chain(&domain);
    for version in ["2025-06-18", "2025-11-25"] {
        let words = opening(json!({})).replace("2025-11-25", version);
        let mut session = near.begin(&near.token, &words);
        let mut heard = session.hear("");
        let touch = |told: usize| {
            let said = format!("told {told}");
            move |session: &mut crate::http::Session<'_>| {
                let touched = session.call("touch", json!({ "uri": URI }));
                assert_eq!(touched["content"][0]["text"], said.as_str(), "{touched}");
            }
        };
        let done = session.ask("resources/subscribe", json!({ "uri": URI }));
        assert_eq!(done["result"], json!({}), "{version}: {done}");
        touch(1)(&mut session);
        let updated = until(&mut heard, "notifications/resources/updated");
        assert_eq!(updated["params"], json!({ "uri": URI }), "{version}");
        session.ask("resources/unsubscribe", json!({ "uri": URI }));
        touch(0)(&mut session);
        // A task is left behind by a call, told of by the stream, asked for by its name, and given up.
        let call = json!({ "name": "echo", "arguments": { "message": "later" },
            "task": { "ttl": 60000 } });
        let created = session.ask("tools/call", call.clone());
        let task = json!({ "taskId": created["result"]["task"]["taskId"] });
        let told = until(&mut heard, "notifications/tasks/status");
        assert_eq!(told["params"]["taskId"], task["taskId"], "{version}");
        let got = session.ask("tasks/get", task.clone());
        assert_eq!(got["result"]["status"], "completed", "{got}");
        let result = session.ask("tasks/result", task.clone());
        assert_eq!(result["result"]["content"][0]["text"], "later", "{result}");
        let related = &result["result"]["_meta"]["io.modelcontextprotocol/related-task"];
        assert_eq!(*related, task, "{result}");
        let created = session.ask("tools/call", call);
        let task = json!({ "taskId": created["result"]["task"]["taskId"] });
        let cancelled = session.ask("tasks/cancel", task);
        assert_eq!(cancelled["result"]["status"], "cancelled", "{cancelled}");
        assert_eq!(session.end().status, 200);
    }
    let of_tasks = await_some("the records of tasks", || {
        let of_tasks = governed(&domain, "mcp:task");
        let is_over = of_tasks.iter().all(|(_, outcome)| !outcome.is_null());
        is_over.then_some(of_tasks)
    });
    assert_eq!(of_tasks.len(), 6);
    assert!(
        of_tasks.iter().all(|(_, outcome)| outcome == "completed"),
        "{of_tasks:?}"
    );
    let subscribed = governed(&domain, "mcp:read");
    assert_eq!(subscribed.len(), 2, "{subscribed:?}");
}

#[test]
fn subscriptions_and_tasks_last_over_http_on_either_side_without_sessions_and_revocation_ends_them()
{
    let domain = reaching(OPEN, "");
    let (near, _far) = chain(&domain);
    let listen = |id: u64| {
        let wanted = json!({ "notifications": { "resourceSubscriptions": [URI] } });
        let (headers, body) = alone(id, "subscriptions/listen", wanted, json!({}));
        let mut stream = near.stream("POST", &near.token, &headers, &body);
        let said = until(&mut stream, "notifications/subscriptions/acknowledged");
        // Under its client's own id, whatever it is called on the way.
        assert_eq!(said["params"]["_meta"][SUBSCRIPTION], id, "{said}");
        stream
    };
    let ask = |id: u64, method: &str, params: Value| {
        let (headers, body) = alone(id, method, params, json!({}));
        near.stream("POST", &near.token, &headers, &body).answer(id)
    };
    let call = |id, tool: &str, arguments: Value| {
        ask(
            id,
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
    };
    let mut stream = listen(1);
    let touched = call(2, "touch", json!({ "uri": URI }));
    assert_eq!(
        touched["result"]["content"][0]["text"], "told 1",
        "{touched}"
    );
    let updated = until(&mut stream, "notifications/resources/updated");
    assert_eq!(updated["params"]["_meta"][SUBSCRIPTION], 1, "{updated}");
    // Closing its stream gives it up, on both ways to the server.
    drop(stream);
    await_some("the subscription to be given up", || {
        let touched = call(3, "touch", json!({ "uri": URI }));
        (touched["result"]["content"][0]["text"] == "told 0").then_some(())
    });
    // Its authority ends: the stream says why, and the server is told.
    let mut stream = listen(4);
    let exec = await_some("the execution", || {
        let all = governed(&domain, "mcp:other");
        all.into_iter().rev().find(|(_, outcome)| outcome.is_null())
    });
    domain.ok(&["revoke", &exec.0]);
    let ended = loop {
        let message = stream.next().expect("it is told");
        if message["id"] == 4 {
            break message;
        }
    };
    assert_eq!(ended["error"]["data"]["code"], "revoked", "{ended}");
    await_some("the subscription to be ended", || {
        let touched = call(5, "touch", json!({ "uri": URI }));
        (touched["result"]["content"][0]["text"] == "told 0").then_some(())
    });
    // The server makes a task of a call, and is asked for it by name.
    let begun = call(6, "long", json!({ "message": "later" }));
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let task = json!({ "taskId": begun["result"]["taskId"] });
    let got = await_some("the task", || {
        let got = ask(7, "tasks/get", task.clone());
        (got["result"]["status"] == "completed").then_some(got)
    });
    assert_eq!(
        got["result"]["result"]["content"][0]["text"], "later",
        "{got}"
    );
    assert!(!governed(&domain, "mcp:task").is_empty());
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}
