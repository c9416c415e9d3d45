//! The authority on a real domain: a directory, the file log, the starter bundle.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code: a failed set-up fails the test"
)]

mod acts;
mod administration;
mod approvals;
mod checks;
mod declared;
mod faults;
mod lives;
mod support;
