//! Specs that cannot be enforced as they stand, and things that changed under way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use placet_sandbox::{Cell, CellSpec, SandboxError, Step, Tier, probe};

use crate::client::shown;
use crate::host::on_host;
use crate::running::with_client;
use crate::support::{Test, acting, acting_spec, own_executable, scratch, spec};

pub(crate) const TESTS: &[Test] = &[
    ("this_machine_can_have_cells", this_machine_can_have_cells),
    (
        "a_program_that_changed_is_refused",
        a_program_that_changed_is_refused,
    ),
    (
        "a_program_swapped_after_prepare_is_refused",
        a_program_swapped_after_prepare,
    ),
    (
        "a_program_swapped_while_waiting_is_refused",
        a_program_swapped_while_waiting,
    ),
    (
        "a_path_swapped_after_prepare_is_refused",
        a_path_swapped_after_prepare,
    ),
    (
        "a_nested_path_swapped_after_prepare_is_refused",
        a_nested_path_swapped,
    ),
    ("a_missing_path_is_named", a_missing_path_is_named),
    ("a_symbolic_link_is_named", a_symbolic_link_is_named),
    ("odd_paths_are_named", odd_paths_are_named),
    ("reserved_paths_are_refused", reserved_paths_are_refused),
    ("contradictions_are_refused", contradictions_are_refused),
    (
        "clients_that_are_no_fixed_file_are_refused",
        clients_that_are_no_fixed_file,
    ),
    (
        "a_client_swapped_after_prepare_is_refused",
        a_client_swapped_after_prepare,
    ),
    (
        "a_working_directory_outside_the_scope",
        a_working_directory_outside_the_scope,
    ),
    ("a_program_outside_the_scope", a_program_outside_the_scope),
    (
        "a_missing_interpreter_is_an_exec_failure",
        a_missing_interpreter,
    ),
    (
        "a_forbidden_interpreter_is_an_exec_failure",
        a_forbidden_interpreter,
    ),
    ("strings_with_nul_are_refused", strings_with_nul_are_refused),
];

fn refusal(spec: CellSpec) -> SandboxError {
    Cell::prepare(spec).unwrap_err()
}

fn this_machine_can_have_cells() {
    let found = probe();
    let missing: Vec<&str> = found.missing(Tier::U1).map(|one| one.name).collect();
    if on_host() {
        assert_eq!(found.tier(), Some(Tier::U0), "{found:?}");
        assert_eq!(missing, ["user_namespaces"]);
    } else {
        assert!(found.tier() >= Some(Tier::U1), "{found:?}");
        assert!(missing.is_empty(), "{found:?}");
    }
    assert!(found.landlock_abi >= 3);
}

/// A copy of this executable that can be swapped.
fn copy_in(dir: &Path) -> (PathBuf, CellSpec) {
    let copy = dir.join("program");
    fs::copy(own_executable(), &copy).unwrap();
    let spec = spec(&copy, acting("exit", &["0"]));
    (copy, spec)
}

/// Another file at the path. Renamed there, since a new file may get a removed one's inode number.
pub(crate) fn swap(program: &Path) {
    let other = program.with_extension("new");
    fs::copy(own_executable(), &other).unwrap();
    fs::rename(&other, program).unwrap();
}

fn a_program_that_changed_is_refused() {
    let dir = scratch();
    let (program, spec) = copy_in(dir.path());
    swap(&program);
    assert!(matches!(refusal(spec), SandboxError::ProgramChanged(path) if path == program));
}

fn a_program_swapped_after_prepare() {
    let dir = scratch();
    let (program, spec) = copy_in(dir.path());
    let prepared = Cell::prepare(spec).unwrap();
    swap(&program);
    let error = prepared.spawn().unwrap_err();
    assert!(matches!(error, SandboxError::ProgramChanged(path) if path == program));
    // Where only its directory is granted, it is the program's own check that refuses.
    let dir = scratch();
    let (program, mut spec) = copy_in(dir.path());
    spec.paths.exec[0] = dir.path().to_path_buf();
    let prepared = Cell::prepare(spec).unwrap();
    swap(&program);
    let error = prepared.spawn().unwrap().release().unwrap_err();
    assert!(matches!(error, SandboxError::ProgramChanged(path) if path == program));
}

fn a_program_swapped_while_waiting() {
    let dir = scratch();
    let (program, mut spec) = copy_in(dir.path());
    spec.paths.exec.push(dir.path().to_path_buf());
    let waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
    // The same inode with other contents.
    let mut bytes = fs::read(&program).unwrap();
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    let error = waiting.release().unwrap_err();
    assert!(matches!(error, SandboxError::ProgramChanged(path) if path == program));
}

fn a_path_swapped_after_prepare() {
    let dir = scratch();
    let workspace = dir.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    let mut spec = acting_spec("exit", &["0"]);
    spec.paths.write.push(workspace.clone());
    let prepared = Cell::prepare(spec).unwrap();
    fs::rename(&workspace, dir.path().join("moved")).unwrap();
    fs::create_dir(&workspace).unwrap();
    match prepared.spawn().unwrap_err() {
        SandboxError::Setup {
            step: Step::SourceChanged | Step::LandlockRule,
            path,
            ..
        } => {
            assert_eq!(path, Some(workspace));
        }
        error => panic!("{error}"),
    }
}

fn a_nested_path_swapped() {
    let dir = scratch();
    let nested = dir.path().join("bin");
    fs::create_dir(&nested).unwrap();
    let mut spec = with_read(dir.path());
    spec.paths.exec.push(nested.clone());
    let prepared = Cell::prepare(spec).unwrap();
    fs::rename(&nested, dir.path().join("moved")).unwrap();
    fs::create_dir(&nested).unwrap();
    match prepared.spawn().unwrap_err() {
        SandboxError::Setup {
            step: Step::LandlockRule,
            path,
            ..
        } => {
            assert_eq!(path, Some(nested));
        }
        error => panic!("{error}"),
    }
}

fn with_read(path: &Path) -> CellSpec {
    let mut spec = acting_spec("exit", &["0"]);
    spec.paths.read.push(path.to_path_buf());
    spec
}

fn clients_that_are_no_fixed_file() {
    let dir = scratch();
    let mut spec = with_client(dir.path(), "exit");
    spec.paths.write.push(dir.path().to_path_buf());
    let client = spec.client.clone();
    assert!(
        matches!(refusal(spec.clone()), SandboxError::ExecIsWritable(path) if Some(&path) == client.as_ref())
    );
    spec.client = Some(dir.path().to_path_buf());
    assert!(matches!(
        refusal(spec.clone()),
        SandboxError::ClientNotFile(_)
    ));
    spec.client = Some(dir.path().join("missing"));
    assert!(matches!(refusal(spec.clone()), SandboxError::Open { .. }));
    spec.client = Some("/proc/self/exe".into());
    assert!(matches!(refusal(spec), SandboxError::NotCanonical(_)));
}

fn a_client_swapped_after_prepare() {
    let dir = scratch();
    let spec = with_client(dir.path(), "exit");
    let client = spec.client.clone().unwrap();
    let prepared = Cell::prepare(spec).unwrap();
    swap(&client);
    match prepared.spawn().unwrap_err() {
        SandboxError::Setup {
            step: Step::SourceChanged | Step::LandlockRule,
            path,
            ..
        } => {
            assert_eq!(path, Some(shown(&client).into()));
        }
        error => panic!("{error}"),
    }
}

fn a_missing_path_is_named() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    match refusal(with_read(&missing)) {
        SandboxError::Open { path, source } => {
            assert_eq!(
                (path, source.kind()),
                (missing, std::io::ErrorKind::NotFound)
            );
        }
        error => panic!("{error}"),
    }
}

fn a_symbolic_link_is_named() {
    let dir = scratch();
    let (link, circle) = (dir.path().join("link"), dir.path().join("circle"));
    std::os::unix::fs::symlink("/usr", &link).unwrap();
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    for path in [link.clone(), link.join("bin"), circle] {
        let error = refusal(with_read(&path));
        assert!(
            matches!(&error, SandboxError::NotCanonical(named) if *named == path),
            "{error}"
        );
    }
}

fn odd_paths_are_named() {
    for path in ["usr", "/usr/../usr", "/usr/./lib", "/usr/", "//usr", ""] {
        let error = refusal(with_read(path.as_ref()));
        assert!(
            matches!(error, SandboxError::NotAbsolute(_)),
            "{path}: {error}"
        );
    }
    let error = refusal(with_read("/usr/lib/no\0thing".as_ref()));
    assert!(matches!(error, SandboxError::BadString(_)), "{error}");
}

fn reserved_paths_are_refused() {
    for path in [
        "/",
        "/proc",
        "/proc/sys",
        "/dev",
        "/dev/shm",
        "/run",
        "/run/placet",
    ] {
        let error = refusal(with_read(path.as_ref()));
        assert!(
            matches!(error, SandboxError::Reserved(_)),
            "{path}: {error}"
        );
    }
}

fn contradictions_are_refused() {
    let dir = scratch();
    let mut both = acting_spec("exit", &["0"]);
    both.paths.write.push(dir.path().to_path_buf());
    both.paths.exec.push(dir.path().to_path_buf());
    assert!(matches!(refusal(both), SandboxError::ExecIsWritable(_)));
    let mut covered = with_read(dir.path());
    covered.paths.hidden.push(dir.path().to_path_buf());
    assert!(matches!(
        refusal(covered),
        SandboxError::HiddenCoversGranted { .. }
    ));
}

fn a_working_directory_outside_the_scope() {
    let dir = scratch();
    let mut spec = acting_spec("exit", &["0"]);
    spec.cwd = dir.path().to_path_buf();
    match Cell::prepare(spec).unwrap().spawn().unwrap_err() {
        SandboxError::Setup {
            step: Step::ChangeDir,
            path,
            ..
        } => {
            assert_eq!(path.as_deref(), Some(dir.path()));
        }
        error => panic!("{error}"),
    }
}

fn a_program_outside_the_scope() {
    let mut spec = acting_spec("exit", &["0"]);
    spec.paths.exec.remove(0);
    assert!(matches!(refusal(spec), SandboxError::ProgramOutsideExec(_)));
}

fn exec_errno(spec: CellSpec) -> Option<i32> {
    match Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap_err()
    {
        SandboxError::Exec { source, .. } => source.raw_os_error(),
        error => panic!("{error}"),
    }
}

fn a_missing_interpreter() {
    let dir = scratch();
    let script = dir.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        exec_errno(spec(&script, vec!["script".into()])),
        Some(libc::ENOENT)
    );
}

fn a_forbidden_interpreter() {
    let mut spec = acting_spec("exit", &["0"]);
    // The interpreter is visible in the library path, but not executable.
    spec.paths.exec.truncate(1);
    assert_eq!(exec_errno(spec), Some(libc::EACCES));
}

fn strings_with_nul_are_refused() {
    let mut argument = acting_spec("exit", &["0"]);
    argument.program.argv.push("a\0b".into());
    assert!(matches!(refusal(argument), SandboxError::BadString(_)));
    let mut name = acting_spec("exit", &["0"]);
    name.env.push(("A=B".into(), "c".into()));
    assert!(matches!(refusal(name), SandboxError::BadString(_)));
}
