//! `@approvals`: what a permit needs approved.

use placet_evidence::Needed;
use placet_types::Seconds;

use crate::testing::{Asked, policy, problems};

fn bundle(annotation: &str) -> String {
    format!("@id(\"a\") {annotation} permit(principal, action, resource);")
}

fn needed(count: u32, groups: &[&str]) -> Needed {
    Needed {
        count,
        groups: groups.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn a_permit_says_who_must_approve_and_how_long_it_waits() {
    let cases = [
        ("@approvals(\"1 of leads\")", needed(1, &["leads"]), 3600),
        (
            "@approvals(\"2 of security, leads within 10m\")",
            needed(2, &["leads", "security"]),
            600,
        ),
    ];
    for (annotation, need, within) in cases {
        let evaluation =
            policy(&bundle(annotation)).evaluate(&Asked::of("/usr/bin/cat", &["cat"]).request());
        assert_eq!(evaluation.obligations.approvals, [need]);
        assert_eq!(evaluation.obligations.within, Some(Seconds::new(within)));
    }
}

#[test]
fn every_determining_permit_is_approved_and_the_shortest_wait_counts() {
    let both = "@id(\"a\") @approvals(\"1 of leads within 2h\") permit(principal, action, resource);\n\
                @id(\"b\") @approvals(\"2 of security within 1h\") permit(principal, action, resource);\n\
                @id(\"c\") permit(principal, action, resource);";
    let evaluation = policy(both).evaluate(&Asked::of("/usr/bin/cat", &["cat"]).request());
    let needs = [needed(1, &["leads"]), needed(2, &["security"])];
    assert_eq!(evaluation.obligations.approvals, needs);
    assert_eq!(evaluation.obligations.within, Some(Seconds::new(3600)));
}

#[test]
fn what_nobody_could_carry_out_is_refused() {
    for text in [
        "",
        "leads",
        "0 of leads",
        "17 of leads",
        "1 of",
        "1 of ",
        "1 of a b",
        "1 of a,,b",
        "1 of leads within",
        "1 of leads within 8d",
        "1 of leads within 0s",
        "-1 of leads",
        "one of leads",
    ] {
        let found = problems(&[(
            "policies/a.cedar",
            Some(&bundle(&format!("@approvals(\"{text}\")"))),
        )]);
        assert!(
            found.iter().any(|line| line.contains("@approvals")),
            "{text:?}: {found:?}"
        );
    }
    let forbid = "@id(\"a\") @approvals(\"1 of leads\") forbid(principal, action, resource);";
    assert_eq!(problems(&[("policies/a.cedar", Some(forbid))]).len(), 1);
}
