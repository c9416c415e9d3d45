//! The MCP gateway, between real clients and real servers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "test code: it starts programs, and a failed set-up fails the test"
)]

#[path = "../cli/domain.rs"]
#[expect(dead_code, reason = "the other suite uses the rest of it")]
mod domain;
#[path = "../support/installed.rs"]
mod installed;
mod place;

mod approvals;
mod attacks;
mod bare;
mod built;
mod conformance;
mod definitions;
mod elsewhere;
mod http;
mod install;
mod intruders;
mod lasting;
mod listening;
mod lives;
mod meta;
mod oauth;
mod peers;
mod redaction;
mod resource;
mod starting;
mod unreachable;
