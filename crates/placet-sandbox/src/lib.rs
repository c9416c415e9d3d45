//! Linux confinement of one process tree.
//!
//! A [`Cell`] is a set of namespaces with its own file system, an empty network, a Landlock domain
//! and a system call filter, in which one program and its descendants run until the program ends,
//! the lease is not renewed, or the supervisor ends it or dies. Works as root and as any user that
//! may create user namespaces; [`probe`] tells. Without them there is a weaker tier ([`Tier::U0`]), never taken
//! unasked: the same trace, filter and broker on the host's own tree and network.
//!
//! It enforces what it is told and decides nothing: no policy, no artifact, no log is known here.
//! It gates which files can be named, changed and executed; with an [`ExecGate`] also which program
//! images start, one by one, and always who is connected to ([`EgressRules`]). It does not decide
//! what an allowed interpreter does inside its scope, and it is no defence against a kernel bug.
//!
//! pid 1 of a cell is a fork of the supervisor and keeps a copy-on-write image of its memory,
//! which nothing in the cell can read: it is not dumpable, holds no capability, is outside the worker's
//! Landlock domain, and does not show in the cell's `/proc`. A supervisor with secrets that must not even be copied keeps them in
//! memory marked `MADV_WIPEONFORK`. The credentials of a cell reach
//! it after that fork ([`CredentialSlots`]). A supervisor without privileges must stay dumpable, or it
//! cannot write the id maps ([`Step::UidMap`]).
//!
//! The only crate of the project with unsafe code: there is no other way to make these calls.
#![expect(
    unsafe_code,
    reason = "clone3, mount, Landlock and seccomp have no safe interface"
)]

mod ahead;
mod ambient;
mod backstop;
mod bpf;
mod broker;
mod cell;
mod copies;
mod credentials;
mod denials;
mod devices;
mod digests;
mod elf;
mod error;
mod gate;
mod group;
mod hear;
mod host;
mod landlock;
mod later;
mod launcher;
mod layout;
mod looked;
mod opens;
mod pid1;
mod plan;
mod prepare;
mod privileged;
mod probe;
mod process;
mod queue;
mod reaper;
mod seccomp;
mod spares;
mod spec;
mod sys;
mod text;
mod tier;
mod tree;
mod wire;
mod worker;

/// Ends this process with this status and does nothing else: nothing is dropped, and what a stream holds back is not written.
pub fn leave(status: u8) -> ! {
    sys::exit_now(status.into())
}

pub use ahead::Ahead;
pub use ambient::{io_priority, keep_descriptors};
pub use broker::{
    Broker, ConnectCall, ConnectId, ConnectRefusal, ConnectReport, ConnectVerdict, EgressRules,
    Listed, Others, Peer, Peers, Resolved, Traffic, is_special,
};
pub use cell::{Cell, Prepared, ReleasedCell, RunningCell, WaitingCell};
pub use credentials::{CREDENTIAL_BYTES_MAX, CREDENTIALS_PATH, CredentialSlots};
pub use denials::{Denial, Denials, DeniedAccess};
pub use digests::Digests;
pub use elf::elf_interpreter;
pub use error::{NoControlGroup, NotCopyable, SandboxError, Step, Unobservable};
pub use gate::{
    Arguments, ExecCall, ExecEnd, ExecGate, ExecId, ExecReport, ExecRule, ExecVerdict, Gate,
};
pub use gate::{ImageDigest, ImageFile, Observed, OnRefusal, Opened, OwnScript, Refusal, Script};
pub use looked::Looked;
pub use probe::{Capabilities, Feature, State, examine, probe, probe_lately};
pub use spares::{HeldOff, SpareCounts, Spares};
pub use spec::{
    CLIENT_PATH, CellSpec, Copied, DNS_PORT, DOOR_PATH, FileIdentity, Limits, Network, OwnFile,
    PROXY_PORT, Paths, Program, Session, TerminalStreams,
};
pub use text::{kernel_file, kernel_text};
pub use tier::{Tier, Weakness};
pub use tree::{Change, EndedBy, Exit, Status};
