//! Sections about keys, notes, checkpoints and cosignatures.

use placet_tlog::note::NoteSigner;
use serde_json::json;

use super::{
    BAD, Bytes, GOOD, ORIGIN, Section, checkpoint, cosigned, key, log, name, time, witness,
};

pub(super) fn vkeys() -> Section {
    let mut section = Section::new("vkey");
    let mut case =
        |label: &str, valid, vkey: &str| section.case(label, valid, json!({ "vkey": vkey }));
    let published = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    case("the example of C2SP signed-note", GOOD, published);
    case(
        "a witness's key",
        GOOD,
        &witness(1).verifier_key().to_string(),
    );
    case(
        "another key id",
        BAD,
        &published.replace("530d903a", "530d903b"),
    );
    case(
        "key id in upper case",
        BAD,
        &published.replace("530d903a", "530D903A"),
    );
    case("a space in the name", BAD, &published.replace('/', " "));
    case("no name", BAD, &published.replace("example.com/foo", ""));
    case("one byte more", BAD, &format!("{published}AA=="));
    case(
        "a character short",
        BAD,
        published.strip_suffix('k').unwrap(),
    );
    case(
        "type 0x02, ECDSA",
        BAD,
        &published.replace("+Aeky", "+Auky"),
    );
    let zero = format!("example.com/foo+3b2f7b5a+AQ{}", "A".repeat(42));
    case("a key of small order", BAD, &zero);
    section
}

pub(super) fn notes() -> Section {
    let mut section = Section::new("note");
    let published = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let mut case = |label: &str, valid, note: &str| {
        section.case(label, valid, json!({ "keys": [vkey], "note": note }));
    };
    case("the example of C2SP signed-note", GOOD, published);
    let unknown = format!("{published}\u{2014} other.example AAAAAAA=\n");
    case("a line of an unknown key is ignored", GOOD, &unknown);
    let repeated = published.split_once("\n\n").unwrap().1;
    case(
        "the same line twice",
        GOOD,
        &format!("{published}{repeated}"),
    );
    case("altered text", BAD, &published.replace("This", "That"));
    case(
        "altered signature",
        BAD,
        &published.replace("Uw2QOkn8", "Uw2QOkn9"),
    );
    case(
        "altered key id: no known key is left",
        BAD,
        &published.replace("Uw2Q", "Ux2Q"),
    );
    case(
        "a second line of the key that fails",
        BAD,
        &format!("{published}{}", repeated.replace("Okn8", "Okn9")),
    );
    case("no blank line", BAD, &published.replace("\n\n", "\n"));
    case("no newline at the end", BAD, published.trim_end());
    case(
        "a tab in the text",
        BAD,
        &published.replace(" is ", "\tis\t"),
    );
    case(
        "a hyphen for the dash",
        BAD,
        &published.replace('\u{2014}', "-"),
    );
    case(
        "two spaces before the signature",
        BAD,
        &published.replace("foo Uw", "foo  Uw"),
    );
    case(
        "base64 without padding",
        BAD,
        &published.replace("QM=", "QM"),
    );
    section
}

/// Signs any text as the log: for bodies that the crate itself would not make.
fn signed_text(body: &str) -> String {
    format!("{body}\n{}\n", log().sign_text(body))
}

pub(super) fn checkpoints() -> Section {
    let mut section = Section::new("checkpoint");
    let keys = [
        log().verifier_key().to_string(),
        witness(1).verifier_key().to_string(),
    ];
    let mut case = |label: &str, valid, note: &str| {
        section.case(label, valid, json!({ "keys": keys, "note": note }));
    };
    let body = checkpoint(21).body();
    let size = |text: &str| signed_text(&body.replace("\n21\n", &format!("\n{text}\n")));
    case(
        "signed by the log",
        GOOD,
        &cosigned(checkpoint(21), &[]).to_string(),
    );
    case(
        "the empty tree",
        GOOD,
        &cosigned(checkpoint(0), &[]).to_string(),
    );
    case(
        "with cosignatures of a known and an unknown key",
        GOOD,
        &cosigned(checkpoint(21), &[1, 2]).to_string(),
    );
    case("largest size", GOOD, &size("9223372036854775807"));
    case(
        "altered size",
        BAD,
        &cosigned(checkpoint(21), &[])
            .to_string()
            .replace("\n21\n", "\n22\n"),
    );
    case("size of 2^63", BAD, &size("9223372036854775808"));
    case("size with a leading zero", BAD, &size("021"));
    case("size with a sign", BAD, &size("+21"));
    case("size 0 with the root of another tree", BAD, &size("0"));
    case(
        "an extension line",
        BAD,
        &signed_text(&format!("{body}extension\n")),
    );
    case("no root", BAD, &signed_text(&format!("{ORIGIN}\n21\n")));
    case(
        "root without padding",
        BAD,
        &signed_text(&body.replace("=\n", "\n")),
    );
    case(
        "an origin that is no key name",
        BAD,
        &signed_text(&body.replace(ORIGIN, "log example")),
    );
    case(
        "another log's origin",
        BAD,
        &signed_text(&body.replace(ORIGIN, "log.example/other")),
    );
    let line = witness(1).cosign(&checkpoint(21), time(1));
    case("only cosigned", BAD, &format!("{body}\n{line}\n"));
    let other = witness(1).cosign(&checkpoint(20), time(1));
    case(
        "a known witness's line is of another checkpoint",
        BAD,
        &format!("{}{other}\n", signed_text(&body)),
    );
    section
}

pub(super) fn cosignatures() -> Section {
    let mut section = Section::new("cosignature");
    let vkey = witness(1).verifier_key().to_string();
    let body = checkpoint(21).body();
    let line = witness(1).cosign(&checkpoint(21), time(1)).to_string();
    let mut case = |label: &str, valid, body: &str, line: &str| {
        section.case(
            label,
            valid,
            json!({ "vkey": vkey, "body": body, "line": line }),
        );
    };
    case("over the whole body", GOOD, &body, &line);
    case(
        "another size",
        BAD,
        &body.replace("\n21\n", "\n22\n"),
        &line,
    );
    case("body without its last newline", BAD, body.trim_end(), &line);
    case(
        "another witness's line",
        BAD,
        &body,
        &witness(2).cosign(&checkpoint(21), time(1)).to_string(),
    );
    let (head, blob) = line.rsplit_once(' ').unwrap();
    let bytes = Bytes::decode(blob);
    let with = |bytes: Bytes| format!("{head} {}", bytes.encode());
    case(
        "another time",
        BAD,
        &body,
        &with(bytes.set(11, bytes.0[11] ^ 1)),
    );
    case("time 0", BAD, &body, &with(bytes.zero(4..12)));
    case("time of 2^63", BAD, &body, &with(bytes.set(4, 0x80)));
    case("one byte short", BAD, &body, &with(bytes.cut(75)));
    case(
        "altered signature",
        BAD,
        &body,
        &with(bytes.set(20, bytes.0[20] ^ 1)),
    );
    let plain = NoteSigner::new(name("witness1.example"), key(11)).sign_text(&body);
    case(
        "a plain signature by the same key",
        BAD,
        &body,
        &plain.to_string(),
    );
    section
}
