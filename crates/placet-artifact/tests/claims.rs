//! Claims have one spelling, and reading them is as strict as the canonical reader.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a broken fixture should stop the test"
)]

mod common;

use common::{claims, issue, key};
use placet_artifact::claims::{Actor, ArtifactId, ClaimsError, NumericDate};
use placet_artifact::jws::{Algorithm, BYTES_MAX};
use placet_artifact::{Artifact, Claims, IssueError, Unsigned};
use placet_types::canonical::{self, Bounds};
use placet_types::{AbsPath, ExecutionId, PathSet, PrincipalId};
use proptest::prelude::*;

/// What the canonical reader of `placet-types` makes of the same bytes, where no other bytes mean
/// the same: that reader lets a missing member be `null` and a set repeat itself.
fn by_the_canonical_reader(bytes: &[u8]) -> Option<Claims> {
    let claims: Claims = canonical::from_bytes(bytes, Bounds::RECORD).ok()?;
    (claims.encode().ok()? == bytes).then_some(claims)
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let actors = prop::collection::vec("agent:[a-z]{1,8}", 0..=8);
    let policies = prop::collection::btree_set(any::<String>(), 1..4);
    let reads = prop::collection::vec("(/[a-zé\"\\\\ ]{1,6}){1,3}", 0..5);
    let lineage = prop::option::of(any::<[u8; 16]>());
    let numbers = prop::array::uniform4(1..=(1_u64 << 53) - 2);
    (actors, policies, reads, lineage, numbers).prop_map(
        |(actors, policies, reads, parent, [nbf, length, lease, cpu])| {
            let mut claims = claims();
            let actors = actors
                .iter()
                .map(|name| PrincipalId::parse(name).unwrap())
                .collect();
            claims.act = Actor::chain(actors);
            claims.policy.determining = policies.into_iter().filter(|id| !id.is_empty()).collect();
            claims.policy.determining.insert("one".into());
            let [detail] = &mut claims.authorization_details;
            let scope = detail.scope.changed(|scope| {
                scope.write = PathSet::default();
                scope.read = PathSet::new(reads.iter().map(|path| AbsPath::parse(path).unwrap()));
                scope.limits.cpu_secs = cpu;
            });
            detail.scope = scope.unwrap();
            claims.parent = parent.map(ExecutionId::new);
            claims.txn = claims.parent.unwrap_or(claims.exec);
            claims.nbf = NumericDate::new(nbf);
            claims.exp = NumericDate::new(nbf.saturating_add(length).min((1 << 53) - 1));
            claims.iat = claims.nbf;
            claims.lease.interval_ms = lease;
            claims
        },
    )
}

proptest! {
    #[test]
    fn claims_and_their_text_are_one_to_one(claims in any_claims()) {
        let bytes = claims.encode().unwrap();
        prop_assert!(canonical::is_canonical(&bytes));
        prop_assert_eq!(Claims::decode(&bytes), Ok(claims.clone()));
        prop_assert_eq!(issue(&claims), issue(&claims));
    }

    #[test]
    fn reading_is_as_strict_as_the_canonical_reader_and_leaves_one_spelling(
        claims in any_claims(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..4,
        splice in "[\\x00-\\x7f]{0,4}|[0-9]{1,3}|[ ,:\"{}\\[\\]]{1,3}|\"uses\":1,",
    ) {
        let mut bytes = claims.encode().unwrap();
        let from = at.index(bytes.len());
        let to = (from + cut).min(bytes.len());
        bytes.splice(from..to, splice.bytes());
        prop_assert_eq!(Claims::decode(&bytes).ok(), by_the_canonical_reader(&bytes));
        let known = claims.detail().scope.clone();
        prop_assert_eq!(
            Claims::decode_knowing(&bytes, Some(&known)),
            Claims::decode(&bytes)
        );
    }

    #[test]
    fn a_scope_that_is_known_is_read_as_any_other(one in any_claims(), other in any_claims()) {
        let bytes = one.encode().unwrap();
        for known in [&one, &other] {
            let read = Claims::decode_knowing(&bytes, Some(&known.detail().scope));
            prop_assert_eq!(read, Ok(one.clone()));
        }
    }

    #[test]
    fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Claims::decode(&bytes).is_err());
    }
}

#[test]
fn claims_that_break_a_rule_of_their_form_are_not_read() {
    let good = String::from_utf8(claims().encode().unwrap()).unwrap();
    for (name, bytes) in common::alter::malformed(&good) {
        assert!(Claims::decode(&bytes).is_err(), "{name}");
    }
}

#[test]
fn an_issuer_cannot_issue_what_a_verifier_would_refuse() {
    let refused = |change: fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        let error = placet_artifact::issue(&claims, &key(1), Algorithm::EdDsa).unwrap_err();
        // Nor settle it, to be signed later.
        let unsigned = Unsigned::new(&claims, &key(1).public(), Algorithm::EdDsa);
        assert_eq!(unsigned.unwrap_err(), error);
        error
    };
    let other = |claims: &mut Claims| claims.jti = ArtifactId::of(ExecutionId::new([1; 16]));
    assert_eq!(
        refused(other),
        IssueError::Claims(ClaimsError::OtherExecution)
    );
    assert_eq!(
        refused(|claims| claims.uses = 2),
        IssueError::Claims(ClaimsError::Uses)
    );
    let many = |claims: &mut Claims| {
        claims.act = Actor::chain(vec![claims.sub.clone(); 1000]);
    };
    assert_eq!(
        refused(many),
        IssueError::Claims(ClaimsError::DelegationDepth)
    );
    let wide = |claims: &mut Claims| {
        let [detail] = &mut claims.authorization_details;
        let names = (0..3000).map(|i| format!("VARIABLE_{i}")).collect();
        detail.scope = detail.scope.changed(|scope| scope.env = names).unwrap();
    };
    assert_eq!(refused(wide), IssueError::TooLong);
}

#[test]
fn a_text_with_the_outer_form_is_read_and_a_longer_one_is_not() {
    let text = issue(&claims());
    assert_eq!(Artifact::parse(&text).unwrap().as_str(), text);
    assert!(Artifact::parse(&"a".repeat(BYTES_MAX + 1)).is_err());
}

#[test]
fn the_delegation_chain_names_everyone_in_it() {
    let name = |text: &str| PrincipalId::parse(text).unwrap();
    let mut claims = claims();
    assert_eq!(claims.actor(), &name("agent:coder"));
    claims.sub = name("user:alice");
    claims.act = Actor::chain(vec![name("agent:coder"), name("agent:planner")]);
    assert_eq!(claims.actor(), &name("agent:coder"));
    let everyone: Vec<_> = claims.principals().map(PrincipalId::as_str).collect();
    assert_eq!(everyone, ["user:alice", "agent:coder", "agent:planner"]);
}
