//! From a spec to a plan: checks what can be checked and computes all that the child needs.
//!
//! Opens each path once to learn what it is; the child opens it again in its own mount namespace,
//! where alone it can be bound, and compares.

mod bounded;
mod held;
mod standing;
mod watched;

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};

use crate::broker::EgressRules;
use crate::copies::{self, Copy};
use crate::credentials::{self, Variables};
use crate::error::SandboxError;
use crate::gate::{ExecRule, Known};
use crate::group::{Bounds, Place};
use crate::host;
use crate::landlock::{self, Right};
use crate::later::{Later, Program as Started};
use crate::layout::{self, Found, Grant, Own, Parts, c_string};
use crate::plan::{Plan, WorkerPlan};
use crate::spec::{CLIENT_PATH, CellSpec, FileIdentity, Network, OwnFile, Program, Session};
use crate::sys::{self, Inode, StringArray};
use crate::tier::Tier;
use crate::{devices, privileged};

pub(crate) use bounded::unbounded;
use bounded::{bounds, limits};
use held::hold;
use standing::{check_host, countable, host_of, host_rules, with_tmpdir};
use watched::watched;

/// A page: written in one piece.
const OWN_BYTES_MAX: usize = 4096;

/// Checks the spec and computes the plan. `told_denials`: somebody reads what Landlock refuses.
/// `later`: the worker is to be told its program with its release.
pub(crate) fn plan(spec: &CellSpec, told_denials: bool, later: bool) -> Result<Plan, SandboxError> {
    let on_host = spec.tier == Tier::U0;
    let abi = landlock_abi(on_host)?;
    let copies = copies::find_all(&spec.paths.copied)?;
    let grants = grants(spec, &copies)?;
    let in_copy = is_in_copy(&copies, &spec.program.path);
    let program = check_program(&spec.program, &grants)?;
    let devices = devices::devices(spec.session)?;
    let ruleset = landlock::ruleset(abi, spec.network == Network::Loopback && !on_host);
    let client = spec.client.as_deref().map(find_client).transpose()?;
    let known = Known {
        program: spec.program.identity,
        in_copy,
        client: client.as_ref().map(|client| client.inode),
    };
    let files = &spec.credentials.files;
    if on_host {
        check_host(spec)?;
    }
    let watched = watched(spec)?;
    files
        .iter()
        .try_for_each(|path| credentials::check_file(path))?;
    let meeting_place = spec.door || client.is_some() || !files.is_empty();
    let variables = Variables::new(&spec.credentials.variables)?;
    let slots = variables.iter().flat_map(Variables::pointers);
    let own_files = own_files(&spec.own_files, &grants)?;
    let own = Ours {
        devices: &devices,
        client: client.as_ref(),
        files: &own_files,
    };
    let host = on_host.then(|| host_of(spec, &grants)).transpose()?;
    let rules = match &host {
        Some(host) => host_rules(&ruleset, &grants, &devices, client.as_ref(), host)?,
        None => rules(&ruleset, &grants, &copies, &own)?,
    };
    let scratch = host.as_ref().and_then(|host| host.scratch.as_ref());
    let env = match scratch {
        Some(scratch) => env(&with_tmpdir(&spec.env, scratch.path()))?.and(slots),
        None => env(&spec.env)?.and(slots),
    };
    let parts = Parts {
        hidden: hidden(&spec.paths.hidden)?,
        root_links: devices::root_links()?,
        tmp_bytes_max: spec.paths.tmp_bytes_max,
        client,
        meeting_place,
        credential_files: files.len(),
        sockets: sockets(&spec.egress)?,
        grants,
        own_files,
        copies,
        devices,
    };
    check_absolute(&spec.cwd)?;
    // The same contradictions are refused where nothing is mounted.
    let mounts = layout::lay_out(&parts)?;
    if on_host {
        host::check_hidden(&parts.hidden, &parts.grants)?;
    }
    let limits_of_kernel = countable(&spec.limits, on_host);
    let bounds = bounds(&limits_of_kernel);
    let place = if on_host && bounds == Bounds::default() {
        Place::none()
    } else {
        Place::find(bounds).map_err(|why| unbounded(&bounds, why))?
    };
    let memfd_noexec = !on_host && privileged::can_forbid_executable_memory();
    if !on_host {
        privileged::demand(spec.tier, privileged::set_up(&place)?, memfd_noexec)?;
    }
    Ok(Plan {
        uid_map: id_map(rustix::process::geteuid().as_raw()),
        gid_map: id_map(rustix::process::getegid().as_raw()),
        mounts: if on_host { Vec::new() } else { mounts },
        loopback: spec.network == Network::Loopback,
        door: spec.door,
        proxied: spec.proxied,
        session: spec.session,
        meeting_place,
        place,
        bounds,
        memfd_noexec,
        credentials_view: (!files.is_empty())
            .then(layout::credentials_view)
            .transpose()?,
        credentials: spec.credentials.clone(),
        variables,
        exec: spec.exec.clone(),
        known,
        shown: watched.shown,
        egress: spec.egress.clone(),
        executable: executable(&parts),
        _held: hold(&parts),
        own_places: if on_host {
            Vec::new()
        } else {
            own_places(&parts)
        },
        worker: WorkerPlan {
            program: Started {
                path: program.path,
                identity: spec.program.identity,
                in_copy,
                is_script: program.is_script,
                cwd: c_string(spec.cwd.as_os_str().as_bytes(), "the working directory")?,
                argv: argv(&spec.program.argv)?,
                env,
            },
            later: later.then(Later::new).transpose()?,
            limits: limits(&limits_of_kernel)?,
            leads_group: spec.session != Session::Shared,
            terminal: spec.session.streams(),
            ruleset,
            rules,
            landlock_flags: if told_denials && abi >= landlock::ABI_OF_AUDIT {
                sys::LANDLOCK_LOG_NEW_EXEC
            } else {
                0
            },
            on_host,
            filter: watched.filter,
            gated: on_host || !matches!(spec.exec.rule, ExecRule::Ungated),
        },
        host: host.map(Arc::new),
    })
}

fn landlock_abi(on_host: bool) -> Result<i32, SandboxError> {
    match sys::landlock_abi() {
        Ok(abi) if on_host && abi < host::ABI_REQUIRED => {
            Err(SandboxError::Unsupported("Landlock ABI 6 (Linux 6.12)"))
        }
        Ok(abi) if abi >= landlock::ABI_REQUIRED => Ok(abi),
        Ok(_) => Err(SandboxError::Unsupported("Landlock ABI 3 (Linux 6.2)")),
        Err(_) => Err(SandboxError::Unsupported("Landlock")),
    }
}

/// One id, mapped to itself.
fn id_map(id: u32) -> Vec<u8> {
    format!("{id} {id} 1").into_bytes()
}

fn grants(spec: &CellSpec, copies: &[Copy]) -> Result<Vec<Grant>, SandboxError> {
    let paths = &spec.paths;
    let write = if paths.exec_in_writable {
        Right::WriteAndExecute
    } else {
        Right::Write
    };
    let lists = [
        (&paths.read, Right::Read),
        (&paths.write, write),
        (&paths.exec, Right::Execute),
    ];
    let mut grants = Vec::new();
    for (list, right) in lists {
        for path in list {
            check_not_reserved(path)?;
            grants.push(Grant {
                found: find(path)?,
                right,
            });
        }
    }
    for copy in copies {
        check_not_reserved(&copy.found.path)?;
        grants.push(Grant {
            found: copy.found.clone(),
            right: write,
        });
    }
    Ok(grants)
}

/// What the scope lets be executed, and the client.
fn executable(parts: &Parts) -> Vec<PathBuf> {
    let may_run = |grant: &&Grant| matches!(grant.right, Right::Execute | Right::WriteAndExecute);
    let granted = parts.grants.iter().filter(may_run);
    let client = parts.client.iter().map(|_| PathBuf::from(CLIENT_PATH));
    granted
        .map(|grant| grant.found.path.clone())
        .chain(client)
        .collect()
}

fn is_in_copy(copies: &[Copy], path: &Path) -> bool {
    copies.iter().any(|copy| path.starts_with(&copy.found.path))
}

/// Where only the cell's processes can make a socket, pid 1 with its door included.
fn own_places(parts: &Parts) -> Vec<PathBuf> {
    let tmp = Path::new("/tmp");
    let own_tmp = !parts.grants.iter().any(|grant| grant.found.path == tmp);
    let places = [
        ("/run", true),
        ("/dev/shm", true),
        ("/tmp", own_tmp),
        ("/run/placet", parts.meeting_place),
        (credentials::CREDENTIALS_PATH, parts.credential_files > 0),
    ];
    let own = places.into_iter().filter(|(_, is_own)| *is_own);
    own.map(|(path, _)| PathBuf::from(path)).collect()
}

fn check_absolute(path: &Path) -> Result<(), SandboxError> {
    // Components would skip over inner dots, so compare with what they spell.
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let spelled: PathBuf = path.components().collect();
    if path.is_absolute() && plain && spelled.as_os_str() == path.as_os_str() {
        Ok(())
    } else {
        Err(SandboxError::NotAbsolute(path.to_path_buf()))
    }
}

/// The cell's own /proc, /dev, /run and door would be lost under a bind.
fn check_not_reserved(path: &Path) -> Result<(), SandboxError> {
    let own = ["/proc", "/dev", "/run/placet"]
        .iter()
        .any(|own| path.starts_with(own));
    if own || path == Path::new("/") || path == Path::new("/run") {
        return Err(SandboxError::Reserved(path.to_path_buf()));
    }
    Ok(())
}

/// Opens a canonical path to learn what it is.
pub(crate) fn find(path: &Path) -> Result<Found, SandboxError> {
    let (found, kind) = look(path)?;
    let is_dir = kind == FileType::Directory;
    if is_dir || kind == FileType::RegularFile {
        Ok(Found { is_dir, ..found })
    } else {
        Err(SandboxError::NotFileOrDirectory(path.to_path_buf()))
    }
}

fn find_client(path: &Path) -> Result<Found, SandboxError> {
    let found = find(path)?;
    if found.is_dir {
        Err(SandboxError::ClientNotFile(found.path))
    } else {
        Ok(found)
    }
}

/// As [`find`], of any type.
pub(crate) fn look(path: &Path) -> Result<(Found, FileType), SandboxError> {
    let (file, stat) = open_canonical(path)?;
    let inode = Inode {
        dev: stat.st_dev,
        ino: stat.st_ino,
    };
    let found = Found {
        path: path.to_path_buf(),
        inode,
        is_dir: false,
        file: Arc::new(file),
    };
    Ok((found, FileType::from_raw_mode(stat.st_mode)))
}

fn open_canonical(path: &Path) -> Result<(OwnedFd, Stat), SandboxError> {
    check_absolute(path)?;
    let name = c_string(path.as_os_str().as_bytes(), "a path")?;
    let fd = sys::open_path(libc::AT_FDCWD, &name).map_err(|errno| match errno.0 {
        libc::ELOOP => SandboxError::NotCanonical(path.to_path_buf()),
        _ => SandboxError::Open {
            path: path.to_path_buf(),
            source: errno.into(),
        },
    })?;
    // SAFETY: openat2 has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let stat = rustix::fs::fstat(&fd).map_err(|errno| SandboxError::Open {
        path: path.to_path_buf(),
        source: errno.into(),
    })?;
    Ok((fd, stat))
}

/// The hidden paths that exist.
fn hidden(paths: &[PathBuf]) -> Result<Vec<Found>, SandboxError> {
    let mut hidden = Vec::new();
    for path in paths {
        match look(path) {
            Ok((found, kind)) => {
                hidden.push(Found {
                    is_dir: kind == FileType::Directory,
                    ..found
                });
            }
            Err(SandboxError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hidden)
}

/// The listed sockets that exist, as files; a listed directory is seen where the scope shows it.
fn sockets(rules: &EgressRules) -> Result<Vec<Found>, SandboxError> {
    let mut found = Vec::new();
    for path in &rules.sockets {
        check_not_reserved(path)?;
        match look(path) {
            Ok((socket, FileType::Socket)) => found.push(socket),
            Ok(_) => {}
            Err(SandboxError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

struct Checked {
    path: CString,
    is_script: bool,
}

fn check_program(program: &Program, grants: &[Grant]) -> Result<Checked, SandboxError> {
    let path = &program.path;
    let may_run = |grant: &&Grant| matches!(grant.right, Right::Execute | Right::WriteAndExecute);
    if !grants
        .iter()
        .filter(may_run)
        .any(|grant| path.starts_with(&grant.found.path))
    {
        return Err(SandboxError::ProgramOutsideExec(path.clone()));
    }
    find(path)?;
    let open = |source| SandboxError::Open {
        path: path.clone(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(open)?;
    if FileIdentity::of_metadata(&metadata) != program.identity {
        return Err(SandboxError::ProgramChanged(path.clone()));
    }
    let path = c_string(path.as_os_str().as_bytes(), "the program's path")?;
    Ok(Checked {
        path,
        is_script: is_script(&program.path),
    })
}

/// Whether the file starts with `#!`. One that cannot be read is taken for a binary: executing
/// needs no read permission for those, and the kernel would not run it as a script either.
fn is_script(path: &Path) -> bool {
    let mut magic = [0u8; 2];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"#!"
}

/// What a file of the cell's own replaces, and where else it has to stand.
fn own_files(files: &[OwnFile], grants: &[Grant]) -> Result<Vec<Own>, SandboxError> {
    let mut own = Vec::new();
    for OwnFile { path, contents } in files {
        check_not_reserved(path)?;
        if contents.len() > OWN_BYTES_MAX {
            return Err(SandboxError::BadString("a file of the cell's own"));
        }
        let mut add = |path: &Path, replaces| {
            own.push(Own {
                path: path.to_path_buf(),
                contents: contents.clone(),
                replaces,
            });
        };
        match look(path) {
            Ok((found, FileType::RegularFile)) => add(path, Some(found)),
            Err(SandboxError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                add(path, None);
            }
            Err(SandboxError::NotCanonical(_)) => {
                let target = std::fs::canonicalize(path).ok();
                let target = target.and_then(|target| look(&target).ok());
                if let Some((found, FileType::RegularFile)) = target {
                    add(&found.path.clone(), Some(found));
                }
                // The link itself, if it shows, leads there.
                if !is_shown(path, grants) {
                    add(path, None);
                }
            }
            Ok((found, _)) => return Err(SandboxError::NotFileOrDirectory(found.path)),
            Err(error) => return Err(error),
        }
    }
    Ok(own)
}

fn is_shown(path: &Path, grants: &[Grant]) -> bool {
    grants
        .iter()
        .any(|grant| path.starts_with(&grant.found.path))
}

/// What a cell has besides its scope.
struct Ours<'a> {
    devices: &'a [(Found, &'static str)],
    client: Option<&'a Found>,
    files: &'a [Own],
}

/// Landlock rules for the scope and for what the cell has of its own.
fn rules(
    ruleset: &sys::LandlockRuleset,
    grants: &[Grant],
    copies: &[Copy],
    ours: &Ours<'_>,
) -> Result<Vec<landlock::Rule>, SandboxError> {
    let mut rules = Vec::new();
    for Grant { found, right } in grants {
        let path = c_string(found.path.as_os_str().as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, *right, found.is_dir);
        let replaced = ours.files.iter().any(|own| own.path == found.path);
        // A copy shows inodes of its own. What lies in it is granted as it is, so nothing depends on
        // which part this is.
        rules.push(if replaced || is_in_copy(copies, &found.path) {
            rule
        } else {
            rule.pinned(found.inode)
        });
    }
    for own in ours.files.iter().filter(|own| !is_shown(&own.path, grants)) {
        let path = c_string(own.path.as_os_str().as_bytes(), "a path")?;
        rules.push(landlock::Rule::new(ruleset, path, Right::Read, false));
    }
    let mut own = vec![
        (c"/", Right::List),
        (c"/proc", Right::Read),
        (c"/dev", Right::Device),
        (c"/dev/shm", Right::Write),
        (c"/run", Right::Write),
    ];
    if !grants
        .iter()
        .any(|grant| grant.found.path == Path::new("/tmp"))
    {
        own.push((c"/tmp", Right::Write));
    }
    rules.extend(
        own.into_iter()
            .map(|(path, right)| landlock::Rule::new(ruleset, path.to_owned(), right, true)),
    );
    // The nodes themselves too: an inherited descriptor that is reopened through /proc/self/fd is
    // reached on the host's mount, not below the cell's /dev.
    for (found, name) in ours.devices {
        let path = c_string(format!("/dev/{name}").as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, Right::Device, false);
        rules.push(rule.pinned(found.inode));
    }
    if let Some(found) = ours.client {
        let path = c_string(CLIENT_PATH.as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, Right::Execute, false);
        rules.push(rule.pinned(found.inode));
    }
    Ok(rules)
}

fn argv(arguments: &[OsString]) -> Result<StringArray, SandboxError> {
    let strings = arguments
        .iter()
        .map(|argument| c_string(argument.as_bytes(), "an argument"));
    strings.collect::<Result<_, _>>().map(StringArray::new)
}

pub(crate) fn env(variables: &[(OsString, OsString)]) -> Result<StringArray, SandboxError> {
    let strings = variables.iter().map(|(name, value)| variable(name, value));
    strings.collect::<Result<_, _>>().map(StringArray::new)
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString, SandboxError> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(SandboxError::BadString("a variable's name"));
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    c_string(&bytes, "a variable")
}
