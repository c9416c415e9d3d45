//! The steps that need nothing but the pins: from bounds to signature, the issuer, the receipt.

use std::sync::{Mutex, PoisonError};

use placet_types::canonical::Malformed;
use placet_types::{DenialCode, Digest, DomainName, FixedScope, Index, PublicKey};

use crate::claims::Claims;
use crate::jws::{Compact, CompactError, Header};
use crate::receipt::{KnownLog, Receipt};
use crate::verify::{Refusal, Step};

/// The scope of the artifact that was verified last. What a governed tree starts mostly has the scope of the tree, and to read
/// it anew is half of reading an artifact. It changes no answer: the same text is the same scope.
#[derive(Debug, Default)]
pub(super) struct LastScope(Mutex<Option<FixedScope>>);

impl LastScope {
    fn with<T>(&self, act: impl FnOnce(&mut Option<FixedScope>) -> T) -> T {
        // It is whole or absent whatever panicked.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bounds, strict parse, header, signature.
pub(super) fn signed_claims(
    text: &str,
    key: &PublicKey,
    last: &LastScope,
) -> Result<Claims, Refusal> {
    let compact = Compact::parse(text).map_err(|error| {
        let step = match error {
            CompactError::TooLong => Step::Bounds,
            CompactError::Parts | CompactError::Base64 | CompactError::SignatureLength => {
                Step::Parse
            }
        };
        Refusal::new(step, DenialCode::Malformed, error)
    })?;
    let header = Header::decode(compact.header());
    // Claims are read before the header is judged: both must parse before anything else is asked.
    let unreadable = header
        .as_ref()
        .err()
        .filter(|error| !is_about_members(error));
    if let Some(error) = unreadable {
        return Err(Refusal::new(Step::Parse, DenialCode::Malformed, error));
    }
    let known = last.with(|last| last.clone());
    let claims = Claims::decode_knowing(compact.payload(), known.as_ref())
        .map_err(|error| Refusal::new(Step::Parse, DenialCode::Malformed, error))?;
    check_header(header, key)?;
    key.verify(compact.signing_input().as_bytes(), compact.signature())
        .map_err(|error| Refusal::new(Step::Signature, DenialCode::InvalidSignature, error))?;
    last.with(|last| *last = Some(claims.detail().scope.clone()));
    Ok(claims)
}

/// A canonical JSON object whose members are not the three of an artifact.
const fn is_about_members(error: &Malformed) -> bool {
    matches!(error, Malformed::Shape(_))
}

fn check_header(header: Result<Header, Malformed>, key: &PublicKey) -> Result<(), Refusal> {
    let header =
        header.map_err(|error| Refusal::new(Step::Header, DenialCode::Malformed, error))?;
    if header.kid == key.id() {
        Ok(())
    } else {
        let reason = "the artifact names another key than the domain's";
        Err(Refusal::new(
            Step::Header,
            DenialCode::InvalidSignature,
            reason,
        ))
    }
}

pub(super) fn issuer(claims: &Claims, domain: &DomainName) -> Result<(), Refusal> {
    if claims.iss == *domain {
        return Ok(());
    }
    let reason = format!("the artifact was issued by {}", claims.iss);
    Err(Refusal::new(Step::Issuer, DenialCode::WrongDomain, reason))
}

pub(super) fn receipt(
    receipt: &Receipt,
    artifact: &Digest,
    log: &KnownLog,
) -> Result<Index, Refusal> {
    receipt
        .prove(artifact, log)
        .map_err(|error| Refusal::new(Step::Receipt, DenialCode::ReceiptInvalid, error))
}

pub(super) fn record(receipt: &Receipt, key: &PublicKey) -> Result<(), Refusal> {
    receipt
        .verify_record(key)
        .map_err(|error| Refusal::new(Step::Receipt, DenialCode::ReceiptInvalid, error))
}
