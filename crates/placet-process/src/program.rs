//! Finding the program that a command names, and measuring it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use placet_sandbox::{Digests, FileIdentity, ImageDigest};
use placet_types::{AbsPath, Digest};

/// A program: where it stands, which file that is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Symbolic links resolved.
    pub path: AbsPath,
    /// The file that was measured.
    pub identity: FileIdentity,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// Why there is no program to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No file of this name.
    #[error("{0:?}: command not found")]
    NotFound(String),
    /// A file that cannot be executed.
    #[error("{0:?}: not an executable file: {1}")]
    NotExecutable(String, io::Error),
    /// A path that Placet cannot write down.
    #[error("{0:?}: the path is not UTF-8, and records are")]
    NotUtf8(PathBuf),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file changed while it was read.
    #[error("{0}: the file changed while it was measured")]
    Changed(PathBuf),
}

impl Program {
    /// Finds `name` as a shell would: by path when it has a slash, else along `search`; resolves
    /// symbolic links and measures the file. Digests of large files are remembered in `memory`.
    ///
    /// # Errors
    ///
    /// [`ProgramError`]
    pub fn find(
        name: &str,
        cwd: &Path,
        search: &str,
        memory: Option<&Path>,
    ) -> Result<Self, ProgramError> {
        let found = if name.contains('/') {
            executable(&cwd.join(name)).map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    ProgramError::NotFound(name.into())
                } else {
                    ProgramError::NotExecutable(name.into(), error)
                }
            })?
        } else {
            search
                .split(':')
                .filter(|dir| !dir.is_empty())
                .find_map(|dir| executable(&cwd.join(dir).join(name)).ok())
                .ok_or_else(|| ProgramError::NotFound(name.into()))?
        };
        measure(&found, memory)
    }
}

/// The resolved path of an executable regular file.
fn executable(path: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    if metadata.is_dir() {
        Err(io::Error::other("it is a directory"))
    } else if !metadata.is_file() {
        Err(io::Error::other("it is no regular file"))
    } else if metadata.permissions().mode() & 0o111 == 0 {
        Err(io::Error::other("nobody may execute it (chmod +x)"))
    } else {
        Ok(path)
    }
}

pub(crate) fn measure(path: &Path, memory: Option<&Path>) -> Result<Program, ProgramError> {
    let io = |error| ProgramError::Io {
        path: path.to_owned(),
        error,
    };
    let text = path
        .to_str()
        .ok_or_else(|| ProgramError::NotUtf8(path.to_owned()))?;
    let abs = AbsPath::parse(text).map_err(|_| ProgramError::NotUtf8(path.to_owned()))?;
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let identity = FileIdentity::of_metadata(&metadata);
    let digests = memory.map(|dir| Digests::at(dir.to_owned()));
    let known = digests.as_ref().and_then(|all| all.recall(&identity));
    if let Some(ImageDigest(bytes)) = known {
        return Ok(Program {
            path: abs,
            identity,
            digest: Digest::new(bytes),
        });
    }
    let digest = read_digest(&file).map_err(io)?;
    // A write in the meantime shows in the times, so the digest is of this very state.
    if FileIdentity::of_metadata(&file.metadata().map_err(io)?) != identity {
        return Err(ProgramError::Changed(path.to_owned()));
    }
    if let Some(digests) = digests {
        digests.remember(&identity, ImageDigest(*digest.as_bytes()));
    }
    Ok(Program {
        path: abs,
        identity,
        digest,
    })
}

fn read_digest(file: &File) -> io::Result<Digest> {
    let mut bytes = Vec::new();
    let mut file = file;
    file.read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}
