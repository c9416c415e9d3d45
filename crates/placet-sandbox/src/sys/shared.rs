//! Memory that supervisor and cell share: written after the clone, read by the worker's execve.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering, compiler_fence};

use super::{Errno, Sys, last_errno};

/// Zeroed memory of a fixed size, shared with every later fork, in no core dump.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: *mut u8,
    length: usize,
    /// Beyond it nothing was ever written.
    written: AtomicUsize,
}

// SAFETY: the mapping belongs to this value, and its address does not change.
unsafe impl Send for SharedMemory {}
// SAFETY: through a shared reference it is only written by `write` and `wipe`, which copy single
// bytes; the one reader, execve in the worker, runs in another process after the release.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    pub(crate) fn new(length: usize) -> Sys<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let memory = Self {
            start: start.cast(),
            length,
            written: AtomicUsize::new(0),
        };
        // SAFETY: the range is this mapping.
        let advised = unsafe { libc::madvise(start, length, libc::MADV_DONTDUMP) };
        if advised == 0 {
            Ok(memory)
        } else {
            Err(last_errno())
        }
    }

    /// The address of the byte at `offset`; null outside.
    pub(crate) fn at(&self, offset: usize) -> *const c_char {
        if offset < self.length {
            self.start.wrapping_add(offset).cast_const().cast()
        } else {
            std::ptr::null()
        }
    }

    /// Copies `bytes` to `offset`.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Sys<()> {
        let end = offset.checked_add(bytes.len());
        let Some(end) = end.filter(|end| *end <= self.length) else {
            return Err(Errno(libc::EFAULT));
        };
        self.written.fetch_max(end, Ordering::SeqCst);
        let to = self.start.wrapping_add(offset);
        // SAFETY: the range lies in the mapping, as was just checked; it cannot overlap `bytes`,
        // since no reference to the mapping is ever handed out.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// The word at `offset`, a multiple of 8; 0 outside.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        let end = offset.checked_add(size_of::<u64>());
        if !offset.is_multiple_of(size_of::<u64>()) || end.is_none_or(|end| end > self.length) {
            return 0;
        }
        // SAFETY: the word lies in the mapping and, as mappings begin at a page, is aligned.
        unsafe { std::ptr::read_volatile(self.start.wrapping_add(offset).cast::<u64>()) }
    }

    /// The text at `offset`; empty outside. For the worker after its release: nobody writes there any more.
    pub(crate) fn text(&self, offset: usize) -> &CStr {
        let at = self.at(offset);
        if at.is_null() {
            return c"";
        }
        // SAFETY: the last byte of the mapping is never written and 0, so the text ends inside; and by then the
        // supervisor waits for execve.
        unsafe { CStr::from_ptr(at) }
    }

    /// How much can be written: all but the last byte.
    pub(crate) fn room(&self) -> usize {
        self.length.saturating_sub(1)
    }

    /// Overwrites everything that was written with zeros, for all processes that share it.
    pub(crate) fn wipe(&self) {
        for offset in 0..self.written.load(Ordering::SeqCst) {
            // SAFETY: the byte lies in the mapping; a volatile write is not left out.
            unsafe { std::ptr::write_volatile(self.start.wrapping_add(offset), 0) };
        }
        compiler_fence(Ordering::SeqCst);
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: the mapping is this value's, and nobody has a reference into it.
        unsafe { libc::munmap(self.start.cast::<c_void>(), self.length) };
    }
}
