//! The first stack of a program, as the kernel lays it out before the first instruction: argument
//! count, argument pointers, environment pointers, auxiliary vector, and above them the strings.
//!
//! The layout is that of the System V ABI supplements and of `create_elf_tables` in Linux. The
//! process cannot have touched it; still nothing here relies on more than bounds.
//!
//! The environment lies between what is read: its strings hold credentials, so no more of it is read than must be, and every
//! buffer is wiped.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use zeroize::Zeroizing;

use crate::sys;

/// Arguments beyond this are not read.
const ARGV_BYTES_MAX: usize = 128 << 10;
/// PATH_MAX: execve accepts no longer name.
const NAME_BYTES_MAX: usize = 4096;
/// Read in one go: enough for the pointers and the auxiliary vector of most programs.
const POINTERS_BYTES: usize = 4096;
/// The pointers of some thousand variables, after the arguments'.
const POINTERS_BYTES_MAX: usize = 256 << 10;
const AT_NULL: u64 = 0;
const AT_EXECFN: u64 = 31;

/// Its arguments.
#[derive(Default)]
pub(super) struct Arguments {
    pub(super) words: Vec<OsString>,
    pub(super) truncated: bool,
}

/// The stack of one stopped process.
pub(super) struct Stack {
    pid: i32,
    count: u64,
    /// Where the pointers begin, and those read so far.
    at: u64,
    pointers: Zeroizing<Vec<u8>>,
}

impl Stack {
    /// `None` when it cannot be read: the process is gone, or is no 64-bit one.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let at = sys::stack_pointer(pid).ok()??;
        let mut stack = Self {
            pid,
            count: 0,
            at,
            pointers: Zeroizing::default(),
        };
        stack.read_pointers(POINTERS_BYTES)?;
        stack.count = stack.word(0)?;
        Some(stack)
    }

    fn read_pointers(&mut self, bytes: usize) -> Option<()> {
        // Not grown: what is left behind would not be wiped.
        self.pointers = Zeroizing::new(vec![0; bytes]);
        let read = sys::read_memory(self.pid, self.at, &mut self.pointers).ok()?;
        self.pointers.truncate(read);
        Some(())
    }

    fn word(&self, index: usize) -> Option<u64> {
        let (words, _) = self.pointers.as_chunks::<8>();
        words.get(index).map(|word| u64::from_ne_bytes(*word))
    }

    /// The arguments: strings one after another, from where the first pointer points.
    pub(super) fn arguments(&self) -> Option<Arguments> {
        if self.count == 0 {
            return Some(Arguments::default());
        }
        let mut bytes = Zeroizing::new(vec![0u8; self.arguments_bytes()]);
        let read = sys::read_memory(self.pid, self.word(1)?, &mut bytes).ok()?;
        let mut rest = bytes.get(..read)?;
        let mut words = Vec::new();
        for _ in 0..self.count {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                words.push(OsStr::from_bytes(rest).to_owned());
                break;
            };
            let (word, after) = rest.split_at_checked(end)?;
            words.push(OsStr::from_bytes(word).to_owned());
            rest = after.get(1..)?;
            if rest.is_empty() {
                break;
            }
        }
        let truncated = words.len() as u64 != self.count || rest.is_empty();
        Some(Arguments { words, truncated })
    }

    /// How much to read for them: what follows their strings begins behind their last byte, and one byte of that shows that they
    /// are whole. It is the first variable, to which the pointer behind the null that ends theirs leads, or, without any, the name.
    fn arguments_bytes(&self) -> usize {
        let bytes = || {
            let variable = usize::try_from(self.count).ok()?.checked_add(2)?;
            let behind = match self.word(variable)? {
                0 => self.auxiliary(AT_EXECFN)?,
                at => at,
            };
            let bytes = behind.checked_sub(self.word(1)?)?.checked_add(1)?;
            usize::try_from(bytes).ok()
        };
        bytes()
            .filter(|bytes| (2..ARGV_BYTES_MAX).contains(bytes))
            .unwrap_or(ARGV_BYTES_MAX)
    }

    /// The name that execve was called with, from the auxiliary vector: see getauxval(3).
    pub(super) fn executed_name(&mut self) -> Option<OsString> {
        let at = match self.auxiliary(AT_EXECFN) {
            Some(at) => at,
            None if self.pointers.len() < POINTERS_BYTES => return None,
            None => {
                self.read_pointers(POINTERS_BYTES_MAX)?;
                self.auxiliary(AT_EXECFN)?
            }
        };
        let mut name = vec![0u8; NAME_BYTES_MAX];
        let read = sys::read_memory(self.pid, at, &mut name).ok()?;
        name.truncate(read);
        let end = name.iter().position(|byte| *byte == 0)?;
        name.truncate(end);
        Some(OsString::from_vec(name))
    }

    /// An entry of the vector behind the two lists of pointers, each of which ends with a null.
    fn auxiliary(&self, wanted: u64) -> Option<u64> {
        let (words, _) = self.pointers.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_ne_bytes(*word));
        let mut behind = words.skip(usize::try_from(self.count).ok()?.checked_add(2)?);
        behind.find(|word| *word == 0)?;
        loop {
            match (behind.next()?, behind.next()?) {
                (AT_NULL, _) => return None,
                (kind, value) if kind == wanted => return Some(value),
                _ => {}
            }
        }
    }
}
