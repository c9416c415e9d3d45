//! The gateway as a resource server: access tokens of a real authorization server, npm `oidc-provider`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use placet_types::Digest;
use serde_json::{Value, json};

use crate::domain::{Domain, await_some, parsed};
use crate::elsewhere::{Far, free_port, reaching};
use crate::http::{Listening, Reply, opening};
use crate::installed::run;
use crate::oauth::modules_beside;
use crate::peers::python;
use crate::place::{OPEN, domain, records};

/// An authorization server.
struct Issuer {
    /// It ends with this.
    _server: Far,
    port: u16,
}

impl Issuer {
    fn start() -> Self {
        let port = free_port();
        let script = modules_beside("tokens.mjs", include_str!("tokens.mjs"));
        let mut command = Command::new("node");
        command.arg(script).arg(port.to_string());
        Self {
            _server: Far::start(&mut command, port, "listening"),
            port,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An access token for this resource, which allows that.
    fn token(&self, client: &str, resource: &str, scope: &str) -> String {
        let resource = resource.replace(':', "%3A").replace('/', "%2F");
        let scope = scope.replace(':', "%3A").replace(' ', "%20");
        let body = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=secret-of-{client}&resource={resource}&scope={scope}"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let token = parsed(body)["access_token"].as_str().map(str::to_owned);
        token.unwrap_or_else(|| panic!("{answer}"))
    }
}

/// Takes tokens of this issuer, and says who two of its clients are. One of them is two.
fn taking(domain: &Domain, issuer: &str) {
    let settings =
        format!("[[oidc]]\nissuer = \"{issuer}\"\naudience = [\"placet\"]\nskew_secs = 0\n");
    fs::write(domain.dir().join("placet.toml"), settings).unwrap();
    let who = [
        ("agent:coder", "builder"),
        ("agent:coder", "brief"),
        ("agent:coder", "both"),
        ("user:op", "both"),
    ];
    let rules: String = who
        .iter()
        .map(|(principal, subject)| {
            format!("[[identity]]\ndescription = \"For tests.\"\nprincipal = \"{principal}\"\noidc = {{ issuer = \"{issuer}\", subject = \"{subject}\" }}\n\n")
        })
        .collect();
    let bundle = domain.path("bundle");
    fs::write(bundle.join("identities.toml"), rules).unwrap();
    next_revision(&bundle);
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
}

fn next_revision(bundle: &Path) {
    let manifest = bundle.join("bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut lines = text.lines();
    let revision = lines.find_map(|line| line.strip_prefix("revision = "));
    let revision: u64 = revision.unwrap().parse().unwrap();
    let (from, to) = (
        format!("revision = {revision}"),
        format!("revision = {}", revision + 1),
    );
    fs::write(&manifest, text.replacen(&from, &to, 1)).unwrap();
}

/// A gateway that takes tokens for its own URL.
fn gateway(domain: &Domain, more: &[&str]) -> (Listening, String) {
    let port = free_port();
    let (address, resource) = (
        format!("127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/mcp"),
    );
    let own = ["--listen", &address, "--resource", &resource];
    (Listening::start(domain, &[&own, more].concat()), resource)
}

/// Finds everything out by itself: where tokens are given, for what, and with which scope.
const CLIENT: &str = r#"
import asyncio, json, sys
import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

class Memory:
    tokens = None
    async def get_tokens(self): return self.tokens
    async def set_tokens(self, tokens): self.tokens = tokens
    async def get_client_info(self): return None
    async def set_client_info(self, info): pass

async def main():
    url, issuer = sys.argv[1:3]
    kept = Memory()
    auth = ClientCredentialsOAuthProvider(url, kept, "builder", "secret-of-builder", "client_secret_post", issuer=issuer)
    async with httpx2.AsyncClient(auth=auth, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="legacy") as client:
            sum = await client.call_tool("add", {"a": 2, "b": 40})
            seen = await client.call_tool("authorization", {})
    print(json.dumps({"sum": sum.content[0].text, "seen": seen.content[0].text, "token": kept.tokens.access_token}))

asyncio.run(main())
"#;

#[test]
fn a_client_that_finds_the_authorization_server_by_itself_acts_as_whom_the_bundle_says() {
    let issuer = Issuer::start();
    let far = Far::python();
    let domain = reaching(OPEN, "");
    taking(&domain, &issuer.url());
    let config = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": { "far": { "type": "http", "url": far.url } } });
    fs::write(&config, servers.to_string()).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let (gateway, resource) = gateway(
        &domain,
        &[&config[..], &["--require-scope", "mcp:tools"]].concat(),
    );
    let mut command = Command::new(python());
    command.args(["-c", CLIENT, &resource, &issuer.url()]);
    let said = parsed(&run(&mut command));
    assert_eq!(said["sum"], "42", "{said}");
    // The server elsewhere tells what its caller showed, as a digest: nothing at all.
    assert_eq!(said["seen"], Digest::of(b"").hex(), "{said}");
    let token = said["token"].as_str().unwrap();
    assert_eq!(token.split('.').count(), 3, "{said}");
    let records = records(&domain);
    let of = |action: &str| -> Vec<Value> {
        let is_one = |record: &&Value| record["record"]["intent"]["action"] == action;
        let principal = |record: &Value| record["record"]["intent"]["principal"].clone();
        records.iter().filter(is_one).map(principal).collect()
    };
    assert_eq!(of("mcp:connect"), ["agent:coder"]);
    assert_eq!(of("mcp:call"), ["agent:coder", "agent:coder"]);
    // Each names whose token it was, and whoever asks why is told.
    let named: Vec<&Value> = records
        .iter()
        .filter(|record| record["record"]["intent"]["gateway"] == "mcp")
        .collect();
    assert_eq!(named.len(), 3);
    let bearer = json!({ "issuer": issuer.url(), "subject": "builder" });
    for record in &named {
        assert_eq!(record["record"]["facts"]["bearer"], bearer, "{record}");
    }
    let index = named[1]["index"].to_string();
    let told = domain.ok(&["explain", &index]);
    assert!(
        told.contains(&format!("builder of {}", issuer.url())),
        "{told}"
    );
    // The token is in no record and no message.
    let signature = token.rsplit('.').next().unwrap();
    let log = domain.ok(&["log", "tail", "-n", "100000", "--json"]);
    assert!(!log.contains(signature), "{log}");
    assert!(!gateway.notes.lock().unwrap().contains(signature));
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

/// What is refused, with this status and code; gives the challenge.
fn refused(reply: &Reply, status: u16, code: &str) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json()["error"]["data"]["code"], code, "{reply:?}");
    reply.header("www-authenticate").expect("a challenge")
}

#[test]
fn only_a_token_for_exactly_this_gateway_that_is_good_and_whose_bearer_is_known_gets_in() {
    let (issuer, other) = (Issuer::start(), Issuer::start());
    let domain = domain(OPEN, &[]);
    taking(&domain, &issuer.url());
    let server = [
        "--require-scope",
        "mcp:tools",
        "--name",
        "notes",
        "--",
        "/usr/bin/python3",
        "server.py",
    ];
    let (gateway, resource) = gateway(&domain, &server);
    let brief = issuer.token("brief", &resource, "mcp:tools");
    let metadata = format!(
        "http://127.0.0.1:{}/.well-known/oauth-protected-resource/mcp",
        gateway.port
    );
    // Anybody may read where tokens are given, at either place; and nothing else.
    let read = |path: &str| {
        let said = gateway.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            gateway.port
        ));
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    };
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let (status, body) = read(path);
        assert_eq!(status, "200");
        assert_eq!(
            parsed(&body),
            json!({
                "authorization_servers": [issuer.url()],
                "bearer_methods_supported": ["header"],
                "resource": resource,
                "resource_name": "Placet",
                "scopes_supported": ["mcp:tools"],
            })
        );
    }
    assert_eq!(read("/.well-known/oauth-protected-resource/other").0, "404");
    let show = |token: &str| gateway.request("POST", token, "", &opening(json!({})));
    // Nobody has said anything yet that could be wrong.
    assert_eq!(
        refused(&show(""), 401, "identity_unverified"),
        format!("bearer resource_metadata=\"{metadata}\", scope=\"mcp:tools\"")
    );
    let good = issuer.token("builder", &resource, "mcp:other mcp:tools");
    let mut session = gateway.open_as(&good, json!({}));
    let said = session.call("echo", json!({ "message": "x" }));
    assert_eq!(said["content"][0]["text"], "x");
    let invalid = |token: &str, code: &str| {
        let challenge = refused(&show(token), 401, code);
        assert!(challenge.contains(&metadata), "{challenge}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    };
    // For the node, for another gateway at this host, for this one in another spelling.
    for audience in [
        "urn:placet".to_owned(),
        format!("{resource}/"),
        resource.replace("/mcp", "/other"),
        resource.replace("127.0.0.1", "localhost"),
    ] {
        let token = issuer.token("builder", &audience, "mcp:tools");
        invalid(&token, "audience_mismatch");
    }
    invalid(
        &other.token("builder", &resource, "mcp:tools"),
        "identity_unverified",
    );
    // The claims of one, the signature of another.
    let parts: Vec<&str> = good.split('.').collect();
    let stranger = issuer.token("stranger", &resource, "mcp:tools");
    let others: Vec<&str> = stranger.split('.').collect();
    invalid(
        &[parts[0], parts[1], others[2]].join("."),
        "invalid_signature",
    );
    invalid("not-a-token", "identity_unverified");
    std::thread::sleep(Duration::from_millis(2100));
    invalid(&brief, "expired");
    // Good, and not enough.
    for scope in ["", "mcp:other"] {
        let token = issuer.token("builder", &resource, scope);
        let challenge = refused(&show(&token), 403, "identity_unverified");
        assert!(
            challenge.contains("error=\"insufficient_scope\", scope=\"mcp:tools\""),
            "{challenge}"
        );
    }
    for client in ["stranger", "both"] {
        let token = issuer.token(client, &resource, "mcp:tools");
        let challenge = refused(&show(&token), 403, "identity_unmapped");
        assert!(!challenge.contains("error="), "{challenge}");
    }
    // The session is that of who began it, and the gateway's own token still is one.
    let frame = session.frame("ping", &json!({}));
    let foreign = gateway.request("POST", &gateway.token, &session.headers(), &frame);
    assert_eq!(foreign.status, 404);
    gateway.open();
    let attempts = await_some("the attempts to be recorded", || {
        let records = records(&domain);
        let refused = records.iter().filter(|record| record["kind"] == "refused");
        let codes: Vec<String> = refused
            .map(|record| record["record"]["denial"]["code"].to_string())
            .collect();
        (codes.len() == 14).then_some(codes)
    });
    let count = |code: &str| attempts.iter().filter(|own| own.contains(code)).count();
    assert_eq!(count("audience_mismatch"), 4, "{attempts:?}");
    assert_eq!(count("identity_unmapped"), 2, "{attempts:?}");
    assert_eq!(count("expired"), 1, "{attempts:?}");
    // What the bundle takes away ends soon, also for whoever is in.
    fs::write(domain.path("bundle").join("identities.toml"), "").unwrap();
    next_revision(&domain.path("bundle"));
    domain.ok(&[
        "policy",
        "activate",
        domain.path("bundle").to_str().unwrap(),
    ]);
    await_some("the bearer is nobody any more", || {
        (session.post(&frame).status == 403).then_some(())
    });
}

#[test]
fn tokens_are_taken_where_a_provider_is_configured_and_a_url_is_spelled_as_it_is_compared() {
    let domain = domain(OPEN, &[]);
    let start = |resource: &str| {
        domain.fails(
            1,
            &[
                "mcp",
                "--listen",
                "127.0.0.1:0",
                "--resource",
                resource,
                "--",
                "python3",
                "server.py",
            ],
        )
    };
    let said = start("https://mcp.example.org/mcp");
    assert!(said.contains("[[oidc]]"), "{said}");
    let said = domain.fails(
        2,
        &[
            "mcp",
            "--listen",
            "127.0.0.1:0",
            "--resource",
            "https://MCP.example.org/mcp",
            "--",
            "python3",
        ],
    );
    assert!(
        said.contains("it must be https://mcp.example.org/mcp"),
        "{said}"
    );
}
