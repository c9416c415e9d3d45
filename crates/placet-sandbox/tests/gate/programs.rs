//! Programs to execute: the smallest there can be, and this executable in a role.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};

use placet_sandbox::{CellSpec, ExecRule, Status};

use crate::support::{ACT, Act, acting_spec, command, gate};
use crate::{end_of, start, text};

pub(crate) const ACTS: &[Act] = &[
    ("exit", |a| a[0].parse().unwrap()),
    ("spawn", spawn),
    ("execute", |a| {
        let error = command(Path::new(&a[0])).args(&a[1..]).exec();
        error.raw_os_error().unwrap()
    }),
    ("sleep", |_| pause_for_ever()),
    ("drop_and_spawn", |a| {
        fs::copy(&a[1], &a[0]).unwrap();
        spawn_acting(Path::new(&a[0]))
    }),
    ("execute_deleted", |a| {
        fs::copy(&a[1], &a[0]).unwrap();
        let image = fs::File::open(&a[0]).unwrap();
        fs::remove_file(&a[0]).unwrap();
        spawn_acting(&descriptor(&image))
    }),
    ("execute_unnamed", |a| execute_unnamed(&a[0], &a[1])),
    ("supervise_stdin", |a| {
        let mut spec = acting_spec("spawn", &["/proc/self/fd/0", ACT, "exit", "0"]);
        if a[0] == "any" {
            spec.exec = gate(ExecRule::Any);
        }
        match end_of(start(spec)).status {
            Status::Exited(code) => code,
            Status::Signaled(signal) => 128 + signal,
        }
    }),
];

/// Starts a copy of this executable that exits with 0.
fn spawn_acting(program: &Path) -> i32 {
    spawn(&[text(program), ACT, "exit", "0"].map(str::to_owned))
}

fn descriptor(file: &fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A file that never had a name.
fn execute_unnamed(dir: &str, source: &str) -> i32 {
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .mode(0o755)
        .custom_flags(libc::O_TMPFILE);
    let mut unnamed = options.open(dir).unwrap();
    std::io::copy(&mut fs::File::open(source).unwrap(), &mut unnamed).unwrap();
    let image = fs::File::open(descriptor(&unnamed)).unwrap();
    drop(unnamed);
    spawn_acting(&descriptor(&image))
}

/// Starts a program as a shell would, and gives how it ended.
fn spawn(a: &[String]) -> i32 {
    match command(Path::new(&a[0])).args(&a[1..]).status() {
        Ok(status) => status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap()),
        Err(error) => error.raw_os_error().unwrap(),
    }
}

pub(crate) fn pause_for_ever() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

/// A statically linked program of some 130 bytes that exits with a code.
pub(crate) fn tiny(dir: &Path, name: &str, code: u8) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, image(code)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// `exit_group(code)`.
#[cfg(target_arch = "x86_64")]
fn instructions(code: u8) -> Vec<u8> {
    vec![0xbf, code, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]
}

/// `exit_group(code)`.
#[cfg(target_arch = "aarch64")]
fn instructions(code: u8) -> Vec<u8> {
    let set = |register: u32, value: u32| 0x5280_0000 | (value << 5) | register;
    let words = [set(0, u32::from(code)), set(8, 94), 0xd400_0001];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Header, one segment that is the whole file, and the code.
fn image(code: u8) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let code = instructions(code);
    let len = (64 + 56 + code.len()) as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, MACHINE] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1u32.to_le_bytes());
    for word in [BASE + 120, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable.
    for word in [1u32, 5] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, len, len, 4096] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes
}

/// A spec in which this executable acts, and may execute what is in `dir`.
pub(crate) fn with_programs(act: &str, arguments: &[&str], dir: &Path) -> CellSpec {
    let mut spec = acting_spec(act, arguments);
    spec.paths.exec.push(dir.to_path_buf());
    spec
}

/// A spec in which this executable acts, and may write to `dir` and execute what is there.
pub(crate) fn with_workspace(act: &str, arguments: &[&str], dir: &Path) -> CellSpec {
    let mut spec = acting_spec(act, arguments);
    spec.paths.write.push(dir.to_path_buf());
    spec.paths.exec_in_writable = true;
    spec
}

/// The spec of `sh -c script` with the directories of the system's programs.
pub(crate) fn shell(script: &str) -> CellSpec {
    let shell = Path::new("/bin/sh");
    let argv = ["sh", "-c", script].map(Into::into).to_vec();
    let mut spec = crate::support::spec(shell, argv);
    spec.paths.exec.push("/usr/bin".into());
    spec
}

/// The path of a file in a directory, as an argument.
pub(crate) fn below(dir: &Path, name: &str) -> String {
    text(&dir.join(name)).to_owned()
}
