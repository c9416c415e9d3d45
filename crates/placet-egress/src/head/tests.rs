//! Heads as clients send them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn ask(text: &str) -> Ask {
    let (ask, len) = read(text.as_bytes()).unwrap().unwrap();
    assert_eq!(len, text.len());
    ask
}

fn forwarded(text: &str) -> String {
    match ask(text) {
        Ask::Forward(forward) => String::from_utf8(forward.head).unwrap(),
        Ask::Tunnel(_) => panic!("a tunnel"),
    }
}

fn is_refused(text: &str) -> bool {
    matches!(read(text.as_bytes()), Err(Problem::Malformed(_)))
}

#[test]
fn connect_names_its_peer() {
    for text in [
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        "CONNECT Example.ORG:443 HTTP/1.1\r\nhost:  example.org \r\nUser-Agent: x\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.0\r\n\r\n",
    ] {
        let Ask::Tunnel(to) = ask(text) else {
            panic!("{text}");
        };
        assert_eq!(to.to_string(), "example.org:443");
    }
}

#[test]
fn a_request_in_absolute_form_is_written_anew() {
    let head = forwarded(
        "GET http://EXAMPLE.org/a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\nTE: trailers\r\n\r\n",
    );
    assert_eq!(
        head,
        "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\naccept: */*\r\nConnection: close\r\n\r\n"
    );
    let head = forwarded("POST http://example.org:81?q HTTP/1.0\r\nContent-Length: 07\r\n\r\n");
    assert_eq!(
        head,
        "POST /?q HTTP/1.0\r\nHost: example.org:81\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn host_and_target_have_to_agree() {
    for text in [
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:80\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\nHost:\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET http://example.org:8080/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\n\r\n",
    ] {
        assert!(is_refused(text), "{text}");
    }
}

#[test]
fn nothing_is_smuggled() {
    let with = |field: &str| format!("POST http://a.b/ HTTP/1.1\r\nHost: a.b\r\n{field}\r\n\r\n");
    assert!(!is_refused(&with("Content-Length: 5")));
    assert!(!is_refused(&with("Transfer-Encoding: Chunked")));
    for field in [
        "Host: a.b",
        "Host: c.d",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\x0bchunked",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: ",
        "Content-Length: 9999999999999999",
        "Content-Length : 5",
        "X: 1\r\n folded",
        "X: 1\r\n\tfolded",
        " X: 1",
        "X: 1\nHost: c.d",
        "X: 1\rHost: c.d",
        "X: 1\r\rHost: c.d",
        "X: a\0b",
        "X\0: a",
        "no colon",
        ": no name",
    ] {
        assert!(is_refused(&with(field)), "{field:?}");
    }
    let old = "POST http://a.b/ HTTP/1.0\r\nHost: a.b\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(is_refused(old));
    let tunnel = "CONNECT a.b:1 HTTP/1.1\r\nHost: a.b:1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(is_refused(tunnel));
}

#[test]
fn a_request_line_has_one_form() {
    for line in [
        "GET / HTTP/1.1",
        "GET example.org HTTP/1.1",
        "GET https://example.org/ HTTP/1.1",
        "GET ftp://example.org/ HTTP/1.1",
        "GET http://user@example.org/ HTTP/1.1",
        "GET http://example.org:80@evil.com/ HTTP/1.1",
        "GET http://example.org#@evil.com/ HTTP/1.1",
        "GET http://example.org\\@evil.com/ HTTP/1.1",
        "GET http://example.org./ HTTP/1.1",
        "GET http://ex%61mple.org/ HTTP/1.1",
        "GET http://127.1/ HTTP/1.1",
        "GET http://0x7f000001/ HTTP/1.1",
        "GET http://localhost/ HTTP/1.1",
        "GET http:///etc/passwd HTTP/1.1",
        "GET  http://example.org/ HTTP/1.1",
        "GET http://example.org/ HTTP/1.1 ",
        " GET http://example.org/ HTTP/1.1",
        "GET http://example.org/\tHTTP/1.1",
        "GET http://example.org/ http/1.1",
        "GET http://example.org/ HTTP/2.0",
        "GET http://example.org/ HTTP/1.1\r\nHTTP/1.1",
        "G(T http://example.org/ HTTP/1.1",
        "CONNECT example.org HTTP/1.1",
        "CONNECT http://example.org:443 HTTP/1.1",
        "CONNECT example.org:443/ HTTP/1.1",
        "CONNECT example.org:0443 HTTP/1.1",
        "connect example.org:443 HTTP/1.1",
        "",
    ] {
        assert!(
            is_refused(&format!("{line}\r\nHost: example.org\r\n\r\n")),
            "{line}"
        );
    }
}

#[test]
fn a_head_that_does_not_end_is_too_long() {
    let long = format!("GET http://a.b/{} HTTP/1.1\r\n", "a".repeat(HEAD_BYTES_MAX));
    assert_eq!(read(long.as_bytes()), Err(Problem::TooLong));
    assert_eq!(read(&long.as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(None));
    let many = "X: 1\r\n".repeat(FIELDS_MAX + 1);
    let many = format!("GET http://a.b/ HTTP/1.1\r\nHost: a.b\r\n{many}\r\n");
    assert_eq!(read(many.as_bytes()), Err(Problem::TooLong));
}

proptest! {
    /// What is passed on is read back as the same request, by the same rules.
    #[test]
    fn what_is_passed_on_means_the_same(
        path in "/[a-z0-9/?=&%.~]{0,20}",
        fields in prop::collection::vec(("[A-Za-z-]{1,9}", "[ -~]{0,12}"), 0..6),
        length in prop::option::of(0_u64..99),
    ) {
        let mut text = format!("POST http://a.b{path} HTTP/1.1\r\nHost: a.b\r\n");
        for (name, value) in &fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        text.push_str("\r\n");
        if let Ok(Some((Ask::Forward(forward), len))) = read(text.as_bytes()) {
            prop_assert_eq!(len, text.len());
            let head = String::from_utf8(forward.head).unwrap();
            let start = format!("POST {path} HTTP/1.1\r\nHost: a.b\r\n");
            prop_assert!(head.starts_with(&start));
            let again = head.replacen(&format!("POST {path}"), &format!("POST http://a.b{path}"), 1);
            let again = read(again.as_bytes()).unwrap().unwrap().0;
            let Ask::Forward(again) = again else { panic!("a tunnel") };
            prop_assert_eq!(again.body, forward.body);
            prop_assert_eq!(String::from_utf8(again.head).unwrap(), head);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(Some((_, len))) = read(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }
}
