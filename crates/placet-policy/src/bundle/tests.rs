use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::testing::{PROFILE, bundle, files, problems};
use placet_types::{PublicKey, SigningKey};

const ONE: &str = "@id(\"a\") permit(principal, action, resource);\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn public(seeds: &[u8]) -> Vec<PublicKey> {
    seeds.iter().map(|seed| key(*seed).public()).collect()
}

/// The bundle signed by keys of these seeds, one after the other.
fn signed(seeds: &[u8]) -> Bundle {
    let mut files = bundle(ONE).to_files();
    for seed in seeds {
        let bundle = Bundle::read(&files).unwrap();
        files.0.insert(
            SIGNATURE_FILE.to_owned(),
            sign(&bundle, &key(*seed)).unwrap(),
        );
    }
    Bundle::read(&files).unwrap()
}

fn only(changes: &[(&str, Option<&str>)]) -> String {
    let found = problems(changes);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

#[test]
fn the_digest_covers_every_member_and_nothing_else() {
    let one = bundle(ONE);
    assert_eq!(one.digest(), bundle(ONE).digest());
    assert_ne!(one.digest(), bundle(&format!("{ONE} ")).digest());
    assert_eq!(signed(&[1]).digest(), one.digest());
    let manifest = placet_types::canonical::to_bytes(one.manifest()).unwrap();
    assert_eq!(Digest::of(&manifest), one.digest());
    assert_eq!(
        one.manifest().members["policies/a.cedar"],
        Digest::of(ONE.as_bytes())
    );
}

#[test]
fn unknown_and_tricky_members_are_refused_by_name() {
    for path in [
        "notes.txt",
        "policies/a.txt",
        "policies/../a.cedar",
        "policies//a.cedar",
        "/policies/a.cedar",
        "./policies/b.cedar",
        "policies/sub/b.cedar",
        "policies/.b.cedar",
        "policies/B.cedar",
        "policies/b.cedar~",
        "policies/b\0.cedar",
        "policies\\b.cedar",
        "policies/é.cedar",
        "tests/a.json",
        "profiles/.toml",
        "Bundle.toml",
        "",
    ] {
        let message = only(&[(path, Some(""))]);
        assert!(
            message.starts_with(path) && message.contains("[unknown-member]"),
            "{message}"
        );
    }
}

#[test]
fn a_bundle_needs_its_name_and_its_reference_values() {
    assert!(only(&[("reference.toml", None)]).contains("reference.toml: the bundle lacks"));
    assert!(only(&[("bundle.toml", None)]).contains("bundle.toml: the bundle lacks"));
    let message = only(&[("profiles/p.toml", None)]);
    assert!(message.contains("there is no profiles/p.toml"), "{message}");
}

#[test]
fn unknown_keys_are_refused_in_every_toml_member() {
    for (path, text) in [
        ("bundle.toml", "name = \"b\"\nrevisoin = 1\n"),
        ("entities.toml", "\n[group.a]\n"),
        ("reference.toml", "tiers = []\nlandlock_abi = 3\n"),
        ("links.toml", "\n[[links]]\n"),
        ("tests/a.toml", "\n[[tests]]\n"),
    ] {
        let message = only(&[(path, Some(text))]);
        assert!(
            message.starts_with(&format!("{path}:2: unknown field")),
            "{message}"
        );
    }
    let text = format!("{PROFILE}\nevery = 1\n");
    assert!(only(&[("profiles/p.toml", Some(&text))]).contains("unknown field `every`"));
}

#[test]
fn bundle_toml_is_checked() {
    let about = |change: (&str, &str)| {
        let text = "name = \"b\"\nrevision = 1\ndescription = \"d\"\ndefault_profile = \"p\"\n\
                    not_before = 2026-01-01T00:00:00Z\nexpires = 2027-01-01T00:00:00Z\n";
        assert!(text.contains(change.0));
        problems(&[("bundle.toml", Some(&text.replace(change.0, change.1)))])
    };
    assert!(about(("2027", "2028")).is_empty());
    for (from, to, word) in [
        ("revision = 1", "revision = 0", "counts from 1"),
        ("revision = 1", "revision = 9007199254740992", "below 2^53"),
        ("revision = 1", "revision = -1", "invalid value"),
        ("\"b\"", "\"B b\"", "name:"),
        ("2027", "2025", "expires before it begins"),
        ("2027-01-01T00:00:00Z", "2027-01-01", "no instant"),
        ("\"p\"", "\"P\"", "profile"),
    ] {
        let found = about((from, to));
        assert!(
            found.iter().any(|line| line.contains(word)),
            "{word}: {found:?}"
        );
    }
}

#[test]
fn members_that_hide_something_are_refused() {
    for (text, word) in [
        ("// a\r\n", "carriage return"),
        ("// a\u{202e}b\n", "U+202E"),
        ("// a\u{1b}[1m\n", "U+001B"),
        ("\u{feff}// a\n", "U+FEFF"),
        ("// a\0\n", "U+0000"),
    ] {
        let message = only(&[("policies/b.cedar", Some(text))]);
        assert!(
            message.contains(word) && message.contains(":1:"),
            "{message}"
        );
    }
    let mut files = files(&[]);
    files
        .0
        .insert("policies/b.cedar".into(), b"// a\n// \xff\n".to_vec());
    let found = Bundle::read(&files).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "policies/b.cedar:2: the text is not UTF-8 [encoding]"
    );
}

#[test]
fn size_and_number_of_members_are_bounded() {
    let mut many = files(&[]);
    for i in 0..MEMBERS_MAX {
        many.0.insert(format!("policies/p{i}.cedar"), Vec::new());
    }
    assert!(
        Bundle::read(&many).unwrap_err()[0]
            .message
            .contains("more than 2000 files")
    );
    let mut large = files(&[]);
    large
        .0
        .insert("README.md".into(), vec![b'a'; TOTAL_BYTES_MAX]);
    assert!(
        Bundle::read(&large).unwrap_err()[0]
            .message
            .contains("more than 8388608 bytes")
    );
}

#[test]
fn enough_signatures_of_trusted_keys_are_accepted() {
    let bundle = signed(&[1, 2, 3]);
    let signers = bundle.verify_signatures(&public(&[1, 3, 9]), 2).unwrap();
    let expected = public(&[1, 3]).iter().map(PublicKey::id).collect();
    assert_eq!(signers, expected);
    assert_eq!(
        signed(&[2, 1, 2])
            .verify_signatures(&public(&[1, 2]), 2)
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn unsigned_is_refused_where_there_are_trust_roots() {
    let unsigned = bundle(ONE);
    for needed in [0, 1, 2] {
        let found = unsigned.verify_signatures(&public(&[1]), needed);
        assert_eq!(
            found,
            Err(SignatureError::Unsigned {
                needed: needed.max(1)
            })
        );
    }
    assert_eq!(
        signed(&[1]).verify_signatures(&[], 1),
        Err(SignatureError::NoKeys)
    );
    assert_eq!(
        signed(&[1]).verify_signatures(&[], 0),
        Err(SignatureError::NoKeys)
    );
}

#[test]
fn unknown_keys_and_too_few_signatures_are_refused() {
    let bundle = signed(&[1]);
    let few = |found, needed| Err(SignatureError::TooFew { found, needed });
    assert_eq!(bundle.verify_signatures(&public(&[2]), 1), few(0, 1));
    assert_eq!(bundle.verify_signatures(&public(&[1, 2]), 2), few(1, 2));
    // The same key given twice is one key.
    assert_eq!(bundle.verify_signatures(&public(&[1, 1]), 2), few(1, 2));
}

#[test]
fn an_empty_list_of_signatures_is_no_signature() {
    let text = signed(&[1]).signature().unwrap().to_owned();
    let begin = text.find("\"signatures\":[").unwrap() + "\"signatures\":[".len();
    let empty = format!("{}]}}", text.get(..begin).unwrap());
    let mut files = bundle(ONE).to_files();
    files.0.insert(SIGNATURE_FILE.into(), empty.into_bytes());
    let found = Bundle::read(&files)
        .unwrap()
        .verify_signatures(&public(&[1]), 1);
    assert_eq!(
        found,
        Err(SignatureError::TooFew {
            found: 0,
            needed: 1
        })
    );
}

#[test]
fn a_signature_is_for_this_very_bundle() {
    let signature = signed(&[1]).to_files().0[SIGNATURE_FILE].clone();
    let mut other = bundle(&format!("{ONE}// more\n")).to_files();
    other.0.insert(SIGNATURE_FILE.into(), signature);
    let other = Bundle::read(&other).unwrap();
    let found = other.verify_signatures(&public(&[1]), 1);
    assert_eq!(found, Err(SignatureError::OtherManifest));
    // Signing it anew drops the signature over the other manifest.
    let mut files = other.to_files();
    files
        .0
        .insert(SIGNATURE_FILE.into(), sign(&other, &key(2)).unwrap());
    let again = Bundle::read(&files).unwrap();
    assert!(
        again
            .verify_signatures(&public(&[1, 2]), 1)
            .unwrap()
            .contains(&key(2).public().id())
    );
    assert!(again.verify_signatures(&public(&[1, 2]), 2).is_err());
}

#[test]
fn a_key_that_signs_twice_counts_for_nothing() {
    let text = signed(&[1]).signature().unwrap().to_owned();
    let begin = text.find("[{").unwrap() + 1;
    let one = text.get(begin..text.len() - 2).unwrap();
    let mut files = bundle(ONE).to_files();
    let twice = format!("{}{one},{one}]}}", text.get(..begin).unwrap());
    files.0.insert(SIGNATURE_FILE.into(), twice.into_bytes());
    let found = Bundle::read(&files)
        .unwrap()
        .verify_signatures(&public(&[1]), 1);
    assert_eq!(found, Err(SignatureError::Repeated(key(1).public().id())));
}

#[test]
fn an_archive_keeps_the_bundle_and_its_signature() {
    let bundle = signed(&[1]);
    let archive = bundle.to_archive();
    assert!(placet_types::canonical::is_canonical(&archive));
    let again = Bundle::from_archive(&archive, &bundle.digest()).unwrap();
    assert_eq!(again.to_files(), bundle.to_files());
    assert!(again.verify_signatures(&public(&[1]), 1).is_ok());
    let other = Digest::of(b"other");
    assert!(matches!(
        Bundle::from_archive(&archive, &other),
        Err(ArchiveError::OtherBundle { .. })
    ));
}

proptest! {
    #[test]
    fn an_archive_with_one_altered_byte_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let bundle = signed(&[1]);
        let mut archive = bundle.to_archive();
        let at = at.index(archive.len());
        prop_assume!(archive[at] != to);
        archive[at] = to;
        let accepted = Bundle::from_archive(&archive, &bundle.digest())
            .is_ok_and(|bundle| bundle.verify_signatures(&public(&[1]), 1).is_ok());
        prop_assert!(!accepted, "byte {} set to {}", at, to);
    }

    #[test]
    fn arbitrary_files_never_panic(path in "(policies/|profiles/|tests/|)[a-z]{1,4}\\.(cedar|toml)", text in "\\PC{0,80}") {
        let _ = problems(&[(&path, Some(&text))]);
    }

    #[test]
    fn arbitrary_archives_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Bundle::from_archive(&bytes, &Digest::of(b"")).is_err());
    }
}
