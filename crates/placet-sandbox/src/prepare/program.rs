//! The program of a cell: what the worker becomes, where that was decided on, and what it is given.

use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{check_absolute, find};
use crate::error::SandboxError;
use crate::landlock::Right;
use crate::later::Program as Started;
use crate::layout::{Grant, c_string};
use crate::spec::{CellSpec, FileIdentity, Program};
use crate::sys::StringArray;

/// The program must lie in what may be executed.
pub(super) fn check_granted(program: &Program, grants: &[Grant]) -> Result<(), SandboxError> {
    let may_run = |grant: &&Grant| matches!(grant.right, Right::Execute | Right::WriteAndExecute);
    let mut granted = grants.iter().filter(may_run);
    if granted.any(|grant| program.path.starts_with(&grant.found.path)) {
        Ok(())
    } else {
        Err(SandboxError::ProgramOutsideExec(program.path.clone()))
    }
}

/// What the worker becomes: the program in the state that was decided on.
pub(super) fn started(
    spec: &CellSpec,
    in_copy: bool,
    env: StringArray,
) -> Result<Started, SandboxError> {
    let program = &spec.program;
    let path = &program.path;
    find(path, &spec.looked)?;
    let open = |source| SandboxError::Open {
        path: path.clone(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(open)?;
    if FileIdentity::of_metadata(&metadata) != program.identity {
        return Err(SandboxError::ProgramChanged(path.clone()));
    }
    check_absolute(&spec.cwd)?;
    Ok(Started {
        path: c_string(path.as_os_str().as_bytes(), "the program's path")?,
        identity: program.identity,
        in_copy,
        is_script: is_script(path),
        cwd: c_string(spec.cwd.as_os_str().as_bytes(), "the working directory")?,
        argv: argv(&program.argv)?,
        env,
    })
}

/// The program of a cell that may wait for it: it must lie in what may be executed.
pub(crate) fn program(spec: &CellSpec) -> Result<Started, SandboxError> {
    let path = &spec.program.path;
    let paths = &spec.paths;
    let own = paths.write.iter().filter(|_| paths.exec_in_writable);
    if !paths.exec.iter().chain(own).any(|at| path.starts_with(at)) {
        return Err(SandboxError::ProgramOutsideExec(path.clone()));
    }
    started(spec, false, env(&spec.env)?)
}

/// Whether the file starts with `#!`. One that cannot be read is taken for a binary: executing
/// needs no read permission for those, and the kernel would not run it as a script either.
fn is_script(path: &Path) -> bool {
    let mut magic = [0u8; 2];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"#!"
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
