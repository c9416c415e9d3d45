//! `placet-artifact`: envelopes, artifacts, receipts.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_artifact::artifact::digest_of;
use placet_artifact::claims::Thumbprint;
use placet_artifact::jws::{Compact, Header};
use placet_artifact::receipt::KnownLog;
use placet_artifact::{Artifact, Claims, Envelope, Receipt};
use placet_tlog::Policy;
use placet_types::Digest;

/// The log that signed the seed of [`receipt`], the artifact it is for, and that seed.
const POLICY: &[u8] = include_bytes!("../../trusted/policy");
const ARTIFACT: &str = include_str!("../../trusted/artifact");
const RECEIPT: &[u8] = include_bytes!("../../corpus/receipt/good");

static LOG: LazyLock<KnownLog> = LazyLock::new(|| KnownLog::new(Policy::parse(POLICY).unwrap()));

pub(crate) fn dsse(data: &[u8]) -> bool {
    let Ok(envelope) = Envelope::decode(data) else {
        return false;
    };
    assert_eq!(envelope.encode(), data);
    true
}

/// The parts, encoded again, are the text; so is a header that is understood.
pub(crate) fn jws(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(compact) = Compact::parse(text) else {
        return false;
    };
    let parts = [
        compact.header(),
        compact.payload(),
        compact.signature().as_bytes(),
    ];
    assert_eq!(
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."),
        text
    );
    if let Ok(header) = Header::decode(compact.header()) {
        assert_eq!(header.encode().as_bytes(), compact.header());
    }
    true
}

pub(crate) fn claims(data: &[u8]) -> bool {
    let Ok(claims) = Claims::decode(data) else {
        return false;
    };
    assert_eq!(claims.encode().as_deref(), Ok(data));
    true
}

pub(crate) fn artifact(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(artifact) = Artifact::parse(text) else {
        return false;
    };
    assert_eq!(artifact.as_str(), text);
    let signed = text.rsplit_once('.').map_or(text, |(signed, _)| signed);
    assert_eq!(artifact.digest(), Digest::of(signed.as_bytes()));
    assert!(artifact.signature().is_ok());
    true
}

pub(crate) fn thumbprint(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(thumbprint) = Thumbprint::parse(text) else {
        return false;
    };
    assert_eq!(thumbprint.as_str(), text);
    true
}

/// Two bytes for the entry's length, big-endian, the entry, the proof. The seed proves an artifact;
/// what else proves it must hold the same entry, for nobody here can sign for the log.
pub(crate) fn receipt(data: &[u8]) -> bool {
    let Some(receipt) = split(data) else {
        return false;
    };
    let Ok(index) = receipt.prove(&digest_of(ARTIFACT), &LOG) else {
        return false;
    };
    let good = split(RECEIPT).unwrap();
    assert_eq!(
        receipt.entry, good.entry,
        "an entry was proven that the log never signed"
    );
    assert_eq!(Ok(index), good.prove(&digest_of(ARTIFACT), &LOG));
    true
}

fn split(data: &[u8]) -> Option<Receipt> {
    let (len, rest) = data.split_first_chunk::<2>()?;
    let (entry, proof) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some(Receipt {
        entry: entry.to_vec(),
        proof: proof.to_vec(),
    })
}
