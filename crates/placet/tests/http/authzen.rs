//! The OpenID AuthZEN Authorization API 1.0, as its certification and interoperability scenarios ask.

use serde_json::{Value, json};

use crate::client::{Answer, Key, exchange, request, unix};
use crate::place::{Node, Place};

const POINT: &str = "service:point";

/// Puts one of the bundles of this repository in force, and registers a service that may ask.
pub(crate) fn put_in_force(place: &Place, bundle: &str) {
    let bundle = format!("{}/../../bundles/{bundle}", env!("CARGO_MANIFEST_DIR"));
    place.ok(&["policy", "activate", &bundle]);
    register_point(place);
}

fn register_point(place: &Place) {
    let uid = rustix::process::getuid().as_raw().to_string();
    let group = "enforcement-points";
    place.ok(&["principal", "set", POINT, "--group", group, "--uid", &uid]);
}

fn ask(node: &Node<'_>, what: &str, body: &Value) -> Answer {
    node.post(&format!("/access/v1/{what}"), body)
}

pub(crate) fn decision(node: &Node<'_>, body: &Value) -> bool {
    let answer = ask(node, "evaluation", body).expect(200);
    assert!(answer["context"]["record"].is_u64(), "{answer}");
    answer["decision"].as_bool().unwrap()
}

fn decisions(node: &Node<'_>, body: &Value) -> Vec<bool> {
    let answer = ask(node, "evaluations", body).expect(200);
    assert_eq!(answer.get("decision"), None);
    let items = answer["evaluations"].as_array().unwrap();
    let decision = |item: &Value| item["decision"].as_bool().unwrap();
    items.iter().map(decision).collect()
}

pub(crate) fn question(subject: &str, action: &str, resource: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": subject },
        "action": { "name": action },
        "resource": { "type": "record", "id": resource },
    })
}

fn with(mut question: Value, part: &str, name: &str, value: Value) -> Value {
    question[part][name] = value;
    question
}

#[test]
fn the_certification_scenario_holds() {
    let place = Place::new();
    let node = place.up();
    put_in_force(&place, "authzen");
    evaluation_scenario(&node);
    strictness_scenario(&node);
    batch_scenario(&node);
    search_scenario(&node);
    // Everything that was answered stands in the log, and comes out the same again.
    let log = place.ok(&["log", "tail", "--lines", "500"]);
    assert!(log.contains("permit a question") && log.contains("deny a question"));
    assert!(place.ok(&["log", "replay"]).contains("different       0"));
}

fn evaluation_scenario(node: &Node<'_>) {
    let archived = || json!({ "status": "archived" });
    let archive = |subject| {
        with(
            question(subject, "write", "record-2"),
            "resource",
            "properties",
            archived(),
        )
    };
    let delete = |soft: bool| {
        let question = question("alice", "delete", "record-1");
        with(question, "action", "properties", json!({ "soft": soft }))
    };
    for (question, expected) in [
        (question("alice", "read", "record-1"), true),
        (question("alice", "write", "record-1"), true),
        (question("bob", "read", "record-1"), true),
        (question("bob", "write", "record-1"), false),
        (archive("alice"), false),
        (
            with(
                archive("bob"),
                "subject",
                "properties",
                json!({ "role": "admin" }),
            ),
            true,
        ),
        (delete(true), true),
        (delete(false), false),
    ] {
        for _ in 0..2 {
            assert_eq!(decision(node, &question), expected, "{question}");
        }
    }
    let mut more = question("alice", "read", "record-1");
    more["context"] = json!({ "time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1" });
    more["subject"]["properties"] = json!({ "department": "Sales", "role": "manager" });
    more["action"]["properties"] = json!({ "method": "GET" });
    more["resource"]["properties"] = json!({ "status": "active", "owner": "bob" });
    more["foo"] = json!("bar");
    more["futureField"] = json!({ "nested": true });
    assert!(decision(node, &more));
    for unknown in [
        with(
            question("alice", "read", "record-1"),
            "subject",
            "type",
            json!("space-ship"),
        ),
        with(
            question("alice", "read", "record-1"),
            "resource",
            "type",
            json!("Group"),
        ),
        question("alice", "fly", "record-1"),
        question("nobody", "read", "record-1"),
        // What has the wrong type cannot be put to any policy.
        with(
            question("alice", "write", "record-1"),
            "subject",
            "properties",
            json!({ "role": 7 }),
        ),
    ] {
        assert!(!decision(node, &unknown), "{unknown}");
    }
}

fn strictness_scenario(node: &Node<'_>) {
    let whole = question("alice", "read", "record-1");
    let mut odd = Vec::new();
    for (part, names) in [
        ("subject", &["type", "id"][..]),
        ("action", &["name"]),
        ("resource", &["type", "id"]),
    ] {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(part);
        odd.push(less.to_string());
        odd.push(with(whole.clone(), part, "properties", json!(1)).to_string());
        odd.push({
            let mut text = whole.clone();
            text[part] = json!("alice");
            text.to_string()
        });
        for name in names {
            let mut less = whole.clone();
            less[part].as_object_mut().unwrap().remove(*name);
            odd.push(less.to_string());
            odd.push(with(whole.clone(), part, name, json!(123)).to_string());
            odd.push(with(whole.clone(), part, name, json!("")).to_string());
        }
    }
    let twice = whole.to_string().replacen(
        "\"action\"",
        "\"action\":{\"name\":\"write\"},\"action\"",
        1,
    );
    odd.extend(["".to_owned(), "{".to_owned(), "[]".to_owned(), twice]);
    for text in odd {
        let sent = request(
            "POST",
            "/access/v1/evaluation",
            "placet",
            &[("x-request-id", "r-7")],
            Some(&text),
        );
        let answer = exchange(unix(&node.place.socket()), sent.as_bytes());
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (400, Some("r-7")),
            "{text}"
        );
    }
    let plain = format!(
        "POST /access/v1/evaluation HTTP/1.1\r\nhost: placet\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{whole}",
        whole.to_string().len()
    );
    assert_eq!(
        exchange(unix(&node.place.socket()), plain.as_bytes()).status,
        400
    );
    let answer = node.ask("POST", "/access/v1/evaluation", Some(&whole));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

fn batch_scenario(node: &Node<'_>) {
    let record = |id: &str| json!({ "resource": { "type": "record", "id": id } });
    let mut batch = json!({
        "subject": { "type": "user", "id": "bob" },
        "resource": { "type": "record", "id": "record-1" },
        "evaluations": [{ "action": { "name": "read" } }, { "action": { "name": "write" } }],
    });
    assert_eq!(decisions(node, &batch), [true, false]);
    // A failed item is a denied item.
    batch["evaluations"] =
        json!([{ "action": { "name": "read" } }, {}, 7, { "action": { "name": "read" } }]);
    assert_eq!(decisions(node, &batch), [true, false, false, true]);
    let answer = ask(node, "evaluations", &batch).expect(200);
    assert_eq!(answer["evaluations"][1]["context"]["error"]["status"], 400);
    // Defaults are taken whole: properties and ids of one do not leak into another.
    let defaults = json!({
        "subject": { "type": "user", "id": "alice" },
        "action": { "name": "write" },
        "resource": { "type": "record", "id": "record-9", "properties": { "status": "archived" } },
        "context": { "time": "2025-06-27T18:03-07:00" },
        "evaluations": [{}, record("record-9"), { "resource": { "id": "record-1" } }],
    });
    assert_eq!(decisions(node, &defaults), [false, true, false]);
    // Without a list it is one question.
    let mut one = question("alice", "read", "record-1");
    assert_eq!(ask(node, "evaluations", &one).expect(200)["decision"], true);
    one["evaluations"] = json!([]);
    assert_eq!(ask(node, "evaluations", &one).expect(200)["decision"], true);
    assert_eq!(ask(node, "evaluations", &json!({})).status, 400);
    // The three semantics: the answers up to the one that decides.
    let mut many = json!({
        "subject": { "type": "user", "id": "bob" },
        "resource": { "type": "record", "id": "record-1" },
        "evaluations": [{ "action": { "name": "write" } }, { "action": { "name": "read" } }, { "action": { "name": "write" } }, { "action": { "name": "read" } }],
    });
    for (semantic, expected) in [
        ("execute_all", &[false, true, false, true][..]),
        ("deny_on_first_deny", &[false]),
        ("permit_on_first_permit", &[false, true]),
    ] {
        many["options"] = json!({ "evaluations_semantic": semantic, "unknown": 1 });
        assert_eq!(decisions(node, &many), expected, "{semantic}");
    }
    many["options"] = json!({ "evaluations_semantic": "whatever" });
    assert_eq!(ask(node, "evaluations", &many).status, 400);
    many["options"] = json!({});
    many["evaluations"] = json!(vec![record("record-1"); 257]);
    assert_eq!(ask(node, "evaluations", &many).status, 400);
}

/// Ids or names of what a search found.
fn found(node: &Node<'_>, what: &str, body: &Value) -> Vec<String> {
    let answer = ask(node, &format!("search/{what}"), body).expect(200);
    assert_eq!(answer["page"]["next_token"], "", "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(answer["page"]["count"], results.len());
    let name = |one: &Value| one.get("id").or_else(|| one.get("name")).cloned().unwrap();
    results
        .iter()
        .map(|one| name(one).as_str().unwrap().to_owned())
        .collect()
}

fn search_scenario(node: &Node<'_>) {
    let user = || json!({ "type": "user" });
    let record = |id: &str| json!({ "type": "record", "id": id });
    let alice = || json!({ "type": "user", "id": "alice" });
    let read = || json!({ "name": "read" });
    let subjects = json!({ "subject": user(), "action": read(), "resource": record("record-1"), "context": { "ip": "::1" } });
    assert_eq!(found(node, "subject", &subjects), ["alice", "bob"]);
    let mut named = subjects.clone();
    named["subject"]["id"] = json!("ignored");
    assert_eq!(found(node, "subject", &named), ["alice", "bob"]);
    let archived = json!({ "subject": user(), "action": { "name": "write" }, "resource": { "type": "record", "id": "record-2", "properties": { "status": "archived" } } });
    assert_eq!(found(node, "subject", &archived), ["bob"]);
    let resources =
        json!({ "subject": alice(), "action": read(), "resource": { "type": "record" } });
    assert_eq!(
        found(node, "resource", &resources),
        ["record-1", "record-2"]
    );
    let admin = json!({ "subject": { "type": "user", "id": "bob", "properties": { "role": "admin" } }, "action": { "name": "write" }, "resource": { "type": "record" } });
    assert_eq!(found(node, "resource", &admin), ["record-2"]);
    let actions = json!({ "subject": alice(), "resource": record("record-1") });
    assert_eq!(found(node, "action", &actions), ["read", "write"]);
    let nobody = json!({ "subject": { "type": "user", "id": "nonexistent-user" }, "resource": record("record-1") });
    assert!(found(node, "action", &nobody).is_empty());
    let ship = json!({ "subject": { "type": "spaceship" }, "action": read(), "resource": record("record-1") });
    assert!(found(node, "subject", &ship).is_empty());
    for (what, odd) in [
        (
            "subject",
            json!({ "subject": user(), "resource": record("record-1") }),
        ),
        (
            "subject",
            json!({ "subject": user(), "action": read(), "resource": { "type": "record" } }),
        ),
        (
            "resource",
            json!({ "action": read(), "resource": { "type": "record" } }),
        ),
        (
            "resource",
            json!({ "subject": user(), "action": read(), "resource": { "type": "record" } }),
        ),
        ("action", json!({ "subject": alice() })),
    ] {
        assert_eq!(
            ask(node, &format!("search/{what}"), &odd).status,
            400,
            "{odd}"
        );
    }
    pages(node, &subjects);
}

/// Page by page the same, and each token for its own search alone.
fn pages(node: &Node<'_>, search: &Value) {
    let mut page = search.clone();
    page["page"] = json!({ "limit": 1 });
    let first = ask(node, "search/subject", &page).expect(200);
    assert_eq!(first["results"], json!([{ "type": "user", "id": "alice" }]));
    let token = first["page"]["next_token"].as_str().unwrap();
    page["page"] = json!({ "token": token });
    let second = ask(node, "search/subject", &page).expect(200);
    assert_eq!(second["results"], json!([{ "type": "user", "id": "bob" }]));
    assert_eq!(second["page"]["next_token"], "");
    let mut other = page.clone();
    other["resource"]["id"] = json!("record-2");
    assert_eq!(ask(node, "search/subject", &other).status, 400);
    page["page"] = json!({ "token": "AAAA" });
    assert_eq!(ask(node, "search/subject", &page).status, 400);
    page["page"] = json!({ "limit": 0 });
    assert_eq!(ask(node, "search/subject", &page).status, 400);
}

#[test]
fn the_todo_scenario_holds() {
    let place = Place::new();
    let node = place.up();
    put_in_force(&place, "authzen-todo");
    let person = |digit: u8| {
        let digit = char::from(digit);
        format!("CiRmZD{digit}2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs")
    };
    let [rick, morty, summer, beth, jerry] = [b'A', b'E', b'I', b'M', b'Q'].map(person);
    let asks = |subject: &str, action: &str, resource: Value| {
        decision(
            &node,
            &json!({ "subject": { "type": "user", "id": subject }, "action": { "name": action }, "resource": resource }),
        )
    };
    let todo = |owner: &str| json!({ "type": "todo", "id": "7240d0db-8ff0-41ec-98b2-34a096273b92", "properties": { "ownerID": owner } });
    for who in [&rick, &morty, &summer, &beth, &jerry] {
        assert!(asks(
            who,
            "can_read_user",
            json!({ "type": "user", "id": "beth@the-smiths.com" })
        ));
        assert!(asks(
            who,
            "can_read_todos",
            json!({ "type": "todo", "id": "todo-1" })
        ));
        let creates = [&rick, &morty, &summer].contains(&who);
        assert_eq!(
            asks(
                who,
                "can_create_todo",
                json!({ "type": "todo", "id": "todo-1" })
            ),
            creates
        );
        // Rick changes and deletes everything, an editor what is theirs, a viewer nothing.
        for owner in [
            "rick@the-citadel.com",
            "morty@the-citadel.com",
            "summer@the-smiths.com",
            "jerry@the-smiths.com",
        ] {
            let own = (who == &morty && owner.starts_with("morty"))
                || (who == &summer && owner.starts_with("summer"));
            for action in ["can_update_todo", "can_delete_todo"] {
                assert_eq!(
                    asks(who, action, todo(owner)),
                    who == &rick || own,
                    "{who} {action} {owner}"
                );
            }
        }
    }
    let search = json!({ "subject": { "type": "user" }, "action": { "name": "can_delete_todo" }, "resource": todo("morty@the-citadel.com") });
    let mut may = found(&node, "subject", &search);
    may.retain(|id| id.starts_with("Ci"));
    assert_eq!(may, [rick, morty]);
}

#[test]
fn asking_is_a_right_of_its_own_and_leaves_a_record_without_names() {
    let place = Place::new();
    let node = place.up();
    put_in_force(&place, "authzen");
    // One that policy does not let ask, and one that nobody knows.
    let (stranger, nobody) = (Key::new(41), Key::new(42));
    place.register("agent:stranger", &["agents"], &stranger);
    let mut secret = question("alice", "read", "record-1");
    secret["context"] = json!({ "note": "an-odd-word-that-stands-nowhere-else" });
    let before = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap();
    let refused = node.ask_as(&stranger, "POST", "/access/v1/evaluation", Some(&secret));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "no_permit")
    );
    let said = refused.expect(403);
    assert_eq!(said["index"], before);
    assert!(
        said["detail"].as_str().unwrap().contains("access:evaluate"),
        "{said}"
    );
    let search = json!({ "subject": { "type": "user" }, "action": { "name": "read" }, "resource": { "type": "record", "id": "record-1" } });
    let refused = node.ask_as(
        &stranger,
        "POST",
        "/access/v1/search/subject",
        Some(&search),
    );
    assert_eq!(refused.status, 403);
    let batch = json!({ "evaluations": [secret.clone()] });
    let items = node
        .ask_as(&stranger, "POST", "/access/v1/evaluations", Some(&batch))
        .expect(200);
    assert_eq!(items["evaluations"][0]["decision"], false);
    assert_eq!(items["evaluations"][0]["context"]["error"]["status"], 403);
    let refused = node.ask_as(&nobody, "POST", "/access/v1/evaluation", Some(&secret));
    assert_eq!(refused.status, 401);
    assert_eq!(
        node.ask_tcp("POST", "/access/v1/evaluation", &[], Some(&secret))
            .status,
        401
    );
    assert!(decision(&node, &secret));
    // Three refusals and a decision; what was asked about stands in none of the records.
    let entries = place.ok(&["log", "tail", "--lines", "500", "--json"]);
    assert_eq!(
        entries.matches("\"outcome\":\"refused\"").count(),
        3,
        "{entries}"
    );
    for word in ["alice", "record-1", "an-odd-word"] {
        assert!(!entries.contains(word), "{word}");
    }
    // A halted domain answers nothing, and what a question leads to can be erased.
    node.post("/v1/halt", &json!({ "reason": "a drill" }))
        .expect(201);
    let halted = ask(&node, "evaluation", &secret);
    assert_eq!((halted.status, halted.code().as_str()), (403, "halted"));
    node.post("/v1/resume", &json!({ "reason": "over" }))
        .expect(201);
    assert!(decision(&node, &secret));
    // Under the starter bundle nobody takes questions.
    let meters = String::from_utf8(node.get("/metrics").body).unwrap();
    assert!(
        meters.contains("placet_answers_total{outcome=\"permit\"} 2"),
        "{meters}"
    );
    drop(node);
    assert!(place.ok(&["log", "replay"]).contains("different       0"));
    assert!(place.ok(&["log", "fsck"]).contains("sound"));
}

#[test]
fn a_registered_principal_is_what_the_log_says_and_nothing_else() {
    let place = Place::new();
    let bundle = place.path("bundle");
    let own = format!("{}/../../bundles/authzen", env!("CARGO_MANIFEST_DIR"));
    let copied = std::process::Command::new("cp")
        .args(["-r", &own])
        .arg(&bundle)
        .status();
    assert!(copied.unwrap().success());
    let add = |file: &str, text: &str| {
        let file = bundle.join(file);
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(file, before + text).unwrap();
    };
    add(
        "schema.cedarschema",
        "\naction \"deploy:ask\" appliesTo { principal: Principal, resource: record, context: { history: History, hour: Long, risk: Risk } };\n",
    );
    add(
        "entities.toml",
        "\n[groups.agents]\ndescription = \"Agents.\"\n",
    );
    add(
        "policies/deploy.cedar",
        "@id(\"agents-deploy\")\n@description(\"Agents deploy, and points ask about themselves.\")\npermit (principal in Group::\"agents\", action == Action::\"deploy:ask\", resource is record);\n",
    );
    let node = place.up();
    place.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    register_point(&place);
    let asks = |id: &str| {
        json!({
            "subject": { "type": "Principal", "id": id, "properties": { "groups": ["agents"], "kind": "agent" } },
            "action": { "name": "deploy:ask" },
            "resource": { "type": "record", "id": "record-1" },
        })
    };
    assert!(decision(&node, &asks("agent:coder")));
    assert!(!decision(&node, &asks(POINT)));
    assert!(!decision(&node, &asks("agent:unknown")));
    assert!(!decision(&node, &asks("no principal at all")));
    let search = json!({ "subject": { "type": "Principal" }, "action": { "name": "deploy:ask" }, "resource": { "type": "record", "id": "record-1" } });
    assert_eq!(found(&node, "subject", &search), ["agent:coder"]);
    place.ok(&["principal", "suspend", "agent:coder"]);
    assert!(!decision(&node, &asks("agent:coder")));
    assert!(found(&node, "subject", &search).is_empty());
}
