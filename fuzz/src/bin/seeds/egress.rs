//! Seeds for what comes from inside of a cell, and for what is recorded of it.

use crate::Corpus;

/// Target, name and bytes of each.
const SEEDS: &[(&str, &str, &[u8])] = &[
    ("peer_rule", "address", b"10.0.0.5:5432"),
    ("peer_rule", "network", b"10.0.0.0/8:1-65535"),
    ("peer_rule", "six", b"[2001:db8::]/32:443"),
    ("peer_rule", "name", b"example.org:443"),
    ("peer_rule", "below", b"*.example.org:80-81"),
    ("peer_rule", "alabel", b"xn--bcher-kva.example:443"),
    ("peer_rule", "disguised", b"127.1:443"),
    ("connections", "refused", b"[{\"name\":\"example.org:80\",\"outcome\":\"refused\",\"time\":7,\"way\":\"tunnel\",\"why\":\"unlisted_name\"}]"),
    ("connections", "opened", b"[{\"address\":\"93.184.216.34:443\",\"closed\":9,\"id\":1,\"name\":\"example.org\",\"outcome\":\"opened\",\"received_bytes\":5,\"rule\":\"example.org:443\",\"sent_bytes\":3,\"time\":7,\"way\":\"tunnel\"}]"),
    ("connections", "empty", b"[]"),
    ("http_head", "connect", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
    ("http_head", "get", b"GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nConnection: close, X-A\r\nX-A: 1\r\n\r\n"),
    ("http_head", "post", b"POST http://example.org:81/ HTTP/1.0\r\nContent-Length: 5\r\n\r\n"),
    ("http_head", "chunked", b"POST http://example.org/ HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("http_head", "both", b"POST http://a.b/ HTTP/1.1\r\nHost: a.b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("http_head", "folded", b"GET http://a.b/ HTTP/1.1\r\nHost: a.b\r\nX: 1\r\n folded\r\n\r\n"),
    ("chunked_body", "whole", b"3\r\nabc\r\n0\r\n\r\n"),
    ("chunked_body", "more", b"0A\r\n0123456789\r\n0\r\n\r\nGET"),
    ("chunked_body", "extension", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
    ("socks", "name", b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"),
    ("socks", "four", b"\x05\x01\x00\x01\n\x00\x00\x01\x00P"),
    ("socks", "six", b"\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00P"),
    ("socks", "bind", b"\x05\x02\x00\x01\n\x00\x00\x01\x00P"),
    ("socks", "greeting", b"\x05\x02\x00\x02"),
    ("dns_question", "a", b"\x07\x09\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01"),
    ("dns_question", "aaaa", b"\x07\x09\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x03org\x00\x00\x1c\x00\x01"),
    ("dns_question", "other", b"\x07\x09\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00A\x00\x01"),
    ("dns_question", "pointer", b"\x07\x09\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"),
];

pub(crate) fn write(corpus: &Corpus) {
    for (target, name, bytes) in SEEDS {
        corpus.put(target, name, bytes);
    }
}
