//! The log as its users see it, on sound directories and on damaged ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod damage;
mod export;
mod model;
mod room;
mod view;
