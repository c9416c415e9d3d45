//! Reading, writing and executing what the scope does not grant.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use placet_sandbox::{CellSpec, SandboxError, Status};

use crate::client::shown;
use crate::host::on_host;
use crate::support::{Act, Test, acting_spec, own_executable, scratch};
use crate::{
    SUCCESS, assert_refused, check, check_as_root, end_of, inside, outcome, outcome_of, outside,
    unstopped,
};

pub(crate) const TESTS: &[Test] = &[
    ("writing_outside_the_scope", writing_outside_the_scope),
    (
        "writing_to_what_is_only_readable",
        writing_to_what_is_only_readable,
    ),
    (
        "changing_metadata_of_what_is_only_readable",
        changing_metadata_of_what_is_only_readable,
    ),
    (
        "reading_a_secret_in_another_directory",
        reading_a_secret_in_another_directory,
    ),
    (
        "listing_the_parent_shows_only_the_scope",
        listing_the_parent_shows_only_the_scope,
    ),
    (
        "hidden_directory_by_every_path",
        hidden_directory_by_every_path,
    ),
    (
        "hidden_directory_after_renaming_its_parent",
        hidden_directory_after_renaming_its_parent,
    ),
    ("hidden_file", hidden_file),
    (
        "hidden_directory_cannot_be_removed_or_written",
        hidden_cannot_be_removed_or_written,
    ),
    (
        "a_symlink_out_of_the_workspace",
        a_symlink_out_of_the_workspace,
    ),
    (
        "a_hard_link_to_what_is_only_readable",
        a_hard_link_to_what_is_only_readable,
    ),
    (
        "dropped_binary_does_not_execute",
        dropped_binary_does_not_execute,
    ),
    (
        "dropped_binary_executes_where_the_scope_says_so",
        dropped_binary_where_allowed,
    ),
    (
        "binary_in_a_readable_path_does_not_execute",
        readable_binary_does_not_execute,
    ),
    (
        "library_from_a_writable_path_is_not_mapped",
        library_from_a_writable_path_is_not_mapped,
    ),
    (
        "preloaded_library_from_a_writable_path",
        preloaded_library_from_a_writable_path,
    ),
    (
        "unnamed_temporary_file_does_not_execute",
        unnamed_temporary_file_does_not_execute,
    ),
    (
        "inherited_descriptors_are_closed",
        inherited_descriptors_are_closed,
    ),
    (
        "kernel_settings_cannot_be_written",
        kernel_settings_cannot_be_written,
    ),
    ("block_devices_are_not_there", block_devices_are_not_there),
    ("device_nodes_cannot_be_made", device_nodes_cannot_be_made),
    ("the_client_cannot_be_changed", the_client_cannot_be_changed),
    (
        "private_directories_are_private",
        private_directories_are_private,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("write", |a| outcome_of(fs::write(&a[0], "overwritten"))),
    ("write_temporary", |a| {
        let name = Path::new(&a[0]).file_name().unwrap();
        outcome_of(fs::write(std::env::temp_dir().join(name), "own"))
    }),
    ("read", |a| outcome_of(fs::read(&a[0]))),
    ("read_any", read_any),
    ("read_content", read_content),
    ("chmod", |a| {
        outcome_of(fs::set_permissions(
            &a[0],
            fs::Permissions::from_mode(0o600),
        ))
    }),
    ("has_entry", has_entry),
    ("rename_then_read", rename_then_read),
    ("symlink_then_read", symlink_then_read),
    ("remove_file", |a| outcome_of(fs::remove_file(&a[0]))),
    ("rename", |a| outcome_of(fs::rename(&a[0], &a[1]))),
    ("hard_link", |a| outcome_of(fs::hard_link(&a[0], &a[1]))),
    ("remove_dir", |a| outcome_of(fs::remove_dir(&a[0]))),
    ("drop_and_execute", drop_and_execute),
    ("execute", |a| execute(Path::new(&a[0]))),
    ("exit_0", |_| 0),
    ("map_executable", map_executable),
    ("is_mapped", is_mapped),
    ("execute_unnamed", execute_unnamed),
    ("use_descriptors", use_descriptors),
    ("open_for_writing", |a| {
        outcome_of(fs::OpenOptions::new().write(true).open(&a[0]))
    }),
    ("any_block_device", any_block_device),
    ("make_device", make_device),
];

const ENOENT: Status = Status::Exited(libc::ENOENT);
const EACCES: Status = Status::Exited(libc::EACCES);
const EPERM: Status = Status::Exited(libc::EPERM);
const EROFS: Status = Status::Exited(libc::EROFS);
const EXDEV: Status = Status::Exited(libc::EXDEV);
pub(crate) const SECRET: &str = "the secret";

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file with the secret in it.
pub(crate) fn secret(dir: &Path) -> PathBuf {
    let path = dir.join("secret");
    fs::write(&path, SECRET).unwrap();
    path
}

pub(crate) fn with(act: &str, arguments: &[&str], change: impl FnOnce(&mut CellSpec)) -> Status {
    let mut spec = acting_spec(act, arguments);
    change(&mut spec);
    end_of(spec)
}

fn writing_outside_the_scope() {
    let dir = scratch();
    check("write", &[text(&dir.path().join("new"))], ENOENT);
}

fn writing_to_what_is_only_readable() {
    let dir = scratch();
    let file = secret(dir.path());
    assert_eq!(outside("write", &[text(&file)]), SUCCESS);
    let status = with("write", &[text(&file)], |spec| {
        spec.paths.read.push(dir.path().to_path_buf())
    });
    assert_refused(status, EROFS, "write");
}

fn changing_metadata_of_what_is_only_readable() {
    let dir = scratch();
    let file = secret(dir.path());
    assert_eq!(outside("chmod", &[text(&file)]), SUCCESS);
    let status = with("chmod", &[text(&file)], |spec| {
        spec.paths.read.push(dir.path().to_path_buf())
    });
    assert_refused(status, EROFS, "chmod");
}

fn the_client_cannot_be_changed() {
    let attempts = [
        ("write", "unused", EROFS),
        ("chmod", "unused", EROFS),
        ("remove_file", "unused", EROFS),
        ("rename", "/run/placet/other", EROFS),
        ("rename", "/run/other", EXDEV),
        ("hard_link", "/run/other", EXDEV),
    ];
    for (act, other, refusal) in attempts {
        let dir = scratch();
        let client = dir.path().join("client");
        fs::copy(own_executable(), &client).unwrap();
        let moved = dir.path().join("moved");
        let other = if on_host() { text(&moved) } else { other };
        let status = with(act, &[shown(&client), other], |spec| {
            spec.client = Some(client.clone());
        });
        assert_refused(status, refusal, act);
        assert!(fs::read(&client).unwrap() == fs::read(own_executable()).unwrap());
        let place = dir.path().join("other");
        let arguments = [text(&client), text(&place)];
        assert_eq!(outside(act, &arguments), SUCCESS, "{act} outside");
    }
}

fn reading_a_secret_in_another_directory() {
    let (workspace, other) = (scratch(), scratch());
    let file = secret(other.path());
    assert_eq!(outside("read", &[text(&file)]), SUCCESS);
    let status = with("read", &[text(&file)], |spec| {
        spec.paths.write.push(workspace.path().to_path_buf());
    });
    assert_refused(status, ENOENT, "read");
}

fn listing_the_parent_shows_only_the_scope() {
    let dir = scratch();
    let (visible, invisible) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir(&visible).unwrap();
    fs::create_dir(&invisible).unwrap();
    let sees = |name: &str| {
        with("has_entry", &[text(dir.path()), name], |spec| {
            spec.paths.write.push(visible.clone());
        })
    };
    assert_eq!(outside("has_entry", &[text(dir.path()), "out"]), SUCCESS);
    // Without a mount namespace the parent shows nothing at all.
    let expected = if on_host() {
        (EACCES, EACCES)
    } else {
        (SUCCESS, ENOENT)
    };
    assert_eq!((sees("in"), sees("out")), expected);
}

fn has_entry(a: &[String]) -> i32 {
    let mut entries = match fs::read_dir(&a[0]) {
        Ok(entries) => entries,
        Err(error) => return error.raw_os_error().unwrap(),
    };
    let found = entries.any(|entry| entry.unwrap().file_name() == *a[1]);
    if found { 0 } else { libc::ENOENT }
}

/// A workspace with `vault/keys/secret` in it.
struct Vault {
    workspace: tempfile::TempDir,
    keys: PathBuf,
    secret: PathBuf,
}

fn vault() -> Vault {
    let workspace = scratch();
    let keys = workspace.path().join("vault/keys");
    fs::create_dir_all(&keys).unwrap();
    let secret = secret(&keys);
    Vault {
        workspace,
        keys,
        secret,
    }
}

/// Without a mount namespace nothing can be masked in a tree that is granted: no such cell is built.
pub(crate) fn cannot_hide(granted: &Path, hidden: &Path) {
    let mut spec = acting_spec("exit_0", &[]);
    spec.paths.write.push(granted.to_path_buf());
    spec.paths.hidden.push(hidden.to_path_buf());
    let error = placet_sandbox::Cell::prepare(spec).unwrap_err();
    let as_expected = matches!(
        &error,
        SandboxError::HiddenInsideGranted { hidden: h, granted: g } if h == hidden && g == granted
    );
    assert!(as_expected, "{error}");
}

impl Vault {
    fn hide(&self, spec: &mut CellSpec) {
        spec.paths.write.push(self.workspace.path().to_path_buf());
        spec.paths.hidden.push(self.keys.clone());
    }
}

fn hidden_directory_by_every_path() {
    let vault = vault();
    let secret = text(&vault.secret);
    assert_eq!(outside("read_any", &[secret]), SUCCESS);
    // The same act finds the secret in a cell that does not hide it: the paths it tries are good.
    let shown = with("read_any", &[secret], |spec| {
        spec.paths.write.push(vault.workspace.path().to_path_buf());
    });
    assert_eq!(shown, SUCCESS);
    if on_host() {
        return cannot_hide(vault.workspace.path(), &vault.keys);
    }
    assert_eq!(with("read_any", &[secret], |spec| vault.hide(spec)), ENOENT);
}

/// Tries a path as it is, below every process's root and working directory, and relative to every
/// descriptor of every process.
fn read_any(a: &[String]) -> i32 {
    let relative = a[0].trim_start_matches('/');
    let mut bases = vec![PathBuf::from("/"), PathBuf::from("/../../..")];
    for process in fs::read_dir("/proc").unwrap().flatten() {
        bases.extend([process.path().join("root"), process.path().join("cwd")]);
        if let Ok(fds) = fs::read_dir(process.path().join("fd")) {
            bases.extend(fds.flatten().map(|fd| fd.path()));
        }
    }
    let found = bases
        .iter()
        .any(|base| fs::read_to_string(base.join(relative)).is_ok_and(|content| content == SECRET));
    if found { 0 } else { libc::ENOENT }
}

fn hidden_directory_after_renaming_its_parent() {
    let arguments = |vault: &Vault| {
        let old = vault.workspace.path().join("vault");
        let new = vault.workspace.path().join("renamed");
        [
            text(&old).to_owned(),
            text(&new).to_owned(),
            text(&new.join("keys/secret")).to_owned(),
        ]
    };
    let run = |hide: bool| {
        let vault = vault();
        let arguments = arguments(&vault);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        with("rename_then_read", &arguments, |spec| {
            vault.hide(spec);
            if !hide {
                spec.paths.hidden.clear();
            }
        })
    };
    unstopped(run(false), SUCCESS, "rename_then_read");
    if !on_host() {
        assert_eq!(run(true), ENOENT);
    }
}

/// The rename itself has to work: it is the reading that is refused.
fn rename_then_read(a: &[String]) -> i32 {
    if fs::rename(&a[0], &a[1]).is_err() {
        return 255;
    }
    outcome_of(fs::read(&a[2]))
}

fn hidden_file() {
    let vault = vault();
    let arguments = ["/proc/self/root", text(&vault.secret)].concat();
    let read = |hide: bool| {
        with("read_content", &[&arguments, SECRET], |spec| {
            spec.paths.write.push(vault.workspace.path().to_path_buf());
            if hide {
                spec.paths.hidden.push(vault.secret.clone());
            }
        })
    };
    unstopped(read(false), SUCCESS, "read_content");
    if on_host() {
        return cannot_hide(vault.workspace.path(), &vault.secret);
    }
    assert_eq!(read(true), EACCES);
}

fn read_content(a: &[String]) -> i32 {
    match fs::read_to_string(&a[0]) {
        Ok(content) if content == a[1] => 0,
        // The mask is an empty file.
        Ok(_) => libc::EACCES,
        Err(error) => error.raw_os_error().unwrap(),
    }
}

fn hidden_cannot_be_removed_or_written() {
    let vault = vault();
    if on_host() {
        return cannot_hide(vault.workspace.path(), &vault.keys);
    }
    let keys = text(&vault.keys).to_owned();
    let removed = with("remove_dir", &[&keys], |spec| vault.hide(spec));
    assert_eq!(removed, Status::Exited(libc::EBUSY));
    let new = format!("{keys}/new");
    assert_eq!(with("write", &[&new], |spec| vault.hide(spec)), EROFS);
    let visible = with("write", &[&new], |spec| {
        vault.hide(spec);
        spec.paths.hidden.clear();
    });
    unstopped(visible, SUCCESS, "write");
    assert!(vault.secret.exists());
}

fn a_symlink_out_of_the_workspace() {
    let (workspace, other) = (scratch(), scratch());
    let file = secret(other.path());
    let link = workspace.path().join("link");
    let arguments = [text(&file), text(&link)];
    assert_eq!(outside("symlink_then_read", &arguments), SUCCESS);
    fs::remove_file(&link).unwrap();
    let status = with("symlink_then_read", &arguments, |spec| {
        spec.paths.write.push(workspace.path().to_path_buf());
    });
    assert_refused(status, ENOENT, "symlink_then_read");
}

fn symlink_then_read(a: &[String]) -> i32 {
    std::os::unix::fs::symlink(&a[0], &a[1]).unwrap();
    outcome_of(fs::read(&a[1]))
}

fn a_hard_link_to_what_is_only_readable() {
    let dir = scratch();
    let (readable, writable) = (dir.path().join("r"), dir.path().join("w"));
    fs::create_dir(&readable).unwrap();
    fs::create_dir(&writable).unwrap();
    let file = secret(&readable);
    let link = writable.join("link");
    let arguments = [text(&file), text(&link)];
    assert_eq!(outside("hard_link", &arguments), SUCCESS);
    fs::remove_file(&link).unwrap();
    let status = with("hard_link", &arguments, |spec| {
        spec.paths.read.push(readable.clone());
        spec.paths.write.push(writable.clone());
    });
    assert_eq!(status, EXDEV);
}

fn dropped_binary_does_not_execute() {
    let dir = scratch();
    let target = dir.path().join("dropped");
    assert_eq!(outside("drop_and_execute", &[text(&target)]), SUCCESS);
    for place in [
        text(&target),
        "/tmp/dropped",
        "/dev/shm/dropped",
        "/run/dropped",
    ] {
        let status = with("drop_and_execute", &[place], |spec| {
            spec.paths.write.push(dir.path().to_path_buf());
        });
        assert_eq!(status, EACCES, "{place}");
    }
}

fn dropped_binary_where_allowed() {
    let dir = scratch();
    let target = dir.path().join("dropped");
    let status = with("drop_and_execute", &[text(&target)], |spec| {
        spec.paths.write.push(dir.path().to_path_buf());
        spec.paths.exec_in_writable = true;
    });
    assert_eq!(status, SUCCESS);
    // Only where the scope says so: the private directories stay without execution.
    let status = with("drop_and_execute", &["/tmp/dropped"], |spec| {
        spec.paths.exec_in_writable = true;
    });
    assert_eq!(status, EACCES);
}

fn drop_and_execute(a: &[String]) -> i32 {
    if let Err(error) = fs::copy("/proc/self/exe", &a[0]) {
        return error.raw_os_error().unwrap();
    }
    fs::set_permissions(&a[0], fs::Permissions::from_mode(0o755)).unwrap();
    execute(Path::new(&a[0]))
}

/// Becomes this executable's act that exits with 0.
fn execute(path: &Path) -> i32 {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let argv = [c"actor", c"--act", c"exit_0"].map(|word| word.as_ptr());
    let argv = [argv[0], argv[1], argv[2], std::ptr::null()];
    // SAFETY: path and arguments are NUL terminated, the array NULL terminated.
    outcome(unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) })
}

fn readable_binary_does_not_execute() {
    let dir = scratch();
    let copy = dir.path().join("copy");
    fs::copy(own_executable(), &copy).unwrap();
    assert_eq!(outside("execute", &[text(&copy)]), SUCCESS);
    let status = with("execute", &[text(&copy)], |spec| {
        spec.paths.read.push(dir.path().to_path_buf())
    });
    assert_eq!(status, EACCES);
}

/// Any library that this executable has loaded, copied to where the cell can write.
fn dropped_library(dir: &Path) -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps
        .split_whitespace()
        .find(|word| word.contains("/libgcc_s.so"))
        .unwrap();
    let copy = dir.join("dropped.so");
    fs::copy(library, &copy).unwrap();
    copy
}

fn library_from_a_writable_path_is_not_mapped() {
    let dir = scratch();
    let library = dropped_library(dir.path());
    assert_eq!(outside("map_executable", &[text(&library)]), SUCCESS);
    let status = with("map_executable", &[text(&library)], |spec| {
        spec.paths.write.push(dir.path().to_path_buf());
    });
    assert_eq!(status, EPERM);
}

fn map_executable(a: &[String]) -> i32 {
    let file = fs::File::open(&a[0]).unwrap();
    let rights = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            rights,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        outcome(-1)
    } else {
        0
    }
}

fn preloaded_library_from_a_writable_path() {
    let dir = scratch();
    let library = dropped_library(dir.path());
    let preload = |spec: &mut CellSpec| {
        spec.env.push(("LD_PRELOAD".into(), library.clone().into()));
    };
    let readable = with("is_mapped", &[text(&library)], |spec| {
        preload(spec);
        spec.paths.read.push(dir.path().to_path_buf());
    });
    let writable = with("is_mapped", &[text(&library)], |spec| {
        preload(spec);
        spec.paths.write.push(dir.path().to_path_buf());
    });
    unstopped(readable, SUCCESS, "is_mapped");
    assert_eq!(writable, ENOENT);
}

fn is_mapped(a: &[String]) -> i32 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // The linker leaves behind the readable part of what it failed to load.
    let mapped = maps
        .lines()
        .any(|line| line.contains(" r-xp ") && line.ends_with(&a[0]));
    if mapped { 0 } else { libc::ENOENT }
}

fn unnamed_temporary_file_does_not_execute() {
    let dir = scratch();
    assert_eq!(outside("execute_unnamed", &[text(dir.path())]), SUCCESS);
    let status = with("execute_unnamed", &[text(dir.path())], |spec| {
        spec.paths.write.push(dir.path().to_path_buf());
    });
    assert_eq!(status, EACCES);
}

fn execute_unnamed(a: &[String]) -> i32 {
    let dir = CString::new(a[0].as_bytes()).unwrap();
    // SAFETY: dir is NUL terminated.
    let fd = unsafe { libc::open(dir.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o755) };
    assert!(fd >= 0);
    let image = fs::read("/proc/self/exe").unwrap();
    let path = format!("/proc/self/fd/{fd}");
    fs::write(&path, image).unwrap();
    // Executing needs that nobody has it open for writing.
    let read_only = fs::File::open(&path).unwrap();
    // SAFETY: fd is this function's own.
    unsafe { libc::close(fd) };
    execute(Path::new(&format!(
        "/proc/self/fd/{}",
        read_only.as_raw_fd()
    )))
}

fn inherited_descriptors_are_closed() {
    let dir = scratch();
    let file = fs::File::open(secret(dir.path())).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    check("use_descriptors", &[], Status::Exited(libc::EBADF));
}

/// Reads the secret from any descriptor above the standard streams.
fn use_descriptors(_: &[String]) -> i32 {
    let found = (3..4096).any(|fd| {
        let mut content = String::new();
        let opened = fs::File::open(format!("/proc/self/fd/{fd}"));
        opened.is_ok_and(|mut file| file.read_to_string(&mut content).is_ok()) && content == SECRET
            || read_at_start(fd)
    });
    if found { 0 } else { libc::EBADF }
}

fn read_at_start(fd: i32) -> bool {
    let mut bytes = [0u8; SECRET.len()];
    // SAFETY: bytes is live for its length; a closed descriptor answers EBADF.
    let got = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    got == SECRET.len() as isize && bytes == SECRET.as_bytes()
}

fn kernel_settings_cannot_be_written() {
    check_as_root(
        "open_for_writing",
        &["/proc/sys/kernel/core_pattern"],
        EROFS,
    );
    check_as_root("open_for_writing", &["/proc/sys/vm/drop_caches"], EROFS);
}

fn block_devices_are_not_there() {
    check("any_block_device", &[], ENOENT);
}

fn any_block_device(_: &[String]) -> i32 {
    use std::os::unix::fs::FileTypeExt;
    let entries = match fs::read_dir("/dev") {
        Ok(entries) => entries,
        Err(error) => return error.raw_os_error().unwrap(),
    };
    let found = entries
        .flatten()
        .any(|entry| entry.file_type().unwrap().is_block_device());
    if found { 0 } else { libc::ENOENT }
}

fn device_nodes_cannot_be_made() {
    let dir = scratch();
    let path = dir.path().join("null");
    if crate::support::is_root() {
        assert_eq!(outside("make_device", &[text(&path)]), SUCCESS);
        fs::remove_file(&path).unwrap();
    }
    let status = with("make_device", &[text(&path)], |spec| {
        spec.paths.write.push(dir.path().to_path_buf());
    });
    assert!(status == EPERM || status == EACCES, "{status:?}");
}

fn make_device(a: &[String]) -> i32 {
    let path = CString::new(a[0].as_bytes()).unwrap();
    // SAFETY: path is NUL terminated.
    outcome(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) })
}

fn private_directories_are_private() {
    let name = format!("/tmp/placet-private-{}", std::process::id());
    let act = if on_host() {
        "write_temporary"
    } else {
        "write"
    };
    assert_eq!(inside(act, &[&name]), SUCCESS);
    assert!(!Path::new(&name).exists());
    assert_eq!(outside("write", &[&name]), SUCCESS);
    fs::remove_file(&name).unwrap();
}
