//! `placet verify`: what verifies, what does not, and at which step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::domain::{Domain, Ran, UNVERIFIED, parsed, placet, ran};

/// Bundles of a domain, and its public policy file: all that a stranger has.
struct Stranger {
    root: tempfile::TempDir,
    policy: PathBuf,
}

impl Stranger {
    fn of(domain: &Domain) -> Self {
        let root = tempfile::tempdir().unwrap();
        let policy = root.path().join("trusted.tlog-policy");
        fs::copy(domain.policy_file(), &policy).unwrap();
        Self { root, policy }
    }

    /// Verifies a bundle without a domain, a node or a home.
    fn verify(&self, bundle: &[u8], more: &[&str]) -> Ran {
        let path = self.root.path().join("bundle.json");
        fs::write(&path, bundle).unwrap();
        self.verify_file(&path, more)
    }

    fn verify_file(&self, path: &Path, more: &[&str]) -> Ran {
        let args = [
            "verify",
            path.to_str().unwrap(),
            "--policy",
            self.policy.to_str().unwrap(),
        ];
        ran(placet(&[&args, more].concat()).current_dir(self.root.path()))
    }

    /// Why a bundle fails: the step and the status.
    fn refused(&self, bundle: &Value) -> String {
        let bytes = bundle.to_string();
        let text = self.verify(bytes.as_bytes(), &[]);
        let ran = self.verify(bytes.as_bytes(), &["--json"]);
        let value = parsed(&ran.stdout);
        assert_eq!((ran.code, text.code), (UNVERIFIED, UNVERIFIED), "{ran:?}");
        assert_eq!(
            (&value["verified"], &value["record"]),
            (&Value::Bool(false), &Value::Null)
        );
        let step = value["failed"].as_str().unwrap().to_owned();
        assert!(
            text.stdout.contains(&format!("FAILED at `{step}`")),
            "{text:?}"
        );
        assert!(!text.stdout.contains("VERIFIED"), "{text:?}");
        step
    }
}

fn bundle(domain: &Domain, what: &str) -> Value {
    parsed(&domain.ok(&["log", "proof", what, "--bundle", "--disclose"]))
}

/// The bundle with another character in the middle of the text at `pointer`.
fn altered(bundle: &Value, pointer: &str, at: impl Fn(&str) -> usize) -> Value {
    let mut bundle = bundle.clone();
    let member = bundle.pointer_mut(pointer).unwrap();
    let text = member.as_str().unwrap();
    let mut bytes = text.as_bytes().to_vec();
    let at = at(text);
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    *member = Value::String(String::from_utf8(bytes).unwrap());
    bundle
}

/// The bundle with a member of another bundle.
fn with(bundle: &Value, pointer: &str, value: Value) -> Value {
    let mut bundle = bundle.clone();
    *bundle.pointer_mut(pointer).unwrap() = value;
    bundle
}

#[test]
fn a_stranger_verifies_permits_denials_and_ends_with_the_policy_file_alone() {
    let domain = Domain::with_history();
    let stranger = Stranger::of(&domain);
    for (what, words) in [
        ("4", "permit process:run"),
        ("10", "deny policy_forbids"),
        ("6", "completed"),
    ] {
        let bundle = domain.ok(&["log", "proof", what, "--bundle"]);
        let ran = stranger.verify(bundle.as_bytes(), &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            ran.stdout.contains("VERIFIED") && ran.stdout.contains(words),
            "{ran:?}"
        );
        assert!(!ran.stdout.contains('✗'), "{ran:?}");
    }
    let value = stranger.verify(bundle(&domain, "4").to_string().as_bytes(), &["--json"]);
    let value = parsed(&value.stdout);
    assert_eq!(
        (&value["verified"], &value["failed"]),
        (&Value::Bool(true), &Value::Null)
    );
    let steps = value["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["outcome"] == "holds"),
        "{value}"
    );
    assert_eq!(value["record"]["outcome"], "permit");
    // The start and the end of the execution came along.
    let related = steps.iter().filter(|step| step["step"] == "same execution");
    assert_eq!(
        related.map(|step| &step["detail"]).collect::<Vec<_>>(),
        ["started", "ended"]
    );
}

#[test]
fn what_a_bundle_does_not_tell_is_neither_right_nor_wrong() {
    let domain = Domain::with_history();
    let stranger = Stranger::of(&domain);
    let mut bundle = bundle(&domain, "4");
    for (member, open) in [("disclosed", 1), ("related", 1), ("artifact", 2)] {
        bundle.as_object_mut().unwrap().remove(member).unwrap();
        let bytes = bundle.to_string();
        let ran = stranger.verify(bytes.as_bytes(), &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(
            ran.stdout.matches("  ? ").count(),
            open,
            "without {member}: {ran:?}"
        );
        assert!(
            ran.stdout.contains("that the bundle does not tell"),
            "{ran:?}"
        );
    }
}

#[test]
fn every_altered_member_is_refused_at_its_step() {
    let domain = Domain::with_history();
    let stranger = Stranger::of(&domain);
    let bundle = bundle(&domain, "4");
    let middle = |text: &str| text.len() / 2;
    let cases = [
        ("/format", "bundle"),
        ("/genesis/entry", "genesis in the log"),
        ("/genesis/proof", "genesis in the log"),
        ("/record/entry", "record in the log"),
        ("/record/proof", "record in the log"),
        ("/artifact", "artifact"),
        ("/disclosed/params", "parameters"),
        ("/disclosed/salt", "parameters"),
        ("/related/0/entry", "record in the log"),
        ("/related/0/proof", "record in the log"),
        ("/related/1/entry", "record in the log"),
    ];
    for (pointer, step) in cases {
        assert_eq!(
            stranger.refused(&altered(&bundle, pointer, middle)),
            step,
            "{pointer}"
        );
    }
}

#[test]
fn every_character_of_a_proof_counts() {
    let domain = Domain::with_history();
    let stranger = Stranger::of(&domain);
    let bundle = bundle(&domain, "10");
    let text = bundle["record"]["proof"].as_str().unwrap();
    // Signatures by keys that the policy does not name are passed over: the last line is one that
    // it names, by its first characters.
    for at in (0..text.len())
        .step_by(23)
        .filter(|at| text.as_bytes()[*at].is_ascii_alphanumeric())
    {
        stranger.refused(&altered(&bundle, "/record/proof", |_| at));
    }
}

#[test]
fn true_parts_in_the_wrong_place_are_refused() {
    let domain = Domain::with_history();
    let stranger = Stranger::of(&domain);
    let (first, second, denial) = (
        bundle(&domain, "4"),
        bundle(&domain, "7"),
        bundle(&domain, "10"),
    );
    let cases = [
        (
            "another's proof",
            with(&first, "/record/proof", second["record"]["proof"].clone()),
            "record in the log",
        ),
        (
            "another's artifact",
            with(&first, "/artifact", second["artifact"].clone()),
            "artifact",
        ),
        (
            "another's parameters",
            with(&first, "/disclosed", second["disclosed"].clone()),
            "parameters",
        ),
        (
            "another's start",
            with(&first, "/related/0", second["related"][0].clone()),
            "same execution",
        ),
        (
            "no genesis",
            with(&first, "/genesis", first["record"].clone()),
            "genesis",
        ),
        (
            "genesis as the record",
            with(&first, "/record", first["genesis"].clone()),
            "artifact",
        ),
    ];
    for (name, bundle, step) in cases {
        assert_eq!(stranger.refused(&bundle), step, "{name}");
    }
    let of_the_end = domain.json(&["log", "proof", "6", "--bundle"]);
    for (member, step) in [("artifact", "artifact"), ("disclosed", "parameters")] {
        let mut forged = of_the_end.clone();
        forged[member] = first[member].clone();
        assert_eq!(stranger.refused(&forged), step, "{member} of no decision");
    }
    let mut forged = denial.clone();
    forged["artifact"] = first["artifact"].clone();
    assert_eq!(stranger.refused(&forged), "artifact");
    // Null is how JSON says that there is none; every other type is an error.
    forged["artifact"] = Value::from(7);
    assert_eq!(
        stranger.refused(&forged),
        "bundle",
        "a member of the wrong type"
    );
}

#[test]
fn what_is_no_bundle_is_refused_before_anything_is_believed() {
    let domain = Domain::new();
    let stranger = Stranger::of(&domain);
    let sound = domain.ok(&["log", "proof", "0", "--bundle"]);
    assert_eq!(stranger.verify(sound.as_bytes(), &[]).code, 0);
    let twice = sound.replacen('{', r#"{"format":"placet-proof-bundle/v1","#, 1);
    let unknown = sound.replacen('{', r#"{"color":"green","#, 1);
    let long = format!("{sound}{}", " ".repeat(9 << 20));
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "\u{feff}{}",
        &twice,
        &unknown,
        &long,
        &sound[..sound.len() / 2],
    ] {
        let ran = stranger.verify(text.as_bytes(), &["--json"]);
        let shown: String = text.chars().take(60).collect();
        assert_eq!(ran.code, UNVERIFIED, "{shown}: {ran:?}");
        assert_eq!(parsed(&ran.stdout)["failed"], "bundle", "{shown}");
    }
    let not_text = stranger.verify(&[0xff, 0xfe, 0x00], &[]);
    assert_eq!(not_text.code, UNVERIFIED, "{not_text:?}");
}

#[test]
fn a_bundle_never_says_whom_to_trust() {
    let (domain, other) = (Domain::with_history(), Domain::named("placet.test/other"));
    let stranger = Stranger::of(&domain);
    let bundle = bundle(&domain, "4");
    let theirs = fs::read_to_string(other.policy_file()).unwrap();
    // Another policy inside changes nothing but for a note.
    let ran = stranger.verify(
        with(&bundle, "/policy", theirs.clone().into())
            .to_string()
            .as_bytes(),
        &[],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout
            .contains("the bundle carries another policy file"),
        "{ran:?}"
    );
    // Under another domain's policy file a sound bundle fails, whatever it carries.
    fs::write(&stranger.policy, &theirs).unwrap();
    assert_eq!(stranger.refused(&bundle), "genesis in the log");
    assert_eq!(
        stranger.refused(&with(&bundle, "/policy", theirs.into())),
        "genesis in the log"
    );
    // The same name with another key is another domain.
    let twin = Domain::named("placet.test/cli");
    fs::copy(twin.policy_file(), &stranger.policy).unwrap();
    assert_eq!(stranger.refused(&bundle), "genesis in the log");
    for text in ["", "log nonsense\n"] {
        fs::write(&stranger.policy, text).unwrap();
        assert_eq!(stranger.refused(&bundle), "policy", "{text:?}");
    }
    // A policy may trust no log at all. Then there is none that anything could be in.
    fs::write(&stranger.policy, "quorum none\n").unwrap();
    assert_eq!(stranger.refused(&bundle), "genesis in the log");
}

#[test]
fn the_policy_file_is_the_one_that_is_named_else_the_domains_own() {
    let domain = Domain::with_history();
    let path = domain.path("bundle.json");
    fs::write(&path, domain.ok(&["log", "proof", "4", "--bundle"])).unwrap();
    let path = path.to_str().unwrap();
    let text = domain.ok(&["verify", path]);
    assert!(
        text.contains("under the policy file of the domain on this machine"),
        "{text}"
    );
    assert_eq!(domain.json(&["verify", path])["own_policy"], true);
    // Nowhere a domain, none named: nothing is trusted by chance.
    let ran = ran(&mut placet(&["verify", path]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("--policy"), "{ran:?}");
    let said = domain.fails(1, &["verify", path, "--policy", "missing"]);
    assert!(said.contains("missing: No such file"), "{said}");
    let said = domain.fails(1, &["verify", "missing.json"]);
    assert!(
        said.contains("missing.json: No such file") && said.contains("--bundle"),
        "{said}"
    );
}

#[test]
fn a_bundle_is_read_from_standard_input_too() {
    let domain = Domain::with_history();
    let path = domain.path("bundle.json");
    fs::write(&path, domain.ok(&["log", "proof", "10", "--bundle"])).unwrap();
    let policy = domain.policy_file();
    let mut command = placet(&["verify", "-", "--policy", policy.to_str().unwrap()]);
    let ran = ran(command.stdin(Stdio::from(fs::File::open(path).unwrap())));
    assert_eq!(ran.code, 0, "{ran:?}");
}
