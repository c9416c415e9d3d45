//! Bearer tokens, by a real identity provider: npm `oidc-provider`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

mod browsers;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::client::{self, Answer, Key, exchange};
use crate::installed::npm;
use crate::place::{Node, Place, eventually};

/// The package and its version.
const PACKAGE: &str = "oidc-provider@9.13.3";

/// Beyond this the keys of a provider that is down do not count.
const STALE_SECS: u64 = 12;

/// An identity provider. It ends with this value.
struct Provider {
    child: Child,
    port: u16,
}

/// The provider's program.
fn program() -> PathBuf {
    let modules = npm(&[PACKAGE]);
    // Beside the modules, where Node looks for them; and whole at once, as others may be reading it.
    let dir = modules.parent().unwrap();
    let script = dir.join("provider.mjs");
    let whole = NamedTempFile::new_in(dir).unwrap();
    fs::write(&whole, include_str!("provider.mjs")).unwrap();
    whole.persist(&script).unwrap();
    script
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Provider {
    fn start(port: u16, name: &str) -> Self {
        Self::for_browsers(port, name, None)
    }

    /// One that browsers sign in by, and go back to this address from.
    fn for_browsers(port: u16, name: &str, back: Option<&str>) -> Self {
        let mut child = Command::new("node")
            .arg(program())
            .args([&port.to_string(), name])
            .args(back)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.any(|line| line.unwrap().contains("listening"));
        assert!(listening, "the provider does not start");
        thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An access token for this audience, signed with this algorithm, that lasts as long.
    fn token(&self, client: &str, audience: &str, algorithm: &str, secs: u64) -> String {
        let body = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=secret-of-{client}&resource=urn:{audience}:{algorithm}:{secs}"
        );
        let text = format!(
            "POST /token HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let answer = exchange(client::tcp(address), text.as_bytes()).expect(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A place that takes tokens of this issuer.
fn place(port: u16) -> Place {
    let place = Place::new();
    let issuer = format!("http://127.0.0.1:{port}");
    place.configure(&format!(
        "[[oidc]]\nissuer = \"{issuer}\"\naudience = [\"placet\"]\nrefresh_secs = 2\nstale_secs = {STALE_SECS}\nskew_secs = 0\n"
    ));
    place
}

/// Says who is who, to the service that runs: the provider's builder is `ci:builder`.
fn say_who(place: &Place, port: u16) {
    let issuer = format!("http://127.0.0.1:{port}");
    place.map(&format!(
        "[[identity]]\ndescription = \"Builds.\"\nprincipal = \"ci:{{sub}}\"\noidc = {{ issuer = \"{issuer}\", claims = {{ groups = \"builds\" }} }}\n"
    ));
    place.ok(&[
        "principal",
        "set",
        "ci:builder",
        "--group",
        "agents",
        "--mapped",
    ]);
}

fn with(node: &Node<'_>, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    node.ask_tcp(method, path, &[("authorization", &bearer)], body)
}

fn status(node: &Node<'_>, token: &str) -> (u16, String) {
    let answer = with(node, token, "GET", "/v1/policy", None);
    let code = if answer.status == 200 {
        String::new()
    } else {
        answer.code()
    };
    (answer.status, code)
}

#[test]
fn a_token_of_a_real_provider_is_an_identity_and_everything_else_is_refused() {
    let port = free_port();
    let provider = Provider::start(port, "one");
    let place = place(port);
    let node = place.up();
    say_who(&place, port);
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = provider.token("builder", "placet", algorithm, 60);
        assert_eq!(status(&node, &token), (200, String::new()), "{algorithm}");
    }
    let token = provider.token("builder", "placet", "RS256", 60);
    let refused = |token: &str, status_and_code: (u16, &str)| {
        let (status, code) = status(&node, token);
        assert_eq!((status, code.as_str()), status_and_code, "{token}");
    };
    let other = provider.token("builder", "other", "RS256", 60);
    refused(&other, (401, "audience_mismatch"));
    let short = provider.token("builder", "placet", "RS256", 1);
    thread::sleep(Duration::from_millis(2100));
    refused(&short, (401, "expired"));
    // The header of one, the claims of another: nothing of it was signed.
    let parts: Vec<&str> = token.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    refused(
        &[parts[0], others[1], parts[2]].join("."),
        (401, "invalid_signature"),
    );
    for alg in ["none", "HS256"] {
        let header = base64(&format!("{{\"alg\":\"{alg}\",\"kid\":\"RS256-one\"}}"));
        refused(
            &[&header, parts[1], parts[2]].join("."),
            (401, "identity_unverified"),
        );
        refused(
            &[&header, parts[1], ""].join("."),
            (401, "identity_unverified"),
        );
    }
    // A provider that is not this one, whatever it says of itself.
    let foreign = Provider::start(free_port(), "one");
    let token_of_other = foreign.token("builder", "placet", "RS256", 60);
    refused(&token_of_other, (401, "identity_unverified"));
    // Two proofs at once say two things.
    let proof = Key::new(7).proof("GET", &format!("http://{}/v1/policy", node.host()));
    let bearer = format!("Bearer {token}");
    let both = [("authorization", bearer.as_str()), ("dpop", proof.as_str())];
    assert_eq!(node.ask_tcp("GET", "/v1/policy", &both, None).status, 401);
    // Known to the provider, and nobody here: with a record, once.
    let stranger = provider.token("stranger", "placet", "ES256", 60);
    for _ in 0..3 {
        refused(&stranger, (403, "identity_unmapped"));
    }
    let tail = place.ok(&["log", "tail", "-n", "4"]);
    assert_eq!(tail.matches("identity_unmapped").count(), 1, "{tail}");
    // It acts as what the rules say, and as nobody else.
    let intent = place.intent("ci:builder", &["true"]);
    let permit = with(&node, &token, "POST", "/v1/intents", Some(&intent)).expect(201);
    let index = permit["index"].as_u64().unwrap();
    let decision = node.get(&format!("/v1/decisions/{index}")).expect(200);
    let caller = &decision["record"]["facts"]["caller"]["token"];
    assert_eq!(
        *caller,
        json!({ "claims": { "groups": ["builds"] }, "issuer": provider.issuer(), "subject": "builder" })
    );
    let foreign = place.intent("user:op", &["true"]);
    let denied = with(&node, &token, "POST", "/v1/intents", Some(&foreign));
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (403, "identity_unverified")
    );
    // The same log and bundle give the same decisions again, callers included.
    place.ok(&["log", "replay"]);
    let said = node.said();
    let secrets = [
        token.as_str(),
        parts[2],
        proof.as_str(),
        "private-group",
        "secret-of-builder",
    ];
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in\n{said}");
    }
}

#[test]
fn keys_rotate_and_without_their_provider_count_only_until_their_bound() {
    let port = free_port();
    let provider = Provider::start(port, "one");
    let place = place(port);
    let node = place.up();
    say_who(&place, port);
    let before = provider.token("builder", "placet", "RS256", 3600);
    assert_eq!(status(&node, &before).0, 200);
    // Other keys of the same provider: the new ones are asked for, the old ones count no longer.
    drop(provider);
    let provider = Provider::start(port, "two");
    let after = provider.token("builder", "placet", "RS256", 3600);
    eventually("the new key counts", || {
        (status(&node, &after).0 == 200).then_some(())
    });
    assert_eq!(status(&node, &before), (401, "identity_unverified".into()));
    // Nobody to ask: what is known counts, and then does not.
    drop(provider);
    assert_eq!(status(&node, &after).0, 200);
    eventually("the keys are too old", || {
        let answer = with(&node, &after, "GET", "/v1/policy", None);
        let detail = (answer.status == 401).then(|| answer.json()["detail"].to_string());
        detail.filter(|detail| detail.contains("older than their bound"))
    });
    let metrics = node.get("/metrics");
    let metrics = String::from_utf8(metrics.body).unwrap();
    let failed = metrics
        .lines()
        .find(|line| line.contains("event=\"keys_failed\""))
        .unwrap();
    assert!(!failed.ends_with(" 0"), "{failed}");
    // It comes back by itself. Others were served all the time.
    assert_eq!(node.get("/v1/policy").status, 200);
    let provider = Provider::start(port, "three");
    let token = provider.token("builder", "placet", "EdDSA", 3600);
    eventually("the provider is asked again", || {
        (status(&node, &token).0 == 200).then_some(())
    });
}

#[test]
fn a_rule_that_is_gone_ends_what_it_gave() {
    let port = free_port();
    let provider = Provider::start(port, "one");
    let place = place(port);
    let node = place.up();
    say_who(&place, port);
    let token = provider.token("builder", "placet", "EdDSA", 3600);
    let intent = place.intent("ci:builder", &["true"]);
    let permit = with(&node, &token, "POST", "/v1/intents", Some(&intent)).expect(201);
    let exec = permit["exec"].as_str().unwrap().to_owned();
    let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
    let start = with(
        &node,
        &token,
        "POST",
        &format!("/v1/executions/{exec}/start"),
        Some(&start),
    );
    start.expect(200);
    place.map("");
    assert_eq!(status(&node, &token), (403, "identity_unmapped".into()));
    let execution = node.get(&format!("/v1/executions/{exec}")).expect(200);
    let tail = place.ok(&["log", "tail", "-n", "6"]);
    assert!(tail.contains("policy_mismatch"), "{tail}\n{execution}");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}
