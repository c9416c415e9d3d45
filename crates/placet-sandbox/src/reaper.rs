//! What stands in the place of pid 1 where there is no pid namespace.
//!
//! A subreaper: whatever a process of the tree leaves behind when it ends becomes its child, so
//! everything of the tree is below it at every moment, and nothing else is. It ends the tree by
//! killing its children until it has none: the children of those become its own and are next.
//!
//! It does not race with a fork storm alone. The whole tree is traced, and a fork stops maker and
//! child until the tracer lets them go on; a tracer that ends the tree lets nobody go on, and one
//! that hangs answers nobody.
//!
//! Runs in a copy of the supervisor, as [`crate::pid1`] does: no allocation, no locks, no panic.

use std::ffi::{CStr, c_int};

use crate::sys::{self, Errno};

/// The direct children of this thread, as numbers and spaces (proc_pid_task_children(5)).
pub(crate) const CHILDREN: &CStr = c"/proc/thread-self/children";
const LIST_BYTES: usize = 4096;
const STAT_BYTES: usize = 512;
const PAUSE_MS: c_int = 1;

/// Kills and reaps until no child is left, or none but those that are dead and that a tracer has
/// not looked at yet: they execute nothing any more, and are never seen again.
pub(crate) fn end_all(worker: c_int) {
    loop {
        while sys::next_changed_child().is_some() {}
        match kill_children() {
            Ok(0) => return,
            Ok(_) => {}
            // Without a list there is the tracer, which ends with the worker.
            Err(_) => {
                sys::kill_traced(worker);
                if sys::has_no_children() {
                    return;
                }
            }
        }
        sys::pause_ms(PAUSE_MS);
    }
}

/// Gives how many were alive.
fn kill_children() -> Result<u32, Errno> {
    let mut list = [0u8; LIST_BYTES];
    let read = sys::read_file(CHILDREN, &mut list)?;
    let mut alive = 0u32;
    // A number that does not fit is cut off; it comes first when those before it are gone.
    let whole = list.get(..read).unwrap_or(&[]);
    for word in whole.split(|byte| *byte == b' ') {
        let Some(pid) = number(word) else { continue };
        if read == LIST_BYTES && is_last(whole, word) {
            alive = alive.saturating_add(1);
            continue;
        }
        if is_alive(pid) {
            sys::kill_traced(pid);
            alive = alive.saturating_add(1);
        }
    }
    Ok(alive)
}

/// Whether a word touches the end of a list that may go on.
fn is_last(list: &[u8], word: &[u8]) -> bool {
    list.as_ptr_range().end == word.as_ptr_range().end
}

fn number(word: &[u8]) -> Option<c_int> {
    let mut value: c_int = 0;
    for byte in word {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = c_int::from(byte.wrapping_sub(b'0'));
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    (value > 0).then_some(value)
}

/// Whether a child can still execute anything: what ended stays in the list until it is reaped.
fn is_alive(pid: c_int) -> bool {
    let mut path = [0u8; 32];
    let Some(path) = stat_path(pid, &mut path) else {
        return true;
    };
    let mut stat = [0u8; STAT_BYTES];
    let Ok(read) = sys::read_file(path, &mut stat) else {
        // Reaped by its tracer in between.
        return false;
    };
    let stat = stat.get(..read).unwrap_or(&[]);
    // The name before it stands in parentheses and may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')');
    let state = after.and_then(|at| stat.get(at.wrapping_add(2)));
    !matches!(state, Some(b'Z' | b'X'))
}

/// `/proc/<pid>/stat`, written by hand.
fn stat_path(pid: c_int, buffer: &mut [u8; 32]) -> Option<&CStr> {
    let mut digits = [0u8; 10];
    let mut rest = pid.unsigned_abs();
    let mut count = 0usize;
    for slot in digits.iter_mut().rev() {
        *slot = b'0'.wrapping_add(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        count = count.wrapping_add(1);
        if rest == 0 {
            break;
        }
    }
    let number = digits.get(digits.len().wrapping_sub(count)..)?;
    let parts = b"/proc/".iter().chain(number).chain(b"/stat\0");
    for (slot, byte) in buffer.iter_mut().zip(parts) {
        *slot = *byte;
    }
    CStr::from_bytes_until_nul(buffer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_numbers_are_spelled_without_allocation() {
        for pid in [1, 10, 907, 4_194_304, c_int::MAX] {
            let mut buffer = [0u8; 32];
            let expected = format!("/proc/{pid}/stat");
            let path = stat_path(pid, &mut buffer).unwrap();
            assert_eq!(path.to_str().unwrap(), expected);
            assert_eq!(number(pid.to_string().as_bytes()), Some(pid));
        }
        for word in ["", "0", "12a", "99999999999"] {
            assert_eq!(number(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn who_runs_is_alive_and_who_never_was_is_not() {
        let own = c_int::try_from(std::process::id()).unwrap();
        assert!(is_alive(own));
        assert!(!is_alive(c_int::MAX));
    }
}
