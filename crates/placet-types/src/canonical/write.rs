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
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(crate::digest::encode_hex(&[byte]).as_bytes());
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
