//! Real tools and real terminals: what people and agents use, as they use it, under Placet.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

#[path = "../cli/domain.rs"]
#[expect(dead_code, reason = "the other suite uses the rest of it")]
mod domain;
mod jobs;
mod profiles;
mod programs;
mod screen;
mod shell;
mod terminal;
