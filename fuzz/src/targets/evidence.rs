//! `placet-evidence`: records and proof bundles.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use placet_artifact::Envelope;
use placet_evidence::proof_bundle::{self, ProofBundle};
use placet_evidence::{Attestation, Backing, Connections, Entry, Environment};
use placet_types::{Digest, DomainName, Fixed, SigningKey, canonical};
use zeroize::Zeroizing;

/// The log that signed the seeds of [`verify_bundle`], and those seeds.
const POLICY: &[u8] = include_bytes!("../../trusted/policy");
const PERMIT: &[u8] = include_bytes!("../../corpus/verify_bundle/permit");
const DENIAL: &[u8] = include_bytes!("../../corpus/verify_bundle/denial");

/// Every entry that a seed proves.
static SIGNED: LazyLock<Vec<String>> =
    LazyLock::new(|| [PERMIT, DENIAL].into_iter().flat_map(entries).collect());

/// A record that is read is written again with the same payload.
pub(crate) fn entry(data: &[u8]) -> bool {
    let Ok(record) = Entry::from_bytes(data.to_vec()).read() else {
        return false;
    };
    let key = SigningKey::from_seed(&Zeroizing::new([1; 32]));
    let sealed = Entry::seal(&record, &key).unwrap();
    assert_eq!(sealed.open(&key.public()).unwrap().record(), &record);
    let payload = |bytes: &[u8]| {
        Envelope::decode(bytes)
            .unwrap()
            .unverified_payload()
            .to_vec()
    };
    assert_eq!(payload(sealed.as_bytes()), payload(data));
    true
}

/// An attestation has one spelling, and one with a quote verifies under no key.
pub(crate) fn attestation(data: &[u8]) -> bool {
    let Ok(attestation) = Attestation::decode(data) else {
        return false;
    };
    assert_eq!(
        canonical::to_bytes(&attestation).ok().as_deref(),
        Some(data)
    );
    let nonce = attestation.nonce;
    assert_eq!(nonce.to_string().parse(), Ok(nonce));
    // Whoever makes up a key can sign with it; what cannot be appraised verifies with none.
    let domain = DomainName::parse("placet.example/fuzz").unwrap();
    let environment = Fixed::new(Environment {
        arch: "x86_64".into(),
        boot: "b".into(),
        container: None,
        distribution: "debian 13".into(),
        gateway: "0.1.0".into(),
        gateway_digest: None,
        kernel: "6.18".into(),
        landlock_abi: 7,
        machine: Digest::of(b"m"),
        region: None,
        tier: None,
        weaker: BTreeSet::new(),
        zone: None,
    })
    .unwrap();
    let holder = attestation.key.thumbprint();
    let verified = attestation.verify(&domain, &environment, &holder).is_ok();
    assert!(!verified || matches!(attestation.backing, Backing::SelfReported));
    true
}

/// A list of connections is canonical.
pub(crate) fn connections(data: &[u8]) -> bool {
    let Ok(list) = Connections::read_list(data) else {
        return false;
    };
    assert_eq!(canonical::to_bytes(&list).ok().as_deref(), Some(data));
    true
}

/// A bundle need not be canonical: what is written of it reads back the same.
pub(crate) fn proof_bundle(data: &[u8]) -> bool {
    let Ok(bundle) = ProofBundle::parse(data) else {
        return false;
    };
    assert_eq!(
        ProofBundle::parse(&bundle.encode().unwrap()).as_ref(),
        Ok(&bundle)
    );
    let own = proof_bundle::verify(data, bundle.policy.as_bytes());
    assert_eq!(own.holds(), own.failed().is_none() && !own.steps.is_empty());
    true
}

/// A bundle that holds under the trusted policy is about records that the seeds' log signed.
pub(crate) fn verify_bundle(data: &[u8]) -> bool {
    let report = proof_bundle::verify(data, POLICY);
    if !report.holds() {
        assert_eq!(
            report.record, None,
            "a record is given though a step failed"
        );
        return false;
    }
    for entry in entries(data) {
        assert!(
            SIGNED.contains(&entry),
            "a record was proven that the log never signed"
        );
    }
    true
}

fn entries(bundle: &[u8]) -> Vec<String> {
    let bundle = ProofBundle::parse(bundle).unwrap();
    let all = [bundle.genesis, bundle.record]
        .into_iter()
        .chain(bundle.related);
    all.map(|proven| proven.entry).collect()
}
