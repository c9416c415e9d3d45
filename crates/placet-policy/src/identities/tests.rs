use proptest::prelude::*;

use super::*;
use crate::Problem;

const ISSUER: &str = "https://idp.example";

fn mapping(text: &str) -> Mapping {
    read(text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn one(rule: &str) -> Result<Mapping, Vec<Problem>> {
    read(&format!("[[identity]]\ndescription = \"d\"\n{rule}\n"))
}

fn token(subject: &str, claims: &[(&str, &[&str])]) -> TokenIdentity {
    let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    TokenIdentity {
        claims: claims
            .iter()
            .map(|(name, values)| ((*name).to_owned(), set(values)))
            .collect(),
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
    }
}

fn found(mapping: &Mapping, caller: &Caller) -> Vec<String> {
    let all = mapping.principals(caller);
    all.into_iter().map(|id| id.to_string()).collect()
}

fn of_token(mapping: &Mapping, identity: TokenIdentity) -> Vec<String> {
    found(mapping, &Caller::Token(Box::new(identity)))
}

#[test]
fn a_token_is_mapped_by_issuer_subject_and_every_claim() {
    let mapping = mapping(&format!(
        r#"
        [[identity]]
        description = "Developers, by name."
        principal = "user:{{sub}}"
        [identity.oidc]
        issuer = "{ISSUER}"
        claims = {{ groups = ["dev", "ops"], email_verified = "true" }}
        [[identity]]
        description = "The release job."
        principal = "ci:release"
        oidc = {{ issuer = "{ISSUER}", subject = "repo:main" }}
        "#
    ));
    let verified: (&str, &[&str]) = ("email_verified", &["true"]);
    let dev = token("ana", &[("groups", &["dev", "x"]), verified]);
    assert_eq!(of_token(&mapping, dev.clone()), ["user:ana"]);
    assert_eq!(of_token(&mapping, token("repo:main", &[])), ["ci:release"]);
    for other in [
        token("ana", &[("groups", &["dev"])]),
        token("ana", &[("groups", &["devs"]), verified]),
        token("ana", &[verified]),
        // No name of a principal: nothing is made to fit.
        token("an a", &[("groups", &["dev"]), verified]),
        TokenIdentity {
            issuer: "https://idp.example/".into(),
            ..dev.clone()
        },
    ] {
        assert!(of_token(&mapping, other.clone()).is_empty(), "{other:?}");
    }
    // What no rule names is not kept.
    let narrow = mapping.narrow(token(
        "ana",
        &[("groups", &["dev", "secret"]), ("phone", &["1"]), verified],
    ));
    assert_eq!(narrow, token("ana", &[("groups", &["dev"]), verified]));
    assert_eq!(of_token(&mapping, narrow), ["user:ana"]);
}

#[test]
fn a_claim_with_two_values_names_nobody() {
    let rule = format!("principal = \"user:{{login}}\"\noidc = {{ issuer = \"{ISSUER}\" }}");
    let mapping = one(&rule).unwrap();
    assert_eq!(
        of_token(&mapping, token("1", &[("login", &["ana"])])),
        ["user:ana"]
    );
    assert!(of_token(&mapping, token("1", &[("login", &["ana", "bob"])])).is_empty());
    assert!(of_token(&mapping, token("1", &[])).is_empty());
}

#[test]
fn a_workload_is_mapped_by_its_whole_id_or_by_one_part_at_its_end() {
    let mapping = mapping(
        r#"
        [[identity]]
        description = "One."
        principal = "agent:one"
        spiffe = "spiffe://example.org/one"
        [[identity]]
        description = "Builds."
        principal = "ci:{*}"
        spiffe = "spiffe://example.org/ci/*"
        "#,
    );
    let of = |id: &str| found(&mapping, &Caller::Spiffe(SpiffeId::parse(id).unwrap()));
    assert_eq!(of("spiffe://example.org/one"), ["agent:one"]);
    assert_eq!(of("spiffe://example.org/ci/build"), ["ci:build"]);
    for other in [
        "spiffe://example.org/ci",
        "spiffe://example.org/ci/a/b",
        "spiffe://example.org/one/x",
        "spiffe://example.com/one",
        "spiffe://example.org.evil/ci/build",
    ] {
        assert!(of(other).is_empty(), "{other}");
    }
}

#[test]
fn keys_and_users_are_mapped_too_and_nothing_to_another_kind() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mapping = mapping(&format!(
        "[[identity]]\ndescription = \"k\"\nprincipal = \"agent:k\"\nkey = \"{key}\"\n\
         [[identity]]\ndescription = \"u\"\nprincipal = \"user:u\"\nunix = 1000\n"
    ));
    let key = Caller::Key(Thumbprint::parse(key).unwrap());
    assert_eq!(found(&mapping, &key), ["agent:k"]);
    assert_eq!(found(&mapping, &Caller::Unix(1000)), ["user:u"]);
    assert!(found(&mapping, &Caller::Unix(1001)).is_empty());
    assert!(of_token(&mapping, token("1000", &[])).is_empty());
}

#[test]
fn a_rule_that_says_more_or_less_than_one_thing_is_refused() {
    let oidc = format!("oidc = {{ issuer = \"{ISSUER}\" }}");
    for rule in [
        "principal = \"user:a\"".to_owned(),
        format!("principal = \"user:a\"\nunix = 1\n{oidc}"),
        format!("principal = \"user\"\n{oidc}"),
        format!("principal = \"{{sub}}\"\n{oidc}"),
        format!("principal = \"{{sub}}:a\"\n{oidc}"),
        format!("principal = \"user:{{sub}}{{x}}\"\n{oidc}"),
        format!("principal = \"user:{{*}}\"\n{oidc}"),
        "principal = \"user:{sub}\"\nunix = 1".to_owned(),
        "principal = \"user:a\"\nspiffe = \"spiffe://example.org/*/a\"".to_owned(),
        "principal = \"user:a\"\nspiffe = \"spiffe://*\"".to_owned(),
        "principal = \"user:a\"\nspiffe = \"spiffe://example.org/a*\"".to_owned(),
        "principal = \"user:a\"\nkey = \"short\"".to_owned(),
        "principal = \"user:a\"\noidc = { issuer = \"idp.example\" }".to_owned(),
        format!("principal = \"user:a\"\noidc = {{ issuer = \"{ISSUER}?x\" }}"),
        format!(
            "principal = \"user:a\"\noidc = {{ issuer = \"{ISSUER}\", claims = {{ sub = \"x\" }} }}"
        ),
        format!(
            "principal = \"user:a\"\noidc = {{ issuer = \"{ISSUER}\", claims = {{ a = [] }} }}"
        ),
        format!("principal = \"user:a\"\noidc = {{ issuer = \"{ISSUER}\", group = \"x\" }}"),
    ] {
        assert!(one(&rule).is_err(), "{rule}");
    }
    let bare = read("[[identity]]\ndescription = \" \"\nprincipal = \"user:a\"\nunix = 1\n");
    assert_eq!(bare.unwrap_err()[0].line, Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What a decision is made of is what was kept of the token; it must mean the same.
    #[test]
    fn narrowing_changes_no_answer(
        subject in "[a-c]{1,2}",
        claims in prop::collection::btree_map("[a-c]", prop::collection::btree_set("[a-c]", 0..3), 0..3),
    ) {
        let mapping = mapping(&format!(
            "[[identity]]\ndescription = \"1\"\nprincipal = \"user:{{a}}\"\n\
             oidc = {{ issuer = \"{ISSUER}\", claims = {{ b = [\"a\", \"b\"] }} }}\n\
             [[identity]]\ndescription = \"2\"\nprincipal = \"user:two\"\n\
             oidc = {{ issuer = \"{ISSUER}\", subject = \"a\", claims = {{ a = \"c\" }} }}\n"
        ));
        let identity = TokenIdentity { claims, issuer: ISSUER.into(), subject };
        let narrow = mapping.narrow(identity.clone());
        prop_assert_eq!(of_token(&mapping, narrow), of_token(&mapping, identity));
    }

    #[test]
    fn arbitrary_rules_never_panic(text in "\\PC{0,120}") {
        drop(read(&text));
    }
}
