use super::*;
use crate::Severity;
use crate::testing::{PROFILE, files};

const TEST: &str =
    "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nargv = [\"x\"]\nexpect = \"permit\"\n";

fn found(changes: &[(&str, Option<&str>)]) -> Vec<String> {
    let bundle = Bundle::read(&files(changes)).unwrap();
    let policy = Policy::compile(&bundle).unwrap();
    let found = lint(&bundle, &policy, Some(Millis::new(1_795_262_400_000)));
    assert!(
        found
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    found.iter().map(ToString::to_string).collect()
}

fn of_cedar(cedar: &str) -> Vec<String> {
    found(&[
        ("policies/a.cedar", Some(cedar)),
        ("tests/t.toml", Some(TEST)),
    ])
}

#[test]
fn lint_names_what_permits_everyone_everything() {
    assert_eq!(
        of_cedar("@id(\"a\") permit(principal, action, resource);"),
        [
            "policies/a.cedar:1: warning: `a` has no @description: say why it is there [no-description]",
            "policies/a.cedar:1: warning: `a` permits everyone everything [unconstrained-permit]",
        ]
    );
    let open = of_cedar(
        "@id(\"a\") @description(\"d\") permit(principal is Principal, action, resource) when { context.depth < 9 };",
    );
    assert_eq!(
        open,
        [
            "policies/a.cedar:1: warning: `a` permits every principal every resource on a condition alone [open-permit]"
        ]
    );
}

#[test]
fn lint_names_policies_that_can_never_apply() {
    let lines = of_cedar(
        "@id(\"a\") @description(\"d\") permit(principal in Group::\"agents\", action, resource);\n\
         @id(\"b\") @description(\"d\") forbid(principal in Group::\"agents\", action, resource) when { false };",
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("policies/a.cedar:2:") && l.contains("[validator]")),
        "{lines:#?}"
    );
}

#[test]
fn lint_names_groups_that_are_probably_misspelt() {
    let lines = of_cedar(
        "@id(\"a\") @description(\"d\") permit(principal in Group::\"agnets\", action, resource);\n\
         @id(\"b\") @description(\"d\") permit(principal in Group::\"all\", action, resource) unless { principal in Group::\"x\" };",
    );
    let groups: Vec<_> = lines
        .iter()
        .filter(|l| l.contains("[unknown-group]"))
        .collect();
    assert_eq!(groups.len(), 2, "{lines:#?}");
    assert!(
        groups[0].contains("`a` names Group::\"agnets\""),
        "{lines:#?}"
    );
}

#[test]
fn lint_names_forbids_that_options_escape() {
    let forbid = |condition: &str| {
        of_cedar(&format!(
            "@id(\"a\") @description(\"d\") permit(principal in Group::\"all\", action, resource);\n\
             @id(\"b\") @description(\"d\") forbid(principal in Group::\"all\", action, resource) when {{ {condition} }};"
        ))
        .iter()
        .any(|line| line.contains("[forbid-by-position]"))
    };
    assert!(forbid("context.verb == \"push\""));
    assert!(!forbid(
        "context.verb == \"push\" || context.args.contains(\"push\")"
    ));
    assert!(!forbid("context.depth > 3"));
}

#[test]
fn lint_counts_forbids_that_every_decision_pays_for() {
    let cedar = |count: usize| -> String {
        (0..count)
            .map(|i| format!("@id(\"f{i}\") @description(\"d\") forbid(principal, action, resource) when {{ context.depth > {i} }};\n"))
            .collect()
    };
    let named = |count| {
        of_cedar(&cedar(count))
            .iter()
            .any(|line| line.contains("[open-forbids]"))
    };
    assert!(!named(8));
    assert!(named(9));
}

#[test]
fn lint_asks_for_tests() {
    let permit = "@id(\"a\") @description(\"d\") permit(principal in Group::\"agents\", action, resource);\n";
    assert_eq!(
        found(&[("policies/a.cedar", Some(permit))]),
        [
            "tests: warning: the bundle has no tests: add tests/*.toml, they run before each activation [no-tests]"
        ]
    );
    assert_eq!(
        of_cedar(permit),
        ["policies/a.cedar:1: warning: no test depends on `a` [untested]"]
    );
}

#[test]
fn lint_names_profiles_that_give_away_too_much() {
    let profile = PROFILE
        .replace(
            "\"/usr\"]",
            "\"/usr\", \"${home}\", \"/\"]\nenv = [\"PATH\", \"NPM_TOKEN\", \"SSH_AUTH_SOCK\"]",
        )
        .replace("lifetime = \"1h\"", "lifetime = \"2h\"");
    let lines = found(&[("profiles/p.toml", Some(&profile))]);
    for word in [
        "`/`",
        "`${home}`",
        "NPM_TOKEN",
        "SSH_AUTH_SOCK",
        "limits.wall",
    ] {
        let hit = |line: &String| line.starts_with("profiles/p.toml: ") && line.contains(word);
        assert!(lines.iter().any(hit), "{word}: {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("`PATH`")));
}

#[test]
fn lint_says_when_a_bundle_is_out_of_its_time() {
    let about = |line: &str| {
        let text = format!(
            "name = \"b\"\nrevision = 1\ndescription = \"d\"\ndefault_profile = \"p\"\n{line}\n"
        );
        found(&[("bundle.toml", Some(&text))])
            .into_iter()
            .find(|line| line.contains("[validity]"))
    };
    assert!(
        about("expires = 2026-01-01T00:00:00Z")
            .unwrap()
            .contains("expired at 2026-01-01T00:00:00")
    );
    assert!(
        about("not_before = 2027-01-01T00:00:00Z")
            .unwrap()
            .contains("not valid yet")
    );
    assert_eq!(about("expires = 2027-01-01T00:00:00Z"), None);
}
