//! The server that calls are measured with: it answers at once, and does nothing.

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

/// Serves standard input until it is closed.
pub(crate) fn serve() {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let Some(id) = message.get("id") else {
            continue;
        };
        let params = message.get("params");
        let member = |name: &str| params.and_then(|params| params.get(name)).cloned();
        let result = match message.get("method").and_then(Value::as_str) {
            Some("initialize") => json!({
                "protocolVersion": member("protocolVersion"),
                "capabilities": { "tools": {} }, "serverInfo": { "name": "bench", "version": "1" },
            }),
            Some("tools/list") => json!({ "tools": [{
                "name": "echo", "description": "Says what it is told.",
                "inputSchema": { "type": "object", "properties": { "message": { "type": "string" } } },
            }] }),
            Some("tools/call") => json!({
                "content": [{ "type": "text", "text": member("arguments").map(|it| it.to_string()) }],
            }),
            _ => json!({}),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        let mut line = answer.to_string();
        line.push('\n');
        // Who has gone needs no answer.
        if output.write_all(line.as_bytes()).is_err() || output.flush().is_err() {
            return;
        }
    }
}
