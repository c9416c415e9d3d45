//! Entries: a record as bytes of the log.
//!
//! Layout, from the outside: DSSE envelope (one signature, by the node's record key), in-toto
//! Statement v1, predicate type `urn:placet:evidence:<kind>:v1`, predicate. Everything is canonical
//! JSON, so a record has exactly one encoding, and reading is strict: what would be written in
//! another way is refused.

mod glance;

use serde::Deserialize;
use serde_json::value::RawValue;

use placet_artifact::dsse::{Envelope, EnvelopeError};
use placet_types::canonical::{self, Bounds, Malformed};
use placet_types::{Digest, KeyId, PublicKey, SigningKey};

use crate::record::{KindName, Record};

pub use glance::Glance;

/// What every predicate type begins with; kind and version follow.
pub const PREDICATE_PREFIX: &str = "urn:placet:evidence:";
const VERSION: &str = ":v1";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// One record as it stands in the log: at most 65,535 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(Vec<u8>);

/// A record whose envelope was signed by the record key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    record: Record,
    key: KeyId,
}

/// Why bytes are not an entry, or a record cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The envelope does not read, or its signature does not verify.
    #[error("the envelope: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The envelope holds something else than an in-toto statement.
    #[error("the payload type is not {PAYLOAD_TYPE}")]
    PayloadType,
    /// The statement does not read.
    #[error("the statement: {0}")]
    Statement(#[from] Malformed),
    /// The predicate type is none of ours.
    #[error("the predicate type is unknown")]
    Kind,
    /// The predicate does not read.
    #[error("the predicate: {0}")]
    Predicate(String),
    /// The subject is not the one that follows from the predicate.
    #[error("the subject does not follow from the predicate")]
    Subject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    statement: String,
    #[serde(borrow)]
    predicate: &'a RawValue,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: [Subject; 1],
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Subject {
    digest: SubjectDigest,
    name: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    sha256: String,
}

impl Entry {
    /// Encodes and signs a record. The same record and key give the same bytes.
    ///
    /// # Errors
    ///
    /// [`EntryError::Envelope`] when the entry would be longer than 65,535 bytes.
    pub fn seal(record: &Record, key: &SigningKey) -> Result<Self, EntryError> {
        let payload = statement(record)?;
        let envelope = Envelope::sign(PAYLOAD_TYPE, payload, key)?;
        Ok(Self(envelope.encode()))
    }

    /// Wraps bytes that were read from a log. Nothing is checked.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes: the leaf of the tree.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Reads the record and checks the signature.
    ///
    /// # Errors
    ///
    /// [`EntryError`] names the first layer that does not hold.
    pub fn open(&self, key: &PublicKey) -> Result<Opened, EntryError> {
        let envelope = Envelope::decode(&self.0)?;
        envelope.verify(key)?;
        let record = read_statement(&envelope)?;
        Ok(Opened {
            record,
            key: envelope.key(),
        })
    }

    /// Reads the record without its signature: for entries whose place in the log was proven, which
    /// only the holder of the log's directory and keys can extend.
    ///
    /// # Errors
    ///
    /// [`EntryError`] names the first layer that does not hold.
    pub fn read(&self) -> Result<Record, EntryError> {
        read_statement(&Envelope::decode(&self.0)?)
    }
}

impl Opened {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }

    /// The key that signed it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }
}

/// The canonical bytes of a record's statement. They are put together by hand: the predicate is a large part
/// of them, canonical already, and everything else is short and needs no escapes.
fn statement(record: &Record) -> Result<Vec<u8>, EntryError> {
    let predicate = predicate_bytes(record)?;
    let Subject { digest, name } = subject(record, &predicate)?;
    let (kind, sha256) = (record.kind().as_str(), digest.sha256);
    let head = format!(r#"{{"_type":"{STATEMENT}","predicate":"#);
    let tail = format!(
        r#","predicateType":"{PREDICATE_PREFIX}{kind}{VERSION}","subject":[{{"digest":{{"sha256":"{sha256}"}},"name":"{name}"}}]}}"#
    );
    let bytes = [head.as_bytes(), &predicate, tail.as_bytes()].concat();
    // INVARIANT: names of kinds, ids of executions and hex need no JSON escapes.
    debug_assert!(canonical::is_canonical(&bytes), "a statement by hand");
    Ok(bytes)
}

fn predicate_bytes(record: &Record) -> Result<Vec<u8>, EntryError> {
    let bytes = match record {
        Record::Genesis(record) => canonical::to_bytes(record),
        Record::Principal(record) => canonical::to_bytes(record),
        Record::Policy(record) => canonical::to_bytes(record),
        Record::Decided(record) => canonical::to_bytes(record),
        Record::Approval(record) => canonical::to_bytes(record),
        Record::Answered(record) => canonical::to_bytes(record),
        Record::Refused(record) => canonical::to_bytes(record),
        Record::Started(record) => canonical::to_bytes(record),
        Record::Signal(record) => canonical::to_bytes(record),
        Record::Connections(record) => canonical::to_bytes(record),
        Record::Born(record) => canonical::to_bytes(record),
        Record::Ended(record) => canonical::to_bytes(record),
        Record::Revoked(record) => canonical::to_bytes(record),
        Record::Halted(record) => canonical::to_bytes(record),
        Record::Resumed(record) => canonical::to_bytes(record),
        Record::Erased(record) => canonical::to_bytes(record),
        Record::Secret(record) => canonical::to_bytes(record),
        Record::Changes(record) => canonical::to_bytes(record),
        Record::Definition(record) => canonical::to_bytes(record),
        Record::Shadow(record) => canonical::to_bytes(record),
    };
    bytes.map_err(|error| EntryError::Predicate(error.to_string()))
}

/// The execution and the digest of its intent; for records about no execution, the kind and the
/// digest of the predicate. The intent's digest cannot be guessed: its parameters are salted.
fn subject(record: &Record, predicate: &[u8]) -> Result<Subject, EntryError> {
    let about = match record {
        Record::Decided(record) => Some((record.facts.exec, record.intent.digest())),
        Record::Approval(record) => Some((record.exec, record.intent)),
        Record::Started(record) => Some((record.exec, record.intent)),
        Record::Signal(record) => Some((record.exec, record.intent)),
        Record::Connections(record) => Some((record.exec, record.intent)),
        Record::Born(record) => Some((record.exec, record.intent)),
        Record::Ended(record) => Some((record.exec, record.intent)),
        Record::Genesis(_)
        | Record::Principal(_)
        | Record::Policy(_)
        | Record::Answered(_)
        | Record::Refused(_)
        | Record::Revoked(_)
        | Record::Halted(_)
        | Record::Resumed(_)
        | Record::Erased(_)
        | Record::Secret(_)
        | Record::Changes(_)
        | Record::Definition(_)
        | Record::Shadow(_) => None,
    };
    let (name, digest) = about.map_or_else(
        || (record.kind().as_str().to_owned(), Digest::of(predicate)),
        |(exec, intent)| (exec.to_string(), intent),
    );
    Ok(Subject {
        digest: SubjectDigest {
            sha256: digest.hex(),
        },
        name,
    })
}

/// Reads a statement by its types, writes it again, and compares.
///
/// None of the types has room for a duplicate or an unknown name, and any other spelling, subject
/// or order differs from the one that is written. What is left of I-JSON is that numbers are ones
/// that all JSON readers read alike.
fn read_statement(envelope: &Envelope) -> Result<Record, EntryError> {
    if envelope.payload_type() != PAYLOAD_TYPE {
        return Err(EntryError::PayloadType);
    }
    let payload = envelope.unverified_payload();
    if payload.len() > Bounds::RECORD.bytes_max {
        return Err(Malformed::TooLong(Bounds::RECORD.bytes_max).into());
    }
    if !canonical::numbers_are_exact(payload) {
        return Err(Malformed::Shape("a number past 2^53".into()).into());
    }
    let wire: Statement<'_> = serde_json::from_slice(payload)
        .map_err(|error| EntryError::Statement(Malformed::Shape(error.to_string())))?;
    if wire.statement != STATEMENT {
        return Err(EntryError::Statement(Malformed::Shape(
            "not an in-toto Statement v1".into(),
        )));
    }
    let kind = kind_of(&wire.predicate_type)?;
    let predicate = wire.predicate.get();
    let record = read_predicate(kind, predicate)?;
    let [found] = wire.subject;
    if found != subject(&record, predicate.as_bytes())? {
        return Err(EntryError::Subject);
    }
    if statement(&record)? != payload {
        return Err(Malformed::NotCanonical.into());
    }
    Ok(record)
}

fn kind_of(predicate_type: &str) -> Result<KindName, EntryError> {
    let name = predicate_type
        .strip_prefix(PREDICATE_PREFIX)
        .and_then(|rest| rest.strip_suffix(VERSION))
        .ok_or(EntryError::Kind)?;
    KindName::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or(EntryError::Kind)
}

fn read_predicate(kind: KindName, text: &str) -> Result<Record, EntryError> {
    let record = match kind {
        KindName::Genesis => serde_json::from_str(text).map(Record::Genesis),
        KindName::Principal => serde_json::from_str(text).map(Record::Principal),
        KindName::Policy => serde_json::from_str(text).map(Record::Policy),
        KindName::Decided => serde_json::from_str(text).map(Record::Decided),
        KindName::Approval => serde_json::from_str(text).map(Record::Approval),
        KindName::Answered => serde_json::from_str(text).map(Record::Answered),
        KindName::Refused => serde_json::from_str(text).map(Record::Refused),
        KindName::Started => serde_json::from_str(text).map(Record::Started),
        KindName::Signal => serde_json::from_str(text).map(Record::Signal),
        KindName::Connections => serde_json::from_str(text).map(Record::Connections),
        KindName::Born => serde_json::from_str(text).map(Record::Born),
        KindName::Ended => serde_json::from_str(text).map(Record::Ended),
        KindName::Revoked => serde_json::from_str(text).map(Record::Revoked),
        KindName::Halted => serde_json::from_str(text).map(Record::Halted),
        KindName::Resumed => serde_json::from_str(text).map(Record::Resumed),
        KindName::Erased => serde_json::from_str(text).map(Record::Erased),
        KindName::Secret => serde_json::from_str(text).map(Record::Secret),
        KindName::Changes => serde_json::from_str(text).map(Record::Changes),
        KindName::Definition => serde_json::from_str(text).map(Record::Definition),
        KindName::Shadow => serde_json::from_str(text).map(Record::Shadow),
    };
    record.map_err(|error| EntryError::Predicate(error.to_string()))
}

#[cfg(test)]
mod tests;
