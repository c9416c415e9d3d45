//! The event stream.

use std::io::{BufRead as _, BufReader, Write as _};
use std::thread;

use serde_json::{Value, json};

use crate::client;
use crate::place::{Node, Place, eventually};

/// Opens a stream and gives its events, as they come.
fn events(
    node: &Node<'_>,
    query: &str,
    last: Option<u64>,
) -> impl Iterator<Item = (u64, Value)> + use<> {
    let mut stream = client::unix(&node.place.socket());
    let last = last
        .map(|last| format!("last-event-id: {last}\r\n"))
        .unwrap_or_default();
    let request = format!("GET /v1/events{query} HTTP/1.1\r\nhost: placet\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    let mut id = None;
    lines.filter_map(move |line| {
        if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.parse().unwrap());
        }
        let data = line.strip_prefix("data: ")?;
        Some((id.take().unwrap(), serde_json::from_str(data).unwrap()))
    })
}

#[test]
fn records_stream_in_order_and_a_stream_resumes_where_it_was() {
    let place = Place::new();
    let node = place.up();
    let mut all = events(&node, "?from=0", None);
    let (first, genesis) = all.next().unwrap();
    assert_eq!((first, &genesis["kind"]), (0, &json!("genesis")));
    let mut from_now = events(&node, "", None);
    let exec = node.started(&["true"]);
    let (index, decided) = from_now.next().unwrap();
    assert_eq!(
        (&decided["kind"], &decided["exec"]),
        (&json!("decided"), &json!(exec))
    );
    assert_eq!(decided["record"]["outcome"], "permit");
    let (next, started) = from_now.next().unwrap();
    assert_eq!((next, &started["kind"]), (index + 1, &json!("started")));
    // Another stream goes on after what the client saw last.
    let mut resumed = events(&node, "", Some(index));
    assert_eq!(resumed.next().unwrap(), (next, started));
    let seen: Vec<u64> = all
        .by_ref()
        .take(usize::try_from(next).unwrap())
        .map(|(id, _)| id)
        .collect();
    assert_eq!(seen, (1..=next).collect::<Vec<_>>());
    assert_eq!(node.get("/v1/events?from=100000").status, 400);
}

#[test]
fn others_than_operators_see_what_is_about_their_own_executions() {
    use crate::client::Key;
    let place = Place::new();
    let node = place.up();
    let key = Key::new(7);
    place.register("agent:remote", &["agents"], &key);
    let size = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap();
    node.started(&["true"]);
    let own = place.intent("agent:remote", &["true"]);
    let own = node
        .ask_as(&key, "POST", "/v1/intents", Some(&own))
        .expect(201);
    let proof = key.proof("GET", &format!("http://{}/v1/events", node.host()));
    let mut stream = client::tcp(node.address);
    let request = format!(
        "GET /v1/events?from={size} HTTP/1.1\r\nhost: {}\r\ndpop: {proof}\r\n\r\n",
        node.host()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut data = lines.filter_map(|line| line.strip_prefix("data: ").map(ToOwned::to_owned));
    let first: Value = serde_json::from_str(&data.next().unwrap()).unwrap();
    assert_eq!(first["exec"], own["exec"]);
}

/// An event stream whose answer has begun.
fn stream(node: &Node<'_>, query: &str) -> BufReader<std::os::unix::net::UnixStream> {
    let mut stream = client::unix(&node.place.socket());
    let request = format!("GET /v1/events{query} HTTP/1.1\r\nhost: placet\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while line != ": placet\n" {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended");
    }
    lines
}

/// The ids of the next events that are whole.
fn ids(lines: &mut impl std::io::BufRead, count: usize) -> Vec<u64> {
    let mut id = None;
    lines
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.parse().ok();
            }
            id.take_if(|_| line.is_empty())
        })
        .take(count)
        .collect()
}

#[test]
fn an_event_is_made_once_for_all_streams_and_a_reader_that_does_not_read_is_left_behind() {
    const STREAMS: usize = 150;
    let place = Place::new();
    place.configure("[limits]\nwrite_secs = 1\n");
    let node = place.up();
    let meter = |name: &str| -> u64 {
        let text = node.get("/metrics").body;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let size = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap();
    // Each reads all the time: on a busy machine a socket would be full before a reader came to it.
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| stream(&node, ""))
        .map(|mut stream| thread::spawn(move || (ids(&mut stream, 180), stream)))
        .collect();
    // Its socket holds less than what it is about to be sent.
    let mut idle = stream(&node, "");
    let made = meter("placet_http_events_total");
    for _ in 0..90 {
        node.started(&["true"]);
    }
    let expected: Vec<u64> = (size..size + 180).collect();
    let streams: Vec<_> = streams
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .map(|(seen, stream)| {
            assert_eq!(seen, expected);
            stream
        })
        .collect();
    let made = meter("placet_http_events_total") - made;
    let grown = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap() - size;
    assert!(
        (180..=grown).contains(&made),
        "{made} events of {grown} records for {STREAMS} streams"
    );
    eventually("the idle one is dropped", || {
        (meter("placet_http_streams") == streams.len() as u64).then_some(())
    });
    // What had been sent can be read, and a new stream goes on from there.
    let seen = ids(&mut idle, usize::MAX);
    assert!(seen.len() < 180 && expected.starts_with(&seen), "{seen:?}");
    let from = seen.last().copied();
    let rest: Vec<u64> = events(&node, "", from)
        .take(180 - seen.len())
        .map(|(id, _)| id)
        .collect();
    assert_eq!([seen, rest].concat(), expected);
}
