//! Servers elsewhere: over Streamable HTTP, several behind one gateway, with credentials that only it has.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::domain::{Domain, await_some};
use crate::peers::{node_modules, python, server, session};
use crate::place::{Client, OPEN, domain, ends, records};

/// A server over HTTP that ends with the test.
pub(crate) struct Far {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Far {
    fn drop(&mut self) {
        // One that has ended already is as good.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl Far {
    /// Starts it and waits until it says this on its standard error or output.
    pub(crate) fn start(command: &mut Command, port: u16, ready: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let mut lines = errors.lines();
        let is_ready = lines.by_ref().any(|line| line.unwrap().contains(ready));
        assert!(is_ready, "the server has ended");
        // It goes on speaking, and must not wait for somebody to listen.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{port}/mcp");
        Self { child, url }
    }

    /// npm's everything server.
    pub(crate) fn everything() -> Self {
        let port = free_port();
        let mut command = Command::new("node");
        command
            .args([&server("everything"), "streamableHttp"])
            .env("PORT", port.to_string());
        Self::start(&mut command, port, "listening")
    }

    /// A server of PyPI's package.
    pub(crate) fn python() -> Self {
        Self::python_with(&[])
    }

    /// With this certificate and its key.
    fn python_with(certificate: &[&str]) -> Self {
        Self::python_at(free_port(), certificate)
    }

    fn python_at(port: u16, certificate: &[&str]) -> Self {
        let mut command = Command::new(python());
        command
            .args(["-c", include_str!("far.py")])
            .arg(port.to_string())
            .args(certificate);
        Self::start(&mut command, port, "running on")
    }
}

const CONNECT: &str = r#"
@id("mcp-connect") @description("For tests.") @profile("operator")
permit (principal, action == Action::"mcp:connect", resource is McpServer);
"#;

/// A domain whose programs and gateways reach loopback, and whose operator's profile has a credential.
pub(crate) fn reaching(policy: &str, more: &str) -> Domain {
    reaching_from(policy, more, &node_modules())
}

/// The same, whose programs may read this directory.
pub(crate) fn reaching_from(policy: &str, more: &str, read: &Path) -> Domain {
    // A permit without a profile narrows to the bundle's usual one, so there is one for connections alone.
    let policy = policy.replacen(
        "!(resource is Program)",
        "!(resource is Program) && action != Action::\"mcp:connect\"",
        1,
    );
    let policy = format!("{policy}\n{CONNECT}");
    let domain = domain(&policy, &[read]);
    let bundle = domain.path("bundle");
    let profile = bundle.join("profiles/operator.toml");
    let text = fs::read_to_string(&profile).unwrap();
    let text = format!("network = [\"127.0.0.1:1-65535\"]\n{text}\n{more}");
    fs::write(&profile, text).unwrap();
    let manifest = bundle.join("bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("revision = 2", "revision = 3")).unwrap();
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    domain
}

/// A client in front of the servers of a configuration.
pub(crate) fn configured(domain: &Domain, servers: Value) -> Client {
    let path = domain.work().join("mcp.json");
    fs::write(&path, json!({ "mcpServers": servers }).to_string()).unwrap();
    Client::start(&mut domain.command(&["mcp", "--grace", "1", "--config", path.to_str().unwrap()]))
}

#[test]
fn the_everything_server_says_over_http_through_the_gateway_what_it_says_directly() {
    let everything = server("everything");
    let far = Far::everything();
    let domain = reaching(OPEN, "");
    let mut direct = Client::start(Command::new("node").args([&everything, "stdio"]));
    direct.open();
    let expected = session(&mut direct);
    direct.close();
    let mut through = configured(
        &domain,
        json!({ "all": { "type": "http", "url": far.url } }),
    );
    let opened = through.open();
    assert_eq!(
        opened["result"]["protocolVersion"], "2025-06-18",
        "{opened}"
    );
    for (at, (said, expected)) in session(&mut through).iter().zip(&expected).enumerate() {
        assert_eq!(said, expected, "request {at}");
    }
    let id = through.send(
        "tools/call",
        json!({
            "name": "trigger-long-running-operation", "arguments": { "duration": 0.4, "steps": 4 },
            "_meta": { "progressToken": "tok-1" },
        }),
    );
    let mut progress = 0;
    loop {
        let frame = through.read();
        if frame["id"] == id {
            break;
        }
        progress += u32::from(frame["method"] == "notifications/progress");
    }
    assert_eq!(progress, 4);
    assert_eq!(through.close(), Some(0));
    // The connection is an execution, and the calls are below it.
    let records = records(&domain);
    let of = |kind: &str, action: &str| {
        let mut all = records.iter().filter(|record| record["kind"] == kind);
        all.find(|record| record["record"]["intent"]["action"] == action)
            .cloned()
            .unwrap()
    };
    let connection = of("decided", "mcp:connect");
    let call = of("decided", "mcp:call");
    assert_eq!(call["record"]["intent"]["parent"], connection["exec"]);
    let ended = records
        .iter()
        .find(|record| record["kind"] == "ended" && record["exec"] == connection["exec"]);
    assert_eq!(ended.unwrap()["record"]["outcome"], "completed");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn several_servers_are_one_and_only_names_that_collide_are_changed() {
    let far = Far::everything();
    let domain = reaching(OPEN, "");
    let mut client = configured(
        &domain,
        json!({
            "notes": { "command": "/usr/bin/python3", "args": ["server.py"] },
            "far": { "url": far.url },
        }),
    );
    let opened = client.open();
    assert_eq!(opened["result"]["serverInfo"]["name"], "placet", "{opened}");
    // Before anything was listed, a name that two have leads nowhere.
    let id = client.send_call("echo", json!({ "message": "x" }));
    let refused = client.answer(id);
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("notes__echo") && told.contains("far__echo"),
        "{refused}"
    );
    let tools = client.tools();
    for tool in ["notes__echo", "far__echo", "get-sum"] {
        assert!(tools.contains(&tool.to_owned()), "{tools:?}");
    }
    assert!(!tools.contains(&"echo".to_owned()), "{tools:?}");
    let text = |result: Value| result["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(
        text(client.call("notes__echo", json!({ "message": "x" }))),
        "x"
    );
    assert_eq!(
        text(client.call("far__echo", json!({ "message": "x" }))),
        "Echo: x"
    );
    let sum = text(client.call("get-sum", json!({ "a": 1, "b": 2 })));
    assert!(sum.contains('3'), "{sum}");
    // What is decided and recorded has the server's own name.
    assert_eq!(ends(&domain, "notes/echo").len(), 1);
    assert_eq!(ends(&domain, "far/echo").len(), 1);
    client.close();
    // What led nowhere is recorded as well.
    let refused = records(&domain).iter().any(|record| {
        record["kind"] == "refused" && record.to_string().contains("several servers")
    });
    assert!(refused);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

const CREDENTIAL: &str = r#"
[[credentials]]
name = "far-token"
env = "FAR_TOKEN"
"#;

#[test]
fn a_credential_goes_to_the_server_elsewhere_and_to_nobody_else() {
    const TOKEN: &str = "s3cret-far-9f1b";
    let far = Far::python();
    let domain = reaching(OPEN, CREDENTIAL);
    let servers = json!({ "far": {
        "type": "http", "url": far.url, "headers": { "Authorization": "Bearer ${FAR_TOKEN}" },
    }});
    // Without the secret nothing is spoken to.
    let mut early = configured(&domain, servers.clone());
    let refused = early.open_or_fail();
    let code = &refused["error"]["data"]["code"];
    assert_eq!(code, "credential_missing", "{refused}");
    early.close();
    let mut set = domain.command(&["secret", "set", "far-token"]);
    let mut set = set
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    set.stdin
        .take()
        .unwrap()
        .write_all(TOKEN.as_bytes())
        .unwrap();
    assert!(set.wait().unwrap().success());
    let mut client = configured(&domain, servers);
    client.open();
    // The server tells how its caller proved itself, as a digest: its answer has no secret in it either.
    let seen = client.call("authorization", json!({}));
    let expected = placet_types::Digest::of(format!("Bearer {TOKEN}").as_bytes()).hex();
    assert_eq!(seen["content"][0]["text"], expected, "{seen}");
    client.close();
    let log = domain.ok(&["log", "tail", "-n", "100000", "--json"]);
    assert!(!log.contains(TOKEN));
}

#[test]
fn a_server_elsewhere_outside_of_the_scope_is_not_reached() {
    let far = Far::everything();
    let domain = domain(OPEN, &[&node_modules()]);
    let mut client = configured(&domain, json!({ "far": { "url": far.url } }));
    let refused = client.open_or_fail();
    let told = refused["error"]["data"]["reason"].as_str().unwrap();
    assert!(
        told.contains("does not let it reach 127.0.0.1"),
        "{refused}"
    );
    client.close();
    let outcomes: Vec<Value> = records(&domain)
        .iter()
        .filter(|record| record["kind"] == "ended")
        .map(|record| record["record"]["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["failed"]);
}

#[test]
fn revoking_a_connection_ends_it_and_what_runs_over_it() {
    let far = Far::everything();
    let domain = reaching(OPEN, "");
    let mut client = configured(&domain, json!({ "all": { "url": far.url } }));
    client.open();
    let long = json!({ "duration": 60, "steps": 60 });
    let id = client.send_call("trigger-long-running-operation", long);
    let connection = await_some("a call that runs", || {
        let records = records(&domain);
        let started = records.iter().any(|record| {
            record["kind"] == "decided" && record["record"]["intent"]["action"] == "mcp:call"
        });
        let connection = records
            .iter()
            .find(|record| record["record"]["intent"]["action"] == "mcp:connect")?;
        started.then(|| connection["exec"].as_str().unwrap().to_owned())
    });
    domain.ok(&["revoke", &connection]);
    let answer = client.answer(id);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(client.child.wait().unwrap().code(), Some(1));
    // Closed with its connection, or ended as what is below it, whichever comes first.
    let calls = ends(&domain, "all/trigger-long-running-operation");
    assert!(
        matches!(calls.as_slice(), [(outcome, _)] if outcome != "completed"),
        "{calls:?}"
    );
    assert_eq!(
        ends(&domain, "all"),
        [("terminated".to_owned(), json!("revoked"))]
    );
}

#[test]
fn a_server_elsewhere_is_reached_over_tls_if_its_authority_vouches_for_it() {
    let domain = reaching(OPEN, "");
    let path = |name: &str| domain.path(name).to_str().unwrap().to_owned();
    for name in ["own", "other"] {
        let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let subject = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args([
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                subject,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-keyout", &key, "-out", &certificate])
            .stderr(Stdio::null());
        assert!(openssl.status().unwrap().success());
    }
    let far = Far::python_with(&[&path("own.pem"), &path("own.key")]);
    let url = far.url.replace("http://", "https://");
    let server = |ca: &str| json!({ "far": { "url": url, "placet": { "ca": path(ca) } } });
    let mut client = configured(&domain, server("own.pem"));
    client.open();
    let sum = client.call("add", json!({ "a": 2, "b": 3 }));
    assert_eq!(sum["content"][0]["text"], "5", "{sum}");
    client.close();
    // Another authority does not vouch for it, and it hears nothing.
    let mut client = configured(&domain, server("other.pem"));
    let refused = client.open_or_fail();
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not reached"),
        "{refused}"
    );
    client.close();
}

#[test]
fn a_session_that_the_server_elsewhere_has_forgotten_is_begun_again_once() {
    let port = free_port();
    let far = Far::python_at(port, &[]);
    let domain = reaching(OPEN, "");
    let mut client = configured(&domain, json!({ "far": { "url": far.url } }));
    client.open();
    let mut adds =
        |a: u64| client.call("add", json!({ "a": a, "b": 1 }))["content"][0]["text"].clone();
    assert_eq!(adds(1), "2");
    // Another one at the same place knows nothing of the session.
    drop(far);
    let far = Far::python_at(port, &[]);
    assert_eq!(adds(2), "3");
    assert_eq!(adds(3), "4");
    drop(far);
    // Nobody there: it is said, and the gateway goes on.
    let refused = client.ask(
        "tools/call",
        json!({ "name": "add", "arguments": { "a": 1, "b": 1 } }),
    );
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("did not answer"),
        "{refused}"
    );
    let _far = Far::python_at(port, &[]);
    assert_eq!(
        client.call("add", json!({ "a": 4, "b": 1 }))["content"][0]["text"],
        "5"
    );
    client.close();
    let outcomes: Vec<String> = ends(&domain, "far/add")
        .into_iter()
        .map(|(outcome, _)| outcome)
        .collect();
    assert_eq!(
        outcomes,
        ["completed", "completed", "completed", "failed", "completed"]
    );
}
