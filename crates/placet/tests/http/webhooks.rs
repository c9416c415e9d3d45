//! Webhooks, to a receiver that checks signatures with a library of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::approvals::{asking, deferred, said};
use crate::client::Key;
use crate::installed::npm;
use crate::place::{Place, eventually, exists};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver process. It ends with this value.
struct Receiver {
    child: Child,
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    /// Answers with these statuses, one after the other, and with the last one from then on.
    fn start(statuses: &str, tls: Option<(&PathBuf, &PathBuf)>) -> Self {
        assert!(exists("python3"), "run scripts/setup-test-tools.sh");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/receiver.py");
        let mut command = Command::new("/usr/bin/python3");
        command.args([script, SECRET, statuses]);
        if let Some((cert, key)) = tls {
            command.arg(cert).arg(key);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, port, lines }
    }

    /// What came next.
    fn next(&mut self) -> Value {
        let came: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(
            (&came["signed"], &came["path"]),
            (&json!(true), &json!("/hook?a=b")),
            "{came}"
        );
        came
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn secret(place: &Place) -> PathBuf {
    let path = place.path("webhook.secret");
    fs::write(&path, SECRET).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A certificate for this machine and the one that vouches for it.
fn certificates(place: &Place) -> [PathBuf; 3] {
    let [ca, ca_key, cert, key, asked, extra] = [
        "ca.pem", "ca.key", "leaf.pem", "leaf.key", "leaf.csr", "leaf.ext",
    ]
    .map(|name| place.path(name));
    fs::write(&extra, "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        let made = command.args(args).stderr(Stdio::null()).status().unwrap();
        assert!(made.success(), "{args:?}");
    };
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let new = ["-newkey", "ed25519", "-nodes", "-subj"];
    openssl(
        &[
            &[
                "req",
                "-x509",
                "-days",
                "1",
                "-out",
                &text(&ca),
                "-keyout",
                &text(&ca_key),
            ],
            &new[..],
            &["/CN=test"],
        ]
        .concat(),
    );
    openssl(
        &[
            &["req", "-out", &text(&asked), "-keyout", &text(&key)],
            &new[..],
            &["/CN=localhost"],
        ]
        .concat(),
    );
    openssl(&[
        "x509",
        "-req",
        "-days",
        "1",
        "-in",
        &text(&asked),
        "-CA",
        &text(&ca),
        "-CAkey",
        &text(&ca_key),
        "-set_serial",
        "7",
        "-extfile",
        &text(&extra),
        "-out",
        &text(&cert),
    ]);
    [ca, cert, key]
}

#[test]
fn receivers_are_told_what_waits_signed_again_until_they_take_it_and_hold_nobody_up() {
    let ann = Key::new(41);
    let place = asking(&ann);
    let [ca, cert, key] = certificates(&place);
    // One is out of order at first, and then points elsewhere, where nobody follows.
    let mut plain = Receiver::start("500,302,200", None);
    let mut with_tls = Receiver::start("204", Some((&cert, &key)));
    let secret = secret(&place);
    place.configure(&format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{}/hook?a=b\"\nsecret = {secret:?}\n\
         [[webhooks]]\nurl = \"https://localhost:{}/hook?a=b\"\nsecret = {secret:?}\nca = {ca:?}\narguments = true\n",
        plain.port, with_tls.port
    ));
    place.ok(&["config", "check"]);
    let node = place.up();
    let (intent, deferred) = deferred(&node);
    let exec = &deferred["exec"];
    let first = plain.next();
    assert_eq!(
        (&first["status"], &first["body"]["type"]),
        (&json!(500), &json!("approval.waiting"))
    );
    let data = &first["body"]["data"];
    assert_eq!(
        (&data["exec"], &data["asked_by"]),
        (exec, &json!(["agents-git"]))
    );
    // Private parameters go to whom that was configured for, and to nobody else.
    assert!(
        !first.to_string().contains("argv") && !first.to_string().contains("status\\"),
        "{first}"
    );
    let open = with_tls.next();
    assert_eq!(
        open["body"]["data"]["params"]["argv"],
        json!(["git", "status"])
    );
    assert_eq!(open["id"], first["id"]);
    // Nothing that decides waits for a receiver.
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
    let waits = node
        .get(&format!("/v1/approvals/{}", exec.as_str().unwrap()))
        .expect(200);
    let act = said(&ann, "user:ann", "approve", &waits);
    node.post(&format!("/v1/approvals/{}", exec.as_str().unwrap()), &act)
        .expect(201);
    node.post("/v1/intents", &intent).expect(201);
    // The same message until it is taken, then what followed, in order.
    for status in [302, 200] {
        let again = plain.next();
        assert_eq!(
            (&again["status"], &again["id"]),
            (&json!(status), &first["id"])
        );
        assert_eq!(again["body"], first["body"]);
    }
    for receiver in [&mut plain, &mut with_tls] {
        let verdict = receiver.next();
        assert_eq!(
            (&verdict["body"]["type"], &verdict["body"]["data"]["by"]),
            (&json!("approval.said"), &json!("user:ann"))
        );
        let resolved = receiver.next();
        assert_eq!(resolved["body"]["type"], "approval.resolved");
        assert_eq!(resolved["body"]["data"]["decision"], "permit");
    }
    // The last answer may be on its way still.
    let line = "placet_webhook_messages_total{outcome=\"delivered\"} 6";
    eventually("all are counted", || {
        let meters = String::from_utf8(node.get("/metrics").body).unwrap();
        meters.contains(line).then_some(())
    });
}

#[test]
fn after_a_restart_what_still_waits_is_told_again_under_the_same_id() {
    let place = asking(&Key::new(41));
    let mut receiver = Receiver::start("200", None);
    let secret = secret(&place);
    place.configure(&format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{}/hook?a=b\"\nsecret = {secret:?}\n",
        receiver.port
    ));
    let node = place.up();
    deferred(&node);
    let first = receiver.next();
    node.signal(rustix::process::Signal::KILL);
    drop(node);
    let _node = place.up();
    // As it was, but for when it is sent.
    let again = receiver.next();
    for part in ["body", "id", "path"] {
        assert_eq!(again[part], first[part]);
    }
}

/// What the library of Standard Webhooks itself makes of a message.
fn verified(came: &Value, secret: &str) -> bool {
    let script = "const { Webhook } = require('standardwebhooks'); \
        const { body, headers } = JSON.parse(process.argv[1]); \
        new Webhook(process.argv[2]).verify(body, headers);";
    let mut node = Command::new("node");
    node.env("NODE_PATH", npm(&["standardwebhooks@1.0.0"]));
    node.args(["-e", script, &came["raw"].to_string(), secret]);
    node.stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn a_receiver_that_takes_nothing_is_tried_a_bounded_number_of_times_and_then_once_for_each_message()
{
    let ann = Key::new(41);
    let place = asking(&ann);
    let mut receiver = Receiver::start("500,500,500,500,200", None);
    let secret = secret(&place);
    place.configure(&format!(
        "[[webhooks]]\nurl = \"http://127.0.0.1:{}/hook?a=b\"\nsecret = {secret:?}\nattempts = 3\n",
        receiver.port
    ));
    let node = place.up();
    let (intent, deferred) = deferred(&node);
    let path = format!("/v1/approvals/{}", deferred["exec"].as_str().unwrap());
    let first = receiver.next();
    // The standard's own library takes it with this secret, and with no other.
    assert!(verified(&first, SECRET));
    assert!(!verified(&first, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let waits = node.get(&path).expect(200);
    let act = said(&ann, "user:ann", "approve", &waits);
    node.post(&path, &act).expect(201);
    node.post("/v1/intents", &intent).expect(201);
    for _ in 0..2 {
        assert_eq!(receiver.next()["id"], first["id"]);
    }
    // Given up: what follows is tried once, until it is taken.
    let said = receiver.next();
    assert_eq!(
        (&said["body"]["type"], &said["status"]),
        (&json!("approval.said"), &json!(500))
    );
    let resolved = receiver.next();
    assert_eq!(
        (&resolved["body"]["type"], &resolved["status"]),
        (&json!("approval.resolved"), &json!(200))
    );
    eventually("all are counted", || {
        let meters = String::from_utf8(node.get("/metrics").body).unwrap();
        let count = |outcome: &str, number: u32| {
            let line = format!("placet_webhook_messages_total{{outcome=\"{outcome}\"}} {number}\n");
            meters.contains(&line)
        };
        (count("given_up", 2) && count("delivered", 1)).then_some(())
    });
    // What it says of all that holds neither the secret nor the path, which may be one.
    let log = node.said();
    assert_eq!(log.matches("webhook given up").count(), 2, "{log}");
    for secret in ["MfKQ9r8G", "/hook", "v1,"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
