//! Opening: from the log, and a saved fold where there is one that fits, to the state.

use placet_evidence::{Entry, EntryError};
use placet_log::{LogReader, ReadError, snapshots};
use placet_state::{FoldError, State};
use placet_types::Index;

use crate::keys::{KeyFileError, NodeKeys};

/// Why an authority did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The log does not open.
    #[error("the evidence log: {0}")]
    Log(#[from] placet_log::OpenError),
    /// A record was not read.
    #[error("the evidence log: {0}")]
    Read(#[from] ReadError),
    /// A key was not loaded.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The public policy file does not read.
    #[error("the public policy file domain.tlog-policy is missing or does not read")]
    PolicyFile,
    /// The log has no genesis record.
    #[error(
        "the evidence log is empty; `placet init` did not finish, remove the directory and run it again"
    )]
    Empty,
    /// A record is none of this system.
    #[error("the record at index {index}: {error}")]
    Entry {
        /// Where.
        index: Index,
        /// Why.
        error: EntryError,
    },
    /// A record cannot follow the ones before it.
    #[error("the record at index {index}: {error}")]
    Fold {
        /// Where.
        index: Index,
        /// Why.
        error: FoldError,
    },
    /// The keys in the directory are not the ones of the genesis record.
    #[error("the {0} key is not the one that the genesis record names")]
    OtherKey(&'static str),
    /// What the machine says of itself is not to be written down.
    #[error("the machine of this node: {0}")]
    Machine(String),
    /// The sequencer ended at once.
    #[error("the sequencer could not write to the evidence log")]
    Closed,
    /// The sequencer's thread did not start.
    #[error("no thread for the sequencer: {0}")]
    Thread(std::io::Error),
}

pub(crate) fn check_keys(state: &State, keys: &NodeKeys) -> Result<(), OpenError> {
    let named = &state.genesis().keys;
    let pairs = [
        ("artifact", named.artifact, keys.artifact.public()),
        ("log", named.log, keys.log),
        ("record", named.record, keys.record.public()),
    ];
    match pairs.into_iter().find(|(_, named, held)| named != held) {
        Some((role, _, _)) => Err(OpenError::OtherKey(role)),
        None => Ok(()),
    }
}

/// Folds the log, from a saved fold where there is one that fits.
pub(crate) fn fold(
    reader: &LogReader,
    snapshots: Option<&std::path::Path>,
) -> Result<State, OpenError> {
    let saved = snapshots.and_then(|dir| saved_state(reader, dir));
    let (mut state, from) = match saved {
        Some(state) => {
            let next = state.next();
            (state, next)
        }
        None => (begin(reader)?, Index::new(1)),
    };
    let mut index = from;
    for entry in reader.entries(from..reader.size()) {
        let (_, entry) = entry?;
        let record = Entry::from_bytes(entry)
            .read()
            .map_err(|error| OpenError::Entry { index, error })?;
        state
            .apply(index, &record)
            .map_err(|error| OpenError::Fold { index, error })?;
        index = index.next();
    }
    Ok(state)
}

pub(crate) fn begin(reader: &LogReader) -> Result<State, OpenError> {
    let index = Index::default();
    if reader.size() == index {
        return Err(OpenError::Empty);
    }
    let entry = Entry::from_bytes(reader.entry(index)?);
    let record = entry
        .read()
        .map_err(|error| OpenError::Entry { index, error })?;
    State::begin(&record).map_err(|error| OpenError::Fold { index, error })
}

fn saved_state(reader: &LogReader, dir: &std::path::Path) -> Option<State> {
    let mut root_at = |size| reader.root_at(size).ok();
    let loaded = snapshots::load_latest(dir, reader.size().get(), &mut root_at).ok()?;
    State::from_snapshot(&loaded.snapshot?.bytes).ok()
}
