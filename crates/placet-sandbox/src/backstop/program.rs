//! The programs of the backstop, by hand: a few instructions each, and two calls of helpers.
//!
//! Instructions: the kernel's instruction-set document. Contexts: `struct bpf_sock_addr`,
//! `struct bpf_sock` and `struct __sk_buff` of `linux/bpf.h`. Addresses lie in them in network
//! order, and are read on a little-endian machine, which both supported architectures are: the
//! first octet is the lowest byte.

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const ADD: u8 = 0x07; // BPF_ALU64 | BPF_ADD | BPF_K
const CALL: u8 = 0x85;
const COPY: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_OTHER: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const EXIT: u8 = 0x95;

/// What the kernel hands over, and the arguments of a call.
const CONTEXT: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;
const FOURTH: u8 = 4;
/// What a call leaves alone.
const PACKET: u8 = 6;
const PROTOCOL: u8 = 7;
const STACK: u8 = 10;
const VALUE: u8 = 2;
/// That of a call and that of the program.
const ANSWER: u8 = 0;

/// `bpf_set_retval`: what the refused call says instead of EPERM.
const SET_ERROR: i32 = 187;
/// `bpf_skb_load_bytes`: 0 when the bytes are there.
const LOAD_BYTES: i32 = 26;
/// Where on the stack it is to put them.
const BYTES: i16 = -16;

const LOOPBACK: i32 = 127;
/// `::ffff:0:0/96`, the third word, as it lies in memory.
const MAPPED: i32 = 0xffff_0000_u32.cast_signed();
/// The last word of `::1`, as it lies in memory.
const ONE: i32 = 0x0100_0000;

/// Where an address is in the context of connect and sendmsg.
const TO_IPV4: i16 = 4;
const TO_IPV6: i16 = 8;
/// Where type and protocol are in that of a new socket.
const SOCKET_TYPE: i16 = 8;
const SOCKET_PROTOCOL: i16 = 12;
/// Where the protocol is in that of a packet.
const PACKET_PROTOCOL: i16 = 16;
const IPV4: i32 = 0x0008;
const IPV6: i32 = 0xdd86;

/// A step that may end with an answer; jumps lead to the two answers at the end.
enum Step {
    Do(Instruction),
    /// If the register has the value.
    PassIf(u8, i32),
    RefuseUnless(u8, i32),
    /// Leaves out so many of the steps that follow.
    SkipUnless(u8, i32, i16),
}

/// How a refusal is answered.
#[derive(Clone, Copy)]
enum Refusal {
    /// With EPERM, or by dropping a packet.
    Plain,
    /// As the empty network answers, so that no program can tell the two apart and each has a way
    /// to deal with it.
    Unreachable,
}

/// Builds a program out of steps: what falls through is refused.
fn assemble(steps: &[Step], refusal: Refusal) -> Vec<Instruction> {
    let answered = match refusal {
        Refusal::Plain => Vec::new(),
        Refusal::Unreachable => vec![
            step(SET, CONTEXT, libc::ENETUNREACH.saturating_neg()),
            step(CALL, 0, SET_ERROR),
        ],
    };
    let refusing = i16::try_from(answered.len()).unwrap_or(0).saturating_add(2);
    let count = i16::try_from(steps.len()).unwrap_or(i16::MAX);
    let jump = |code, register, value, offset| Instruction {
        code,
        registers: register,
        offset,
        immediate: value,
    };
    // After the last step: some instructions that refuse, and two that pass.
    let mut program: Vec<Instruction> = steps
        .iter()
        .zip(1_i16..)
        .map(|(step, next)| {
            let to_refusal = count.saturating_sub(next);
            let to_pass = to_refusal.saturating_add(refusing);
            match *step {
                Step::Do(instruction) => instruction,
                Step::PassIf(register, value) => jump(JUMP_EQUAL, register, value, to_pass),
                Step::RefuseUnless(register, value) => {
                    jump(JUMP_OTHER, register, value, to_refusal)
                }
                Step::SkipUnless(register, value, steps) => {
                    jump(JUMP_OTHER, register, value, steps)
                }
            }
        })
        .collect();
    program.extend(answered);
    for answer in [0, 1] {
        program.push(step(SET, ANSWER, answer));
        program.push(step(EXIT, 0, 0));
    }
    program
}

fn step(code: u8, registers: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset: 0,
        immediate,
    }
}

/// Loads a word from where a register points to.
fn load(from: u8, to: u8, offset: i16) -> Step {
    Step::Do(Instruction {
        code: LOAD_WORD,
        registers: to | from << 4,
        offset,
        immediate: 0,
    })
}

fn copy(from: u8, to: u8) -> Step {
    Step::Do(step(COPY, to | from << 4, 0))
}

fn first_octet() -> Step {
    Step::Do(step(AND, VALUE, 0xff))
}

/// connect and sendmsg over IPv4: to 127.0.0.0/8, and to 0.0.0.0, by which the kernel means it too.
pub(super) fn to_ipv4() -> Vec<Instruction> {
    let steps = [
        load(CONTEXT, VALUE, TO_IPV4),
        Step::PassIf(VALUE, 0),
        first_octet(),
        Step::PassIf(VALUE, LOOPBACK),
    ];
    assemble(&steps, Refusal::Unreachable)
}

/// The same over IPv6: to `::1` and `::`, and to those of IPv4 in their mapped form.
pub(super) fn to_ipv6() -> Vec<Instruction> {
    let word = |index: i16| {
        load(
            CONTEXT,
            VALUE,
            TO_IPV6.saturating_add(index.saturating_mul(4)),
        )
    };
    let steps = [
        word(0),
        Step::RefuseUnless(VALUE, 0),
        word(1),
        Step::RefuseUnless(VALUE, 0),
        word(2),
        Step::SkipUnless(VALUE, MAPPED, 5),
        word(3),
        Step::PassIf(VALUE, 0),
        first_octet(),
        Step::PassIf(VALUE, LOOPBACK),
        // Of a mapped address, the third word is here no longer.
        word(2),
        Step::RefuseUnless(VALUE, 0),
        word(3),
        Step::PassIf(VALUE, 0),
        Step::PassIf(VALUE, ONE),
    ];
    assemble(&steps, Refusal::Unreachable)
}

/// A new internet socket: TCP and UDP. So neither raw ones, nor MPTCP, SCTP and the like, of which
/// each has ways of its own to name a peer.
pub(super) fn socket() -> Vec<Instruction> {
    let steps = [
        load(CONTEXT, VALUE, SOCKET_TYPE),
        Step::SkipUnless(VALUE, libc::SOCK_STREAM, 2),
        load(CONTEXT, VALUE, SOCKET_PROTOCOL),
        Step::PassIf(VALUE, libc::IPPROTO_TCP),
        load(CONTEXT, VALUE, SOCKET_TYPE),
        Step::RefuseUnless(VALUE, libc::SOCK_DGRAM),
        load(CONTEXT, VALUE, SOCKET_PROTOCOL),
        Step::PassIf(VALUE, libc::IPPROTO_UDP),
    ];
    assemble(&steps, Refusal::Plain)
}

/// A packet on its way out, whatever call it comes from: to 127.0.0.0/8 and `::1`. One too short to
/// have an address is refused.
pub(super) fn packet() -> Vec<Instruction> {
    let mut steps = vec![
        copy(CONTEXT, PACKET),
        load(PACKET, PROTOCOL, PACKET_PROTOCOL),
        Step::SkipUnless(PROTOCOL, IPV4, 10),
    ];
    // Ten steps; of an IPv4 packet, the next one after them refuses it.
    steps.extend(address(16, 4));
    steps.extend([
        load(STACK, VALUE, BYTES),
        first_octet(),
        Step::PassIf(VALUE, LOOPBACK),
        Step::RefuseUnless(PROTOCOL, IPV6),
    ]);
    steps.extend(address(24, 16));
    for word in [0, 4, 8] {
        steps.push(load(STACK, VALUE, BYTES.saturating_add(word)));
        steps.push(Step::RefuseUnless(VALUE, 0));
    }
    steps.push(load(STACK, VALUE, BYTES.saturating_add(12)));
    steps.push(Step::PassIf(VALUE, ONE));
    assemble(&steps, Refusal::Plain)
}

/// Copies that part of the packet to the stack. Seven steps.
fn address(at: i32, len: i32) -> [Step; 7] {
    [
        copy(PACKET, CONTEXT),
        Step::Do(step(SET, SECOND, at)),
        copy(STACK, THIRD),
        Step::Do(step(ADD, THIRD, i32::from(BYTES))),
        Step::Do(step(SET, FOURTH, len)),
        Step::Do(step(CALL, 0, LOAD_BYTES)),
        Step::RefuseUnless(ANSWER, 0),
    ]
}
