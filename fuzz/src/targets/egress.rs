//! `placet-egress`: what the tree of a cell sends to its proxy and its name server.

use placet_egress::chunked::Chunked;
use placet_egress::dns::{self, Code, MESSAGE_BYTES_MAX};
use placet_egress::head::{self, Ask};
use placet_egress::socks::{self, Read};

/// What is passed on has one `Host`, one framing, no line end of another kind, and reads as the same
/// request.
pub(crate) fn http_head(data: &[u8]) -> bool {
    let Ok(Some((ask, len))) = head::read(data) else {
        return false;
    };
    assert!(len <= data.len());
    let Ask::Forward(forward) = ask else {
        return true;
    };
    let text = String::from_utf8_lossy(&forward.head).to_ascii_lowercase();
    let (lines, rest) = text.split_once("\r\n\r\n").expect("an end");
    assert!(rest.is_empty());
    assert!(lines.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
    let count = |name: &str| {
        let is_it = |line: &&str| line.starts_with(&format!("{name}:"));
        lines.split("\r\n").skip(1).filter(is_it).count()
    };
    assert_eq!((count("host"), count("connection")), (1, 1));
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    true
}

/// However a body is cut, it is followed to the same end.
pub(crate) fn chunked_body(data: &[u8]) -> bool {
    let mut whole = Chunked::default();
    let taken = whole.take(data);
    let mut pieces = Chunked::default();
    let mut sum = 0;
    for byte in data {
        match pieces.take(&[*byte]) {
            Ok(taken) => sum += taken,
            Err(_) => {
                assert!(taken.is_err());
                return false;
            }
        }
    }
    assert_eq!(taken, Ok(sum));
    assert_eq!(whole, pieces);
    whole.is_over()
}

/// What is read lies in what was sent, and does not change by what follows.
pub(crate) fn socks(data: &[u8]) -> bool {
    if let Read::Complete(offers, len) = socks::greeting(data) {
        let exact = data.get(..len).expect("within");
        assert_eq!(socks::greeting(exact), Read::Complete(offers, len));
    }
    let Read::Complete(request, len) = socks::request(data) else {
        return false;
    };
    let exact = data.get(..len).expect("within");
    assert_eq!(socks::request(exact), Read::Complete(request, len));
    true
}

/// An answer fits a datagram and repeats the question.
pub(crate) fn dns_question(data: &[u8]) -> bool {
    let Some(question) = dns::read(data) else {
        return false;
    };
    let addresses = [[1, 2, 3, 4].into(), [0x20; 16].into()];
    let answer = question.answer(Code::Found, &addresses.repeat(9));
    assert!(answer.len() <= MESSAGE_BYTES_MAX);
    assert_eq!(answer.get(..2), data.get(..2));
    true
}
