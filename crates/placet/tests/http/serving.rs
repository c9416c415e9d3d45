//! Where it listens, what it says of itself, and beside what it serves.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::client::Key;
use crate::place::{Place, exists};

#[test]
fn it_does_not_listen_beyond_loopback_without_tls() {
    let place = Place::new();
    let output = place
        .command(&["up", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("tls.cert"),
        "{said}"
    );
    place.configure("listen = \"[::]:8790\"\n");
    let output = place.command(&["config", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    place.configure("lissten = \"127.0.0.1:8790\"\n");
    let output = place.command(&["config", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("unknown field `lissten`"), "{said}");
    place.configure("listen = \"127.0.0.1:8790\"\npublic = true\n");
    let said = place.ok(&["config", "check", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["listen"], "127.0.0.1:8790");
}

#[test]
fn it_says_whether_it_lives_and_is_ready_and_counts_what_it_does() {
    let place = Place::new();
    let node = place.up();
    for path in ["/healthz", "/readyz"] {
        let answer = node.ask_tcp("GET", path, &[("x-request-id", "r-1")], None);
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (200, Some("r-1"))
        );
    }
    assert_eq!(node.ask_tcp("GET", "/metrics", &[], None).status, 401);
    let permit = node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
    permit.expect(201);
    node.post("/v1/intents", &place.intent("agent:nobody", &["true"]));
    let meters = String::from_utf8(node.get("/metrics").body).unwrap();
    for line in [
        "placet_decisions_total{outcome=\"permit\",code=\"\"} 1",
        "placet_decisions_total{outcome=\"deny\",code=\"identity_unverified\"} 1",
        "placet_executions{phase=\"authorized\"} 1",
        "placet_http_requests_total{route=\"/v1/intents\",status=\"201\"} 1",
        "placet_queue_waiting{lane=\"intent\"} 0",
        "placet_ready 1",
    ] {
        assert!(meters.contains(line), "{line} is not in\n{meters}");
    }
    assert!(
        meters.contains("placet_append_seconds_bucket{le=\"+Inf\"}"),
        "{meters}"
    );
}

#[test]
fn commands_use_the_running_service() {
    let place = Place::new();
    let node = place.up();
    place.ok(&["run", "--as", "agent:coder", "--", "true"]);
    let status: Value = serde_json::from_str(&place.ok(&["node", "status", "--json"])).unwrap();
    let pid = status["pid"].as_u64().unwrap();
    assert_eq!(pid, u64::from(node.pid()));
    let page = node.get("/v1/executions?status=completed").expect(200);
    assert_eq!(page["items"][0]["principal"], "agent:coder");
    // A second service finds the first.
    let output = place.command(&["up"]).output().unwrap();
    assert!(!output.status.success());
    // And was not told to leave, which it would do within a beat.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(node.get("/readyz").status, 200);
    let status: Value = serde_json::from_str(&place.ok(&["node", "status", "--json"])).unwrap();
    assert_eq!(status["pid"].as_u64(), Some(pid));
}

#[test]
fn a_service_comes_up_right_after_commands_and_is_one_wherever_it_listens() {
    let place = Place::new();
    // The node that these started is there still.
    place.ok(&["run", "--as", "agent:coder", "--", "true"]);
    place.ok(&["node", "status"]);
    let node = place.up();
    drop(node);
    place.ok(&["executions"]);
    let socket = place.path("elsewhere.sock");
    place.configure(&format!("socket = {socket:?}\n"));
    place.ok(&["config", "check"]);
    let node = place.up();
    let ask = |socket: &std::path::Path| {
        let text = crate::client::request("GET", "/readyz", "placet", &[], None);
        crate::client::exchange(crate::client::unix(socket), text.as_bytes()).status
    };
    assert_eq!(ask(&socket), 200);
    let usual = std::os::unix::net::UnixStream::connect(place.socket());
    assert!(usual.is_err());
    // A second one that would listen elsewhere still does not end the first.
    place.configure(&format!("socket = {:?}\n", place.path("other.sock")));
    let output = place.command(&["up"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("a node serves this domain already"), "{said}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(ask(&socket), 200);
    let status: Value = serde_json::from_str(&place.ok(&["node", "status", "--json"])).unwrap();
    assert_eq!(status["pid"].as_u64(), Some(u64::from(node.pid())));
    place.ok(&["run", "--as", "agent:coder", "--", "true"]);
}

#[test]
fn with_a_certificate_it_speaks_tls_and_proofs_are_for_https() {
    assert!(
        exists("openssl") && exists("curl"),
        "run scripts/setup-test-tools.sh"
    );
    let place = Place::new();
    let (cert, key) = (place.path("cert.pem"), place.path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ed25519",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    place.configure(&format!(
        "public = true\n[tls]\ncert = {cert:?}\nkey = {key:?}\n"
    ));
    let node = place.up();
    let client = Key::new(5);
    place.register("agent:remote", &["agents"], &client);
    let address = format!("https://localhost:{}/v1/policy", node.address.port());
    let curl = |proof: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--cacert"])
            .arg(&cert)
            .args(["-H", &format!("DPoP: {proof}"), &address])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(curl(&client.proof("GET", &address)).contains("\"halted\":false"));
    let plain = address.replace("https", "http");
    assert!(curl(&client.proof("GET", &plain)).contains("identity_unverified"));
    let offered = address.replace("/v1/policy", "/.well-known/authzen-configuration");
    let output = Command::new("curl")
        .args(["-sS", "--cacert"])
        .arg(&cert)
        .arg(&offered)
        .output()
        .unwrap();
    let offered: Value = serde_json::from_slice(&output.stdout).unwrap();
    let base = format!("https://localhost:{}", node.address.port());
    assert_eq!(offered["policy_decision_point"], base);
    for (name, place) in offered.as_object().unwrap() {
        assert!(
            place.as_str().unwrap().starts_with(&base),
            "{name}: {place}"
        );
    }
    // Plain text to it is no request.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        node.ask_tcp("GET", "/healthz", &[], None).status
    }));
    assert!(answer.is_err());
}
