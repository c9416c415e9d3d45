//! Making a domain, and opening its log.

use std::path::Path;
use std::sync::Arc;

use placet_evidence::{Entry, EntryError, Genesis, Keys, Operators, PrincipalStatus, Record};
use placet_log::{EntryCheck, FileLog, FileOptions, Item, Sequencer as _};
use placet_secrets::{KeyError, StoreKey};
use placet_tlog::Policy as LogPolicy;
use placet_tlog::note::{KeyName, NoteSigner, SignatureKind, VerifierKey};
use placet_types::{Digest, DomainName, PrincipalId, PublicKey, SigningKey};

use crate::activate::Bundles;
use crate::authority::{Authority, Running};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::control::{Act, ActError};
use crate::dir::{DirError, DomainDir, write_durably};
use crate::keys::{self, KeyFileError, NodeKeys, Role};
use crate::opening::OpenError;
use crate::submission::Unavailable;

/// Makes a bundle signed with a key: its single-file form, and the digest of its manifest.
pub type MakeBundle = dyn Fn(&SigningKey) -> Result<(Vec<u8>, Digest), String>;

/// What a new domain begins with.
pub struct Beginning<'a> {
    /// Its name.
    pub domain: DomainName,
    /// The first operator.
    pub operator: PrincipalId,
    /// Further principals, with their groups.
    pub principals: Vec<(PrincipalId, Vec<String>)>,
    /// Unix user that may act as all of them.
    pub uid: u32,
    /// Makes the first bundle, signed with the operator's key, in its single-file form.
    pub bundle: &'a MakeBundle,
}

/// Why no domain was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The directory is not fit.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A key was not stored.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The key of the secrets was not stored.
    #[error(transparent)]
    SecretsKey(#[from] KeyError),
    /// The log was not made, or not opened again.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record was not written.
    #[error("the first records: {0}")]
    Append(#[from] placet_log::AppendError),
    /// A record could not be encoded.
    #[error("the first records: {0}")]
    Entry(#[from] EntryError),
    /// The first bundle was refused.
    #[error("the first policy bundle: {0}")]
    Bundle(String),
    /// An act was refused.
    #[error("the first records: {0}")]
    Act(#[from] ActError),
    /// Nothing could be recorded.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A public file was not written.
    #[error("the public policy file: {0}")]
    Io(#[from] std::io::Error),
}

/// Makes a domain in one directory: keys, genesis, principals, a bundle in force.
///
/// The public policy file is written last: a directory without one holds no domain, so a run that
/// was interrupted is not mistaken for one.
///
/// # Errors
///
/// [`InitError`]; what was made so far is left for the caller to look at.
pub fn init(
    path: &Path,
    clock: Arc<dyn Clock>,
    beginning: &Beginning<'_>,
) -> Result<DomainDir, InitError> {
    let dir = DomainDir::create(path)?;
    let operator = keys::create(&dir, Role::Operator)?;
    let keys = NodeKeys::create(&dir)?;
    StoreKey::create(&dir.secrets_key())?;
    let genesis = Genesis {
        domain: beginning.domain.clone(),
        keys: Keys {
            artifact: keys.artifact.public(),
            log: keys.log,
            record: keys.record.public(),
        },
        operators: Operators {
            keys: vec![operator.public()],
            needed: 1,
        },
        time: clock.wall(),
    };
    let entry = Entry::seal(&Record::Genesis(genesis), &keys.record)?;
    let public = log_policy(&beginning.domain, keys.log)?;
    let mut log = file_log(&dir, &beginning.domain)?;
    log.append(log.size(), &[Item::public(entry.into_bytes())])?;
    let running = Running {
        log: Box::new(log),
        keys: NodeKeys::load(&dir)?,
        blobs: Blobs::new(dir.blobs()),
        bundles: Bundles::new(dir.bundles()),
        secrets: crate::secrets::store(&dir),
        snapshots: None,
        clock,
        on_ending: Box::new(|_, _| {}),
    };
    let authority = Authority::open(running)?;
    register(&authority, beginning)?;
    let (archive, bundle) = (beginning.bundle)(&operator).map_err(InitError::Bundle)?;
    authority.act(
        Act::Activate { archive, bundle },
        beginning.operator.clone(),
    )??;
    authority.close()?;
    write_durably(&dir.policy_file(), public.to_string().as_bytes())?;
    Ok(dir)
}

fn register(authority: &Authority, beginning: &Beginning<'_>) -> Result<(), InitError> {
    let operators = vec!["operators".to_owned()];
    let first = (beginning.operator.clone(), operators);
    for (id, groups) in std::iter::once(&first).chain(&beginning.principals) {
        let act = Act::Principal {
            id: id.clone(),
            groups: groups.clone(),
            keys: Vec::new(),
            uids: vec![beginning.uid],
            // An operator's command may start agents: the chain then shows for whom they act.
            acts_for: if *id == first.0 {
                Vec::new()
            } else {
                vec![first.0.clone()]
            },
            status: PrincipalStatus::Active,
        };
        authority.act(act, beginning.operator.clone())??;
    }
    Ok(())
}

/// The public C2SP policy file of a domain: its log, and no cosigners.
fn log_policy(domain: &DomainName, key: PublicKey) -> Result<LogPolicy, InitError> {
    let odd = |error: String| InitError::Io(std::io::Error::other(error));
    let name = KeyName::parse(domain.as_str()).map_err(|error| odd(error.to_string()))?;
    let vkey = VerifierKey::new(name, SignatureKind::Ed25519, key);
    LogPolicy::builder()
        .log(vkey, None)
        .and_then(placet_tlog::policy::PolicyBuilder::no_quorum)
        .and_then(placet_tlog::policy::PolicyBuilder::build)
        .map_err(|error| odd(error.to_string()))
}

/// Opens the log of a domain directory as its only writer.
///
/// Records beyond the signed head, which an interrupted append left, count only when the record
/// key signed them.
///
/// # Errors
///
/// [`OpenError`]
pub fn open_log(dir: &DomainDir) -> Result<FileLog, OpenError> {
    file_log(dir, &domain_name(dir)?)
}

fn file_log(dir: &DomainDir, domain: &DomainName) -> Result<FileLog, OpenError> {
    let record_key = keys::load(dir, Role::Record)?.public();
    let check = EntryCheck::new(move |_, entry: &[u8]| {
        Entry::from_bytes(entry.to_vec()).open(&record_key).is_ok()
    });
    let name = KeyName::parse(domain.as_str()).map_err(|_| OpenError::PolicyFile)?;
    let signer = NoteSigner::new(name, keys::load(dir, Role::Log)?);
    Ok(FileOptions::new(dir.log(), signer, check).open()?.log)
}

/// Name of the domain, from its public policy file.
///
/// # Errors
///
/// [`OpenError::PolicyFile`] when the file does not read.
pub fn domain_name(dir: &DomainDir) -> Result<DomainName, OpenError> {
    let policy = public_policy(dir)?;
    let log = policy.logs().first().ok_or(OpenError::PolicyFile)?;
    DomainName::parse(log.key().name().as_str()).map_err(|_| OpenError::PolicyFile)
}

/// The public C2SP policy of a domain directory.
///
/// # Errors
///
/// [`OpenError::PolicyFile`] when the file does not read.
pub fn public_policy(dir: &DomainDir) -> Result<LogPolicy, OpenError> {
    let bytes = std::fs::read(dir.policy_file()).map_err(|_| OpenError::PolicyFile)?;
    LogPolicy::parse(&bytes).map_err(|_| OpenError::PolicyFile)
}
