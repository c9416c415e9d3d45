//! What a cell takes from the host besides its scope: six harmless devices, the caller's own
//! terminal, and the host root's symbolic links.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::error::SandboxError;
use crate::layout::Found;
use crate::looked::Looked;
use crate::prepare::look;
use crate::spec::Session;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The nodes for the cell's `/dev`, by name there. A terminal on the standard streams appears as
/// `/dev/console`, where ttyname(3) finds it: its own `/dev/pts` is a new, empty one.
///
/// A cell in a session of its own does not get the caller's terminal.
pub(crate) fn devices(
    session: Session,
    looked: &Looked,
) -> Result<Vec<(Found, &'static str)>, SandboxError> {
    let mut devices = Vec::new();
    for name in DEVICES {
        devices.push((device(&Path::new("/dev").join(name), looked)?, name));
    }
    if let Some(terminal) = terminal().filter(|_| session == Session::Shared) {
        devices.push((device(&terminal, looked)?, "console"));
    }
    Ok(devices)
}

fn device(path: &Path, looked: &Looked) -> Result<Found, SandboxError> {
    let (found, kind) = look(path, looked)?;
    if kind == FileType::CharacterDevice {
        Ok(found)
    } else {
        Err(SandboxError::NotFileOrDirectory(path.to_path_buf()))
    }
}

/// The first standard stream that is a terminal with a name of this mount namespace.
fn terminal() -> Option<PathBuf> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        .into_iter()
        .find_map(|stream| {
            let name = rustix::termios::ttyname(stream, Vec::new()).ok()?;
            Some(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())))
        })
}

/// Symbolic links in the host's root, such as `/bin`: name and target.
pub(crate) fn root_links() -> Result<Vec<(PathBuf, PathBuf)>, SandboxError> {
    let failed = |source| SandboxError::Supervisor {
        what: "read the root directory",
        source,
    };
    let mut links = Vec::new();
    for entry in std::fs::read_dir("/").map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Ok(target) = std::fs::read_link(&path) {
            links.push((path, target));
        }
    }
    links.sort();
    Ok(links)
}
