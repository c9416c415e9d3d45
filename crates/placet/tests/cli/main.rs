//! The commands about evidence, lineage and policy, driven as a user drives them: the real binary,
//! domains of the tests' own.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

mod apart;
mod domain;
mod job;

mod approvals;
mod born;
mod changes;
mod checks;
mod closed;
mod conduct;
mod disk;
mod drift;
mod egress;
mod environment;
mod executions;
mod explain;
mod gateway;
mod input;
mod inside;
mod learn;
mod lineage;
mod log;
mod many;
mod odd;
mod peers;
mod policy;
mod resident;
mod rest;
mod secrets;
mod sockets;
mod stays;
mod through;
mod verify;
mod watched;
mod weaker;
