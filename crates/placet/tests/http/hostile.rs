//! Requests that are no requests, too large, or never end.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, exchange, parse, request};
use crate::place::{Node, Place};

/// Sends bytes over the Unix socket; gives the status of the answer, or 0 for none.
fn status(node: &Node<'_>, bytes: &[u8]) -> u16 {
    let mut stream = client::unix(&node.place.socket());
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    if answer.is_empty() {
        0
    } else {
        parse(&answer).status
    }
}

#[test]
fn what_two_readers_could_take_for_two_requests_is_refused() {
    let place = Place::new();
    // A connection that is kept open is closed soon.
    place.configure("[limits]\nheader_secs = 1\n");
    let node = place.up();
    let head = "POST /v1/halt HTTP/1.1\r\nhost: placet\r\ncontent-type: application/json\r\n";
    let smuggled = "0\r\n\r\nPOST /v1/resume HTTP/1.1\r\nhost: placet\r\ncontent-length: 0\r\n\r\n";
    for odd in [
        format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{smuggled}"),
        format!("{head}content-length: 4\r\ncontent-length: 5\r\n\r\n{{}}  "),
        format!("{head}content-length: +4\r\n\r\n{{}}  "),
        format!("{head}transfer-encoding: xchunked\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding : chunked\r\n\r\n{smuggled}"),
        format!("{head} folded: x\r\n\r\n"),
        format!("{head}x: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
        format!("{head}x: a\rcontent-length: 4\r\n\r\n{smuggled}"),
        format!("{head}x: a\0b\r\ncontent-length: 0\r\n\r\n"),
        format!("{head}content-length: 4, 4\r\n\r\n{{}}  "),
        format!("{head}content-length: 0x4\r\n\r\n{{}}  "),
        format!("{head}content-length: -1\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: identity\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding:\u{b}chunked\r\n\r\n{smuggled}"),
        // Lengths of chunks that another reader could take for less or more, and a line that ends bare.
        format!("{head}transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n-1\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n2;a\nb\r\n{{}}\r\n{smuggled}"),
        "GET /healthz HTTP/1.1\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
        "GET http://other/healthz HTTP/1.1\r\nhost: placet\r\n\r\n".to_owned(),
        "GET /healthz HTTP/9.9\r\nhost: placet\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}".to_owned(),
    ] {
        let status = status(&node, odd.as_bytes());
        assert!(
            status == 0 || (400..500).contains(&status),
            "{status} to {odd:?}"
        );
    }
    // A bare line feed ends a line of a head, as RFC 9112 lets a reader have it, and for all of it alike: one
    // request, whose body is what it says. The second one below is the body of the first and never done.
    let second = "POST /v1/halt HTTP/1.1\nhost: placet\n\n";
    let length = second.len();
    let bare = format!(
        "POST /v1/halt HTTP/1.1\nhost: placet\ncontent-type: application/json\ncontent-length: {length}\nconnection: close\n\n{second}"
    );
    let answer = status(&node, bare.as_bytes());
    assert!(answer == 400 || answer == 0, "{answer}");
    // None of it halted the domain.
    assert_eq!(node.get("/v1/policy").expect(200)["halted"], false);
}

#[test]
fn bodies_and_heads_are_bounded() {
    let place = Place::new();
    let node = place.up();
    let post = |headers: &str, body: &str| {
        format!(
            "POST /v1/halt HTTP/1.1\r\nhost: placet\r\nconnection: close\r\n{headers}\r\n{body}"
        )
    };
    let json_type = "content-type: application/json\r\n";
    assert_eq!(
        status(
            &node,
            post(&format!("{json_type}content-length: 99999999999\r\n"), "").as_bytes()
        ),
        413
    );
    // One that does not say how long it is is stopped where it is too long.
    let mut endless = post(&format!("{json_type}transfer-encoding: chunked\r\n"), "").into_bytes();
    for _ in 0..5 {
        endless.extend_from_slice(b"8000\r\n");
        endless.extend(std::iter::repeat_n(b' ', 0x8000));
        endless.extend_from_slice(b"\r\n");
    }
    let answer = status(&node, &endless);
    assert!(answer == 413 || answer == 0, "{answer}");
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(status(&node, post(&many, "").as_bytes()), 431);
    let long = format!("x: {}\r\n", "y".repeat(64 << 10));
    let answer = status(&node, post(&long, "").as_bytes());
    assert!(answer == 431 || answer == 0, "{answer}");
    assert_eq!(
        node.get(&format!("/v1/executions?resource={}", "x".repeat(5000)))
            .status,
        400
    );
    assert_eq!(
        status(
            &node,
            post("content-type: text/plain\r\ncontent-length: 2\r\n", "{}").as_bytes()
        ),
        415
    );
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 2\r\n";
    assert_eq!(status(&node, post(form, "{}").as_bytes()), 415);
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn json_reads_in_one_way_or_not_at_all() {
    let place = Place::new();
    let node = place.up();
    for odd in [
        r#"{"reason":"a","reason":"b"}"#,
        r#"{"reason":"a","more":1}"#,
        r#"{"reason":1}"#,
        r#"{"reason":"a"} "x""#,
        r#"{"reason":"\ud800"}"#,
        "",
        "[]",
        "null",
    ] {
        let text = request("POST", "/v1/halt", "placet", &[], Some(odd));
        let answer = exchange(client::unix(&place.socket()), text.as_bytes());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "malformed"),
            "{odd}"
        );
    }
    let deep = format!("{{\"reason\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    let text = request("POST", "/v1/halt", "placet", &[], Some(&deep));
    assert_eq!(
        exchange(client::unix(&place.socket()), text.as_bytes()).status,
        400
    );
    assert_eq!(node.get("/v1/policy").expect(200)["halted"], false);
}

#[test]
fn slow_heads_and_slow_bodies_lose_their_connection() {
    let place = Place::new();
    place.configure("[limits]\nheader_secs = 1\nbody_secs = 1\n");
    let node = place.up();
    let began = Instant::now();
    let mut head = client::unix(&place.socket());
    head.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let mut body = client::unix(&place.socket());
    body.write_all(b"POST /v1/halt HTTP/1.1\r\nhost: placet\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{").unwrap();
    let mut answer = Vec::new();
    body.read_to_end(&mut answer).unwrap();
    assert_eq!(parse(&answer).status, 408);
    let mut nothing = Vec::new();
    drop(head.read_to_end(&mut nothing));
    assert!(nothing.is_empty() || parse(&nothing).status == 408);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn a_page_from_elsewhere_does_not_reach_a_loopback_listener() {
    let place = Place::new();
    let node = place.up();
    let rebound = request("GET", "/healthz", "evil.example", &[], None);
    let answer = exchange(client::tcp(node.address), rebound.as_bytes());
    assert_eq!(answer.status, 421);
    let answer = node.ask_tcp(
        "OPTIONS",
        "/v1/intents",
        &[("origin", "https://evil.example")],
        None,
    );
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = node.ask_tcp(
        "GET",
        "/healthz",
        &[("origin", "https://evil.example")],
        None,
    );
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn one_connection_too_many_is_told_so_at_once_and_the_unix_socket_has_room_of_its_own() {
    let place = Place::new();
    place.configure("[limits]\nconnections = 4\n");
    let node = place.up();
    let held: Vec<_> = (0..4).map(|_| client::tcp(node.address)).collect();
    let refused = crate::place::eventually("the listener is full", || {
        let mut stream = client::tcp(node.address);
        drop(stream.write_all(request("GET", "/healthz", &node.host(), &[], None).as_bytes()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        (!answer.is_empty())
            .then(|| parse(&answer))
            .filter(|answer| answer.status == 503)
    });
    assert_eq!(refused.code(), "overloaded");
    let act = json!({ "reason": "drill" });
    node.post("/v1/halt", &act).expect(201);
    drop(held);
    crate::place::eventually("there is room again", || {
        let mut stream = client::tcp(node.address);
        stream
            .write_all(request("GET", "/healthz", &node.host(), &[], None).as_bytes())
            .ok()?;
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        (!answer.is_empty() && parse(&answer).status == 200).then_some(())
    });
}

#[test]
fn requests_that_come_together_are_answered_in_their_order_and_one_at_a_time() {
    let place = Place::new();
    let node = place.up();
    let one = "GET /healthz HTTP/1.1\r\nhost: placet\r\nx-request-id: ";
    let mut all: String = (0..200).map(|n| format!("{one}{n}\r\n\r\n")).collect();
    all.push_str("GET /healthz HTTP/1.1\r\nhost: placet\r\nconnection: close\r\n\r\n");
    let mut stream = client::unix(&place.socket());
    let mut writer = stream.try_clone().unwrap();
    let sends = std::thread::spawn(move || writer.write_all(all.as_bytes()));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    sends.join().unwrap().unwrap();
    let ids = answer
        .lines()
        .filter_map(|line| line.strip_prefix("x-request-id: "));
    let ids: Vec<u32> = ids.filter_map(|id| id.trim().parse().ok()).collect();
    assert!(ids.iter().copied().eq(0..200), "{ids:?}");
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn no_token_key_parameter_or_question_stands_in_the_services_log() {
    let place = Place::new();
    let log = place.path("up.log");
    let mut child = place
        .command(&["up", "--listen", "127.0.0.1:0"])
        .env("PLACET_LOG_FORMAT", "json")
        .env("PLACET_LOG_LEVEL", "debug")
        .stdin(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    let address = crate::place::eventually("it serves", || {
        let said = said();
        let line = said.lines().find(|line| line.contains("\"serving\""))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["listen"]
            .as_str()?
            .parse::<std::net::SocketAddr>()
            .ok()
    });
    let key = client::Key::new(61);
    let proof = key.proof("POST", &format!("http://{address}/v1/intents"));
    let intent = place.intent("agent:coder", &["true", "an-odd-argument"]);
    let headers = [
        ("dpop", proof.as_str()),
        ("authorization", "Bearer an-odd-token"),
        ("cookie", "an-odd-cookie"),
    ];
    let host = address.to_string();
    let text = intent.to_string();
    let sent = request("POST", "/v1/intents", &host, &headers, Some(&text));
    assert_eq!(exchange(client::tcp(address), sent.as_bytes()).status, 401);
    let sent = request("POST", "/v1/intents", "placet", &[], Some(&text));
    let permit = exchange(client::unix(&place.socket()), sent.as_bytes()).expect(201);
    let question = json!({
        "subject": { "type": "user", "id": "an-odd-subject" }, "action": { "name": "read" },
        "resource": { "type": "record", "id": "an-odd-record" },
    });
    let question = question.to_string();
    let sent = request(
        "POST",
        "/access/v1/evaluation",
        "placet",
        &[],
        Some(&question),
    );
    exchange(client::unix(&place.socket()), sent.as_bytes());
    let odd = request(
        "GET",
        "/v1/executions?principal=an-odd-query",
        "placet",
        &[],
        None,
    );
    exchange(client::unix(&place.socket()), odd.as_bytes());
    let said = crate::place::eventually("all of it is in the log", || {
        let said = said();
        (said.matches("\"request\"").count() >= 4).then_some(said)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let private = [
        "an-odd",
        proof.as_str(),
        permit["salt"].as_str().unwrap(),
        permit["artifact"].as_str().unwrap(),
    ];
    for word in private {
        assert!(!said.contains(word), "{word} is in\n{said}");
    }
}
