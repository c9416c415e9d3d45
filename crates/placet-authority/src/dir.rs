//! The domain directory: where everything of a domain lives, and what its permissions must be.
//!
//! ```text
//! domain.tlog-policy   public: the C2SP policy file that a verifier needs, and nothing else
//! keys/                private keys by role, one file each, mode 0600
//! log/                 the evidence log
//! blobs/               scopes, named by their SHA-256
//! bundles/             policy bundles that were ever activated, named by their digest
//! secrets.sealed       the secrets of the domain, encrypted with keys/secrets.key
//! digests/             digests of large programs; may be deleted at any time
//! asked/               salts of intents that wait for approvals; without them these are asked for anew
//! changes/             what executions changed in copies, until it is applied or discarded
//! snapshots/           saved folds; may be deleted at any time
//! checks.json          what the last checks of the log found; may be deleted at any time
//! node.sock, node.log  the node that serves this directory, while one runs
//! gateways/            gateways that wait for commands: how many may, their sockets and what they say of themselves
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::asked::AskedBefore;
/// Gateways that wait in one domain, at most.
pub const GATEWAYS_MAX: usize = 8;

/// A domain directory whose permissions were checked.
#[derive(Clone, Debug)]
pub struct DomainDir {
    root: PathBuf,
}

/// Why a directory is no domain directory to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// There is no domain.
    #[error("{0} holds no Placet domain; `placet init` makes one")]
    NoDomain(PathBuf),
    /// There is a domain already.
    #[error("{0} holds a Placet domain already, or other files; choose an empty directory")]
    Occupied(PathBuf),
    /// Others than the owner can enter.
    #[error(
        "{path} can be entered by others than its owner (mode {mode:04o}); run `chmod 700 {path}`"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error("{path} belongs to user {owner}, not to you (user {user})")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl DomainDir {
    /// Takes a directory that holds a domain.
    ///
    /// # Errors
    ///
    /// [`DirError`] when there is none, or its permissions are too wide.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        let root = match fs::canonicalize(path) {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirError::NoDomain(path.to_owned()));
            }
            Err(error) => {
                return Err(DirError::Io {
                    path: path.to_owned(),
                    error,
                });
            }
        };
        let dir = Self { root };
        dir.check_permissions()?;
        if dir.policy_file().is_file() {
            Ok(dir)
        } else {
            Err(DirError::NoDomain(path.to_owned()))
        }
    }

    /// Makes the directories of a new domain.
    ///
    /// # Errors
    ///
    /// [`DirError::Occupied`] when the directory holds anything.
    pub fn create(path: &Path) -> Result<Self, DirError> {
        let io = |error| DirError::Io {
            path: path.to_owned(),
            error,
        };
        if path.exists() && fs::read_dir(path).map_err(io)?.next().is_some() {
            return Err(DirError::Occupied(path.to_owned()));
        }
        private_dir(path).map_err(io)?;
        let dir = Self {
            root: fs::canonicalize(path).map_err(io)?,
        };
        dir.check_permissions()?;
        for sub in [
            dir.keys(),
            dir.blobs(),
            dir.bundles(),
            dir.digests(),
            dir.snapshots(),
        ] {
            private_dir(&sub).map_err(|error| DirError::Io {
                path: sub.clone(),
                error,
            })?;
        }
        Ok(dir)
    }

    fn check_permissions(&self) -> Result<(), DirError> {
        let path = self.root.clone();
        let io = |error| DirError::Io {
            path: path.clone(),
            error,
        };
        let metadata = fs::metadata(&self.root).map_err(io)?;
        let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
        let user = rustix::process::geteuid().as_raw();
        if mode & 0o077 != 0 {
            return Err(DirError::Open { path, mode });
        }
        if owner != user && user != 0 {
            return Err(DirError::Foreign { path, owner, user });
        }
        Ok(())
    }

    /// The directory itself, symbolic links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The public C2SP policy file.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.root.join("domain.tlog-policy")
    }

    /// Private keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The evidence log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Policy bundles by digest.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.root.join("bundles")
    }

    /// Scopes by digest.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The encrypted store of secrets.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets.sealed")
    }

    /// The key of the store of secrets.
    #[must_use]
    pub fn secrets_key(&self) -> PathBuf {
        self.keys().join("secrets.key")
    }

    /// Definitions of tools as they were last seen, for people to look at: never believed.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.root.join("definitions")
    }

    /// Locks of tokens: who renews one is alone with it.
    #[must_use]
    pub fn logins(&self) -> PathBuf {
        self.root.join("logins")
    }

    /// Salts of intents that wait for approvals.
    #[must_use]
    pub fn asked(&self) -> AskedBefore {
        AskedBefore::new(self.root.join("asked"))
    }

    /// Digests of large programs, by the state of the file that they were computed for.
    #[must_use]
    pub fn digests(&self) -> PathBuf {
        self.root.join("digests")
    }

    /// Saved folds.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// What the last checks of the log found.
    #[must_use]
    pub fn checks(&self) -> PathBuf {
        self.root.join("checks.json")
    }

    /// What executions changed in copies of their write trees.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.root.join("changes")
    }

    /// Socket of the node that serves the directory.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("node.sock")
    }

    /// What the node says while it runs.
    #[must_use]
    pub fn node_log(&self) -> PathBuf {
        self.root.join("node.log")
    }

    /// Where gateways wait for commands.
    #[must_use]
    pub fn gateways(&self) -> PathBuf {
        gateways_of(&self.root)
    }

    /// Says how many gateways may wait while this process serves the domain.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn offer_gateways(&self, bound: usize) -> io::Result<()> {
        if bound == 0 {
            return match fs::remove_file(self.gateways_offer()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        private_dir(&self.gateways())?;
        let beside = self.gateways().join("offer.new");
        let bound = bound.min(GATEWAYS_MAX);
        fs::write(&beside, format!("{bound} {}", std::process::id()))?;
        fs::rename(&beside, self.gateways_offer())
    }

    /// Takes back what this process offered, unless its successor has offered already.
    pub fn withdraw_gateways(&self) {
        if self
            .offer()
            .is_some_and(|(_, pid)| pid == std::process::id())
        {
            // What cannot be taken back is offered until the next node serves.
            fs::remove_file(self.gateways_offer()).unwrap_or(());
        }
    }

    /// How many gateways may wait; none where that was not said.
    #[must_use]
    pub fn gateways_offered(&self) -> usize {
        self.offer().map_or(0, |(bound, _)| bound.min(GATEWAYS_MAX))
    }

    fn offer(&self) -> Option<(usize, u32)> {
        let text = fs::read_to_string(self.gateways_offer()).ok()?;
        let (bound, pid) = text.split_once(' ')?;
        Some((bound.parse().ok()?, pid.parse().ok()?))
    }

    fn gateways_offer(&self) -> PathBuf {
        self.gateways().join("offer")
    }

    /// Held by whoever starts a node, so that only one is started.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        self.root.join("start.lock")
    }
}

/// Where gateways of the domain in this directory wait for commands, if one is there.
#[must_use]
pub fn gateways_of(root: &Path) -> PathBuf {
    root.join("gateways")
}

/// Writes a file so that it is there, whole, after any crash, or not at all.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::other("a file without a directory"))?;
    // A name of its own, so that two writers do not meet in one file.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(parent)?.sync_all()
}

fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
