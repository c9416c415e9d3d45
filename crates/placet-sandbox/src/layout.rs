//! From the scope's paths to the new root: which mounts, in which order.
//!
//! Pure: it looks at nothing but its input. The root is an empty tmpfs in which only directories
//! on the way to granted paths exist, so what is not granted cannot even be named.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::copies::{self, Copy};
use crate::credentials::{CREDENTIAL_BYTES_MAX, CREDENTIALS_PATH};
use crate::error::SandboxError;
use crate::landlock::Right;
use crate::plan::{Bind, Mount, Overlay};
use crate::spec::CLIENT_PATH;
use crate::sys::Inode;

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;

/// mount(2) flags of the private file systems.
const PRIVATE: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

const PAGE_BYTES: u64 = 4096;
/// Enough for the directories on the way to granted paths.
const INODES_MIN: u64 = 1024;

/// Masks for hidden files and directories, in the new root.
const EMPTY_FILE: &str = "dev/hidden";
const EMPTY_DIR: &str = "dev/hidden.d";

/// A file or directory that was opened while preparing.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) inode: Inode,
    pub(crate) is_dir: bool,
    /// As it was opened then: while it is held, no other file can get its inode.
    pub(crate) file: Arc<OwnedFd>,
}

/// A path of the scope with what is granted on it.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) found: Found,
    pub(crate) right: Right,
}

/// A file of the cell's own, and the host's where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) path: PathBuf,
    pub(crate) contents: Vec<u8>,
    pub(crate) replaces: Option<Found>,
}

/// What the root is built from.
pub(crate) struct Parts {
    pub(crate) grants: Vec<Grant>,
    pub(crate) own_files: Vec<Own>,
    /// Of the writable grants, those that are shown as copies.
    pub(crate) copies: Vec<Copy>,
    pub(crate) hidden: Vec<Found>,
    /// Device nodes: where on the host, and the name below `/dev` inside.
    pub(crate) devices: Vec<(Found, &'static str)>,
    /// Symbolic links in the host's root: name and target.
    pub(crate) root_links: Vec<(PathBuf, PathBuf)>,
    pub(crate) tmp_bytes_max: u64,
    pub(crate) client: Option<Found>,
    /// Whether `/run/placet` exists: for the door, the client, or files of credentials.
    pub(crate) meeting_place: bool,
    /// How many credentials come as files.
    pub(crate) credential_files: usize,
    /// Sockets of the host that may be connected to.
    pub(crate) sockets: Vec<Found>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    Writable { exec: bool },
}

struct Layout {
    mounts: Vec<Mount>,
    /// As they are spelled: every path here is normal.
    made: HashSet<OsString>,
}

/// The mounts, in order.
///
/// # Errors
/// Contradictions in the scope: a writable path that is executable, a hidden one that is granted.
pub(crate) fn lay_out(parts: &Parts) -> Result<Vec<Mount>, SandboxError> {
    let binds = merge(&parts.grants)?;
    let granted = binds
        .iter()
        .map(|(path, (_, access))| (Path::new(*path), *access));
    copies::check_alike(&parts.copies, &parts.hidden, granted)?;
    let mut layout = Layout {
        mounts: Vec::new(),
        made: HashSet::new(),
    };
    layout.private(parts, &binds)?;
    layout.client(parts.client.as_ref(), &binds)?;
    layout.devices(&parts.devices)?;
    layout.scope(&binds, &parts.copies)?;
    layout.sockets(&parts.sockets, &binds)?;
    layout.root_links(&parts.root_links, &binds)?;
    layout.own_files(&parts.own_files, &binds)?;
    layout.hidden(&parts.hidden, &binds)?;
    Ok(layout.mounts)
}

/// By their paths as they are spelled, which are normal: to compare them part by part takes many times as long.
type Binds<'a> = BTreeMap<&'a OsStr, (&'a Found, Access)>;

/// One entry for each path, the writable grant winning; parents sort before children.
fn merge(grants: &[Grant]) -> Result<Binds<'_>, SandboxError> {
    let mut binds = Binds::new();
    for Grant { found, right } in grants {
        let access = match right {
            Right::Write => Access::Writable { exec: false },
            Right::WriteAndExecute => Access::Writable { exec: true },
            Right::List | Right::Read | Right::Execute | Right::Device => Access::ReadOnly,
        };
        let entry = binds
            .entry(found.path.as_os_str())
            .or_insert((found, access));
        if access != Access::ReadOnly {
            entry.1 = access;
        }
    }
    for Grant { found, right } in grants {
        let is = binds.get(found.path.as_os_str()).map(|(_, access)| *access);
        if *right == Right::Execute && is == Some(Access::Writable { exec: false }) {
            return Err(SandboxError::ExecIsWritable(found.path.clone()));
        }
    }
    Ok(binds)
}

/// The entry that `path` lies in, itself excluded.
fn enclosing<'a>(binds: &Binds<'a>, path: &Path) -> Option<(&'a Found, Access)> {
    path.ancestors()
        .skip(1)
        .find_map(|above| binds.get(above.as_os_str()))
        .copied()
}

/// Whether the path lies in an entry.
fn is_granted(binds: &Binds<'_>, path: &Path) -> bool {
    path.ancestors()
        .any(|above| binds.contains_key(above.as_os_str()))
}

impl Layout {
    fn private(&mut self, parts: &Parts, binds: &Binds<'_>) -> Result<(), SandboxError> {
        // A tmpfs of size 0 is one without a limit, and empty files count only as inodes.
        let bytes = parts.tmp_bytes_max.max(PAGE_BYTES);
        let inodes = (bytes / PAGE_BYTES).max(INODES_MIN);
        let sized = |mode: &str| format!("size={bytes},nr_inodes={inodes},mode={mode}");
        // Read-only since root's own id may otherwise write kernel settings without a capability;
        // without pid 1, whose command line is the supervisor's.
        self.mount(c"proc", "/proc", PRIVATE | libc::MS_RDONLY, "hidepid=4")?;
        self.mount(
            c"devpts",
            "/dev/pts",
            libc::MS_NOSUID | libc::MS_NOEXEC,
            "newinstance,ptmxmode=0666,mode=0620",
        )?;
        self.mount(c"tmpfs", "/dev/shm", PRIVATE, &sized("1777"))?;
        self.mount(c"tmpfs", "/run", PRIVATE, &sized("755"))?;
        if !binds.contains_key(OsStr::new("/tmp")) {
            self.mount(c"tmpfs", "/tmp", PRIVATE, &sized("1777"))?;
        }
        if parts.meeting_place {
            // Apart from /run and made read-only later: the tree can write to /run, but must not
            // replace the door with a socket of its own, or the client with another program.
            self.mount(c"tmpfs", "/run/placet", PRIVATE, "size=64k,mode=755")?;
        }
        if parts.credential_files > 0 {
            // Pages are counted, directories and files only as inodes.
            let room = CREDENTIAL_BYTES_MAX.saturating_add(4096);
            let bytes = room.saturating_mul(parts.credential_files);
            let options = format!("size={bytes},nr_inodes=256,mode=700");
            self.mount(c"tmpfs", CREDENTIALS_PATH, PRIVATE, &options)?;
        }
        Ok(())
    }

    fn client(&mut self, client: Option<&Found>, binds: &Binds<'_>) -> Result<(), SandboxError> {
        let Some(client) = client else { return Ok(()) };
        let path = client.path.as_path();
        let shown = binds
            .get(path.as_os_str())
            .copied()
            .or_else(|| enclosing(binds, path));
        // The read-only mount does not keep the tree from writing to the same file elsewhere.
        if shown.is_some_and(|(_, access)| access == Access::Writable { exec: false }) {
            return Err(SandboxError::ExecIsWritable(client.path.clone()));
        }
        self.bind(
            client,
            Path::new(CLIENT_PATH),
            None,
            RDONLY | NOSUID | NODEV,
        )
    }

    fn mount(
        &mut self,
        kind: &'static std::ffi::CStr,
        target: &str,
        flags: u64,
        data: &str,
    ) -> Result<(), SandboxError> {
        self.dirs(Path::new(target))?;
        self.mounts.push(Mount::Private {
            kind,
            target: inside(Path::new(target))?,
            flags,
            data: c_string(data.as_bytes(), "a mount option")?,
        });
        Ok(())
    }

    fn devices(&mut self, devices: &[(Found, &'static str)]) -> Result<(), SandboxError> {
        for (found, name) in devices {
            let target = Path::new("/dev").join(name);
            self.bind(found, &target, None, NOSUID | NOEXEC)?;
        }
        let links = [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        for (name, target) in links {
            self.symlink(&Path::new("/dev").join(name), Path::new(target))?;
        }
        Ok(())
    }

    fn scope(&mut self, binds: &Binds<'_>, copies: &[Copy]) -> Result<(), SandboxError> {
        for (path, (found, access)) in binds {
            let path = Path::new(path);
            let around = enclosing(binds, path);
            if around.is_some_and(|(_, outer)| outer == *access) {
                continue;
            }
            let attributes = match access {
                Access::ReadOnly => RDONLY | NOSUID | NODEV,
                Access::Writable { exec: false } => NOSUID | NODEV | NOEXEC,
                Access::Writable { exec: true } => NOSUID | NODEV,
            };
            let covers = around.map(|_| found.inode);
            match copies.iter().find(|copy| copy.found.path == path) {
                Some(copy) => self.overlay(copy, covers, attributes)?,
                None => self.bind(found, path, covers, attributes)?,
            }
        }
        Ok(())
    }

    /// Those that stand in no granted path already. Nothing on them can be written or executed.
    fn sockets(&mut self, sockets: &[Found], binds: &Binds<'_>) -> Result<(), SandboxError> {
        let unseen = |socket: &&Found| enclosing(binds, &socket.path).is_none();
        for socket in sockets.iter().filter(unseen) {
            self.bind(socket, &socket.path, None, RDONLY | NOSUID | NODEV | NOEXEC)?;
        }
        Ok(())
    }

    fn root_links(
        &mut self,
        links: &[(PathBuf, PathBuf)],
        binds: &Binds<'_>,
    ) -> Result<(), SandboxError> {
        for (name, target) in links {
            let resolved: PathBuf = Path::new("/").join(target).components().collect();
            let mut made = self.made.iter().map(Path::new);
            let leads_somewhere =
                made.any(|made| made.starts_with(&resolved)) || is_granted(binds, &resolved);
            if leads_somewhere && !self.made.contains(name.as_os_str()) {
                self.symlink(name, target)?;
            }
        }
        Ok(())
    }

    fn own_files(&mut self, files: &[Own], binds: &Binds<'_>) -> Result<(), SandboxError> {
        for (number, file) in files.iter().enumerate() {
            match (is_granted(binds, &file.path), &file.replaces) {
                (true, None) => {}
                (true, Some(replaced)) => {
                    let source = PathBuf::from(format!("/dev/own.{number}"));
                    self.text(&source, &file.contents)?;
                    self.mounts.push(Mount::Bind(Bind {
                        source: inside(&source)?,
                        inode: None,
                        target: inside(&file.path)?,
                        covers: Some(replaced.inode),
                        attributes: RDONLY | NOSUID | NODEV | NOEXEC,
                    }));
                }
                (false, _) => self.text(&file.path, &file.contents)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &Path, contents: &[u8]) -> Result<(), SandboxError> {
        if let Some(parent) = path.parent() {
            self.dirs(parent)?;
        }
        self.made.insert(path.into());
        self.mounts.push(Mount::Text {
            path: inside(path)?,
            contents: contents.to_vec(),
        });
        Ok(())
    }

    fn hidden(&mut self, hidden: &[Found], binds: &Binds<'_>) -> Result<(), SandboxError> {
        if !hidden.is_empty() {
            self.mounts
                .push(Mount::File(c_string(EMPTY_FILE.as_bytes(), "a path")?));
            self.mounts
                .push(Mount::Dir(c_string(EMPTY_DIR.as_bytes(), "a path")?));
        }
        for found in hidden {
            if let Some(granted) = binds
                .keys()
                .find(|path| Path::new(path).starts_with(&found.path))
            {
                let (hidden, granted) = (found.path.clone(), PathBuf::from(granted));
                return Err(SandboxError::HiddenCoversGranted { hidden, granted });
            }
            if enclosing(binds, &found.path).is_some() {
                let mask = if found.is_dir { EMPTY_DIR } else { EMPTY_FILE };
                self.mounts.push(Mount::Bind(Bind {
                    source: c_string(mask.as_bytes(), "a path")?,
                    inode: None,
                    target: inside(&found.path)?,
                    covers: Some(found.inode),
                    attributes: RDONLY | NOSUID | NODEV | NOEXEC,
                }));
            }
        }
        Ok(())
    }

    fn bind(
        &mut self,
        found: &Found,
        target: &Path,
        covers: Option<Inode>,
        attributes: u64,
    ) -> Result<(), SandboxError> {
        if covers.is_none() {
            self.mount_point(target, found.is_dir)?;
        }
        self.made.insert(target.into());
        self.mounts.push(Mount::Bind(Bind {
            source: c_string(found.path.as_os_str().as_bytes(), "a path")?,
            inode: Some(found.inode),
            target: inside(target)?,
            covers,
            attributes,
        }));
        Ok(())
    }

    fn overlay(
        &mut self,
        copy: &Copy,
        covers: Option<Inode>,
        attributes: u64,
    ) -> Result<(), SandboxError> {
        let path = copy.found.path.as_path();
        if covers.is_none() {
            self.mount_point(path, true)?;
        }
        self.made.insert(path.into());
        self.mounts.push(Mount::Overlay(Overlay {
            lower: c_string(path.as_os_str().as_bytes(), "a path")?,
            inode: copy.found.inode,
            upper: copy.upper.clone(),
            work: copy.work.clone(),
            target: inside(path)?,
            covers,
            attributes,
        }));
        Ok(())
    }

    fn mount_point(&mut self, target: &Path, is_dir: bool) -> Result<(), SandboxError> {
        if is_dir {
            return self.dirs(target);
        }
        if let Some(parent) = target.parent() {
            self.dirs(parent)?;
        }
        self.mounts.push(Mount::File(inside(target)?));
        Ok(())
    }

    /// The directory and all above it, each once.
    fn dirs(&mut self, path: &Path) -> Result<(), SandboxError> {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|above| above.parent().is_some() && !self.made.contains(above.as_os_str()))
            .collect();
        while let Some(dir) = missing.pop() {
            self.made.insert(dir.into());
            self.mounts.push(Mount::Dir(inside(dir)?));
        }
        Ok(())
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<(), SandboxError> {
        self.made.insert(path.into());
        self.mounts.push(Mount::Symlink {
            path: inside(path)?,
            target: c_string(target.as_os_str().as_bytes(), "a symbolic link")?,
        });
        Ok(())
    }
}

/// The read-only view that is mounted over the file system of the credentials once the supervisor
/// has a way into that.
pub(crate) fn credentials_view() -> Result<Bind, SandboxError> {
    let path = inside(Path::new(CREDENTIALS_PATH))?;
    Ok(Bind {
        source: path.clone(),
        inode: None,
        target: path,
        covers: None,
        attributes: RDONLY | NOSUID | NODEV | NOEXEC,
    })
}

pub(crate) fn c_string(bytes: &[u8], what: &'static str) -> Result<CString, SandboxError> {
    CString::new(bytes).map_err(|_| SandboxError::BadString(what))
}

/// An absolute path, relative to the new root.
fn inside(path: &Path) -> Result<CString, SandboxError> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    c_string(relative.as_os_str().as_bytes(), "a path")
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
