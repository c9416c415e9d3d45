//! The vectors of `spec/vectors/policy.json`, which another implementation made.

#![expect(clippy::unwrap_used, reason = "test code: a surprise ends the test")]

use std::fs;
use std::path::Path;

use placet_policy::{Bundle, BundleFiles, SIGNATURE_FILE, SignatureError, Vars};
use placet_types::canonical;
use placet_types::{AbsPath, Digest, PublicKey, Scope};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/policy.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn files(vectors: &Value) -> BundleFiles {
    let members = vectors["members"].as_object().unwrap();
    let signature = (
        SIGNATURE_FILE.to_owned(),
        text(&vectors["signature"]).into(),
    );
    let members = members
        .iter()
        .map(|(path, member)| (path.clone(), text(member).into()));
    members.chain([signature]).collect()
}

fn keys(vectors: &Value) -> Vec<PublicKey> {
    serde_json::from_value(vectors["keys"].clone()).unwrap()
}

#[test]
fn manifest_digest_and_archive_are_the_same_in_another_implementation() {
    let vectors = vectors();
    let bundle = Bundle::read(&files(&vectors)).unwrap();
    let manifest = canonical::to_bytes(bundle.manifest()).unwrap();
    assert_eq!(
        String::from_utf8(manifest).unwrap(),
        text(&vectors["manifest"])
    );
    let digest: Digest = text(&vectors["digest"]).parse().unwrap();
    assert_eq!(bundle.digest(), digest);
    let archive = text(&vectors["archive"]);
    assert_eq!(String::from_utf8(bundle.to_archive()).unwrap(), archive);
    let again = Bundle::from_archive(archive.as_bytes(), &digest).unwrap();
    assert_eq!(again.to_files(), bundle.to_files());
}

#[test]
fn signatures_of_another_implementation_verify() {
    let vectors = vectors();
    let bundle = Bundle::read(&files(&vectors)).unwrap();
    let keys = keys(&vectors);
    assert_eq!(bundle.verify_signatures(&keys, 2).unwrap().len(), 2);
    let few = SignatureError::TooFew {
        found: 2,
        needed: 3,
    };
    assert_eq!(bundle.verify_signatures(&keys, 3), Err(few));
}

#[test]
fn a_bundle_with_one_altered_byte_in_any_member_is_refused() {
    let vectors = vectors();
    let (files, keys) = (files(&vectors), keys(&vectors));
    let mut altered_and_sound = 0;
    for path in files.0.keys() {
        for at in 0..files.0[path].len() {
            let mut altered = files.clone();
            altered.0.get_mut(path).unwrap()[at] ^= 1;
            if let Ok(bundle) = Bundle::read(&altered) {
                altered_and_sound += 1;
                assert!(
                    bundle.verify_signatures(&keys, 2).is_err(),
                    "{path} byte {at}"
                );
            }
        }
    }
    assert!(
        altered_and_sound > 100,
        "most alterations leave a bundle that only its signature refuses"
    );
}

#[test]
fn scopes_and_refusals_are_as_the_vectors_say() {
    let vectors = vectors();
    let bundle = Bundle::read(&files(&vectors)).unwrap();
    let profile = bundle.profiles().next().unwrap();
    let path = |value: &Value| AbsPath::parse(text(value)).unwrap();
    let home = path(&vectors["vars"]["home"]);
    let scope = |workspace: &Value| {
        profile.scope(&Vars {
            workspace: path(workspace),
            home: home.clone(),
        })
    };
    let expected: Scope = serde_json::from_value(vectors["scope"].clone()).unwrap();
    assert_eq!(scope(&vectors["vars"]["workspace"]).unwrap(), expected);
    for workspace in vectors["workspaces_refused"].as_array().unwrap() {
        assert!(scope(workspace).is_err(), "{workspace}");
    }
    for workspace in vectors["workspaces_accepted"].as_array().unwrap() {
        assert!(scope(workspace).is_ok(), "{workspace}");
    }
}
