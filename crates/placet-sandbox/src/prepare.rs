//! From a spec to a plan: checks what can be checked and computes all that the child needs.
//!
//! Opens each path once to learn what it is; the child opens it again in its own mount namespace,
//! where alone it can be bound, and compares.

mod bounded;
mod held;
mod program;
mod rules;
mod standing;
mod watched;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::broker::EgressRules;
use crate::copies::{self, Copy};
use crate::credentials::{self, Variables};
use crate::error::SandboxError;
use crate::gate::{ExecRule, Known};
use crate::group::{Bounds, Place};
use crate::host;
use crate::landlock::{self, Right};
use crate::later::Later;
use crate::layout::{self, Found, Grant, Own, Parts};
use crate::looked::{Looked, Seen};
use crate::plan::{Plan, WorkerPlan};
use crate::spec::{CLIENT_PATH, CellSpec, Network, OwnFile, Session};
use crate::sys::{self};
use crate::tier::Tier;
use crate::{devices, privileged};

pub(crate) use bounded::unbounded;
use bounded::{bounds, limits};
use held::hold;
use program::{check_granted, started};
pub(crate) use program::{env, program};
use rules::{Ours, made_by_supervisor, rules};
use standing::{check_host, countable, host_of, host_rules, with_tmpdir};
use watched::watched;

/// A page: written in one piece.
const OWN_BYTES_MAX: usize = 4096;

/// Checks the spec and computes the plan. `told_denials`: somebody reads what Landlock refuses.
/// `later`: the worker is to be told its program with its release.
pub(crate) fn plan(spec: &CellSpec, told_denials: bool, later: bool) -> Result<Plan, SandboxError> {
    let (on_host, looked) = (spec.tier == Tier::U0, &spec.looked);
    let abi = landlock_abi(on_host)?;
    let copies = copies::find_all(&spec.paths.copied, looked)?;
    let grants = grants(spec, &copies)?;
    let in_copy = is_in_copy(&copies, &spec.program.path);
    check_granted(&spec.program, &grants)?;
    let devices = devices::devices(spec.session, looked)?;
    let ruleset = landlock::ruleset(abi, spec.network == Network::Loopback && !on_host);
    let client = spec.client.as_deref();
    let client = client.map(|path| find_client(path, looked)).transpose()?;
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
    let own_files = own_files(&spec.own_files, &grants, looked)?;
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
        hidden: hidden(&spec.paths.hidden, looked)?,
        root_links: devices::root_links()?,
        tmp_bytes_max: spec.paths.tmp_bytes_max,
        client,
        meeting_place,
        credential_files: files.len(),
        sockets: sockets(&spec.egress, looked)?,
        grants,
        own_files,
        copies,
        devices,
    };
    // The same contradictions are refused where nothing is mounted.
    let mounts = layout::lay_out(&parts)?;
    let rules = if on_host {
        rules
    } else {
        made_by_supervisor(rules, &mounts, &parts)
    };
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
        mounts: Arc::new(if on_host { Vec::new() } else { mounts }),
        loopback: spec.network == Network::Loopback,
        door: spec.door,
        proxied: spec.proxied,
        session: spec.session,
        meeting_place,
        place: Arc::new(place),
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
        _held: Arc::new(hold(&parts)),
        own_places: if on_host {
            Vec::new()
        } else {
            own_places(&parts)
        },
        worker: WorkerPlan {
            program: started(spec, in_copy, env)?,
            later: later.then(Later::new).transpose()?,
            limits: limits(&limits_of_kernel)?,
            leads_group: spec.session != Session::Shared,
            terminal: spec.session.streams(),
            ruleset,
            rules: Arc::new(rules),
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
                found: find(path, &spec.looked)?,
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
pub(crate) fn find(path: &Path, looked: &Looked) -> Result<Found, SandboxError> {
    let (found, kind) = look(path, looked)?;
    let is_dir = kind == FileType::Directory;
    if is_dir || kind == FileType::RegularFile {
        Ok(Found { is_dir, ..found })
    } else {
        Err(SandboxError::NotFileOrDirectory(path.to_path_buf()))
    }
}

fn find_client(path: &Path, looked: &Looked) -> Result<Found, SandboxError> {
    let found = find(path, looked)?;
    if found.is_dir {
        Err(SandboxError::ClientNotFile(found.path))
    } else {
        Ok(found)
    }
}

/// As [`find`], of any type.
pub(crate) fn look(path: &Path, looked: &Looked) -> Result<(Found, FileType), SandboxError> {
    check_absolute(path)?;
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(SandboxError::BadString("a path"));
    }
    let Seen { file, inode, kind } = looked.at(path).map_err(|errno| match errno.0 {
        libc::ELOOP => SandboxError::NotCanonical(path.to_path_buf()),
        _ => SandboxError::Open {
            path: path.to_path_buf(),
            source: errno.into(),
        },
    })?;
    let found = Found {
        path: path.to_path_buf(),
        inode,
        is_dir: false,
        file,
    };
    Ok((found, kind))
}

/// The hidden paths that exist.
fn hidden(paths: &[PathBuf], looked: &Looked) -> Result<Vec<Found>, SandboxError> {
    let mut hidden = Vec::new();
    for path in paths {
        match look(path, looked) {
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
fn sockets(rules: &EgressRules, looked: &Looked) -> Result<Vec<Found>, SandboxError> {
    let mut found = Vec::new();
    for path in &rules.sockets {
        check_not_reserved(path)?;
        match look(path, looked) {
            Ok((socket, FileType::Socket)) => found.push(socket),
            Ok(_) => {}
            Err(SandboxError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What a file of the cell's own replaces, and where else it has to stand.
fn own_files(
    files: &[OwnFile],
    grants: &[Grant],
    looked: &Looked,
) -> Result<Vec<Own>, SandboxError> {
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
        match look(path, looked) {
            Ok((found, FileType::RegularFile)) => add(path, Some(found)),
            Err(SandboxError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                add(path, None);
            }
            Err(SandboxError::NotCanonical(_)) => {
                let target = std::fs::canonicalize(path).ok();
                let target = target.and_then(|target| look(&target, looked).ok());
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
