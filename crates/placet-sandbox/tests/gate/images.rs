//! Images that no rule lets start, and those that a list does not.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use crate::client::shown;
use placet_sandbox::{ExecRule, OnRefusal, Refusal, Status, Tier, elf_interpreter};

use crate::programs::{below, shell, tiny, with_programs, with_workspace};
use crate::support::{ACT, Test, acting_spec, command, is_root, own_executable, scratch, tier};
use crate::{
    KILLED, SUCCESS, digest_of, end_of, gated, listed, refusals, refused_only_by_the_gate, run,
    start, started, text,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "an_interpreter_run_directly_is_killed",
        an_interpreter_run_directly,
    ),
    (
        "a_copied_interpreter_run_directly_is_killed",
        a_copied_interpreter,
    ),
    (
        "an_interpreter_that_is_a_program_is_known_by_inode",
        an_interpreter_that_is_a_program,
    ),
    ("an_unnamed_file_is_killed", an_unnamed_file),
    ("a_deleted_file_is_killed", a_deleted_file),
    ("a_memory_file_from_outside_is_killed", a_memory_file),
    (
        "an_image_that_cannot_be_read_is_killed",
        an_image_that_cannot_be_read,
    ),
    ("an_unlisted_program_is_killed", an_unlisted_program),
    (
        "a_listed_program_starts_whatever_its_path",
        a_listed_program_starts,
    ),
    (
        "a_program_that_changed_is_not_the_listed_one",
        a_program_that_changed,
    ),
    (
        "a_program_born_inside_starts_where_the_scope_says_so",
        a_program_born_inside,
    ),
    (
        "the_program_that_made_a_program_is_named",
        the_maker_is_named,
    ),
    ("the_client_starts_without_being_listed", the_client_starts),
    (
        "a_refusal_ends_the_tree_where_it_is_asked_to",
        a_refusal_ends_the_tree,
    ),
    (
        "the_first_program_is_not_exempt_from_the_list",
        the_first_program,
    ),
];

fn interpreter() -> PathBuf {
    let spelled = elf_interpreter(&own_executable()).unwrap().unwrap();
    fs::canonicalize(spelled).unwrap()
}

/// `ld.so program`, where the program may be read and not executed.
fn an_interpreter_run_directly() {
    let dir = scratch();
    let program = dir.path().join("program");
    fs::copy(own_executable(), &program).unwrap();
    let interpreter = interpreter();
    let arguments = [text(&interpreter), text(&program), ACT, "exit", "0"];
    let mut spec = acting_spec("spawn", &arguments);
    spec.paths.read.push(dir.path().to_path_buf());
    refused_only_by_the_gate(&spec, ExecRule::Any, Refusal::Interpreter);
    // Its own digest on the list does not help: it is no program.
    let list = listed(&[&own_executable(), &interpreter]);
    refused_only_by_the_gate(&spec, list, Refusal::Interpreter);
}

fn a_copied_interpreter() {
    let dir = scratch();
    let copy = dir.path().join("innocent");
    fs::copy(interpreter(), &copy).unwrap();
    let own = own_executable();
    let arguments = [text(&copy), text(&own), ACT, "exit", "0"];
    let spec = with_workspace("spawn", &arguments, dir.path());
    refused_only_by_the_gate(&spec, ExecRule::Any, Refusal::Interpreter);
}

/// A static program that another one names as its interpreter.
fn an_interpreter_that_is_a_program() {
    let dir = scratch();
    let interpreter = tiny(dir.path(), "interpreter", 0);
    let arguments = [text(&interpreter)];
    let spec = with_programs("spawn", &arguments, dir.path());
    assert_eq!(run(gated(spec, ExecRule::Any)).0, SUCCESS);

    let named = dir.path().join("named");
    fs::write(&named, names_interpreter(text(&interpreter))).unwrap();
    fs::set_permissions(&named, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("{}; exec {}", text(&named), text(&interpreter));
    let mut spec = crate::programs::shell(&script);
    spec.paths.exec.push(dir.path().to_path_buf());
    let (status, reports) = run(gated(spec, ExecRule::Any));
    assert_eq!(status, Status::Signaled(libc::SIGKILL));
    let why: Vec<Refusal> = refusals(&reports).map(|(_, why)| why).collect();
    assert_eq!(why, [Refusal::Interpreter]);
    assert_eq!(started(&reports).len(), 2);
}

/// A program with the tiny one's code that names an interpreter, which then runs in its place.
fn names_interpreter(interpreter: &str) -> Vec<u8> {
    let dir = scratch();
    let mut bytes = fs::read(tiny(dir.path(), "plain", 1)).unwrap();
    let code = bytes.split_off(120);
    let name_at = (176 + code.len()) as u64;
    let name_len = (interpreter.len() + 1) as u64;
    bytes[56] = 2;
    // Entry point: the code has moved behind a second program header, PT_INTERP.
    bytes[24..32].copy_from_slice(&(0x40_0000u64 + 176).to_le_bytes());
    bytes.extend([3u32, 4].iter().flat_map(|word| word.to_le_bytes()));
    for word in [name_at, 0, 0, name_len, name_len, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes.extend(interpreter.as_bytes());
    bytes.push(0);
    let len = (bytes.len() as u64).to_le_bytes();
    bytes[96..104].copy_from_slice(&len);
    bytes[104..112].copy_from_slice(&len);
    // At another address than its interpreter, which is not position independent.
    for at in [80, 88] {
        bytes[at..at + 8].copy_from_slice(&0x80_0000u64.to_le_bytes());
    }
    bytes[24..32].copy_from_slice(&(0x80_0000u64 + 176).to_le_bytes());
    bytes
}

fn an_unnamed_file() {
    let dir = scratch();
    let own = own_executable();
    let arguments = [text(dir.path()), text(&own)];
    let spec = with_workspace("execute_unnamed", &arguments, dir.path());
    refused_only_by_the_gate(&spec, ExecRule::Any, Refusal::Nameless);
}

fn a_deleted_file() {
    let dir = scratch();
    let own = own_executable();
    let arguments = [&below(dir.path(), "dropped"), text(&own)];
    let spec = with_workspace("execute_deleted", &arguments, dir.path());
    refused_only_by_the_gate(&spec, ExecRule::Any, Refusal::Nameless);
}

/// A memory file cannot be made executable inside; one that is a standard stream can be there.
fn a_memory_file() {
    let act = |rule: &str| {
        // SAFETY: the name is NUL terminated; the descriptor is owned from here on.
        let memory = unsafe {
            use std::os::fd::FromRawFd;
            let fd = libc::memfd_create(c"image".as_ptr(), 0);
            assert!(fd >= 0);
            fs::File::from_raw_fd(fd)
        };
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        fs::copy(own_executable(), path).unwrap();
        let mut supervisor = command(&own_executable());
        supervisor.args([ACT, "supervise_stdin", rule]);
        let status = supervisor.stdin(Stdio::from(memory)).status().unwrap();
        Status::Exited(status.code().unwrap())
    };
    assert_eq!(act("none"), SUCCESS);
    assert_eq!(act("any"), KILLED);
}

/// Executable by all and readable by none: only root can identify it.
fn an_image_that_cannot_be_read() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    if is_root() {
        assert_eq!(run(gated(spec, ExecRule::Any)).0, SUCCESS);
    } else {
        refused_only_by_the_gate(&spec, ExecRule::Any, Refusal::Unreadable);
    }
}

fn an_unlisted_program() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    refused_only_by_the_gate(&spec, listed(&[&own_executable()]), Refusal::Unlisted);
}

fn a_listed_program_starts() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let copy = tiny(dir.path(), "copy", 0);
    let rule = listed(&[&own_executable(), &program]);
    for path in [&program, &copy] {
        let spec = with_programs("spawn", &[text(path)], dir.path());
        let (status, reports) = run(gated(spec, rule.clone()));
        assert_eq!(status, SUCCESS);
        let images: Vec<_> = started(&reports)
            .iter()
            .map(|call| call.image.clone().unwrap())
            .collect();
        assert_eq!(images.len(), 2);
        assert_eq!(images[1].path, **path);
        assert_eq!(images[1].digest, Some(digest_of(path)));
        assert!(!images[1].writable);
    }
}

fn a_program_that_changed() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let rule = listed(&[&own_executable(), &program]);
    tiny(dir.path(), "program", 1);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    assert_eq!(run(spec.clone()).0, Status::Exited(1));
    assert_eq!(run(gated(spec, rule)).0, KILLED);
}

fn a_program_born_inside() {
    let dir = scratch();
    let own = own_executable();
    let dropped = below(dir.path(), "dropped");
    let arguments = [dropped.as_str(), text(&own)];
    let spec = with_workspace("drop_and_spawn", &arguments, dir.path());
    let rule = listed(&[&own]);
    let (status, reports) = run(gated(spec.clone(), rule.clone()));
    assert_eq!(status, SUCCESS);
    let born = started(&reports)[1].image.clone().unwrap();
    assert!(born.writable);
    assert_eq!(text(&born.path), dropped);
    assert_eq!(born.digest, Some(digest_of(&own)));
    // Without that word in the scope the kernel answers before the gate is reached.
    let mut closed = spec;
    closed.paths.exec_in_writable = false;
    let (status, reports) = run(gated(closed, rule));
    assert_eq!(status, Status::Exited(libc::EACCES));
    assert_eq!(refusals(&reports).count(), 0);
}

fn the_maker_is_named() {
    let dir = scratch();
    tiny(dir.path(), "found", 0);
    let script = "cp /usr/bin/true made; cat /usr/bin/true > given; chmod 755 given; \
        ./made; ./given; mv given moved; ./moved; ./found";
    let mut spec = shell(script);
    spec.cwd = dir.path().to_owned();
    spec.paths.write.push(dir.path().to_path_buf());
    spec.paths.exec_in_writable = true;
    let (status, reports) = run(gated(spec, ExecRule::Any));
    assert_eq!(status, SUCCESS, "{reports:?}");
    let calls = started(&reports);
    let of = |name: &str| calls.iter().find(|call| call.argv[0] == *name).unwrap();
    // On the host's tree the supervisor changes modes in the caller's place.
    let given = (tier() > Tier::U0).then(|| of("chmod").id);
    assert_eq!(of("./made").maker, Some(of("cp").id));
    assert_eq!(of("./given").maker, given);
    assert_eq!(of("./moved").maker, given);
    assert_eq!(of("./found").maker, None);
}

fn the_client_starts() {
    let dir = scratch();
    let client = tiny(dir.path(), "client", 0);
    let mut spec = acting_spec("spawn", &[shown(&client)]);
    spec.client = Some(client);
    let (status, _) = run(gated(spec, listed(&[&own_executable()])));
    assert_eq!(status, SUCCESS);
}

fn a_refusal_ends_the_tree() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    let mut spec = gated(spec, listed(&[&own_executable()]));
    spec.exec.refused = OnRefusal::EndTree;
    let exit = end_of(start(spec));
    assert_eq!(exit.status, Status::Signaled(libc::SIGKILL));
    assert_eq!(exit.ended_by, placet_sandbox::EndedBy::Terminated);
}

fn the_first_program() {
    let spec = acting_spec("exit", &["0"]);
    let (status, reports) = run(gated(spec, listed(&[])));
    assert_eq!(status, Status::Signaled(libc::SIGKILL));
    let (call, why) = refusals(&reports).next().unwrap();
    assert_eq!((why, call.by), (Refusal::Unlisted, None));
}
