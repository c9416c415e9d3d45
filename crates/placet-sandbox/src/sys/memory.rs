//! Memory that is shared with a clone until it is written to.

use std::ffi::{c_int, c_void};

use super::{Sys, address, done, last_errno};

/// `_IOWR('f', 16, struct pm_scan_arg)`, since Linux 6.7.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
/// Categories of pages.
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_ZERO: u64 = 1 << 5;
/// The end of what a process can have: of 47 bits, the last page apart.
const END: u64 = 0x7fff_ffff_f000;
/// Ranges that are asked for at a time.
const RANGES: usize = 256;
/// Calls at most: a process with more ranges than that has only some of them done.
const SCANS_MAX: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Range {
    start: u64,
    end: u64,
    categories: u64,
}

#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: u64,
    ranges_len: u64,
    pages_max: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    returned: u64,
}

/// Gives this process pages of its own in place of those that it shares with a clone of it, by its `/proc/self/pagemap`. What is in
/// them does not change.
pub(crate) fn own_memory(pagemap: c_int) -> Sys<()> {
    let mut ranges = [Range::default(); RANGES];
    let mut from = 0;
    for _ in 0..SCANS_MAX {
        let (found, next) = scan(pagemap, from, &mut ranges)?;
        for range in ranges.iter().take(found) {
            let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
            let start = std::ptr::without_provenance_mut::<c_void>(
                usize::try_from(range.start).unwrap_or(0),
            );
            // SAFETY: the call breaks the sharing of pages as a write would, and writes nothing: memory is as it was, whoever uses it.
            let copied =
                done(unsafe { libc::madvise(start, length, libc::MADV_POPULATE_WRITE) }.into());
            // What may not be written is not written to, and what is gone meanwhile need not be.
            copied.unwrap_or(());
        }
        if found < RANGES || next <= from {
            return Ok(());
        }
        from = next;
    }
    Ok(())
}

/// Ranges of private pages from there on, and where to go on.
fn scan(pagemap: c_int, from: u64, ranges: &mut [Range; RANGES]) -> Sys<(usize, u64)> {
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start: from,
        end: END,
        ranges: address(ranges.as_mut_ptr()),
        ranges_len: RANGES as u64,
        // Of what is present, neither a file's nor the zero page.
        inverted: IS_FILE | IS_ZERO,
        all_of: IS_PRESENT | IS_FILE | IS_ZERO,
        returned: IS_PRESENT,
        ..Scan::default()
    };
    // SAFETY: the argument is a live pm_scan_arg of the stated size, whose vector is live and of the stated length.
    let found = unsafe { libc::ioctl(pagemap, PAGEMAP_SCAN, &raw mut scan) };
    match usize::try_from(found) {
        Ok(found) => Ok((found.min(RANGES), scan.walk_end)),
        Err(_) => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::sys::{Forked, exit_now, fork, pause_ms, reap, signal};

    const PAGE: usize = 4096;
    const PAGES: usize = 64;

    /// Faults of this thread so far.
    fn faults() -> i64 {
        // SAFETY: rusage is plain numbers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: usage is live.
        let told = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        assert_eq!(told, 0);
        usage.ru_minflt
    }

    /// Faults of as many writes as there are pages, after a clone.
    fn faults_after_a_clone(memory: &mut [u8], owned: bool) -> i64 {
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        // SAFETY: the child makes one system call until it is killed.
        let Forked::Parent { pidfd, .. } = unsafe { fork(0, 0) }.unwrap() else {
            pause_ms(-1);
            exit_now(0);
        };
        if owned {
            own_memory(pagemap.as_raw_fd()).unwrap();
        }
        let before = faults();
        for page in memory.chunks_mut(PAGE) {
            page[0] = page[0].wrapping_add(1);
        }
        let after = faults();
        signal(pidfd, libc::SIGKILL).unwrap();
        reap(pidfd, true).unwrap();
        crate::sys::close(pidfd);
        after - before
    }

    #[test]
    fn what_is_shared_with_a_clone_becomes_its_own_before_it_is_written_to() {
        let mut memory = vec![1u8; PAGE * PAGES];
        let pages = i64::try_from(PAGES).unwrap();
        assert!(faults_after_a_clone(&mut memory, false) >= pages);
        assert!(faults_after_a_clone(&mut memory, true) < pages / 4);
        // Nothing else has become of it.
        let first = memory.iter().step_by(PAGE).all(|byte| *byte == 3);
        assert!(first && memory.iter().filter(|byte| **byte == 1).count() == PAGES * (PAGE - 1));
    }
}
