//! The canonical writer (RFC 8785, section 3.2).

use std::collections::BTreeMap;

use super::Json;

pub(super) fn value(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Number(number) => number_to(*number, out),
        Json::String(text) => string(text, out),
        Json::Array(items) => array(items, out),
        Json::Object(members) => object(members, out),
    }
}

/// An object that is written member by member. Whoever writes it names them in their order.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        let is_empty = true;
        Self { out, is_empty }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        string(text, self.out);
    }

    /// A text that is left out where it is empty.
    pub(crate) fn some(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    pub(crate) fn number(&mut self, name: &str, number: u32) {
        self.name(name);
        number_to(number.into(), self.out);
    }

    /// Members of their own, left out where there are none.
    pub(crate) fn filled(&mut self, name: &str, members: &BTreeMap<String, Json>) {
        if !members.is_empty() {
            self.name(name);
            object(members, self.out);
        }
    }

    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut inner = Object::begin(self.out);
        write(&mut inner);
        inner.end();
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        string(name, self.out);
        self.out.push(b':');
    }
}

fn number_to(number: f64, out: &mut Vec<u8>) {
    // RFC 8785 takes ECMAScript's spelling, in which minus zero is 0.
    let mut buffer = ryu_js::Buffer::new();
    out.extend_from_slice(buffer.format_finite(number).as_bytes());
}

fn array(items: &[Json], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value(item, out);
    }
    out.push(b']');
}

fn object(members: &BTreeMap<String, Json>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, member)) in in_utf16_order(members).into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(name, out);
        out.push(b':');
        value(member, out);
    }
    out.push(b'}');
}

/// JCS sorts names by UTF-16 code units, which differs from the map's order only beyond the BMP.
fn in_utf16_order(members: &BTreeMap<String, Json>) -> Vec<(&String, &Json)> {
    let mut sorted: Vec<_> = members.iter().collect();
    if !members.keys().all(|name| name.is_ascii()) {
        sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    sorted
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Nearly every text has nothing to be escaped, and is taken as a whole.
    while let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match after.split_first() {
            Some((byte, after)) => {
                escape(*byte, out);
                after
            }
            None => after,
        };
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(crate::digest::encode_hex(&[byte]).as_bytes());
        }
    }
}
