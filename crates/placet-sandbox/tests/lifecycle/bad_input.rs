//! What users write that makes no sense, or that names odd things: a clear error for each, or it works as
//! it stands. After every test it is looked whether anything is left.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_sandbox::{
    Cell, CellSpec, Copied, CredentialSlots, NotCopyable, OwnFile, SandboxError, Status, Step,
};

use crate::host::on_host;
use crate::start;
use crate::support::{Act, Test, acting_spec, scratch};

pub(crate) const TESTS: &[Test] = &[
    (
        "names_that_are_no_text_work_like_any_other",
        names_that_are_no_text,
    ),
    (
        "arguments_and_variables_that_are_no_text_arrive",
        arguments_that_are_no_text,
    ),
    (
        "more_arguments_than_the_kernel_takes_are_an_exec_failure",
        too_many_arguments,
    ),
    ("no_arguments_at_all", no_arguments_at_all),
    ("paths_that_are_too_long_are_named", too_long_paths),
    ("what_is_no_file_and_no_directory_is_named", odd_files),
    ("a_chain_of_links_is_named", a_chain_of_links),
    (
        "a_path_that_became_a_link_after_prepare_is_refused",
        a_path_that_became_a_link,
    ),
    (
        "a_path_that_is_gone_after_prepare_is_refused",
        a_path_that_is_gone,
    ),
    (
        "a_directory_that_was_made_again_after_prepare_is_refused",
        a_directory_that_was_made_again,
    ),
    (
        "a_directory_that_became_a_file_after_prepare_is_refused",
        a_directory_that_became_a_file,
    ),
    (
        "a_grant_inside_of_what_is_hidden_is_refused",
        a_hidden_grant,
    ),
    ("a_working_directory_that_is_none", odd_working_directories),
    ("names_of_credentials_that_lead_elsewhere", odd_credentials),
    ("own_files_that_cannot_be", odd_own_files),
    ("copies_that_cannot_be", odd_copies),
    (
        "the_same_path_twice_is_what_it_grants_together",
        the_same_path_twice,
    ),
    ("a_lease_of_nothing_starts_nothing", a_lease_of_nothing),
    (
        "what_takes_a_file_tree_of_its_own_is_refused_where_there_is_none",
        what_takes_a_file_tree,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("touch_below", |a| {
        // The name is no text, so it is found and not passed.
        let dir = fs::read_dir(&a[0]).unwrap().next().unwrap().unwrap();
        fs::write(dir.path().join("made"), "inside").unwrap();
        0
    }),
    ("count_words", |_| {
        let words = std::env::args_os().filter(|word| word.as_bytes() == ODD.as_bytes());
        let variable =
            std::env::var_os("ODD").is_some_and(|value| value.as_bytes() == ODD.as_bytes());
        i32::try_from(words.count()).unwrap() + i32::from(variable)
    }),
    ("write_there", |a| {
        let written = fs::write(Path::new(&a[0]).join("made"), "inside");
        written.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0)
    }),
];

/// No UTF-8.
const ODD: &OddName = &OddName(b"odd-\xff\xfe-name");

struct OddName(&'static [u8]);

impl OddName {
    fn as_bytes(&self) -> &[u8] {
        self.0
    }

    fn as_name(&self) -> &OsStr {
        OsStr::from_bytes(self.0)
    }
}

fn refusal(spec: CellSpec) -> SandboxError {
    Cell::prepare(spec).unwrap_err()
}

fn exits() -> CellSpec {
    acting_spec("exit", &["0"])
}

fn with_write(path: &Path) -> CellSpec {
    let mut spec = exits();
    spec.paths.write.push(path.to_path_buf());
    spec
}

fn names_that_are_no_text() {
    let dir = scratch();
    let odd = dir.path().join(ODD.as_name());
    fs::create_dir(&odd).unwrap();
    let mut spec = acting_spec("touch_below", &[dir.path().to_str().unwrap()]);
    spec.paths.read.push(dir.path().to_path_buf());
    spec.paths.write.push(odd.clone());
    spec.cwd.clone_from(&odd);
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
    assert_eq!(fs::read_to_string(odd.join("made")).unwrap(), "inside");
    // One that is missing is named as it is.
    let missing = dir.path().join(OsStr::from_bytes(b"missing-\xff"));
    let error = refusal(with_write(&missing));
    assert!(
        matches!(&error, SandboxError::Open { path, .. } if *path == missing),
        "{error}"
    );
}

fn arguments_that_are_no_text() {
    let mut spec = acting_spec("count_words", &[]);
    spec.program.argv.push(ODD.as_name().to_owned());
    spec.program.argv.push(ODD.as_name().to_owned());
    spec.env.push(("ODD".into(), ODD.as_name().to_owned()));
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(3));
}

/// One word may have 128 KiB, and all of them together some mebibytes.
fn too_many_arguments() {
    let too_long = OsString::from("x".repeat(200 << 10));
    let many = std::iter::repeat_n(OsString::from("x".repeat(100 << 10)), 200);
    for words in [vec![too_long], many.collect()] {
        let mut spec = exits();
        spec.program.argv.extend(words);
        let waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
        let error = waiting.release().unwrap_err();
        let SandboxError::Exec { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(source.raw_os_error(), Some(libc::E2BIG), "{error}");
    }
}

/// The kernel makes one empty word of none.
fn no_arguments_at_all() {
    let mut spec = exits();
    spec.program.argv.clear();
    let mut cell = start(spec);
    let exit = cell.wait().unwrap();
    assert!(matches!(exit.status, Status::Exited(_)), "{exit:?}");
}

fn too_long_paths() {
    let name = PathBuf::from("/usr").join("x".repeat(300));
    let path = PathBuf::from("/usr").join("x/".repeat(3000)).join("x");
    for long in [name, path] {
        let error = refusal(with_write(&long));
        let SandboxError::Open { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(source.raw_os_error(), Some(libc::ENAMETOOLONG), "{error}");
    }
}

fn odd_files() {
    let dir = scratch();
    let (pipe, socket) = (dir.path().join("pipe"), dir.path().join("socket"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    for odd in [pipe, socket] {
        let error = refusal(with_write(&odd));
        assert!(
            matches!(&error, SandboxError::NotFileOrDirectory(path) if *path == odd),
            "{error}"
        );
    }
}

/// Each leads to the next and the last to the first; and one chain that leads somewhere.
fn a_chain_of_links() {
    let dir = scratch();
    let link = |number: usize| dir.path().join(number.to_string());
    for number in 0..50 {
        std::os::unix::fs::symlink(link((number + 1) % 50), link(number)).unwrap();
    }
    let good = dir.path().join("good");
    std::os::unix::fs::symlink("/usr", &good).unwrap();
    for path in [link(0), link(0).join("below"), good] {
        let error = refusal(with_write(&path));
        assert!(
            matches!(&error, SandboxError::NotCanonical(named) if *named == path),
            "{error}"
        );
    }
}

/// Prepares, lets `change` happen to a granted directory, and gives what the start says.
fn changed_after_prepare(change: impl Fn(&Path, &Path)) -> (PathBuf, SandboxError) {
    let dir = scratch();
    let workspace = dir.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    let prepared = Cell::prepare(with_write(&workspace)).unwrap();
    change(&workspace, &dir.path().join("moved"));
    (workspace, prepared.spawn().unwrap_err())
}

fn names_it((path, error): (PathBuf, SandboxError)) {
    let SandboxError::Setup {
        step: Step::OpenSource | Step::SourceChanged | Step::LandlockRule,
        path: named,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(named.as_ref(), Some(&path), "{error}");
}

fn a_path_that_became_a_link() {
    names_it(changed_after_prepare(|workspace, moved| {
        fs::rename(workspace, moved).unwrap();
        std::os::unix::fs::symlink("/usr", workspace).unwrap();
    }));
    // Also one that leads to the very directory.
    names_it(changed_after_prepare(|workspace, moved| {
        fs::rename(workspace, moved).unwrap();
        std::os::unix::fs::symlink(moved, workspace).unwrap();
    }));
}

fn a_path_that_is_gone() {
    names_it(changed_after_prepare(|workspace, _| {
        fs::remove_dir(workspace).unwrap();
    }));
}

/// Where nobody held it, its inode would be free for the next one that is made.
fn a_directory_that_was_made_again() {
    names_it(changed_after_prepare(|workspace, _| {
        fs::remove_dir(workspace).unwrap();
        fs::create_dir(workspace).unwrap();
    }));
}

fn a_directory_that_became_a_file() {
    names_it(changed_after_prepare(|workspace, _| {
        fs::remove_dir(workspace).unwrap();
        fs::write(workspace, "").unwrap();
    }));
}

fn a_hidden_grant() {
    let dir = scratch();
    let vault = dir.path().join("vault");
    let granted = vault.join("open");
    fs::create_dir_all(&granted).unwrap();
    for grant in ["write", "read", "exec"] {
        let mut spec = exits();
        match grant {
            "write" => spec.paths.write.push(granted.clone()),
            "read" => spec.paths.read.push(granted.clone()),
            _ => spec.paths.exec.push(granted.clone()),
        }
        spec.paths.hidden.push(vault.clone());
        let error = refusal(spec);
        let says = error.to_string();
        let named = matches!(
            &error,
            SandboxError::HiddenCoversGranted { hidden, granted: of } if *hidden == vault && *of == granted
        );
        assert!(named, "{says}");
    }
}

fn odd_working_directories() {
    for relative in ["", "work", "/usr/../usr"] {
        let mut spec = exits();
        spec.cwd = relative.into();
        let error = refusal(spec);
        assert!(matches!(error, SandboxError::NotAbsolute(_)), "{error}");
    }
    for (cwd, errno) in [
        ("/usr/lib/missing", libc::ENOENT),
        ("/etc/ld.so.cache", libc::ENOTDIR),
    ] {
        let mut spec = exits();
        spec.cwd = cwd.into();
        let error = Cell::prepare(spec).unwrap().spawn().unwrap_err();
        let SandboxError::Setup {
            step: Step::ChangeDir,
            source,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(source.raw_os_error(), Some(errno), "{error}");
    }
}

fn odd_credentials() {
    for name in ["/etc/passwd", "../up", "a/../../b", "", "a\0b", "./a"] {
        let mut spec = exits();
        spec.credentials = CredentialSlots {
            files: vec![name.into()],
            ..CredentialSlots::default()
        };
        let error = refusal(spec);
        assert!(
            matches!(error, SandboxError::BadString(_)) || on_host(),
            "{name:?}: {error}"
        );
    }
    for name in ["", "A=B", "A\0B"] {
        let mut spec = exits();
        spec.credentials = CredentialSlots {
            variables: vec![name.into()],
            ..CredentialSlots::default()
        };
        let error = refusal(spec);
        assert!(matches!(error, SandboxError::BadString(_)), "{error}");
    }
}

fn own_file(path: &str, bytes: usize) -> CellSpec {
    let mut spec = exits();
    spec.own_files.push(OwnFile {
        path: path.into(),
        contents: vec![b'x'; bytes],
    });
    spec
}

fn odd_own_files() {
    for (path, bytes) in [
        ("/etc/hosts", 4097),
        ("etc/hosts", 1),
        ("/proc/version", 1),
        ("/usr", 1),
    ] {
        let error = refusal(own_file(path, bytes));
        let clear = matches!(
            error,
            SandboxError::BadString(_)
                | SandboxError::NotAbsolute(_)
                | SandboxError::Reserved(_)
                | SandboxError::NotFileOrDirectory(_)
        );
        assert!(clear || on_host(), "{path}: {error}");
    }
}

/// A copy of `tree` with its changes in `dir`.
fn copy_of(tree: &Path, dir: &Path) -> CellSpec {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let mut spec = exits();
    spec.paths.copied.push(Copied {
        tree: tree.to_path_buf(),
        upper,
        work,
    });
    spec
}

fn odd_copies() {
    let (dir, place) = (scratch(), scratch());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refusal(copy_of(&file, place.path()));
    assert!(
        matches!(
            &error,
            SandboxError::NotCopyable {
                why: NotCopyable::NotDirectory,
                ..
            }
        ),
        "{error}"
    );
    let missing = dir.path().join("missing");
    let error = refusal(copy_of(&missing, place.path()));
    assert!(matches!(error, SandboxError::Open { .. }), "{error}");
    // A part of it whose programs are to start: it would not be granted as the rest is.
    let part = dir.path().join("part");
    fs::create_dir(&part).unwrap();
    let mut spec = copy_of(dir.path(), place.path());
    spec.paths.exec.push(part);
    let error = refusal(spec);
    assert!(
        matches!(error, SandboxError::NotCopyable { .. }) || on_host(),
        "{error}"
    );
}

fn the_same_path_twice() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    let mut spec = acting_spec("write_there", &[path]);
    spec.paths.read.push(dir.path().to_path_buf());
    spec.paths.read.push(dir.path().to_path_buf());
    spec.paths.write.push(dir.path().to_path_buf());
    spec.paths.write.push(dir.path().to_path_buf());
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
    assert!(dir.path().join("made").exists());
}

fn a_lease_of_nothing() {
    let mut spec = exits();
    spec.lease = Duration::ZERO;
    // It is over while it is built, or as soon as it is.
    match Cell::prepare(spec).unwrap().spawn() {
        Ok(waiting) => {
            std::thread::sleep(Duration::from_millis(100));
            let error = waiting.release().unwrap_err();
            assert!(matches!(error, SandboxError::SetupDied), "{error}");
        }
        // Where it was gone before it could be traced, that is what is told.
        Err(error) => assert!(
            matches!(
                error,
                SandboxError::SetupDied | SandboxError::Untraceable(_)
            ),
            "{error}"
        ),
    }
}

/// Each thing that tier U0 does not have, by itself.
fn what_takes_a_file_tree() {
    let (dir, place) = (scratch(), scratch());
    let mut files = exits();
    files.credentials.files.push("token".into());
    let mut proxied = exits();
    proxied.proxied = true;
    proxied.network = placet_sandbox::Network::Loopback;
    let wanted = [
        ("a copy", copy_of(dir.path(), place.path())),
        ("credentials in files", files),
        ("files of its own", own_file("/etc/hosts", 1)),
        ("names of hosts", proxied),
    ];
    for (what, spec) in wanted {
        let built = Cell::prepare(spec);
        if !on_host() {
            drop(built.unwrap());
            continue;
        }
        let error = built.unwrap_err();
        let says = error.to_string();
        let clear = matches!(error, SandboxError::Unsupported(_)) && says.contains("U1");
        assert!(clear && says.contains(what), "{what}: {says}");
    }
}
