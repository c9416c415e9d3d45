//! Compiles the system call table into a classic BPF program for seccomp.
//!
//! The prologue kills what the table's numbers do not mean anything for: another architecture's
//! calls, and on x86-64 the x32 ones. After it every rule stands alone: it loads what it compares
//! and falls through to the next when it does not apply, so order matters only for the answer.
//! The kernel remembers calls that are always allowed and skips the program for them.

use libc::sock_filter;

use crate::seccomp::{Answer, Rule, When};

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// First number of the x32 calls; a tracer's -1 lies above it as well.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH_FIELD: u32 = 4;
const ARGS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
#[cfg(target_arch = "x86_64")]
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// The program: prologue, one block for each rule, and allow.
pub(crate) fn compile<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Vec<sock_filter> {
    let mut program = prologue();
    program.extend(rules.into_iter().flat_map(block));
    program.push(give(libc::SECCOMP_RET_ALLOW));
    program
}

fn prologue() -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCH_FIELD),
        jump(JUMP_EQUAL, ARCH, 1, 0),
        give(libc::SECCOMP_RET_KILL_PROCESS),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([
        load(NR),
        jump(JUMP_AT_LEAST, X32_BIT, 0, 1),
        give(libc::SECCOMP_RET_KILL_PROCESS),
    ]);
    program
}

/// `if nr == call { test; return answer }`, where a failing test jumps past the return.
fn block(rule: &Rule) -> Vec<sock_filter> {
    let mut body = test(rule.when);
    body.push(give(answer(rule.answer)));
    let call = u32::try_from(rule.call).unwrap_or(u32::MAX);
    let mut block = vec![load(NR), jump(JUMP_EQUAL, call, 0, distance(body.len()))];
    block.append(&mut body);
    block
}

/// Instructions that reach their end when the rule applies, and else jump one further.
fn test(when: When) -> Vec<sock_filter> {
    match when {
        When::Always => Vec::new(),
        When::Equals { arg, value } => vec![load_arg(arg), jump(JUMP_EQUAL, value, 0, 1)],
        When::AnyBit { arg, mask } => vec![load_arg(arg), jump(JUMP_ANY_BIT, mask, 0, 1)],
        When::NoBit { arg, mask } => vec![load_arg(arg), jump(JUMP_ANY_BIT, mask, 1, 0)],
        When::EqualsAndAnyBit {
            arg,
            value,
            other,
            mask,
        } => vec![
            load_arg(arg),
            // Past the other test and the return.
            jump(JUMP_EQUAL, value, 0, 3),
            load_arg(other),
            jump(JUMP_ANY_BIT, mask, 0, 1),
        ],
        When::NoneOf { arg, values } => {
            let mut test = vec![load_arg(arg)];
            // From the value at `index`, past the remaining values and past the return.
            test.extend(values.iter().enumerate().map(|(index, value)| {
                jump(
                    JUMP_EQUAL,
                    *value,
                    distance(values.len().saturating_sub(index)),
                    0,
                )
            }));
            test
        }
    }
}

fn answer(answer: Answer) -> u32 {
    match answer {
        Answer::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(),
        Answer::Trap => libc::SECCOMP_RET_USER_NOTIF,
        Answer::Observe => libc::SECCOMP_RET_TRACE,
    }
}

/// The low half of an argument: both supported architectures are little-endian.
fn load_arg(arg: u32) -> sock_filter {
    load(ARGS.saturating_add(arg.saturating_mul(8)))
}

fn load(offset: u32) -> sock_filter {
    sock_filter {
        code: LOAD,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn give(value: u32) -> sock_filter {
    sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// A table long enough to saturate this would be refused by the kernel as a jump out of range.
fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{CONNECTING, LEADING_OUT, RULES};

    /// A model of the kernel's interpreter, for the five instructions used.
    fn run(program: &[sock_filter], nr: u32, arch: u32, args: [u64; 6]) -> u32 {
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let step = program[at];
            at += 1;
            let taken = match step.code {
                LOAD => {
                    acc = match step.k {
                        NR => nr,
                        ARCH_FIELD => arch,
                        offset => {
                            u32::try_from(args[(offset as usize - 16) / 8] & 0xffff_ffff).unwrap()
                        }
                    };
                    continue;
                }
                RETURN => return step.k,
                JUMP_EQUAL => acc == step.k,
                JUMP_AT_LEAST => acc >= step.k,
                JUMP_ANY_BIT => acc & step.k != 0,
                code => panic!("instruction {code:#x}"),
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    fn answer_to(nr: i64, args: [u64; 6]) -> u32 {
        run(&compile(RULES), u32::try_from(nr).unwrap(), ARCH, args)
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn foreign_architectures_and_x32_are_killed() {
        let program = compile(RULES);
        assert_eq!(
            run(&program, 0, 0x4000_0003, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        assert_eq!(
            run(&program, 0x4000_0001, ARCH, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        assert_eq!(
            run(&program, u32::MAX, ARCH, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        assert_eq!(run(&program, 0, ARCH, [0; 6]), ALLOW);
    }

    #[test]
    fn every_unconditional_rule_answers() {
        for rule in RULES
            .iter()
            .filter(|rule| matches!(rule.when, When::Always))
        {
            assert_eq!(
                answer_to(rule.call, [0; 6]),
                answer(rule.answer),
                "{}",
                rule.reason
            );
        }
    }

    #[test]
    fn socket_families_and_protocols_are_told_apart() {
        let socket = |family, protocol| answer_to(libc::SYS_socket, [family, 1, protocol, 0, 0, 0]);
        for family in [1, 2, 10] {
            assert_eq!(socket(family, 0), ALLOW);
        }
        for family in [0, 16, 17, 38, 40] {
            assert_eq!(socket(family, 0), EPERM);
        }
        assert_eq!(socket(2, 262), EPERM);
        assert_eq!(socket(2, 6), ALLOW);
    }

    #[test]
    fn a_broker_traps_connect_and_takes_unix_datagrams_away() {
        let program = compile(RULES.iter().chain(CONNECTING).chain(LEADING_OUT));
        let answer =
            |call: i64, args: [u64; 6]| run(&program, u32::try_from(call).unwrap(), ARCH, args);
        let trapped = answer(libc::SYS_connect, [3, 0, 16, 0, 0, 0]);
        assert_eq!(trapped, libc::SECCOMP_RET_USER_NOTIF);
        let opens = libc::MSG_FASTOPEN as u64;
        for flags in [opens, opens | 0x4000] {
            let refused = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32;
            assert_eq!(answer(libc::SYS_sendto, [3, 0, 1, flags, 0, 0]), refused);
            assert_eq!(answer(libc::SYS_sendmsg, [3, 0, flags, 0, 0, 0]), refused);
            assert_eq!(answer(libc::SYS_sendmmsg, [3, 0, 1, flags, 0, 0]), refused);
        }
        assert_eq!(answer(libc::SYS_sendto, [3, 0, 1, 0x4000, 0, 0]), ALLOW);
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            let socket = |family, kind| answer(call, [family, kind, 0, 0, 0, 0]);
            let flags = 0o2_004_000;
            for kind in [2, 3, 2 | flags, 3 | flags] {
                assert_eq!(socket(1, kind), EPERM);
            }
            for kind in [1, 5, 1 | flags, 5 | flags] {
                assert_eq!(socket(1, kind), ALLOW);
            }
            assert_eq!(socket(2, 2), ALLOW);
        }
        assert_eq!(answer(libc::SYS_keyctl, [0; 6]), EPERM);
    }

    #[test]
    fn high_argument_bits_do_not_hide_a_denied_value() {
        let high = 1u64 << 40;
        assert_eq!(
            answer_to(libc::SYS_ioctl, [0, high | 0x5412, 0, 0, 0, 0]),
            EPERM
        );
        assert_eq!(answer_to(libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]), ALLOW);
        assert_eq!(
            answer_to(libc::SYS_clone, [high | 0x1000_0000, 0, 0, 0, 0, 0]),
            EPERM
        );
        assert_eq!(answer_to(libc::SYS_clone, [0x11, 0, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn memfd_is_allowed_only_without_execution() {
        assert_eq!(answer_to(libc::SYS_memfd_create, [0, 1, 0, 0, 0, 0]), EPERM);
        assert_eq!(answer_to(libc::SYS_memfd_create, [0, 9, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn personality_may_be_asked_but_not_set() {
        assert_eq!(
            answer_to(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            answer_to(libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0, 0]),
            EPERM
        );
    }
}
