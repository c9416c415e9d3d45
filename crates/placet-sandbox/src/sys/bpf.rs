//! bpf(2), as far as programs on control groups need it.

use std::ffi::{c_int, c_void};
use std::mem::size_of;

use super::{Sys, address, close, number};

const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_GET_FD_BY_ID: c_int = 13;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const PROG_QUERY: c_int = 16;
/// BPF_F_ALLOW_MULTI: others' programs stand beside, and those of groups below add to it.
const ALLOW_MULTI: u32 = 2;
/// What the kernel attaches at most.
const ATTACHED_MAX: usize = 64;

/// The part of `union bpf_attr` for loading.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

#[repr(C)]
struct Attach {
    target: c_int,
    program: c_int,
    attach: u32,
    flags: u32,
}

#[repr(C)]
struct Query {
    target: c_int,
    attach: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    zero: u32,
}

#[repr(C)]
struct Info {
    program: c_int,
    len: u32,
    info: u64,
}

fn bpf<T>(command: c_int, attributes: &mut T) -> Sys<c_int> {
    let attributes: *mut T = attributes;
    // SAFETY: attributes are live, writable and of the stated size; each command's are laid out as
    // the kernel's, and the pointers in them are live.
    number(unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) })
}

/// Loads a program; the descriptor is close-on-exec.
///
/// # Safety
/// `instructions` points to `count` live instructions of eight bytes.
pub(crate) unsafe fn bpf_load(
    kind: u32,
    attach: u32,
    instructions: *const c_void,
    count: u32,
    name: &[u8; 16],
) -> Sys<c_int> {
    let mut load = Load {
        kind,
        count,
        instructions: address(instructions),
        license: address(c"Apache-2.0".as_ptr()),
        log: [0; 4],
        kernel_version: 0,
        flags: 0,
        name: *name,
        interface: 0,
        expected_attach: attach,
    };
    bpf(PROG_LOAD, &mut load)
}

/// Attaches a program to a group and to all below it. It stays when this process ends.
pub(crate) fn bpf_attach(group: c_int, program: c_int, attach: u32) -> Sys<()> {
    let mut attributes = Attach {
        target: group,
        program,
        attach,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// The numbers of the programs that are attached to this very group.
pub(crate) fn bpf_attached(group: c_int, attach: u32) -> Sys<Vec<u32>> {
    let mut ids = vec![0u32; ATTACHED_MAX];
    let mut query = Query {
        target: group,
        attach,
        query_flags: 0,
        attach_flags: 0,
        ids: address(ids.as_mut_ptr()),
        count: u32::try_from(ATTACHED_MAX).unwrap_or(0),
        zero: 0,
    };
    bpf(PROG_QUERY, &mut query)?;
    ids.truncate(usize::try_from(query.count).unwrap_or(0));
    Ok(ids)
}

/// What the program of that number is called.
pub(crate) fn bpf_name_of(id: u32) -> Sys<[u8; 16]> {
    const NAME: usize = 64;
    let mut by_id = [id, 0, 0];
    let program = bpf(PROG_GET_FD_BY_ID, &mut by_id)?;
    // struct bpf_prog_info up to its name.
    let mut info = [0u64; (NAME + 16) / 8];
    let mut ask = Info {
        program,
        len: u32::try_from(size_of_val(&info)).unwrap_or(0),
        info: address(info.as_mut_ptr()),
    };
    let asked = bpf(OBJ_GET_INFO_BY_FD, &mut ask);
    close(program);
    asked?;
    let name = info.get(NAME / 8..).unwrap_or_default();
    let mut bytes = [0; 16];
    for (slot, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(name) {
        *slot = word.to_ne_bytes();
    }
    Ok(bytes)
}
