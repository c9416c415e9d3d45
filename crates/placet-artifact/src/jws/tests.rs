use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([1; 32]))
}

fn text() -> String {
    sign(b"{}", &key(), Algorithm::EdDsa).unwrap()
}

#[test]
fn the_header_is_canonical_json_and_reads_back() {
    for alg in [Algorithm::EdDsa, Algorithm::Ed25519] {
        let header = Header::new(&key().public(), alg);
        let bytes = header.encode().into_bytes();
        assert_eq!(canonical::to_bytes(&header).unwrap(), bytes);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }
}

#[test]
fn rfc_8037_appendix_a_signs_to_the_published_text() {
    // The key and the payload of RFC 8037, A.4; its header has only `alg`, so only the input differs.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed = placet_types::digest::decode_hex(seed)
        .unwrap()
        .try_into()
        .unwrap();
    let key = SigningKey::from_seed(&Zeroizing::new(seed));
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#),
        URL_SAFE_NO_PAD.encode("Example of Ed25519 signing")
    );
    let joined = join(input.clone(), &key.sign(input.as_bytes())).unwrap();
    assert_eq!(
        joined,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
         hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
    assert_eq!(
        Compact::parse(&joined).unwrap().payload(),
        b"Example of Ed25519 signing"
    );
}

#[test]
fn headers_outside_the_three_members_are_refused() {
    let kid = key().public().id();
    let shapes = [
        format!(r#"{{"alg":"none","kid":"{kid}","typ":"authz-artifact+jwt"}}"#),
        format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"authz-artifact+jwt"}}"#),
        format!(r#"{{"alg":"eddsa","kid":"{kid}","typ":"authz-artifact+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA","crit":["b64"],"kid":"{kid}","typ":"authz-artifact+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA","jwk":{{}},"kid":"{kid}","typ":"authz-artifact+jwt"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        r#"{"alg":"EdDSA","kid":"AB","typ":"authz-artifact+jwt"}"#.into(),
        r#"{"alg":"EdDSA","typ":"authz-artifact+jwt"}"#.into(),
        "[]".into(),
    ];
    for shape in shapes {
        let read = Header::decode(shape.as_bytes());
        assert!(
            matches!(read, Err(Malformed::Shape(_))),
            "{shape}: {read:?}"
        );
    }
}

#[test]
fn headers_in_another_spelling_are_refused() {
    let good = Header::new(&key().public(), Algorithm::EdDsa).encode();
    let twice = good.replacen("{\"alg\"", "{\"alg\":\"none\",\"alg\"", 1);
    assert!(matches!(
        Header::decode(twice.as_bytes()),
        Err(Malformed::DuplicateMember(_))
    ));
    let space = good.replacen(':', ": ", 1);
    assert_eq!(
        Header::decode(space.as_bytes()),
        Err(Malformed::NotCanonical)
    );
}

#[test]
fn padding_the_other_alphabet_spaces_and_unused_bits_are_refused() {
    let text = text();
    let (front, signature) = text.rsplit_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character: 4 of 64 characters have them clear.
    let (unfinished, _) = text.split_at(text.len() - 1);
    let alphabet = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['-', '_']);
    let read = alphabet.filter(|last| Compact::parse(&format!("{unfinished}{last}")).is_ok());
    assert_eq!(read.collect::<String>(), "AQgw");
    for bad in [
        format!("{text}="),
        format!("{text}\n"),
        format!(" {text}"),
        format!("{front}.+{}", signature.split_at(1).1),
        format!("{front}.é{signature}"),
    ] {
        assert_eq!(Compact::parse(&bad), Err(CompactError::Base64), "{bad}");
    }
}

#[test]
fn other_than_three_parts_is_refused() {
    let text = text();
    for bad in [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        &format!("{text}.{text}"),
        &text.replace('.', ""),
    ] {
        assert_eq!(Compact::parse(bad), Err(CompactError::Parts), "{bad}");
    }
    assert_eq!(Compact::parse(".."), Err(CompactError::SignatureLength));
    let short = text.rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
    assert_eq!(Compact::parse(&short), Err(CompactError::SignatureLength));
}

#[test]
fn a_text_past_the_bound_is_neither_made_nor_read() {
    assert_eq!(
        Compact::parse(&".".repeat(BYTES_MAX + 1)),
        Err(CompactError::TooLong)
    );
    let signed = sign(&vec![0; BYTES_MAX * 3 / 4], &key(), Algorithm::EdDsa);
    assert_eq!(signed, Err(CompactError::TooLong));
}

proptest! {
    #[test]
    fn whatever_is_signed_comes_apart_again(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = sign(&payload, &key(), Algorithm::Ed25519).unwrap();
        let compact = Compact::parse(&text).unwrap();
        prop_assert_eq!(compact.payload(), payload.as_slice());
        let signed = compact.signing_input().as_bytes();
        prop_assert_eq!(key().public().verify(signed, compact.signature()), Ok(()));
    }

    #[test]
    fn no_input_makes_the_reader_panic(text in any::<String>()) {
        let _compact = Compact::parse(&text);
        let _header = Header::decode(text.as_bytes());
    }
}
