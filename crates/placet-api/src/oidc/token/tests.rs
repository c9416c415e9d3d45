use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::super::keys::Keys;
use super::*;
use crate::dpop::tests::signer;

const ISSUER: &str = "https://idp.example";
const NOW: u64 = 1_000_000;

fn settings() -> Oidc {
    let text = format!("audience = [\"placet\"]\nissuer = \"{ISSUER}\"");
    toml::from_str(&text).unwrap()
}

fn encoded(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

fn claims(change: (&str, &str)) -> String {
    let text = format!(
        r#"{{"iss":"{ISSUER}","sub":"ana","aud":"placet","iat":{NOW},"exp":{},"groups":["dev"],"ok":true}}"#,
        NOW + 60
    );
    assert!(text.contains(change.0), "{change:?}");
    text.replacen(change.0, change.1, 1)
}

/// A token by the Ed25519 key of this seed.
fn token(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = signer(1).sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()))
}

fn key() -> Key {
    Key::Ed25519(signer(1).public())
}

fn verified(header: &str, claims: &str, key: &Key) -> Result<Claims, TokenError> {
    let text = token(header, claims);
    Signed::read(&text)?.verify(key, &settings(), Millis::new(NOW * 1000))
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"1"}"#;

#[test]
fn a_token_says_who_its_bearer_is() {
    let claims = verified(HEADER, &claims(("", "")), &key()).unwrap();
    assert_eq!(
        (claims.issuer.as_str(), claims.subject.as_str()),
        (ISSUER, "ana")
    );
    assert_eq!(claims.until, Millis::new((NOW + 90) * 1000));
    assert_eq!(claims.texts["groups"], BTreeSet::from(["dev".to_owned()]));
    assert_eq!(claims.texts["ok"], BTreeSet::from(["true".to_owned()]));
    assert!(!claims.texts.contains_key("exp"));
}

#[test]
fn each_claim_is_checked_and_named() {
    let exp = format!("\"exp\":{}", NOW + 60);
    let iat = format!("\"iat\":{NOW}");
    let with = |from: &str, to: &str| verified(HEADER, &claims((from, to)), &key()).err();
    for (from, to, error) in [
        (ISSUER, "https://idp.example/", TokenError::Issuer),
        ("\"placet\"", "\"other\"", TokenError::Audience),
        ("\"placet\"", "[\"other\",\"Placet\"]", TokenError::Audience),
        ("\"placet\"", "[\"placet\",\"other\"]", TokenError::Party),
        ("\"placet\"", "7", TokenError::Claims),
        ("\"aud\":\"placet\",", "", TokenError::Claims),
        (&exp, "\"exp\":1", TokenError::Expired),
        (&exp, &format!("\"exp\":{}", NOW - 30), TokenError::Expired),
        (&exp, "\"exp\":\"9999999999\"", TokenError::Claims),
        (&exp, "\"exp\":-1", TokenError::Claims),
        (&format!(",{exp}"), "", TokenError::Claims),
        (&iat, &format!("\"iat\":{}", NOW + 31), TokenError::NotYet),
        (&iat, &format!("\"nbf\":{}", NOW + 31), TokenError::NotYet),
        (&iat, "\"nbf\":\"soon\"", TokenError::Claims),
        ("\"ana\"", "\"\"", TokenError::Claims),
        ("\"sub\":\"ana\",", "", TokenError::Claims),
        ("\"ok\":true", "\"cnf\":{\"jkt\":\"x\"}", TokenError::Bound),
    ] {
        assert_eq!(with(from, to), Some(error), "{from} -> {to}");
    }
    // Within the skew it counts.
    assert_eq!(with(&exp, &format!("\"exp\":{}", NOW - 29)), None);
    assert_eq!(with(&iat, &format!("\"nbf\":{}", NOW + 30)), None);
}

#[test]
fn a_party_counts_where_parties_are_named() {
    let text = format!("audience = [\"placet\"]\nclients = [\"cli\"]\nissuer = \"{ISSUER}\"");
    let settings: Oidc = toml::from_str(&text).unwrap();
    for (claim, error) in [
        ("\"azp\":\"cli\"", None),
        ("\"azp\":\"web\"", Some(TokenError::Party)),
        ("\"x\":\"cli\"", Some(TokenError::Party)),
        ("\"azp\":[\"cli\"]", Some(TokenError::Claims)),
    ] {
        let text = token(HEADER, &claims(("\"ok\":true", claim)));
        let found = Signed::read(&text).unwrap();
        let found = found.verify(&key(), &settings, Millis::new(NOW * 1000));
        assert_eq!(found.err(), error, "{claim}");
    }
}

#[test]
fn the_key_decides_the_algorithm_and_a_header_brings_none_along() {
    let claims = claims(("", ""));
    let read = |header: &str| {
        let text = token(header, &claims);
        Signed::read(&text).err()
    };
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"RS512"}"#,
        r#"{"alg":"eddsa"}"#,
    ] {
        assert_eq!(read(header), Some(TokenError::Algorithm), "{header}");
    }
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#,
        r#"{"alg":"EdDSA","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","jwk":{}}"#,
        r#"{"alg":"EdDSA","jku":"https://evil"}"#,
        r#"{"alg":"EdDSA","x5u":"https://evil"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
    ] {
        assert_eq!(read(header), Some(TokenError::Header), "{header}");
    }
    assert_eq!(
        read(r#"{"alg":"EdDSA","alg":"none"}"#),
        Some(TokenError::Syntax)
    );
    // A header that names another algorithm than the key is for, and another key's signature.
    let es256 = verified(r#"{"alg":"ES256","kid":"1"}"#, &claims, &key());
    assert_eq!(es256.err(), Some(TokenError::Algorithm));
    let other = Key::Ed25519(signer(2).public());
    assert_eq!(
        verified(HEADER, &claims, &other).err(),
        Some(TokenError::Signature)
    );
    for text in ["", "a.b", "a.b.c", &"x".repeat(BYTES_MAX + 1)] {
        assert_eq!(Signed::read(text).err(), Some(TokenError::Syntax));
    }
}

#[test]
fn keys_are_found_by_name_and_algorithm_and_twice_is_never() {
    let random = SystemRandom::new();
    let own = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let own =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, own.as_ref(), &random).unwrap();
    let point = own.public_key().as_ref();
    let (x, y) = (
        URL_SAFE_NO_PAD.encode(&point[1..33]),
        URL_SAFE_NO_PAD.encode(&point[33..]),
    );
    let ed = URL_SAFE_NO_PAD.encode(signer(1).public().as_bytes());
    let ec = format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{y}""#);
    let ed = format!(r#""kty":"OKP","crv":"Ed25519","x":"{ed}""#);
    let set = format!(
        r#"{{"keys":[{{{ec},"kid":"a"}},{{{ed},"kid":"a","use":"sig"}},{{{ec},"kid":"enc","use":"enc"}},
        {{{ec},"kid":"other","alg":"ES384"}},{{{ed},"kid":"b"}},{{{ed},"kid":"b"}},{{"kty":"oct","k":"AA","kid":"hmac"}},
        {{{ed},"kid":"private","d":"AA"}}]}}"#
    );
    let keys = Keys::read(set.as_bytes()).unwrap();
    let has = |kid, algorithm| keys.find(kid, algorithm).is_some();
    assert!(has(Some("a"), Algorithm::Es256) && has(Some("a"), Algorithm::EdDsa));
    for kid in ["enc", "other", "b", "hmac", "private"] {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            assert!(!has(Some(kid), algorithm), "{kid}");
        }
    }
    // Without a name, only where there is one choice.
    assert!(has(None, Algorithm::Es256) && !has(None, Algorithm::Rs256));
    let key = keys.find(Some("a"), Algorithm::Es256).unwrap();
    let signature = own.sign(&random, b"text").unwrap();
    assert!(key.verifies(b"text", signature.as_ref()));
    assert!(!key.verifies(b"other", signature.as_ref()) && !key.verifies(b"text", &[0; 64]));
}

/// An ID token of a sign-in, with this change.
fn signed_in(change: (&str, &str)) -> Result<Claims, TokenError> {
    let text = claims(("\"aud\"", "\"nonce\":\"n\",\"aud\""));
    let text = text.replacen("\"placet\"", "\"console\"", 1);
    assert!(text.contains(change.0), "{change:?}");
    let text = token(HEADER, &text.replacen(change.0, change.1, 1));
    let now = Millis::new(NOW * 1000);
    Signed::read(&text)?.verify_login(&key(), &settings(), "console", "n", now)
}

#[test]
fn an_id_token_is_for_this_client_and_for_the_sign_in_that_was_begun() {
    let client = "\"aud\":\"console\"";
    assert_eq!(signed_in(("", "")).unwrap().subject, "ana");
    let both = "\"aud\":[\"console\",\"placet\"]";
    let named = format!("{both},\"azp\":\"console\"");
    assert!(signed_in((client, &named)).is_ok());
    for (change, error) in [
        (("\"nonce\":\"n\"", "\"nonce\":\"m\""), TokenError::Nonce),
        (("\"nonce\":\"n\",", ""), TokenError::Nonce),
        ((client, "\"aud\":\"placet\""), TokenError::Audience),
        (
            (client, "\"aud\":[\"console\",\"else\"],\"azp\":\"console\""),
            TokenError::Audience,
        ),
        ((client, both), TokenError::Party),
        (
            (client, "\"aud\":\"console\",\"azp\":\"else\""),
            TokenError::Party,
        ),
        ((ISSUER, "https://else.example"), TokenError::Issuer),
        (("\"exp\":1000060", "\"exp\":999000"), TokenError::Expired),
        (("\"sub\":\"ana\",", ""), TokenError::Claims),
    ] {
        assert_eq!(signed_in(change).unwrap_err(), error, "{change:?}");
    }
    // An access token for this node signs nobody in, and an ID token is none.
    let access = token(HEADER, &claims(("", "")));
    let now = Millis::new(NOW * 1000);
    let read = Signed::read(&access).unwrap();
    let refused = read.verify_login(&key(), &settings(), "console", "n", now);
    assert_eq!(refused.unwrap_err(), TokenError::Audience);
}
