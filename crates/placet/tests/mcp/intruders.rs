//! Attacks over HTTP on a gateway that listens, each by name.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bare::ONCE;
use crate::domain::{Domain, await_some};
use crate::elsewhere::{Far, reaching};
use crate::http::{Listening, opening};
use crate::installed::run;
use crate::place::{OPEN, domain, records};

/// Codes of the attempts that were recorded and came to nothing.
fn refused(domain: &Domain) -> Vec<String> {
    records(domain)
        .iter()
        .filter(|record| record["kind"] == "refused")
        .map(|record| record["record"].to_string())
        .collect()
}

fn calls(domain: &Domain) -> String {
    fs::read_to_string(domain.work().join("calls")).unwrap_or_default()
}

#[test]
fn a_session_is_of_its_caller_and_an_id_that_is_guessed_or_learned_is_worth_nothing() {
    let domain = domain(OPEN, &[]);
    let file = domain.path("other.token");
    let caller = format!("user:op={}", file.display());
    let gateway = Listening::of_test_server(&domain, &["--caller", &caller, "--sessions", "3"]);
    let other = fs::read_to_string(&file).unwrap().trim().to_owned();
    let mut session = gateway.open();
    assert_eq!(session.id.len(), 64);
    // The very id, by somebody else who may come in, for the same principal even.
    let frame = session.frame("tools/call", &json!({ "name": "wipe", "arguments": {} }));
    for method in ["POST", "GET", "DELETE"] {
        let reply = gateway.request(method, &other, &session.headers(), &frame);
        assert_eq!(reply.status, 404, "{method} {reply:?}");
        // Told no more than whoever guesses.
        let guess = session.headers().replace(&session.id, &"0".repeat(64));
        let guessed = gateway.request(method, &other, &guess, &frame);
        assert_eq!(
            (guessed.status, guessed.body),
            (404, reply.body),
            "{method}"
        );
    }
    assert_eq!(calls(&domain), "");
    let shared = session.call("echo", json!({ "message": "x" }));
    assert_eq!(shared["content"][0]["text"], "x");
    // Sessions are bounded, and one that ends makes room.
    let (_second, third) = (gateway.open(), gateway.open());
    let full = gateway.request("POST", &gateway.token, "", &opening(json!({})));
    assert_eq!(full.status, 503, "{full:?}");
    assert_eq!(third.end().status, 200);
    gateway.open();
    await_some("the attempts to be recorded", || {
        let refused = refused(&domain);
        let known = |one: &&String| one.contains("identity_unverified");
        (refused.iter().filter(known).count() == 3).then_some(())
    });
}

#[test]
fn a_page_from_elsewhere_and_a_name_that_was_rebound_get_nothing() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let port = gateway.port;
    for (headers, status) in [
        ("Host: evil.example\r\n".to_owned(), 403),
        (format!("Host: evil.example:{port}\r\n"), 403),
        (format!("Host: localhost.evil.example:{port}\r\n"), 403),
        (
            format!("Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"),
            400,
        ),
        ("Origin: https://evil.example\r\n".to_owned(), 403),
        ("Origin: null\r\n".to_owned(), 403),
        // Another port of this machine is somebody else's page.
        ("Origin: http://127.0.0.1:1\r\n".to_owned(), 403),
        (format!("Origin: http://localhost:{port}\r\n"), 403),
        (format!("Origin: http://127.0.0.1:{port}\r\n"), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
    ] {
        // Even with the token: a browser may have been made to send it.
        let reply = gateway.request("POST", &gateway.token, &headers, &opening(json!({})));
        assert_eq!(reply.status, status, "{headers} {reply:?}");
        assert!(reply.header("access-control-allow-origin").is_none());
    }
    let asked = gateway.request("OPTIONS", &gateway.token, "", "");
    assert_eq!(asked.status, 405);
    // What a page can send without asking first is no JSON.
    let plain = "Content-Type: text/plain\r\nAccept: application/json, text/event-stream\r\n";
    let reply = gateway.request("POST", &gateway.token, plain, &opening(json!({})));
    assert_eq!(reply.status, 415);
    let two = gateway.raw(&format!(
        "POST http://evil.example/mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    assert!(two.starts_with("HTTP/1.1 403"), "{two}");
    await_some("the attempts to be recorded", || {
        (refused(&domain).len() >= 9).then_some(())
    });
}

#[test]
fn nobody_comes_in_without_a_token_and_it_is_passed_to_nobody() {
    let far = Far::python();
    let domain = reaching(OPEN, "");
    let config = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": { "far": { "type": "http", "url": far.url } } });
    fs::write(&config, servers.to_string()).unwrap();
    let gateway = Listening::start(&domain, &["--config", config.to_str().unwrap()]);
    for token in [
        "",
        "x",
        gateway.token.trim_start_matches('p'),
        &format!("{}0", gateway.token),
    ] {
        let reply = gateway.request("POST", token, "", &opening(json!({})));
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("bearer")
        );
    }
    // In the address it counts for nothing.
    let url = format!(
        "POST /mcp?access_token={} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        gateway.token
    );
    assert!(gateway.raw(&url).starts_with("HTTP/1.1 401"));
    let mut session = gateway.open();
    // The server elsewhere tells what its caller showed, as a digest: nothing at all.
    let seen = session.call("authorization", json!({}));
    let expected = placet_types::Digest::of(b"").hex();
    assert_eq!(seen["content"][0]["text"], expected, "{seen}");
    let attempts = await_some("the attempts to be recorded", || {
        let refused = refused(&domain);
        (refused.len() == 5).then_some(refused)
    });
    let log = domain.ok(&["log", "tail", "-n", "100000", "--json"]);
    assert!(!log.contains(&gateway.token), "{attempts:?}");
    assert!(!gateway.notes.lock().unwrap().contains(&gateway.token));
}

#[test]
fn headers_that_lie_batches_and_odd_frames_are_refused_and_recorded() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let session = gateway.open();
    let wipe = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"wipe"}}"#;
    let alone = wipe.replace(
        r#""name":"wipe""#,
        r#""name":"wipe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
    );
    let modern = "MCP-Protocol-Version: 2026-07-28\r\n";
    let own = session.headers();
    let with = |more: &str| format!("{own}{more}");
    let lies = [
        (
            format!("{modern}Mcp-Method: tools/list\r\nMcp-Name: wipe\r\n"),
            alone.clone(),
        ),
        (
            format!("{modern}Mcp-Method: tools/call\r\nMcp-Name: echo\r\n"),
            alone.clone(),
        ),
        (format!("{modern}Mcp-Method: tools/call\r\n"), alone.clone()),
        (
            format!("{modern}Mcp-Method: tools/call\r\nMcp-Name: echo\r\nMcp-Name: wipe\r\n"),
            alone.clone(),
        ),
        (
            "MCP-Protocol-Version: 2025-11-25\r\n".to_owned(),
            alone.clone(),
        ),
        (with("Mcp-Method: tools/list\r\n"), wipe.to_owned()),
        (with("Mcp-Name: echo\r\n"), wipe.to_owned()),
        (own.replace("2025-11-25", "2026-07-28"), wipe.to_owned()),
        (with("Mcp-Session-Id: x\r\n"), wipe.to_owned()),
        (own.clone(), format!("[{wipe}]")),
        (own.clone(), format!("{wipe}\n{wipe}")),
        (
            own.clone(),
            wipe.replace(r#""name":"wipe""#, r#""name":"echo","name":"wipe""#),
        ),
        (own.clone(), wipe.replace("5", "5.5")),
        (
            own.clone(),
            format!("{}{}", "[".repeat(100), "]".repeat(100)),
        ),
    ];
    for (at, (headers, body)) in lies.iter().enumerate() {
        let reply = gateway.request("POST", &gateway.token, headers, body);
        assert_eq!(reply.status, 400, "{at} {reply:?}");
    }
    // Too long is said before it is read to its end.
    let long = wipe.replace("wipe", &"x".repeat(2 << 20));
    let reply = gateway.request("POST", &gateway.token, &own, &long);
    assert!([413, 0].contains(&reply.status), "{}", reply.head);
    assert_eq!(calls(&domain), "");
    await_some("each to be recorded", || {
        (refused(&domain).len() > lies.len()).then_some(())
    });
}

#[test]
fn what_is_smuggled_behind_a_request_is_a_request_of_its_own_without_its_token() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let session = gateway.open();
    let wipe = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"wipe"}}"#;
    let inner = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{wipe}",
        session.headers(),
        wipe.len()
    );
    let ping = r#"{"jsonrpc":"2.0","id":6,"method":"ping"}"#;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept: */*\r\n{}",
        gateway.token,
        session.headers()
    );
    let chunked = format!("{:x}\r\n{ping}\r\n0\r\n\r\n", ping.len());
    for (framing, body) in [
        // One reader minds the length, another the chunks.
        (
            format!(
                "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
                chunked.len() + inner.len()
            ),
            chunked.clone(),
        ),
        (
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
                chunked.len() + inner.len()
            ),
            chunked.clone(),
        ),
        (
            format!(
                "Content-Length: {}\r\nContent-Length: {}\r\n",
                ping.len(),
                ping.len() + inner.len()
            ),
            ping.to_owned(),
        ),
        (
            format!(
                "Transfer-Encoding: xchunked\r\nContent-Length: {}\r\n",
                ping.len()
            ),
            ping.to_owned(),
        ),
        (
            format!("Content-Length: +{}\r\n", ping.len()),
            ping.to_owned(),
        ),
        (
            format!("Content-Length: {}\r\n", ping.len()),
            ping.to_owned(),
        ),
    ] {
        let said = gateway.raw(&format!("{head}{framing}\r\n{body}{inner}"));
        // Each answer is to its own request, and the one behind has shown no token.
        let answers: Vec<&str> = said.matches("HTTP/1.1 ").collect();
        assert!(answers.len() <= 2, "{said}");
        if answers.len() == 2 {
            assert!(said.contains("HTTP/1.1 401"), "{framing}: {said}");
        }
    }
    // A header within a header.
    let fold = gateway.raw(&format!(
        "{head}X: a\r\n Authorization: Bearer x\r\nContent-Length: 0\r\n\r\n"
    ));
    assert!(
        fold.is_empty() || fold.starts_with("HTTP/1.1 400"),
        "{fold}"
    );
    assert_eq!(calls(&domain), "");
}

#[test]
fn clients_that_drip_or_say_nothing_hold_up_nobody_and_are_ended() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let began = Instant::now();
    let mut slow: Vec<_> = (0..100).map(|_| gateway.connect()).collect();
    for stream in &mut slow {
        stream
            .write_all(b"POST /mcp HTTP/1.1\r\nHost: local")
            .unwrap();
    }
    let mut session = gateway.open();
    for round in 0..10 {
        let said = session.call("echo", json!({ "message": round.to_string() }));
        assert_eq!(said["content"][0]["text"], round.to_string());
    }
    // A byte now and then does not keep one open.
    for stream in &mut slow {
        let end = loop {
            // One that was ended takes no more.
            stream.write_all(b"h").unwrap_or(());
            stream
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            match stream.read(&mut [0; 256]) {
                Ok(0) => break true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break true,
                Ok(_) => {}
            }
            if began.elapsed() > Duration::from_secs(60) {
                break false;
            }
        };
        assert!(end, "it is still open");
    }
}

#[test]
fn a_body_that_does_not_come_and_answers_that_nobody_reads_end_their_connection() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &["--body-secs", "1", "--write-secs", "1"]);
    let mut session = gateway.open();
    // The head is there, and of the body as much as the client wants.
    let mut slow = gateway.connect();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n",
        gateway.token
    );
    slow.write_all(format!("{head}Content-Length: 100\r\n\r\n{{").as_bytes())
        .unwrap();
    let mut said = String::new();
    slow.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    // Big answers, one behind the other, to somebody who only asks.
    let asked = session.frame(
        "tools/call",
        &json!({ "name": "echo", "arguments": { "message": "x".repeat(1 << 19) } }),
    );
    let request = format!(
        "{head}Mcp-Session-Id: {}\r\nContent-Length: {}\r\n\r\n{asked}",
        session.id,
        asked.len()
    );
    let mut deaf = gateway.connect();
    deaf.set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let began = Instant::now();
    let ended = loop {
        match deaf.write_all(request.as_bytes()) {
            Ok(()) => assert!(
                began.elapsed() < Duration::from_secs(60),
                "it is still open"
            ),
            Err(error) => break error,
        }
    };
    assert_ne!(
        ended.kind(),
        std::io::ErrorKind::WouldBlock,
        "it is still open"
    );
    // Nobody else was held up.
    let said = session.call("echo", json!({ "message": "after" }));
    assert_eq!(said["content"][0]["text"], "after");
    let odd = gateway.request("PUT", &gateway.token, "", "");
    assert_eq!(odd.status, 405);
    assert_eq!(odd.header("allow").as_deref(), Some("get, post, delete"));
}

#[test]
fn a_flood_of_connections_and_calls_is_bounded_and_everything_works_afterwards() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let mut session = gateway.open();
    session.call("echo", json!({ "message": "x" }));
    let flood: Vec<_> = (0..400).map(|_| gateway.connect()).collect();
    // Beyond the bound, connections are closed at once.
    let closed = flood.iter().filter(|stream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        matches!((&mut &**stream).read(&mut [0; 1]), Ok(0))
            || stream.take_error().unwrap().is_some()
    });
    assert!(closed.count() > 100, "nobody was turned away");
    drop(flood);
    await_some("room", || {
        let frame = session.frame("ping", &json!({}));
        (session.post(&frame).status == 200).then_some(())
    });
    // Ten thousand guesses leave a bounded trace.
    let before = records(&domain).len();
    for _ in 0..400 {
        gateway.request("POST", "guess", "", "");
    }
    let said = session.call("echo", json!({ "message": "after" }));
    assert_eq!(said["content"][0]["text"], "after");
    assert!(records(&domain).len() < before + 300);
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 96 << 10, "{kib} KiB");
}

#[test]
fn a_call_that_is_replayed_over_http_is_decided_anew() {
    let domain = domain(ONCE, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let replayed = r#"{"jsonrpc":"2.0","id":90,"method":"tools/call","params":{"name":"pay","arguments":{"amount":5000}}}"#;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let session = gateway.open();
        for _ in 0..2 {
            let reply = session.post(replayed);
            outcomes.push(reply.body.contains("isError"));
        }
    }
    assert_eq!(outcomes, [false, true, true, true]);
    assert_eq!(calls(&domain).matches("5000").count(), 1);
}

#[test]
fn beyond_loopback_it_listens_only_with_tls_and_by_its_names() {
    let domain = domain(OPEN, &[]);
    let server = ["--name", "notes", "--", "/usr/bin/python3", "server.py"];
    let open = ["mcp", "--listen", "0.0.0.0:0"];
    let told = domain.fails(1, &[&open[..], &server].concat());
    assert!(told.contains("only with TLS"), "{told}");
    let told = domain.fails(1, &[&open[..], &["--tls"], &server].concat());
    assert!(told.contains("[tls]"), "{told}");
    fs::write(
        domain.dir().join("placet.toml"),
        "hosts = [\"gateway.example\"]\n[tls]\ndomain = true\n",
    )
    .unwrap();
    // Loopback, since nothing else may be listened on here; the certificate is that of beyond.
    let more = ["--listen", "127.0.0.1:0", "--tls"];
    let gateway = Listening::start(&domain, &[&more[..], &server].concat());
    let authority = domain.dir().join("tls-ca.pem");
    let ask = |name: &str, token: &str| {
        let url = format!("https://{name}:{}/mcp", gateway.port);
        let resolve = format!("{name}:{}:127.0.0.1", gateway.port);
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--cacert",
            authority.to_str().unwrap(),
            "--resolve",
            &resolve,
        ])
        .args(["-o", "/dev/null", "-w", "%{http_code}", "--max-time", "60"])
        .args(["-H", "Content-Type: application/json"])
        .args(["-H", "Accept: application/json, text/event-stream"])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["-d", &opening(json!({})), &url])
        .stdin(Stdio::null());
        curl
    };
    assert_eq!(run(&mut ask("gateway.example", &gateway.token)), "200");
    assert_eq!(run(&mut ask("localhost", "x")), "401");
    // In clear text it hears nothing.
    let clear = gateway.request("POST", &gateway.token, "", &opening(json!({})));
    assert_ne!(clear.status, 200, "{clear:?}");
}

#[test]
fn a_token_file_that_others_can_read_or_change_is_none() {
    let domain = domain(OPEN, &[]);
    let file = domain.path("token");
    let gateway = [
        "mcp",
        "--listen",
        "127.0.0.1:0",
        "--token-file",
        file.to_str().unwrap(),
    ];
    let server = ["--", "/usr/bin/python3", "server.py"];
    let fails = || domain.fails(1, &[&gateway[..], &server].concat());
    fs::write(&file, "x".repeat(64)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(fails().contains("chmod 600"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "short").unwrap();
    assert!(fails().contains("32 to 512"));
    let other = domain.path("other");
    fs::rename(&file, &other).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    assert!(!fails().is_empty());
    let value: Value = json!(fs::read_to_string(&other).unwrap());
    assert_eq!(value, "short");
}
