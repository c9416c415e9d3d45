//! Real tools and real terminals: what people and agents use, as they use it, under Placet.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

mod agent;
mod agents;
#[path = "../cli/apart.rs"]
#[expect(dead_code, reason = "the other suite uses the rest of it")]
mod apart;
#[path = "../cli/domain.rs"]
#[expect(dead_code, reason = "the other suite uses the rest of it")]
mod domain;
#[path = "../support/installed.rs"]
#[expect(dead_code, reason = "other suites use the rest of it")]
mod installed;
#[path = "../cli/job.rs"]
#[expect(dead_code, reason = "the other suite uses the rest of it")]
mod job;
mod jobs;
mod nested;
mod profiles;
mod programs;
mod screen;
mod shell;
mod terminal;
mod tls;
