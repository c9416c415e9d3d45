//! Activation: everything that must hold before a bundle comes into force.
//!
//! Done outside the sequencer, because compiling takes time. A bundle that fails anything here
//! changes nothing: the last good one stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use placet_evidence::Operators;
use placet_policy::{Bundle, Mapping, Policy, Profile, run_tests};
use placet_types::{DenialCode, Digest, KeyId};

use crate::control::ActError;
use crate::dir::write_durably;

/// Bundles that were ever activated, named by the digest of their manifest. Kept for ever.
#[derive(Clone, Debug)]
pub struct Bundles {
    dir: PathBuf,
}

/// A bundle that may come into force.
pub(crate) struct Activation {
    pub(crate) policy: Arc<Policy>,
    pub(crate) signers: BTreeSet<KeyId>,
}

impl Bundles {
    /// The bundles in `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.bundle", digest.hex()))
    }

    /// Keeps a bundle.
    fn put(&self, bundle: &Bundle, archive: &[u8]) -> std::io::Result<()> {
        write_durably(&self.path(bundle.digest()), archive)
    }

    /// The bundle with this digest, compiled.
    ///
    /// # Errors
    ///
    /// [`ActError`] when it is missing, damaged, or does not compile.
    pub fn load(&self, digest: Digest) -> Result<Policy, ActError> {
        let error = |reason: String| ActError::new(DenialCode::PolicyError, reason);
        let archive = fs::read(self.path(digest))
            .map_err(|io| error(format!("the bundle {digest} is not kept here: {io}")))?;
        compile(&parse(&archive, &digest)?)
    }

    /// Names of environment variables that some profile of the bundle passes on.
    pub(crate) fn env_names(&self, digest: Digest) -> Result<Vec<String>, ActError> {
        let error = |io: std::io::Error| ActError::new(DenialCode::PolicyError, io.to_string());
        let bundle = parse(&self.archive(digest).map_err(error)?, &digest)?;
        let names: BTreeSet<&String> = bundle.profiles().flat_map(Profile::env).collect();
        Ok(names.into_iter().cloned().collect())
    }

    /// Which identities act as which principals.
    ///
    /// # Errors
    ///
    /// [`ActError`] when the bundle is missing or does not read.
    pub fn mapping(&self, digest: Digest) -> Result<Mapping, ActError> {
        let error = |io: std::io::Error| ActError::new(DenialCode::PolicyError, io.to_string());
        let bundle = parse(&self.archive(digest).map_err(error)?, &digest)?;
        Ok(bundle.mapping().clone())
    }

    /// The members of the bundle with this digest, by path.
    ///
    /// # Errors
    ///
    /// [`ActError`] when it is missing or damaged.
    pub fn members(&self, digest: Digest) -> Result<BTreeMap<String, Vec<u8>>, ActError> {
        let missing = |io: std::io::Error| {
            let reason = format!("the bundle {digest} is not kept here: {io}");
            ActError::new(DenialCode::PolicyError, reason)
        };
        let archive = self.archive(digest).map_err(missing)?;
        Ok(parse(&archive, &digest)?.to_files().0.into_iter().collect())
    }

    /// The single-file form of the bundle with this digest, as it was activated.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn archive(&self, digest: Digest) -> std::io::Result<Vec<u8>> {
        fs::read(self.path(digest))
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("bundle", &self.policy.digest())
            .finish_non_exhaustive()
    }
}

/// Checks signatures, schema, policies and the bundle's own tests, and keeps the bundle.
pub(crate) fn prepare(
    archive: &[u8],
    digest: &Digest,
    operators: &Operators,
    bundles: &Bundles,
) -> Result<Activation, ActError> {
    let bundle = parse(archive, digest)?;
    let signers = bundle
        .verify_signatures(&operators.keys, operators.needed as usize)
        .map_err(|error| ActError::new(DenialCode::InvalidSignature, error.to_string()))?;
    let policy = compile(&bundle)?;
    let report = run_tests(&bundle, &policy);
    if !report.passed() {
        let failed: Vec<String> = report
            .failures()
            .map(|result| format!("{}:{} {}", result.file, result.line, result.name))
            .collect();
        let reason = format!("the bundle's own tests fail: {}", failed.join(", "));
        return Err(ActError::new(DenialCode::PolicyError, reason));
    }
    bundles
        .put(&bundle, archive)
        .map_err(|error| ActError::new(DenialCode::EvidenceUnavailable, error.to_string()))?;
    Ok(Activation {
        policy: Arc::new(policy),
        signers,
    })
}

fn parse(archive: &[u8], digest: &Digest) -> Result<Bundle, ActError> {
    Bundle::from_archive(archive, digest)
        .map_err(|error| ActError::new(DenialCode::Malformed, error.to_string()))
}

fn compile(bundle: &Bundle) -> Result<Policy, ActError> {
    Policy::compile(bundle).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        ActError::new(DenialCode::PolicyError, lines.join("\n"))
    })
}
