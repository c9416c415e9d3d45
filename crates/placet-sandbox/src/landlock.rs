//! The cell's Landlock domain: which rights exist, and which the scope's paths get.
//!
//! File system rights up to ABI 3 (REFER and TRUNCATE included) are required: without them there
//! is no cell. What later ABIs add is used when the kernel has it and relied on by nothing: device
//! ioctls (ABI 5) meet only the harmless nodes of the cell's `/dev`, TCP (ABI 4) an empty network
//! namespace, abstract sockets and signals (ABI 6) their own network and pid namespaces.
//!
//! EXECUTE decides what execve accepts. It does not stop a readable file from being mapped
//! executable, so `ld.so <readable file>` runs: gating by program image is what [`crate::ExecGate`] does.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::{Inode, LandlockRuleset};

/// The lowest ABI a cell is built on.
pub(crate) const ABI_REQUIRED: i32 = 3;

/// The first that tells audit what it refuses.
pub(crate) const ABI_OF_AUDIT: i32 = 7;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Every right of ABI 3, making device nodes included.
const ALL_OF_ABI_3: u64 = (1 << 15) - 1;

/// Rights that can be given on a file that is not a directory.
const ON_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const TCP: u64 = 0b11;
const ABSTRACT_SOCKETS_AND_SIGNALS: u64 = 0b11;

/// What a path is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    List,
    Read,
    Execute,
    Write,
    WriteAndExecute,
    Device,
}

/// One right, on a path inside the cell.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) path: CString,
    /// What the path was when the cell was prepared; `None` for the cell's own directories.
    pub(crate) inode: Option<Inode>,
    pub(crate) access: u64,
    /// What the rule is about, where that is mounted at the path and so compared already: the supervisor makes these rules, while the
    /// cell does what only it can.
    pub(crate) file: Option<Arc<OwnedFd>>,
}

/// By whom it is made makes no difference.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.inode, self.access) == (&other.path, other.inode, other.access)
    }
}

impl Eq for Rule {}

impl Right {
    fn access(self) -> u64 {
        let read = READ_FILE | READ_DIR;
        let change = WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | REFER;
        let make = MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM;
        match self {
            Self::List => READ_DIR,
            Self::Read => read,
            Self::Execute => read | EXECUTE,
            Self::Write => read | change | make,
            Self::WriteAndExecute => read | change | make | EXECUTE,
            Self::Device => read | WRITE_FILE | IOCTL_DEV,
        }
    }
}

/// The rights this kernel can refuse, all of which the domain refuses unless a rule grants them.
pub(crate) fn ruleset(abi: i32, loopback: bool) -> LandlockRuleset {
    LandlockRuleset {
        fs: ALL_OF_ABI_3 | if abi >= 5 { IOCTL_DEV } else { 0 },
        net: if abi >= 4 && !loopback { TCP } else { 0 },
        scoped: if abi >= 6 {
            ABSTRACT_SOCKETS_AND_SIGNALS
        } else {
            0
        },
    }
}

impl Rule {
    /// A rule with only the rights that the ruleset handles and the file's kind can have.
    pub(crate) fn new(
        ruleset: &LandlockRuleset,
        path: CString,
        right: Right,
        is_dir: bool,
    ) -> Self {
        let possible = if is_dir { u64::MAX } else { ON_FILES };
        Self {
            path,
            inode: None,
            file: None,
            access: right.access() & possible & ruleset.fs,
        }
    }

    /// The same, only for as long as the path is this file.
    pub(crate) fn pinned(self, inode: Inode) -> Self {
        Self {
            inode: Some(inode),
            ..self
        }
    }

    /// The same, of a file that is held open and of which it is known by other means that it is what the path leads to.
    pub(crate) fn made_with(self, file: Arc<OwnedFd>) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_right_makes_device_nodes() {
        let nodes = (1 << 6) | (1 << 11);
        for right in [Right::Write, Right::WriteAndExecute, Right::Device] {
            assert_eq!(right.access() & nodes, 0);
        }
    }

    #[test]
    fn older_kernels_are_asked_only_for_what_they_know() {
        let oldest = ruleset(3, false);
        assert_eq!((oldest.fs >> 15, oldest.net, oldest.scoped), (0, 0, 0));
        let newest = ruleset(7, false);
        assert_eq!((newest.fs >> 15, newest.net, newest.scoped), (1, 3, 3));
    }

    #[test]
    fn a_file_gets_no_directory_rights() {
        let rule = Rule::new(&ruleset(7, false), c"/f".to_owned(), Right::Write, false);
        assert_eq!(rule.access & !ON_FILES, 0);
    }
}
