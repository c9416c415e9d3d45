//! Assembling proof bundles from a domain directory.

use placet_artifact::jws::Algorithm;
use placet_artifact::{Artifact, issue};
use placet_evidence::proof_bundle::{Disclosed, FORMAT, ProofBundle, Proven};
use placet_evidence::{Decided, Entry, EntryError, Outcome, Record};
use placet_log::{LogReader, Payload, ReadError};
use placet_tlog::proof::LogProof;
use placet_types::{DomainName, ExecutionId, Index, SigningKey};

use crate::authority::Authority;
use crate::blobs::Blobs;
use crate::payload::decode_payload;
use crate::scopes;

/// Why no bundle was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofBundleError {
    /// The log was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record was not read.
    #[error("the record: {0}")]
    Entry(#[from] EntryError),
    /// No record is about this execution.
    #[error("no record is about {0}")]
    NoSuchExecution(ExecutionId),
    /// The artifact could not be made again.
    #[error("the artifact could not be made again: {0}")]
    Artifact(&'static str),
}

/// What a bundle is made from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The log.
    pub reader: &'a LogReader,
    /// Scopes.
    pub blobs: &'a Blobs,
    /// Name of the domain.
    pub domain: &'a DomainName,
    /// The domain's public policy file.
    pub policy: &'a str,
    /// Signs artifacts; signing again gives the same artifact.
    pub artifact_key: &'a SigningKey,
}

impl Authority {
    /// The proof bundle about the record at `index`; see [`bundle`]. `policy` is the domain's
    /// public policy file.
    ///
    /// # Errors
    ///
    /// [`ProofBundleError`]
    pub fn proof_bundle(
        &self,
        policy: &str,
        index: Index,
        related: &[Index],
        disclose: bool,
    ) -> Result<ProofBundle, ProofBundleError> {
        let domain = self.with_state(|state| state.genesis().domain.clone());
        let sources = Sources {
            reader: &self.reader(),
            blobs: self.blobs(),
            domain: &domain,
            policy,
            artifact_key: &self.keys.artifact,
        };
        bundle(sources, index, related, disclose)
    }
}

/// The C2SP proof of one record under the latest checkpoint.
///
/// # Errors
///
/// [`ReadError`]
pub fn proof(reader: &LogReader, index: Index) -> Result<LogProof, ReadError> {
    let checkpoint = reader.checkpoint();
    let path = reader.inclusion_proof(index, checkpoint.claim().size())?;
    Ok(LogProof::new(
        index.get(),
        path,
        checkpoint.as_ref().clone(),
    ))
}

/// The bundle about the record at `index`. `related` are further records of the same execution;
/// with `disclose` the parameters are opened.
///
/// # Errors
///
/// [`ProofBundleError`]
pub fn bundle(
    sources: Sources<'_>,
    index: Index,
    related: &[Index],
    disclose: bool,
) -> Result<ProofBundle, ProofBundleError> {
    let record = Entry::from_bytes(sources.reader.entry(index)?).read()?;
    let (mut artifact, mut disclosed) = (None, None);
    if let Record::Decided(decided) = &record {
        if decided.outcome == Outcome::Permit {
            artifact = Some(self::artifact(sources, decided)?.as_str().to_owned());
        }
        if disclose {
            disclosed = self::disclosed(sources.reader, index)?;
        }
    }
    Ok(ProofBundle {
        artifact,
        disclosed,
        format: FORMAT.to_owned(),
        genesis: proven(sources.reader, Index::default())?,
        policy: sources.policy.to_owned(),
        record: proven(sources.reader, index)?,
        related: related
            .iter()
            .map(|index| proven(sources.reader, *index))
            .collect::<Result<_, _>>()?,
    })
}

/// The artifact that a recorded permit led to, made again from the record.
///
/// # Errors
///
/// [`ProofBundleError::Artifact`] when what comes out is not what the record names.
pub fn artifact(sources: Sources<'_>, decided: &Decided) -> Result<Artifact, ProofBundleError> {
    let error = ProofBundleError::Artifact;
    let grant = decided
        .grant
        .as_ref()
        .ok_or(error("the decision is no permit"))?;
    let scope = scopes::read(sources.blobs, grant.scope).ok_or(error("its scope is not kept"))?;
    let claims = placet_decision::claims(
        sources.domain,
        &decided.intent,
        &decided.facts,
        grant,
        &decided.policy,
        &scope,
    )
    .map_err(|_| error("the record contradicts itself"))?;
    let artifact = issue(&claims, sources.artifact_key, Algorithm::EdDsa)
        .map_err(|_| error("the claims break their rules"))?;
    if Some(artifact.digest()) == decided.artifact {
        Ok(artifact)
    } else {
        Err(error("the record names another one"))
    }
}

/// The private parameters of the decision at `index`, as far as they are there to be disclosed:
/// not erased, not damaged.
///
/// # Errors
///
/// [`ReadError`]
pub fn disclosed(reader: &LogReader, index: Index) -> Result<Option<Disclosed>, ReadError> {
    let Payload::Present(bytes) = reader.payload(index)? else {
        return Ok(None);
    };
    Ok(decode_payload(&bytes).and_then(|params| {
        let text = String::from_utf8(params.bytes().to_vec()).ok()?;
        Some(Disclosed {
            params: text,
            salt: params.salt().clone(),
        })
    }))
}

fn proven(reader: &LogReader, index: Index) -> Result<Proven, ReadError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Proven {
        entry: text(reader.entry(index)?),
        proof: proof(reader, index)?.to_string(),
    })
}
