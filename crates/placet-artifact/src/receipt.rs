//! The receipt: what proves that the decision behind an artifact is in the domain's log.
//!
//! A receipt is the log's entry and a C2SP tlog-proof of it. It proves four things in a row: the
//! entry is in a tree that the domain's log signed, with the quorum of cosignatures that the
//! domain's policy asks for; the entry is an evidence record of the kind `decided`; its outcome is
//! `permit`; and the artifact it names is this one.
//!
//! The signature of the record itself is not needed for that, and [`Receipt::prove`] does not check
//! it: only the log can bring an entry under its signed root, and it takes in nothing but records
//! that it made. [`Receipt::verify_record`] checks it, for whoever reads evidence afterwards.

use placet_types::canonical::{Bounds, Json, Malformed};
use placet_types::{Digest, Index, PublicKey};

use crate::dsse::{Envelope, EnvelopeError};

mod log;

pub use log::{KnownLog, LogError};

/// An entry of the log and the proof that it is there. Plain data, nothing of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry: a DSSE envelope over the `decided` record, to the byte.
    pub entry: Vec<u8>,
    /// The C2SP tlog-proof file.
    pub proof: Vec<u8>,
}

/// Why a receipt does not prove the decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The log was not believed, or the entry is not in it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The entry is not a DSSE envelope.
    #[error("the entry: {0}")]
    Envelope(EnvelopeError),
    /// The payload is not canonical JSON.
    #[error("the record: {0}")]
    Record(Malformed),
    /// The payload is not an in-toto statement.
    #[error("the entry is not an in-toto statement")]
    NotAStatement,
    /// The record is of another kind.
    #[error("the entry is not the record of a decision")]
    NotADecision,
    /// The decision was not a permit.
    #[error("the recorded decision is not a permit")]
    NotAPermit,
    /// The record names another artifact, or none.
    #[error("the recorded decision names another artifact")]
    OtherArtifact,
    /// The record key did not sign the entry.
    #[error("the record's signature: {0}")]
    RecordSignature(EnvelopeError),
}

/// DSSE payload type of every evidence record.
pub const STATEMENT_MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of every evidence record: in-toto Statement, version 1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of the record of a decision.
pub const DECIDED: &str = "urn:placet:evidence:decided:v1";
/// The `outcome` of a decision that releases an artifact.
pub const PERMIT: &str = "permit";

impl Receipt {
    /// Proves that the permit behind the artifact with this digest is in the log, and where.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`] names the first link of the chain that does not hold.
    pub fn prove(&self, artifact: &Digest, log: &KnownLog) -> Result<Index, ReceiptError> {
        let index = log.prove_included(&self.entry, &self.proof)?;
        let envelope = Envelope::decode(&self.entry).map_err(ReceiptError::Envelope)?;
        check_decided(&envelope, artifact)?;
        Ok(index)
    }

    /// Checks that the record key signed the entry.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Envelope`] or [`ReceiptError::RecordSignature`].
    pub fn verify_record(&self, record_key: &PublicKey) -> Result<(), ReceiptError> {
        let envelope = Envelope::decode(&self.entry).map_err(ReceiptError::Envelope)?;
        envelope
            .verify(record_key)
            .map_err(ReceiptError::RecordSignature)?;
        Ok(())
    }
}

/// Reads the few members that tie a record to an artifact; what else is in it is not known here.
fn check_decided(envelope: &Envelope, artifact: &Digest) -> Result<(), ReceiptError> {
    if envelope.payload_type() != STATEMENT_MEDIA_TYPE {
        return Err(ReceiptError::NotAStatement);
    }
    let bytes = envelope.unverified_payload();
    let statement = Json::parse(bytes, Bounds::RECORD).map_err(ReceiptError::Record)?;
    if statement.to_canonical() != bytes {
        return Err(ReceiptError::Record(Malformed::NotCanonical));
    }
    let text = |json: &Json, name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
    if text(&statement, "_type").as_deref() != Some(STATEMENT_TYPE) {
        return Err(ReceiptError::NotAStatement);
    }
    let kind = text(&statement, "predicateType");
    let (Some(DECIDED), Some(predicate)) = (kind.as_deref(), statement.get("predicate")) else {
        return Err(ReceiptError::NotADecision);
    };
    if text(predicate, "outcome").as_deref() != Some(PERMIT) {
        return Err(ReceiptError::NotAPermit);
    }
    if text(predicate, "artifact") != Some(artifact.to_string()) {
        return Err(ReceiptError::OtherArtifact);
    }
    Ok(())
}
