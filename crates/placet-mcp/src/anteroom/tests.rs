use std::io::{BufRead as _, BufReader, pipe};

use placet_types::{ExecutionId, Index};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_client_that_shows_pages_is_told_to_show_one_and_goes_on_when_it_asks_again() {
    let exec = ExecutionId::new([7; 16]);
    let waits = Waits {
        server: "notes".to_owned(),
        exec,
        record: Index::new(3),
        whose: "1 of leads".to_owned(),
        console: Some("http://127.0.0.1:8420/#/approvals".to_owned()),
    };
    let ((said, mut says), (told, tells), (through, goes)) =
        (pipe().unwrap(), pipe().unwrap(), pipe().unwrap());
    let patience = Duration::from_millis(300);
    let room = Anteroom::open(waits, (10, "obligations"), patience, (said, tells), goes).unwrap();
    let opening = |id: u32| {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": { "url": {} } },
        });
        json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params }).to_string()
    };
    says.write_all(format!("{}\n", opening(1)).as_bytes())
        .unwrap();
    let mut line = String::new();
    BufReader::new(told).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(1), &json!(-32_042)),
        "{line}"
    );
    let data = &answer["error"]["data"];
    let page = &data["elicitations"][0];
    assert_eq!(page["mode"], "url", "{line}");
    assert_eq!(page["url"], "http://127.0.0.1:8420/#/approvals", "{line}");
    assert_eq!(page["elicitationId"], exec.to_string(), "{line}");
    // A client that does not know the code can still tell its user.
    assert_eq!(data["code"], "approval_required", "{line}");
    assert!(
        page["message"].as_str().unwrap().contains("leads"),
        "{line}"
    );
    // The same again is held, and goes on once somebody has approved.
    says.write_all(format!("{}\n", opening(2)).as_bytes())
        .unwrap();
    room.started();
    line.clear();
    BufReader::new(through).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), opening(2));
}
