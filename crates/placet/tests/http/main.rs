//! The HTTP interface, driven as its users drive it: a real server process on loopback, `curl`, and
//! sockets where the bytes matter.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

mod client;
#[path = "../support/installed.rs"]
mod installed;
mod place;

mod api;
mod approvals;
mod authzen;
mod budgets;
mod certificates;
mod checks;
mod console;
mod document;
mod environment;
mod events;
mod faults;
mod frames;
mod governed;
mod hostile;
mod identity;
mod lifecycle;
mod lives;
mod log;
mod monitoring;
mod oidc;
mod overload;
mod policies;
mod public;
mod readme;
mod revoking;
mod serving;
mod shapes;
mod traces;
mod webhooks;
