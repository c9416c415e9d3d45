use super::*;
use crate::testing::{files, problems};
use crate::{Bundle, Policy};

const CEDAR: &str = "@id(\"a\") @profile(\"q\") @lifetime(\"10m\")
    permit(principal in Group::\"agents\", action, resource in Toolset::\"readers\");
    @id(\"b\") forbid(principal, action, resource) when { context.history.denial_streak > 3 };
    @id(\"c\") forbid(principal, action, resource) when { context.depth > 3 };";

fn report(tests: &str) -> TestReport {
    let changes = [
        ("policies/a.cedar", Some(CEDAR)),
        ("tests/t.toml", Some(tests)),
    ];
    let bundle = Bundle::read(&files(&changes)).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run_tests(&bundle, &Policy::compile(&bundle).unwrap())
}

/// What the only case differs in.
fn failure(expected: &str) -> Option<String> {
    let text = format!(
        "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\ngroups = [\"agents\"]\nargv = [\"cat\"]\n{expected}"
    );
    let report = report(&text);
    assert_eq!(report.results.len(), 1);
    report.results[0].failure.clone()
}

#[test]
fn what_differs_is_named() {
    for sound in [
        "expect = \"permit\"\npolicies = [\"a\"]\nprofiles = [\"q\"]\nlifetime = \"10m\"",
        "expect = \"permit\"",
        "expect = \"deny\"\ndepth = 4",
        "expect = \"policy_forbids\"\nhistory = { denial_streak = 4 }\npolicies = [\"b\"]",
        "expect = \"no_permit\"\nprogram = \"/opt/cat\"\npolicies = []",
    ] {
        assert_eq!(failure(sound), None, "{sound}");
    }
    for (wrong, words) in [
        ("expect = \"deny\"", "expected deny, found permit by a"),
        (
            "expect = \"permit\"\ndepth = 4",
            "expected permit, found policy_forbids by c",
        ),
        (
            "expect = \"permit\"\npolicies = [\"b\"]",
            "expected it by b, found it by a",
        ),
        (
            "expect = \"permit\"\npolicies = []",
            "expected it by no policy, found it by a",
        ),
        (
            "expect = \"permit\"\nprofiles = [\"p\"]",
            "expected profiles",
        ),
        (
            "expect = \"permit\"\nlifetime = \"1h\"",
            "expected a lifetime of 3600 s, found 600 s",
        ),
        (
            "expect = \"policy_error\"",
            "expected policy_error, found permit by a",
        ),
    ] {
        let found = failure(wrong).unwrap();
        assert!(found.contains(words), "{wrong}: {found}");
    }
}

#[test]
fn coverage_is_of_policies_that_determined_an_answer() {
    let report = report(
        "[defaults]\nprincipal = \"agent:a\"\ngroups = [\"agents\"]\n\
         [[test]]\nname = \"one\"\nlines = [\"cat a\", \"ls b\"]\nexpect = \"permit\"\n\
         [[test]]\nname = \"two\"\nlines = [\"cat\"]\nexpect = \"permit\"\ndepth = 9\n",
    );
    assert_eq!(report.results.len(), 3);
    assert_eq!(
        report
            .failures()
            .map(|f| f.name.as_str())
            .collect::<Vec<_>>(),
        ["two"]
    );
    assert!(!report.passed());
    assert!(report.covered.contains("a") && report.covered.contains("c"));
    assert_eq!(report.uncovered.iter().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn another_answer_is_not_expected_of_the_default_policies() {
    let report = report(
        "[defaults]\nprincipal = \"agent:a\"\ngroups = [\"agents\"]\nexpect = \"permit\"\npolicies = [\"a\"]\n\
         [[test]]\nname = \"one\"\nlines = [\"cat\"]\n\
         [[test]]\nname = \"two\"\nlines = [\"cat\"]\ndepth = 9\nexpect = \"policy_forbids\"\n",
    );
    assert!(report.passed(), "{report:#?}");
}

#[test]
fn tests_that_would_check_nothing_are_refused() {
    for (text, word) in [
        (
            "[[test]]\nprincipal = \"agent:a\"\nargv = [\"x\"]\nexpect = \"deny\"",
            "needs a `name`",
        ),
        (
            "[[test]]\nname = \"t\"\nargv = [\"x\"]\nexpect = \"deny\"",
            "needs a `principal`",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nargv = [\"x\"]",
            "`expect` is",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nargv = [\"x\"]\nexpect = \"no\"",
            "`expect` is",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nexpect = \"deny\"",
            "either `argv` or `lines`",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nexpect = \"deny\"\nlines = []",
            "check nothing",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nexpect = \"deny\"\nlines = [\" \"]",
            "command is empty",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"a\"\nexpect = \"deny\"\nlines = [\"x\"]",
            "kind:name",
        ),
        (
            "[[test]]\nname = \"t\"\nprincipal = \"agent:a\"\nexpect = \"deny\"\nlines = [\"x\"]\nprogram = \"x\"",
            "absolute",
        ),
    ] {
        let found = problems(&[("tests/t.toml", Some(text))]);
        assert!(
            found.len() == 1 && found[0].contains(word),
            "{word}: {found:#?}"
        );
        assert!(found[0].starts_with("tests/t.toml:"), "{found:#?}");
    }
}

#[test]
fn identities_are_tested_like_policies() {
    let rules = "[[identity]]\ndescription = \"Builds.\"\nprincipal = \"ci:{*}\"\nspiffe = \"spiffe://example.org/ci/*\"\n";
    let tests = |principals: &str| {
        format!(
            "[[identity]]\nname = \"a build\"\nis = {{ spiffe = \"spiffe://example.org/ci/one\" }}\nprincipals = [{principals}]\n\
             [[identity]]\nname = \"nobody\"\nis = {{ unix = 0 }}\nprincipals = []\n"
        )
    };
    let failures = |principals: &str| {
        let tests = tests(principals);
        let changes = [
            ("identities.toml", Some(rules)),
            ("tests/t.toml", Some(&*tests)),
        ];
        let bundle = Bundle::read(&files(&changes)).unwrap_or_else(|all| panic!("{all:#?}"));
        let report = run_tests(&bundle, &Policy::compile(&bundle).unwrap());
        assert_eq!(report.results.len(), 2);
        let failures = report.failures().map(|it| it.failure.clone().unwrap());
        failures.collect::<Vec<_>>()
    };
    assert!(failures("\"ci:one\"").is_empty());
    assert_eq!(failures("\"ci:two\""), ["expected ci:two, found ci:one"]);
    let wrong = problems(&[(
        "tests/t.toml",
        Some("[[identity]]\nname = \"n\"\nis = {}\nprincipals = []\n"),
    )]);
    assert!(wrong[0].contains("tests/t.toml:1"), "{wrong:?}");
}
