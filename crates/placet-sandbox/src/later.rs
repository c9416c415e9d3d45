//! What a worker becomes: known when its cell is built, or said to it with its release.
//!
//! A cell that waits for a program has memory that supervisor and worker share. The supervisor writes there once, before the
//! release; the worker reads after it. Everything in it is about the one program: what may be done with it was settled when
//! the cell was built.

use std::ffi::{CStr, CString};

use crate::error::SandboxError;
use crate::spec::FileIdentity;
use crate::sys::{self, Errno, SharedMemory, StringArray, Strings};

/// Arguments, environment and paths of one program. Longer ones take a cell that is built for them.
const BYTES_MAX: usize = 256 << 10;

/// The program of a cell, and how it is started.
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) identity: FileIdentity,
    /// Whether it stands in a copied tree, where it shows another device.
    pub(crate) in_copy: bool,
    /// A script is executed by path, since its interpreter has to find it again.
    pub(crate) is_script: bool,
    pub(crate) cwd: CString,
    pub(crate) argv: StringArray,
    pub(crate) env: StringArray,
}

/// The same, as the worker sees it.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) identity: FileIdentity,
    pub(crate) in_copy: bool,
    pub(crate) is_script: bool,
    pub(crate) cwd: &'a CStr,
    pub(crate) argv: Strings<'a>,
    pub(crate) env: Strings<'a>,
}

/// Memory in which a worker finds its program.
#[derive(Debug)]
pub(crate) struct Later(SharedMemory);

/// The first words of the memory, by their numbers.
#[derive(Clone, Copy)]
enum Word {
    Dev,
    Ino,
    Size,
    Mtime,
    Ctime,
    IsScript,
    Path,
    Cwd,
    Argv,
    Env,
}

const WORDS: usize = 10;
const WORD_BYTES: usize = size_of::<u64>();

impl Program {
    pub(crate) fn start(&self) -> Start<'_> {
        Start {
            path: &self.path,
            identity: self.identity,
            in_copy: self.in_copy,
            is_script: self.is_script,
            cwd: &self.cwd,
            argv: self.argv.as_strings(),
            env: self.env.as_strings(),
        }
    }
}

impl Later {
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let memory = SharedMemory::new(BYTES_MAX);
        memory.map(Self).map_err(|errno| SandboxError::Supervisor {
            what: "share memory with a cell",
            source: errno.into(),
        })
    }

    /// Says what the worker becomes, and with which environment; `false` where that does not fit. To be called once.
    pub(crate) fn put(&self, program: &Program, env: &StringArray) -> bool {
        let mut writer = Writer {
            memory: &self.0,
            next: WORDS.saturating_mul(WORD_BYTES),
        };
        writer.program(program, env).is_ok()
    }

    /// What was put. For the worker, after its release: makes no call and allocates nothing.
    pub(crate) fn start(&self) -> Result<Start<'_>, Errno> {
        let word = |word: Word| self.0.word((word as usize).wrapping_mul(WORD_BYTES));
        let offset = |it: Word| usize::try_from(word(it)).unwrap_or(usize::MAX);
        let strings = |it: Word| Strings::shared(&self.0, offset(it)).ok_or(Errno(libc::EFAULT));
        Ok(Start {
            path: self.0.text(offset(Word::Path)),
            identity: FileIdentity {
                dev: word(Word::Dev),
                ino: word(Word::Ino),
                size: word(Word::Size),
                mtime_ns: word(Word::Mtime).cast_signed(),
                ctime_ns: word(Word::Ctime).cast_signed(),
            },
            in_copy: false,
            is_script: word(Word::IsScript) == 1,
            cwd: self.0.text(offset(Word::Cwd)),
            argv: strings(Word::Argv)?,
            env: strings(Word::Env)?,
        })
    }

    /// Forgets it, once the kernel has its own copy.
    pub(crate) fn wipe(&self) {
        self.0.wipe();
    }
}

/// Fills the memory from the front.
struct Writer<'a> {
    memory: &'a SharedMemory,
    next: usize,
}

impl Writer<'_> {
    fn program(&mut self, program: &Program, env: &StringArray) -> sys::Sys<()> {
        let FileIdentity {
            dev,
            ino,
            size,
            mtime_ns,
            ctime_ns,
        } = program.identity;
        let is_script = u64::from(program.is_script);
        let plain = [
            (Word::Dev, dev),
            (Word::Ino, ino),
            (Word::Size, size),
            (Word::Mtime, mtime_ns.cast_unsigned()),
            (Word::Ctime, ctime_ns.cast_unsigned()),
            (Word::IsScript, is_script),
        ];
        plain
            .into_iter()
            .try_for_each(|(word, value)| self.word(word, value))?;
        let path = self.text(&program.path)?;
        self.word(Word::Path, path as u64)?;
        let cwd = self.text(&program.cwd)?;
        self.word(Word::Cwd, cwd as u64)?;
        let argv = self.strings(program.argv.strings())?;
        self.word(Word::Argv, argv as u64)?;
        let env = self.strings(env.strings())?;
        self.word(Word::Env, env as u64)
    }

    fn word(&self, word: Word, value: u64) -> sys::Sys<()> {
        let offset = (word as usize).saturating_mul(WORD_BYTES);
        self.memory.write(offset, &value.to_ne_bytes())
    }

    /// Where it was written.
    fn bytes(&mut self, bytes: &[u8]) -> sys::Sys<usize> {
        let at = self.next;
        let end = at.saturating_add(bytes.len());
        if end > self.memory.room() {
            return Err(Errno(libc::E2BIG));
        }
        self.memory.write(at, bytes)?;
        self.next = end;
        Ok(at)
    }

    fn text(&mut self, text: &CStr) -> sys::Sys<usize> {
        self.bytes(text.to_bytes_with_nul())
    }

    /// Each of them, and then where they stand, up to a null.
    fn strings(&mut self, strings: &[CString]) -> sys::Sys<usize> {
        let mut pointers = Vec::with_capacity(strings.len().saturating_add(1));
        for string in strings {
            let at = self.text(string)?;
            pointers.push(self.memory.at(at).addr() as u64);
        }
        pointers.push(0);
        self.next = self.next.next_multiple_of(WORD_BYTES);
        let words: Vec<u8> = pointers.into_iter().flat_map(u64::to_ne_bytes).collect();
        self.bytes(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argument: &str) -> Program {
        let strings = |words: &[&str]| {
            let words = words.iter().map(|word| CString::new(*word).unwrap());
            StringArray::new(words.collect())
        };
        Program {
            path: c"/usr/bin/true".to_owned(),
            identity: FileIdentity {
                dev: 1,
                ino: 2,
                size: 3,
                mtime_ns: -4,
                ctime_ns: 5,
            },
            in_copy: false,
            is_script: true,
            cwd: c"/work".to_owned(),
            argv: strings(&["true", argument]),
            env: strings(&[]),
        }
    }

    #[test]
    fn a_program_is_read_as_it_was_put() {
        let later = Later::new().unwrap();
        let first = program("an argument");
        assert!(later.put(&first, &first.env));
        let start = later.start().unwrap();
        assert_eq!((start.path, start.cwd), (c"/usr/bin/true", c"/work"));
        assert_eq!(start.identity, program("").identity);
        assert!(start.is_script);
        let argv: Vec<String> = start.argv.read().collect();
        assert_eq!(argv, ["true", "an argument"]);
        assert_eq!(start.env.read().count(), 0);
        later.wipe();
        assert_eq!(later.start().unwrap().path, c"");
    }

    #[test]
    fn what_does_not_fit_is_not_put() {
        let later = Later::new().unwrap();
        let long = program(&"a".repeat(BYTES_MAX));
        assert!(!later.put(&long, &long.env));
    }
}
