//! Credentials: values that a cell gets with its release, when its pid 1 has long been forked.
//!
//! A variable has a slot in memory that is shared with the worker, empty until it is put. The
//! worker's execve reads it there, and then it is wiped. A file is written by the supervisor into a
//! file system that only the cell has, over a mount of it that the cell cannot reach; what the cell
//! sees of it is read-only. So neither the memory of pid 1 nor a message ever holds a value.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::SandboxError;
use crate::sys::SharedMemory;

/// Where a cell with credentials in files finds them.
pub const CREDENTIALS_PATH: &str = "/run/placet/credentials";

/// Longest value, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 64 << 10;

/// Which values a cell gets with its release. The values are in no spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialSlots {
    /// Environment variables: see [`crate::WaitingCell::put_variable`].
    pub variables: Vec<OsString>,
    /// Files below [`CREDENTIALS_PATH`]: see [`crate::WaitingCell::put_file`]. Without any there is
    /// no such directory.
    pub files: Vec<PathBuf>,
}

/// The slots of the variables.
#[derive(Debug)]
pub(crate) struct Variables {
    memory: SharedMemory,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: OsString,
    offset: usize,
}

/// What has been put so far.
#[derive(Debug, Default)]
pub(crate) struct Given {
    variables: BTreeSet<OsString>,
    files: BTreeSet<PathBuf>,
}

impl Variables {
    /// One slot each; `None` for none.
    pub(crate) fn new(names: &[OsString]) -> Result<Option<Self>, SandboxError> {
        let mut slots: Vec<Slot> = Vec::with_capacity(names.len());
        let mut length = 0_usize;
        for name in names {
            let plain = |byte: &u8| *byte != b'=' && *byte != 0;
            let twice = slots.iter().any(|slot| slot.name == *name);
            if name.is_empty() || twice || !name.as_bytes().iter().all(plain) {
                return Err(SandboxError::BadString("a variable's name"));
            }
            slots.push(Slot {
                name: name.clone(),
                offset: length,
            });
            // Name, equals sign, value, and a zero that is never overwritten.
            let needs = name
                .len()
                .saturating_add(CREDENTIAL_BYTES_MAX)
                .saturating_add(2);
            length = length.saturating_add(needs);
        }
        if slots.is_empty() {
            return Ok(None);
        }
        let memory = SharedMemory::new(length).map_err(|errno| failed(errno.into()))?;
        Ok(Some(Self { memory, slots }))
    }

    /// Where the strings of the environment will stand.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = *const std::ffi::c_char> {
        self.slots.iter().map(|slot| self.memory.at(slot.offset))
    }

    fn put(&self, name: &OsStr, value: &[u8]) -> Result<(), SandboxError> {
        let unknown = || failed(io::ErrorKind::NotFound.into());
        let slot = self.slots.iter().find(|slot| slot.name == name);
        let slot = slot.ok_or_else(unknown)?;
        if value.len() > CREDENTIAL_BYTES_MAX || value.contains(&0) {
            return Err(SandboxError::BadString("a credential's value"));
        }
        let equals = slot.offset.saturating_add(name.len());
        let parts = [
            (slot.offset, name.as_bytes()),
            (equals, b"="),
            (equals.saturating_add(1), value),
        ];
        parts
            .into_iter()
            .try_for_each(|(offset, bytes)| self.memory.write(offset, bytes))
            .map_err(|errno| failed(errno.into()))
    }

    pub(crate) fn wipe(&self) {
        self.memory.wipe();
    }
}

impl Given {
    pub(crate) fn put_variable(
        &mut self,
        variables: Option<&Variables>,
        name: &OsStr,
        value: &[u8],
    ) -> Result<(), SandboxError> {
        let missing = || failed(io::ErrorKind::NotFound.into());
        variables.ok_or_else(missing)?.put(name, value)?;
        self.variables.insert(name.to_owned());
        Ok(())
    }

    /// Makes the file with its directories, readable by its owner alone.
    pub(crate) fn put_file(
        &mut self,
        dir: Option<&OwnedFd>,
        path: &Path,
        value: &[u8],
    ) -> Result<(), SandboxError> {
        let dir = dir.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        if value.len() > CREDENTIAL_BYTES_MAX {
            return Err(SandboxError::BadString("a credential's value"));
        }
        write_below(dir, path, value).map_err(failed)?;
        self.files.insert(path.to_owned());
        Ok(())
    }

    /// Whether everything that the spec names is there.
    pub(crate) fn is_all_of(&self, slots: &CredentialSlots) -> bool {
        slots
            .variables
            .iter()
            .all(|name| self.variables.contains(name))
            && slots.files.iter().all(|path| self.files.contains(path))
    }
}

/// Relative, and nothing but names: what is made must lie below the directory.
pub(crate) fn check_file(path: &Path) -> Result<(), SandboxError> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let bytes = path.as_os_str().as_bytes();
    if plain && !bytes.is_empty() && !bytes.contains(&0) {
        Ok(())
    } else {
        Err(SandboxError::BadString("a credential's path"))
    }
}

fn write_below(root: &OwnedFd, path: &Path, value: &[u8]) -> io::Result<()> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut made = PathBuf::new();
    for part in path.parent().into_iter().flat_map(Path::components) {
        made.push(part);
        match rustix::fs::mkdirat(root.as_fd(), &made, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(root.as_fd(), path, flags, Mode::RUSR, within)?;
    std::fs::File::from(file).write_all(value)
}

fn failed(source: io::Error) -> SandboxError {
    SandboxError::Supervisor {
        what: "hand a credential over",
        source,
    }
}
