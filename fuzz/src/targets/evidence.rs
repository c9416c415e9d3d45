//! `placet-evidence`: records and proof bundles.

use std::sync::LazyLock;

use placet_artifact::Envelope;
use placet_evidence::proof_bundle::{self, ProofBundle};
use placet_evidence::{Connections, Entry};
use placet_types::{SigningKey, canonical};
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
