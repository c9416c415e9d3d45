//! Spellings, and what lists say. What kernels do is tested with real overlays, in `placet`'s tests.

use super::*;

#[test]
fn every_path_has_one_spelling_that_is_safe_to_print() {
    for (bytes, spelled) in [
        (b"src/main.rs".as_slice(), "src/main.rs"),
        (b"a b", "a b"),
        (b"line\nfeed", "line\\x0afeed"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"back\\slash", "back\\x5cslash"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("ä".as_bytes(), "ä"),
        ("\u{202e}txt".as_bytes(), "\\xe2\\x80\\xaetxt"),
    ] {
        let path = RawPath::new(bytes.to_vec());
        assert_eq!(path.to_string(), spelled);
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<RawPath>(&json).unwrap(), path);
    }
    for bad in ["\\n", "\\x0", "\\x41", "\\xFF", "a\nb"] {
        let json = serde_json::to_string(bad).unwrap();
        assert!(serde_json::from_str::<RawPath>(&json).is_err(), "{bad:?}");
    }
}

fn added(path: &str, kind: FileKind, mode: u32, target: Option<&str>) -> Change {
    Change {
        after: Some(After {
            digest: None,
            kind,
            mode,
            size: 0,
            target: target.map(|target| RawPath::new(target.as_bytes().to_vec())),
        }),
        before: None,
        path: RawPath::new(path.as_bytes().to_vec()),
        raced: false,
        tree: 0,
    }
}

#[test]
fn what_runs_later_or_leads_out_is_warned_about() {
    let file = |path| added(path, FileKind::File, 0o644, None);
    let link = |path, target| added(path, FileKind::Symlink, 0o777, Some(target));
    for change in [
        file(".git/hooks/post-checkout"),
        file("sub/.git/config"),
        file(".git"),
        file(".git/modules/x/hooks/update"),
        file(".envrc"),
        added("tool", FileKind::File, 0o4755, None),
        added("pipe", FileKind::Fifo, 0o644, None),
        link("a/b", "../../etc"),
        link("a", "/etc/passwd"),
    ] {
        assert!(change.warning().is_some(), "{change:?}");
    }
    for change in [
        file("src/hooks/useState.ts"),
        file(".git/objects/ab/cd"),
        file(".git/index"),
        link("a/b", "../c"),
    ] {
        assert!(change.warning().is_none(), "{change:?}");
    }
}

#[test]
fn a_list_is_canonical_and_hides_what_can_be_guessed() {
    let list = |nonce: &str| ChangeList {
        changes: vec![added("a", FileKind::File, 0o644, None)],
        exec: ExecutionId::new([7; 16]),
        nonce: nonce.into(),
        trees: vec![AbsPath::parse("/w").unwrap()],
        writes: Writes::Kept,
    };
    let (bytes, digest) = list("00").encode().unwrap();
    assert_eq!(
        serde_json::from_slice::<ChangeList>(&bytes).unwrap(),
        list("00")
    );
    assert_ne!(list("01").encode().unwrap().1, digest);
}
