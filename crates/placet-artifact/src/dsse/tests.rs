use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const TYPE: &str = "application/vnd.in-toto+json";

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32]))
}

fn envelope() -> Envelope {
    Envelope::sign(TYPE, b"{\"a\":1}".to_vec(), &key(1)).unwrap()
}

fn text() -> String {
    String::from_utf8(envelope().encode()).unwrap()
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    // The example of the specification's own test vector.
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn the_encoding_is_canonical_json() {
    let bytes = envelope().encode();
    assert!(placet_types::canonical::is_canonical(&bytes));
    assert_eq!(Envelope::decode(&bytes), Ok(envelope()));
}

#[test]
fn only_the_key_that_signed_opens_an_envelope() {
    assert_eq!(
        envelope().verify(&key(1).public()),
        Ok(b"{\"a\":1}".as_slice())
    );
    assert_eq!(
        envelope().verify(&key(2).public()),
        Err(EnvelopeError::OtherKey)
    );
}

#[test]
fn a_signature_under_a_borrowed_key_id_is_refused() {
    let forged = text().replace(
        &key(1).public().id().to_string(),
        &key(2).public().id().to_string(),
    );
    let forged = Envelope::decode(forged.as_bytes()).unwrap();
    assert_eq!(
        forged.verify(&key(2).public()),
        Err(EnvelopeError::BadSignature)
    );
}

#[test]
fn the_signature_covers_the_payload_type() {
    let altered = text().replace("in-toto", "in-tota");
    let altered = Envelope::decode(altered.as_bytes()).unwrap();
    assert_eq!(
        altered.verify(&key(1).public()),
        Err(EnvelopeError::BadSignature)
    );
}

#[test]
fn every_flipped_byte_is_refused_at_decoding_or_at_verification() {
    let good = envelope().encode();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let opened = Envelope::decode(&bad);
            let refused = opened.map_or(true, |it| it.verify(&key(1).public()).is_err());
            assert!(refused, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn another_spelling_of_the_same_envelope_is_refused() {
    let text = text();
    let spellings = [
        (text.replacen(':', ": ", 1), EnvelopeError::NotCanonical),
        (format!("{text}\n"), EnvelopeError::NotCanonical),
        (
            text.replacen("payload", "p\\u0061yload", 1),
            EnvelopeError::NotCanonical,
        ),
        (
            text.replacen("in-toto", "in\\u002dtoto", 1),
            EnvelopeError::Shape,
        ),
        (text.replacen('=', "", 1), EnvelopeError::Base64),
        (
            text.replacen("eyJhIjoxfQ==", "eyJhIjoxfR==", 1),
            EnvelopeError::Base64,
        ),
        (
            text.replacen("eyJhIjoxfQ==", "eyJhIj oxfQ==", 1),
            EnvelopeError::Base64,
        ),
    ];
    for (spelling, error) in spellings {
        assert_ne!(spelling, text);
        assert_eq!(
            Envelope::decode(spelling.as_bytes()),
            Err(error),
            "{spelling}"
        );
    }
}

#[test]
fn missing_extra_and_repeated_members_are_refused() {
    let text = text();
    let signature = text
        .split_once("\"signatures\":[")
        .unwrap()
        .1
        .strip_suffix("]}")
        .unwrap();
    let shapes = [
        text.replacen("{\"payload\"", "{\"a\":1,\"payload\"", 1),
        text.replacen("{\"payload\"", "{\"payload\":\"\",\"payload\"", 1),
        text.replacen("\"keyid\"", "\"keyid\":\"0000000000000000\",\"keyid\"", 1),
        text.replacen(signature, "", 1),
        text.replacen(signature, &format!("{signature},{signature}"), 1),
        text.replacen(",\"sig\":\"", ",\"sig\":\"AAAA", 1),
        "[]".into(),
        String::new(),
    ];
    for shape in shapes {
        assert_eq!(
            Envelope::decode(shape.as_bytes()),
            Err(EnvelopeError::Shape),
            "{shape}"
        );
    }
}

#[test]
fn payload_types_that_would_need_escapes_are_not_signed() {
    for bad in ["", "a b", "a\"b", "a\\b", "é", &"x".repeat(129)] {
        let signed = Envelope::sign(bad, Vec::new(), &key(1));
        assert_eq!(signed, Err(EnvelopeError::PayloadType), "{bad}");
    }
}

#[test]
fn an_envelope_past_the_size_of_a_log_entry_is_neither_made_nor_read() {
    let too_long = Err(EnvelopeError::TooLong(Envelope::BYTES_MAX));
    assert_eq!(Envelope::sign(TYPE, vec![0; 49_200], &key(1)), too_long);
    assert_eq!(Envelope::decode(&vec![b' '; 65_536]), too_long);
    assert!(Envelope::sign(TYPE, vec![0; 48_900], &key(1)).is_ok());
}

proptest! {
    #[test]
    fn whatever_is_signed_reads_back_and_verifies(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let envelope = Envelope::sign(TYPE, payload.clone(), &key(3)).unwrap();
        let read = Envelope::decode(&envelope.encode()).unwrap();
        prop_assert_eq!(read.verify(&key(3).public()), Ok(payload.as_slice()));
    }

    #[test]
    fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _read = Envelope::decode(&bytes);
    }
}
