//! Who made which file executable: so that a program that was born inside can be recorded with the
//! program that made it.
//!
//! The filter shows the tracer the few calls that give a file an execute bit: those that make a file with
//! one, and the changes of mode that add one. A file that is made has no inode before the call, so its
//! caller is met again after it, at the descriptor that it got. Names are read from the caller's memory,
//! which another thread of it may change: what is noted is evidence, and nothing is ever decided by it.
//! A descriptor that is handed on, or a file whose contents somebody else puts in place later, is still
//! said to be made by whoever made it executable.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ExecId;
use super::observe::{low, path};
use crate::process::{self, Process};
use crate::seccomp::{EXECUTE_BITS, SYS_FCHMODAT2};
use crate::sys::{self, Inode};

/// Files of one generation: two are remembered.
const GENERATION_MAX: usize = 32_768;

/// Which exec made which file executable, for the files that were made last.
#[derive(Debug, Default)]
pub(super) struct Makers {
    young: HashMap<Inode, ExecId>,
    old: HashMap<Inode, ExecId>,
}

/// What a shown call makes executable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// The file behind the descriptor that it returns.
    Returned,
    /// The file behind this one.
    Descriptor(i32),
    /// The file of this name, seen from a directory.
    Named(i32, PathBuf),
}

impl Makers {
    /// Who made this file executable, if it is remembered.
    pub(super) fn of(&self, file: Inode) -> Option<ExecId> {
        self.young
            .get(&file)
            .or_else(|| self.old.get(&file))
            .copied()
    }

    fn note(&mut self, file: Inode, by: ExecId) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(file, by);
    }

    /// Takes note of a call before it is made. `true`: the caller has to be met again after it.
    pub(super) fn before(&mut self, pid: i32, by: Option<ExecId>) -> bool {
        let (Some(by), Ok((number, arguments))) = (by, sys::shown_call(pid)) else {
            return false;
        };
        match making(pid, number, arguments) {
            None => false,
            Some(Making::Returned) => true,
            Some(Making::Descriptor(descriptor)) => {
                self.descriptor(pid, descriptor, by);
                false
            }
            Some(Making::Named(directory, name)) => {
                if let Some(file) = named(pid, directory, &name) {
                    self.note(file, by);
                }
                false
            }
        }
    }

    /// Takes note of what a call has made.
    pub(super) fn after(&mut self, pid: i32, by: Option<ExecId>) {
        if let (Some(by), Ok(descriptor)) = (by, sys::returned(pid)) {
            self.descriptor(pid, descriptor, by);
        }
    }

    fn descriptor(&mut self, pid: i32, descriptor: i32, by: ExecId) {
        let file = Process::open(pid).and_then(|it| it.inode_of_descriptor(descriptor));
        if let Ok(file) = file {
            self.note(file, by);
        }
    }
}

fn making(pid: i32, number: i64, arguments: [u64; 6]) -> Option<Making> {
    let [first, second, third, fourth, ..] = arguments;
    let made = |flags: u64, mode: u64| {
        let makes = low(flags) & libc::O_CREAT != 0 && executes(mode);
        makes.then_some(Making::Returned)
    };
    let changed = |mode: u64, what: Making| executes(mode).then_some(what);
    match number {
        libc::SYS_openat => made(third, fourth),
        libc::SYS_openat2 => {
            let mut how = [0; 16];
            let whole = sys::read_memory(pid, third, &mut how) == Ok(16);
            let (flags, mode) = how.split_first_chunk::<8>().filter(|_| whole)?;
            let mode = mode.first_chunk::<8>()?;
            made(u64::from_ne_bytes(*flags), u64::from_ne_bytes(*mode))
        }
        libc::SYS_fchmod => changed(second, Making::Descriptor(low(first))),
        libc::SYS_fchmodat | SYS_FCHMODAT2 => {
            let directory = low(first);
            match path(pid, second) {
                Some(name) => changed(third, Making::Named(directory, name)),
                // AT_EMPTY_PATH
                None => changed(third, Making::Descriptor(directory)),
            }
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => made(second, third),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => executes(second).then_some(Making::Returned),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod => changed(second, Making::Named(libc::AT_FDCWD, path(pid, first)?)),
        _ => None,
    }
}

fn executes(mode: u64) -> bool {
    low(mode).unsigned_abs() & EXECUTE_BITS != 0
}

fn named(pid: i32, directory: i32, name: &Path) -> Option<Inode> {
    let process = Process::open(pid).ok()?;
    if directory == libc::AT_FDCWD || name.is_absolute() {
        return process::inode(process.resolve(name).ok()?).ok();
    }
    let base = process.link(&format!("fd/{directory}")).ok()?;
    process.inode_of(&base.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(ino: u64) -> Inode {
        Inode { dev: 1, ino }
    }

    #[test]
    fn the_files_that_were_made_last_are_remembered_and_no_more_than_two_generations() {
        let mut makers = Makers::default();
        let all = 3 * GENERATION_MAX as u64;
        for ino in 0..all {
            makers.note(inode(ino), ExecId(ino));
        }
        assert_eq!(makers.of(inode(0)), None);
        assert_eq!(makers.of(inode(all - 1)), Some(ExecId(all - 1)));
        assert_eq!(
            makers.of(inode(all - GENERATION_MAX as u64 - 1)),
            Some(ExecId(all - GENERATION_MAX as u64 - 1))
        );
        assert!(makers.young.len() + makers.old.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn who_makes_a_file_executable_last_is_its_maker() {
        let mut makers = Makers::default();
        makers.note(inode(7), ExecId(1));
        makers.note(inode(7), ExecId(2));
        assert_eq!(makers.of(inode(7)), Some(ExecId(2)));
    }

    #[test]
    fn only_calls_that_give_an_execute_bit_make_a_program() {
        let flags = u64::from((libc::O_CREAT | libc::O_WRONLY).unsigned_abs());
        let here = u64::from(libc::AT_FDCWD.cast_unsigned());
        let open = |flags, mode| making(1, libc::SYS_openat, [here, 0, flags, mode, 0, 0]);
        assert_eq!(open(flags, 0o755), Some(Making::Returned));
        assert_eq!(open(flags, 0o644), None);
        assert_eq!(open(0, 0o755), None);
        let fchmod = |mode| making(1, libc::SYS_fchmod, [4, mode, 0, 0, 0, 0]);
        assert_eq!(fchmod(0o100), Some(Making::Descriptor(4)));
        assert_eq!(fchmod(0o600), None);
        assert_eq!(making(1, libc::SYS_read, [4, 0o755, 0, 0, 0, 0]), None);
    }
}
