//! `placet policy`: bundles in a directory, in force, and back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::domain::{DENIED, Domain, UNVERIFIED, parsed, placet, ran, set_mode};

/// A directory with the starter bundle, and no domain anywhere.
struct Draft {
    root: tempfile::TempDir,
    dir: String,
}

impl Draft {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("bundle").to_str().unwrap().to_owned();
        let draft = Self { root, dir };
        assert_eq!(draft.run(&["policy", "init", draft.dir()]).code, 0);
        draft
    }

    fn path(&self) -> PathBuf {
        self.dir().into()
    }

    fn dir(&self) -> &str {
        &self.dir
    }

    fn run(&self, args: &[&str]) -> crate::domain::Ran {
        ran(placet(args).current_dir(self.root.path()))
    }

    fn check(&self, command: &str) -> (i32, Value) {
        let ran = self.run(&["policy", command, self.dir(), "--json"]);
        (ran.code, parsed(&ran.stdout))
    }

    fn edit(&self, member: &str, from: &str, to: &str) {
        edit(&self.path().join(member), from, to);
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_starter_bundle_is_sound_formatted_tested_and_without_lint() {
    let draft = Draft::new();
    let (code, sound) = draft.check("check");
    assert_eq!(
        (code, &sound["name"], &sound["revision"]),
        (0, &"starter".into(), &1.into())
    );
    assert_eq!(
        draft.check("lint"),
        (0, serde_json::json!({ "problems": [] }))
    );
    let (code, tests) = draft.check("test");
    assert_eq!(
        (code, &tests["passed"], &tests["uncovered"]),
        (0, &true.into(), &serde_json::json!([]))
    );
    let text = draft.run(&["policy", "test", draft.dir()]).stdout;
    assert!(
        text.contains("passed") && text.contains("coverage"),
        "{text}"
    );
    assert_eq!(
        draft.run(&["policy", "fmt", draft.dir(), "--check"]).code,
        0
    );
    // It is written where nothing is, and nowhere else.
    let ran = draft.run(&["policy", "init", draft.dir()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("is not empty"), "{ran:?}");
}

#[test]
fn every_bundle_of_the_repository_is_sound_formatted_and_passes_its_tests() {
    let draft = Draft::new();
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles");
    for bundle in fs::read_dir(all).unwrap() {
        let dir = bundle.unwrap().path();
        let dir = dir.to_str().unwrap();
        for how in [
            &["check", dir] as &[_],
            &["fmt", dir, "--check"],
            &["test", dir],
        ] {
            let ran = draft.run(&[&["policy"], how].concat());
            assert_eq!(ran.code, 0, "{how:?}: {ran:?}");
        }
    }
}

#[test]
fn fmt_writes_what_check_says_and_nothing_else() {
    let draft = Draft::new();
    let member = "policies/agents.cedar";
    let path = draft.path().join(member);
    let formatted = fs::read_to_string(&path).unwrap();
    fs::write(&path, formatted.replace("  principal", "       principal")).unwrap();
    let other = fs::read_to_string(draft.path().join("policies/guards.cedar")).unwrap();
    let ran = draft.run(&["policy", "fmt", draft.dir(), "--check", "--json"]);
    let value = parsed(&ran.stdout);
    assert_eq!(
        (ran.code, &value["changed"]),
        (1, &serde_json::json!([member]))
    );
    assert_ne!(
        fs::read_to_string(&path).unwrap(),
        formatted,
        "--check wrote"
    );
    let ran = draft.run(&["policy", "fmt", draft.dir()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), formatted);
    assert_eq!(
        fs::read_to_string(draft.path().join("policies/guards.cedar")).unwrap(),
        other
    );
    assert_eq!(
        draft.run(&["policy", "fmt", draft.dir(), "--check"]).code,
        0
    );
    let left: Vec<_> = fs::read_dir(draft.path().join("policies"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn what_is_wrong_with_a_bundle_is_named_with_its_file_and_line() {
    let cases = [
        (
            "a syntax error",
            "policies/agents.cedar",
            "permit (",
            "permitt (",
            "policies/agents.cedar",
        ),
        (
            "an unknown attribute",
            "policies/guards.cedar",
            "context.args",
            "context.argz",
            "policies/guards.cedar",
        ),
        (
            "an unknown annotation",
            "policies/agents.cedar",
            "@description",
            "@descriptoin",
            "policies/agents.cedar",
        ),
        (
            "an unknown key",
            "bundle.toml",
            "revision",
            "revisoin",
            "bundle.toml",
        ),
        (
            "a profile that is not there",
            "policies/agents.cedar",
            "@profile(\"agent\")",
            "@profile(\"nobody\")",
            "policies/agents.cedar",
        ),
        (
            "a default that is not there",
            "bundle.toml",
            "default_profile = \"",
            "default_profile = \"no-",
            "bundle.toml",
        ),
    ];
    for (name, member, from, to, file) in cases {
        let draft = Draft::new();
        draft.edit(member, from, to);
        let (code, value) = draft.check("check");
        assert_eq!(code, 1, "{name}: {value}");
        let problem = &value["problems"][0];
        assert_eq!(
            (&problem["file"], &problem["severity"]),
            (&file.into(), &"error".into()),
            "{name}: {value}"
        );
        let text = draft.run(&["policy", "check", draft.dir()]);
        assert!(
            text.stdout.contains(file) && text.stdout.contains("1 errors"),
            "{name}: {text:?}"
        );
        // The others say the same, in their way.
        assert_eq!(
            draft.run(&["policy", "test", draft.dir()]).code,
            1,
            "{name}"
        );
        assert_eq!(
            draft.run(&["policy", "lint", draft.dir()]).code,
            1,
            "{name}"
        );
    }
}

#[test]
fn a_directory_that_is_no_bundle_is_an_error() {
    let draft = Draft::new();
    let ran = draft.run(&["policy", "check", "missing"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("missing: No such file"), "{ran:?}");
    fs::create_dir(draft.root.path().join("empty")).unwrap();
    let ran = draft.run(&["policy", "check", "empty", "--json"]);
    let value = parsed(&ran.stdout);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        value["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["file"] == "bundle.toml"),
        "{value}"
    );
    fs::write(draft.path().join("policies/notes.exe"), "x").unwrap();
    assert_eq!(draft.check("check").0, 1, "a member that nobody knows");
    fs::remove_file(draft.path().join("policies/notes.exe")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", draft.path().join("policies/more.cedar")).unwrap();
    let ran = draft.run(&["policy", "check", draft.dir()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no regular file"), "{ran:?}");
}

#[test]
fn lint_warns_and_a_failing_test_is_named() {
    let draft = Draft::new();
    let open = "\n@id(\"anything\")\npermit (principal, action, resource);\n";
    let path = draft.path().join("policies/operators.cedar");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{open}")).unwrap();
    let (code, value) = draft.check("lint");
    assert_eq!(code, 1, "{value}");
    let rules: Vec<&str> = value["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["rule"].as_str().unwrap())
        .collect();
    assert!(
        rules.contains(&"unconstrained-permit") && rules.contains(&"no-description"),
        "{rules:?}"
    );
    let ran = draft.run(&["policy", "test", draft.dir()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("failed") && ran.stdout.contains("tests/agents.toml:"),
        "{ran:?}"
    );
}

#[test]
fn diff_tells_what_changed_by_policy() {
    let (old, new) = (Draft::new(), Draft::new());
    let ran = old.run(&["policy", "diff", old.dir(), new.dir()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no difference\n"));
    new.edit(
        "policies/agents.cedar",
        "@id(\"agents-read\")",
        "@id(\"agents-look\")",
    );
    new.edit("bundle.toml", "revision = 1", "revision = 2");
    new.edit(
        "policies/agents.cedar",
        "when { context.in_workspace }\nunless { Wordlist::\"tool-profiles\".words.contains(context.profile) };",
        ";",
    );
    let ran = old.run(&["policy", "diff", old.dir(), new.dir(), "--json"]);
    let value = parsed(&ran.stdout);
    assert_eq!(
        (&value["added"], &value["removed"]),
        (
            &serde_json::json!(["agents-look"]),
            &serde_json::json!(["agents-read"])
        )
    );
    assert_eq!(value["members"]["bundle.toml"], "changed");
    let text = old.run(&["policy", "diff", old.dir(), new.dir()]).stdout;
    assert!(
        text.contains("+ agents-look") && text.contains("- agents-read"),
        "{text}"
    );
}

/// A domain, and a bundle's directory whose revision is one above what is in force.
fn domain_with_next() -> (Domain, Draft) {
    let (domain, draft) = (Domain::new(), Draft::new());
    draft.edit("bundle.toml", "revision = 1", "revision = 2");
    (domain, draft)
}

fn revision(domain: &Domain) -> Value {
    domain.json(&["policy", "status"])["active"]["revision"].clone()
}

#[test]
fn activation_puts_a_bundle_in_force_from_the_next_decision_on() {
    let (domain, draft) = domain_with_next();
    assert_eq!(
        domain.run(&["run", "--as", "agent:coder", "--", "ls"]).code,
        0
    );
    let forbid = "\n@id(\"no-looking\")\n@description(\"Nobody looks.\")\nforbid (principal in Group::\"agents\", action, resource in Toolset::\"readers\");\n";
    let path = draft.path().join("policies/agents.cedar");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{forbid}")).unwrap();
    // The bundle's own tests say otherwise: nothing changes.
    let said = domain.fails(1, &["policy", "activate", draft.dir()]);
    assert!(
        said.contains("own tests fail") && said.contains("tests/agents.toml"),
        "{said}"
    );
    assert_eq!(revision(&domain), 1);
    fs::remove_dir_all(draft.path().join("tests")).unwrap();
    let ran = domain.run(&["policy", "activate", draft.dir()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("in force: starter revision 2"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("no-tests"),
        "the lint was not shown: {ran:?}"
    );
    assert_eq!(revision(&domain), 2);
    let ran = domain.run(&["run", "--as", "agent:coder", "--", "ls"]);
    assert_eq!(ran.code, DENIED, "{ran:?}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn an_activation_that_cannot_be_says_what_to_do() {
    let (domain, draft) = domain_with_next();
    draft.edit("bundle.toml", "revision = 2", "revision = 1");
    let said = domain.fails(1, &["policy", "activate", draft.dir()]);
    assert!(said.contains("in force already"), "{said}");
    draft.edit(
        "bundle.toml",
        "description = \"",
        "description = \"Another. ",
    );
    let said = domain.fails(1, &["policy", "activate", draft.dir()]);
    assert!(said.contains("set `revision = 2` in bundle.toml"), "{said}");
    draft.edit("bundle.toml", "revision = 1", "revision = 2");
    draft.edit("policies/guards.cedar", "forbid (", "forbidd (");
    let said = domain.fails(1, &["policy", "activate", draft.dir()]);
    assert!(said.contains("policies/guards.cedar"), "{said}");
    draft.edit("policies/guards.cedar", "forbidd (", "forbid (");
    let key = domain.dir().join("keys/operator.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let said = domain.fails(1, &["policy", "activate", draft.dir()]);
    assert!(
        said.contains("operator.key") && said.contains("only an operator"),
        "{said}"
    );
    // A key that the domain does not know signs nothing.
    let other = Domain::named("placet.test/other");
    fs::copy(other.dir().join("keys/operator.key"), &key).unwrap();
    let said = domain.fails(DENIED, &["policy", "activate", draft.dir()]);
    assert!(said.contains("invalid_signature"), "{said}");
    assert_eq!(revision(&domain), 1);
    fs::remove_file(&key).unwrap();
    fs::write(&key, kept).unwrap();
    set_mode(&key, 0o600);
    domain.ok(&["policy", "activate", draft.dir()]);
    assert_eq!(revision(&domain), 2);
}

#[test]
fn a_rollback_brings_earlier_content_back_under_a_new_revision() {
    let (domain, draft) = domain_with_next();
    let said = domain.fails(1, &["policy", "rollback"]);
    assert!(said.contains("no other bundle"), "{said}");
    draft.edit(
        "policies/operators.cedar",
        "Operators may run any program",
        "Operators may run everything",
    );
    domain.ok(&["policy", "activate", draft.dir()]);
    let back = domain.json(&["policy", "rollback"]);
    assert_eq!(
        (&back["revision"], &back["content_of_revision"]),
        (&3.into(), &1.into())
    );
    let again = domain.json(&["policy", "rollback", "--to", "2"]);
    assert_eq!(
        (&again["revision"], &again["content_of_revision"]),
        (&4.into(), &2.into())
    );
    for revision in ["4", "9"] {
        let said = domain.fails(1, &["policy", "rollback", "--to", revision]);
        assert!(said.contains(&format!("revision {revision}")), "{said}");
    }
    let status = domain.json(&["policy", "status"]);
    let history: Vec<&Value> = status["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["revision"])
        .collect();
    assert_eq!(
        history,
        [1, 2, 3, 4].map(Value::from).iter().collect::<Vec<_>>()
    );
    assert_eq!(status["active"]["revision"], 4);
    let text = domain.ok(&["policy", "status"]);
    assert!(
        text.contains("in force: starter revision 4") && text.contains("30 permits"),
        "{text}"
    );
    let explained = {
        domain.ok(&["run", "--", "true"]);
        domain.ok(&["explain", "7"])
    };
    assert!(
        explained.contains("Operators may run everything"),
        "{explained}"
    );
    // The kept bundle is the only source of what it held.
    let digest = status["history"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let kept = domain.dir().join(format!("bundles/{digest}.bundle"));
    edit(&kept, "starter", "Starter");
    let said = domain.fails(UNVERIFIED, &["policy", "rollback", "--to", "1"]);
    assert!(said.contains("the kept bundle of revision 1"), "{said}");
    fs::remove_file(&kept).unwrap();
    let said = domain.fails(1, &["policy", "rollback", "--to", "1"]);
    assert!(said.contains("not kept here"), "{said}");
}

#[test]
fn the_status_of_a_domain_whose_bundle_is_gone_is_not_good() {
    let domain = Domain::new();
    assert_eq!(revision(&domain), 1);
    for kept in fs::read_dir(domain.dir().join("bundles")).unwrap() {
        fs::remove_file(kept.unwrap().path()).unwrap();
    }
    let ran = domain.run(&["policy", "status"]);
    assert_eq!(ran.code, UNVERIFIED, "{ran:?}");
    assert!(ran.stdout.contains("not usable here"), "{ran:?}");
}
