use super::*;
use crate::dpop::tests::signer;

const NOW: Millis = Millis::new(1_000_000);
const BACK: &str = "http://127.0.0.1:1/console/signed-in";

fn key(seed: u8) -> Thumbprint {
    Thumbprint::of(&signer(seed).public())
}

fn login(text: &str) -> Login {
    toml::from_str(text).unwrap()
}

#[test]
fn a_sign_in_is_resumed_by_the_browser_that_began_it_and_for_ten_minutes() {
    let seal = Seal::new().unwrap();
    let begun = seal.begin(3, &key(1), BACK, NOW).unwrap();
    let last = Millis::new(NOW.get() + BEGUN_SECS * 1000 - 1);
    for now in [NOW, last] {
        let (provider, again) = seal.resume(&begun.state, &key(1), BACK, now).unwrap();
        assert_eq!((provider, &again), (3, &begun));
    }
    let late = Millis::new(last.get() + 1);
    assert_eq!(seal.resume(&begun.state, &key(1), BACK, late), None);
    let before = Millis::new(NOW.get() - 1000);
    assert_eq!(seal.resume(&begun.state, &key(1), BACK, before), None);
    assert_eq!(seal.resume(&begun.state, &key(2), BACK, NOW), None);
    let elsewhere = "http://localhost:1/console/signed-in";
    assert_eq!(seal.resume(&begun.state, &key(1), elsewhere, NOW), None);
    let other = Seal::new().unwrap();
    assert_eq!(other.resume(&begun.state, &key(1), BACK, NOW), None);
}

#[test]
fn a_state_that_is_altered_anywhere_is_none_and_no_two_are_the_same() {
    let seal = Seal::new().unwrap();
    let begun = seal.begin(0, &key(1), BACK, NOW).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&begun.state).unwrap();
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let bent = URL_SAFE_NO_PAD.encode(bent);
        assert_eq!(seal.resume(&bent, &key(1), BACK, NOW), None, "{at}");
    }
    for short in ["", "AAAA", "=", "not base64"] {
        assert_eq!(seal.resume(short, &key(1), BACK, NOW), None, "{short}");
    }
    let second = seal.begin(0, &key(1), BACK, NOW).unwrap();
    assert!(begun.state != second.state && begun.nonce != second.nonce);
    assert!(begun.verifier != second.verifier && begun.verifier != begun.nonce);
    assert_eq!(begun.verifier.len(), 43);
}

#[test]
fn what_a_browser_and_a_provider_are_told_is_encoded_and_holds_no_secret() {
    let login = login("client_id = \"a b&c\"\nscopes = [\"groups\", \"openid\"]");
    let begun = Begun {
        state: "s".into(),
        nonce: "n".into(),
        verifier: "v".into(),
    };
    let address = address("https://idp.example/auth", &login, BACK, &begun);
    assert_eq!(
        address,
        "https://idp.example/auth?response_type=code&client_id=a%20b%26c&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fconsole%2Fsigned-in\
         &scope=openid%20groups&state=s&nonce=n&code_challenge=TJRIXgwhrmxBzh3-e2v6zupato5AokdvUCCOUm9QYIA&code_challenge_method=S256"
    );
    assert!(question(&login, BACK, &begun, "x=y").contains("code=x%3Dy&"));
}

#[test]
fn an_answer_has_an_id_token_or_an_error_that_is_a_word() {
    let refused = |text: &str| match id_token(text.as_bytes(), false) {
        Err(LoginError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        id_token(b"{\"id_token\":\"a.b.c\"}", true).unwrap(),
        "a.b.c"
    );
    assert!(id_token(b"{\"access_token\":\"a\"}", true).is_err());
    assert!(id_token(b"{\"id_token\":\"a\",\"id_token\":\"b\"}", true).is_err());
    assert_eq!(refused("{\"error\":\"invalid_grant\"}"), "invalid_grant");
    assert_eq!(refused("{\"error\":\"<script>\"}"), "no reason");
}

#[test]
fn a_login_that_cannot_stand_is_named() {
    assert_eq!(login("client_id = \"placet\"").problem(), None);
    for text in [
        "client_id = \"\"",
        "client_id = \"a\\n\"",
        "client_id = \"a\"\nsession_secs = 1",
        "client_id = \"a\"\nsession_secs = 43201",
        "client_id = \"a\"\nscopes = [\"a b\"]",
        "client_id = \"a\"\nname = \"\"",
    ] {
        assert!(login(text).problem().is_some(), "{text}");
    }
    assert!(toml::from_str::<Login>("client_id = \"a\"\nscope = \"x\"").is_err());
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3 cret\n").unwrap();
    let mut login = login("client_id = \"a:b\"");
    assert!(login.credential().unwrap().is_none());
    login.client_secret = Some(path.clone());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(login.credential().is_err());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let credential = login.credential().unwrap().unwrap();
    let pair = credential.strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(pair).unwrap(), b"a%3Ab:s3%20cret");
    std::fs::write(&path, "\n").unwrap();
    assert!(login.credential().is_err());
}
