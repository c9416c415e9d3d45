//! The proxy and the stub over real sockets. What a name leads to is said by the test: the loopback,
//! which every test's scope names beside it, or somewhere that it must not lead to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::atomic::AtomicUsize;

use placet_types::Network;

use super::*;
use crate::reach::Refused;
use crate::report::Way;

struct Served {
    proxy: Proxy,
    at: SocketAddr,
    dns: SocketAddr,
    lookups: Arc<AtomicUsize>,
}

/// A proxy for this scope; `answers` says what each lookup finds, in order, the last one for ever.
fn serve_answers(rules: &[String], answers: Vec<Vec<IpAddr>>) -> Served {
    serve_asking(rules, answers, None)
}

/// As [`serve_answers`], where each peer is asked about.
fn serve_asking(rules: &[String], answers: Vec<Vec<IpAddr>>, patience: Option<Duration>) -> Served {
    let network = Network::peers(&rules.iter().map(|rule| rule.parse().unwrap()).collect());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let questions = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (at, dns) = (
        listener.local_addr().unwrap(),
        questions.local_addr().unwrap(),
    );
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let lookup = move |_: &HostName| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Ok(answers[number.min(answers.len() - 1)].clone())
    };
    let lookup: Arc<Lookup> = Arc::new(lookup);
    let sockets = Sockets {
        proxy: listener.into(),
        dns: questions.into(),
    };
    let reach = Reach::new(&network);
    let proxy = Proxy::start_with(sockets, (reach, patience), Resolved::default(), &lookup);
    let proxy = proxy.unwrap();
    Served {
        proxy,
        at,
        dns,
        lookups,
    }
}

/// A proxy through which `example.org` is a service of the loopback.
fn serve(service: SocketAddr) -> Served {
    let rules = [
        format!("example.org:{}", service.port()),
        service.to_string(),
    ];
    serve_answers(&rules, vec![vec![service.ip()]])
}

impl Served {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).unwrap()
    }

    /// Sends this and reads all that comes back.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // What was not read when the other side closed makes an error of the end.
        stream.read_to_end(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn tunnel(&self, to: &str) -> (TcpStream, String) {
        let mut stream = self.connect();
        let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            answer.extend(byte);
        }
        (stream, String::from_utf8(answer).unwrap())
    }

    /// Events, until one is as it is looked for.
    fn await_event(&self, is_it: impl Fn(&Event) -> bool) -> Event {
        for _ in 0..1000 {
            if let Some(event) = self.proxy.events().into_iter().find(&is_it) {
                return event;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no such event");
    }

    fn await_refusal(&self) -> Refused {
        let refused = self.await_event(|event| matches!(event, Event::Refused { .. }));
        let Event::Refused { why, .. } = refused else {
            panic!("{refused:?}");
        };
        why
    }
}

/// A service that serves each connection as `work` says.
fn service(work: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(work);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let work = Arc::clone(&work);
            thread::spawn(move || work(stream.unwrap()));
        }
    });
    address
}

fn echo() -> SocketAddr {
    service(|mut stream| {
        let mut copy = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut copy).unwrap_or(0);
        copy.shutdown(Shutdown::Write).unwrap_or(());
    })
}

/// Answers one request with all that was sent to it until the client rests.
fn mirror() -> SocketAddr {
    service(|mut stream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let (mut heard, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut part) {
            heard.extend(&part[..read]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", heard.len());
        stream.write_all(head.as_bytes()).unwrap_or(());
        stream.write_all(&heard).unwrap_or(());
    })
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_tunnel_carries_ten_mebibytes_each_way_and_ends_by_halves() {
    let service = echo();
    let served = serve(service);
    let (mut stream, answer) = served.tunnel(&format!("Example.ORG:{}", service.port()));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let sent: Vec<u8> = (0..10_u32 << 20)
        .map(|n| (n ^ n >> 8).to_le_bytes()[0])
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    let ended = served.await_event(|event| matches!(event, Event::Ended(_)));
    let Event::Ended(ended) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!((ended.sent, ended.received), (10 << 20, 10 << 20));
}

#[test]
fn what_follows_a_head_at_once_goes_through_the_tunnel() {
    let service = echo();
    let served = serve(service);
    let mut stream = served.connect();
    let to = format!("example.org:{}", service.port());
    let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nearly");
    stream.write_all(ask.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nearly"), "{answer}");
}

#[test]
fn socks_reaches_names_and_addresses_in_scope() {
    let service = echo();
    let served = serve(service);
    let port = service.port().to_be_bytes();
    let by_name = [b"\x05\x01\x00\x03\x0bexample.org".as_slice(), &port].concat();
    let by_address = [b"\x05\x01\x00\x01\x7f\x00\x00\x01".as_slice(), &port].concat();
    for request in [by_name, by_address] {
        let mut stream = served.connect();
        stream.write_all(b"\x05\x02\x01\x00").unwrap();
        let mut method = [0; 2];
        stream.read_exact(&mut method).unwrap();
        assert_eq!(method, [5, 0]);
        stream.write_all(&request).unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..2], [5, 0]);
        stream.write_all(b"hello").unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello");
    }
    assert_eq!(served.say(b"\x05\x01\x02"), "\x05\u{fffd}");
    let bind = served.say(b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50");
    assert_eq!(bind.as_bytes()[..4], [5, 0, 5, 7]);
    let elsewhere = served.say(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x02\x00\x50");
    assert_eq!(elsewhere.as_bytes()[..4], [5, 0, 5, 2]);
    assert_eq!(served.await_refusal(), Refused::UnlistedAddress);
}

#[test]
fn a_plain_request_is_passed_on_alone() {
    let service = mirror();
    let served = serve(service);
    let port = service.port();
    let smuggled = "GET /admin HTTP/1.1\r\nHost: internal\r\n\r\n";
    for (fields, body) in [
        ("Content-Length: 5", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let answer = served.say(
            format!(
                "POST http://example.org:{port}/x HTTP/1.1\r\nHost: example.org:{port}\r\n{fields}\r\n\r\n{body}{smuggled}"
            )
            .as_bytes(),
        );
        let heard = format!(
            "POST /x HTTP/1.1\r\nHost: example.org:{port}\r\n{fields}\r\nConnection: close\r\n\r\n{body}"
        );
        assert!(answer.ends_with(&heard), "{answer}");
        assert!(!answer.contains("admin"), "{answer}");
    }
}

#[test]
fn what_is_not_in_scope_is_refused_with_a_reason() {
    let service = echo();
    let served = serve(service);
    let port = service.port();
    for (to, why) in [
        (format!("example.com:{port}"), Refused::UnlistedName),
        (format!("a.example.org:{port}"), Refused::UnlistedName),
        (format!("example.org:{}", port ^ 1), Refused::UnlistedName),
        (format!("127.0.0.2:{port}"), Refused::UnlistedAddress),
        (format!("127.0.0.1:{}", port ^ 1), Refused::UnlistedAddress),
        (format!("[::1]:{port}"), Refused::UnlistedAddress),
        ("169.254.169.254:80".into(), Refused::UnlistedAddress),
        (
            "[::ffff:169.254.169.254]:80".into(),
            Refused::UnlistedAddress,
        ),
        ("metadata.google.internal:80".into(), Refused::UnlistedName),
    ] {
        let (_, answer) = served.tunnel(&to);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{to}: {answer}");
        assert_eq!(served.await_refusal(), why, "{to}");
    }
    assert_eq!(served.lookups.load(Ordering::SeqCst), 0);
}

#[test]
fn hosts_in_another_spelling_are_refused() {
    let service = echo();
    let served = serve(service);
    let port = service.port();
    for host in [
        "example.org.",
        "ex%61mple.org",
        "ex\u{e4}mple.org",
        "127.1",
        "0x7f000001",
        "0177.0.0.1",
        "2130706433",
        "localhost",
        "example.org@127.0.0.1",
    ] {
        let (_, answer) = served.tunnel(&format!("{host}:{port}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
        assert_eq!(served.await_refusal(), Refused::Malformed, "{host}");
    }
}

#[test]
fn smuggled_and_contradictory_heads_are_refused() {
    let service = mirror();
    let served = serve(service);
    let port = service.port();
    let host = format!("Host: example.org:{port}");
    for fields in [
        "Host: evil.com".to_owned(),
        format!("{host}\r\n{host}"),
        format!("{host}\r\nX: 1\r\n folded"),
        format!("{host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"),
        format!("{host}\r\nX: 1\nHost: evil.com"),
        format!("{host}\r\nContent-Length : 4"),
    ] {
        let ask = format!("POST http://example.org:{port}/ HTTP/1.1\r\n{fields}\r\n\r\nabcd");
        let answer = served.say(ask.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields}: {answer}");
    }
    let long = format!("GET http://example.org/{}", "a".repeat(20 << 10));
    assert!(served.say(long.as_bytes()).starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_name_that_changes_its_mind_leads_nowhere_new() {
    let service = echo();
    let rules = [
        format!("example.org:{}", service.port()),
        service.to_string(),
    ];
    let answers = vec![vec![service.ip()], addresses(&["10.0.0.1"])];
    let served = serve_answers(&rules, answers);
    let to = format!("example.org:{}", service.port());
    // The first connection goes where the first answer led, however often the name is asked later.
    let (mut first, answer) = served.tunnel(&to);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(served.lookups.load(Ordering::SeqCst), 1);
    let (_, second) = served.tunnel(&to);
    assert!(second.starts_with("HTTP/1.1 403 "), "{second}");
    assert_eq!(served.await_refusal(), Refused::LeadsInside);
    first.write_all(b"still").unwrap();
    let mut said = [0; 5];
    first.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"still");
}

#[test]
fn names_that_lead_inside_are_refused_and_of_several_answers_only_good_ones_count() {
    let service = echo();
    let port = service.port();
    for inside in [
        "10.0.0.1",
        "127.0.0.2",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::1",
    ] {
        let rules = [format!("example.org:{port}"), service.to_string()];
        let served = serve_answers(&rules, vec![addresses(&[inside])]);
        let (_, answer) = served.tunnel(&format!("example.org:{port}"));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{inside}: {answer}");
        assert_eq!(served.await_refusal(), Refused::LeadsInside, "{inside}");
    }
    let rules = [format!("example.org:{port}"), service.to_string()];
    let served = serve_answers(&rules, vec![addresses(&["10.0.0.1", "127.0.0.1"])]);
    let (_, answer) = served.tunnel(&format!("example.org:{port}"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_thousand_clients_at_once_are_served_within_the_bound() {
    let service = echo();
    let served = serve(service);
    let to = format!("example.org:{}", service.port());
    let served = Arc::new(served);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (served, to) = (Arc::clone(&served), to.clone());
            thread::spawn(move || {
                let mut open = Vec::new();
                for _ in 0..50 {
                    let mut stream = served.connect();
                    let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nx");
                    stream.write_all(ask.as_bytes()).unwrap();
                    open.push(stream);
                }
                for mut stream in open {
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    assert!(answer.ends_with('x'), "{answer}");
                    assert!(*served.proxy.shared.active() <= CONNECTIONS_MAX);
                }
            })
        })
        .collect();
    let served_to_the_end = thread::spawn(move || {
        let mut ended = 0;
        while ended < 1000 {
            let events = served.proxy.events();
            ended += events
                .iter()
                .filter(|it| matches!(it, Event::Ended(_)))
                .count();
            thread::sleep(Duration::from_millis(5));
        }
    });
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    served_to_the_end.join().unwrap();
}

#[test]
fn a_client_that_says_nothing_to_the_end_is_sent_away() {
    let service = echo();
    let served = serve(service);
    let mut slow = served.connect();
    let mut answer = String::new();
    let mut feeding = slow.try_clone().unwrap();
    let fed = thread::spawn(move || {
        for byte in b"GET http://example.org/ HTTP/1.1\r\nHost: ".iter().cycle() {
            if feeding.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(150));
        }
    });
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    drop(slow);
    fed.join().unwrap();
}

#[test]
fn closing_ends_every_connection_at_once() {
    let service = echo();
    let served = serve(service);
    let to = format!("example.org:{}", service.port());
    let mut streams: Vec<TcpStream> = (0..20).map(|_| served.tunnel(&to).0).collect();
    let mut asking = served.connect();
    asking.write_all(b"GET http").unwrap();
    streams.push(asking);
    served.proxy.close();
    for mut stream in streams {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // Closed, whether orderly or not.
        assert!(matches!(stream.read(&mut [0; 9]), Ok(0) | Err(_)));
    }
    let ended = |event: &Event| matches!(event, Event::Ended(_));
    assert_eq!(
        served.proxy.events().iter().filter(|it| ended(it)).count(),
        20
    );
}

fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn lookup(served: &Served, name: &str) -> (u8, Vec<Ipv4Addr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(served.dns).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let asked = question(name);
    socket.send(&asked).unwrap();
    let mut answer = [0; 600];
    let len = socket.recv(&mut answer).unwrap();
    let records = answer[asked.len()..len].chunks(16);
    let address = |record: &[u8]| Ipv4Addr::new(record[12], record[13], record[14], record[15]);
    (answer[3] & 15, records.map(address).collect())
}

#[test]
fn the_stub_answers_for_names_in_scope_and_pins_what_it_answers() {
    let rules = ["*.example.org:443".to_owned(), "10.0.0.0/8:443".to_owned()];
    let found = addresses(&[
        "93.184.216.34",
        "192.168.0.1",
        "10.1.2.3",
        "169.254.169.254",
    ]);
    let served = serve_answers(&rules, vec![found]);
    let told = vec![Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::new(10, 1, 2, 3)];
    assert_eq!(lookup(&served, "A.example.org"), (0, told));
    let name = served.proxy.name_of(IpAddr::from([93, 184, 216, 34]));
    assert_eq!(name.unwrap().as_str(), "a.example.org");
    assert_eq!(served.proxy.name_of(IpAddr::from([10, 1, 2, 3])), None);
}

#[test]
fn the_stub_asks_nobody_about_other_names() {
    let served = serve_answers(
        &["a.example.org:443".to_owned()],
        vec![addresses(&["10.0.0.1"])],
    );
    for name in [
        "secret.evil.com",
        "example.org",
        "b.a.example.org",
        "localhost",
        "10.0.0.1",
    ] {
        assert_eq!(lookup(&served, name), (5, Vec::new()), "{name}");
    }
    assert_eq!(served.lookups.load(Ordering::SeqCst), 0);
    assert_eq!(served.await_refusal(), Refused::UnlistedName);
    // One in scope that leads inside is not told where.
    assert_eq!(lookup(&served, "a.example.org"), (5, Vec::new()));
    let inside = served.await_event(|event| {
        matches!(
            event,
            Event::Refused {
                way: Way::Dns,
                why: Refused::LeadsInside,
                ..
            }
        )
    });
    assert!(matches!(inside, Event::Refused { .. }));
}

#[test]
fn names_below_one_in_scope_are_asked_about_in_bounds() {
    let served = serve_answers(
        &["*.example.org:443".to_owned(), "example.net:443".to_owned()],
        vec![addresses(&["93.184.216.34"])],
    );
    let told = (0, vec![Ipv4Addr::new(93, 184, 216, 34)]);
    for number in 0..BELOW_MAX {
        let name = format!("s3cret-{number}.example.org");
        assert_eq!(lookup(&served, &name), told, "{name}");
    }
    let one_more = "one-more.example.org";
    assert_eq!(lookup(&served, one_more), (5, Vec::new()));
    assert_eq!(served.await_refusal(), Refused::TooManyNames);
    let (_, answer) = served.tunnel(&format!("{one_more}:443"));
    assert!(answer.contains("403"), "{answer}");
    assert_eq!(served.lookups.load(Ordering::SeqCst), BELOW_MAX);
    // Those that are known by now, and a name that the scope has itself, are as before.
    assert_eq!(lookup(&served, "s3cret-7.example.org"), told);
    assert_eq!(lookup(&served, "example.net"), told);
}

#[test]
fn where_peers_are_decided_about_no_made_up_name_is_asked_about_before_it_is_permitted() {
    let served = serve_asking(
        &[
            "*.example.org:80-443".to_owned(),
            "example.net:443".to_owned(),
        ],
        vec![addresses(&["93.184.216.34"])],
        Some(Duration::from_secs(20)),
    );
    let told = (0, vec![Ipv4Addr::new(93, 184, 216, 34)]);
    let looked_up = |name: &str, allow: bool| {
        let before = served.lookups.load(Ordering::SeqCst);
        thread::scope(|scope| {
            let lookup = scope.spawn(|| lookup(&served, name));
            let asked = served.await_event(|event| matches!(event, Event::Asked { .. }));
            let Event::Asked { id, host, port } = asked else {
                panic!("{asked:?}");
            };
            assert_eq!((host.as_str(), port), (name, 80));
            assert_eq!(served.lookups.load(Ordering::SeqCst), before);
            served.proxy.answer(id, allow);
            lookup.join().unwrap()
        })
    };
    assert_eq!(looked_up("a.example.org", false), (5, Vec::new()));
    assert_eq!(served.lookups.load(Ordering::SeqCst), 0);
    assert_eq!(served.await_refusal(), Refused::Denied);
    assert_eq!(looked_up("b.example.org", true), told);
    // What the scope names itself tells nobody anything.
    assert_eq!(lookup(&served, "example.net"), told);
}
