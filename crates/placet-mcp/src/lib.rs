//! The MCP gateway: between a client of the Model Context Protocol and a server.
//!
//! A [`Session`](session::Session) reads [frames](frame::Frame) strictly, makes an intent of each
//! governed one, has it decided, recorded and started by a [`Governor`](governor::Governor), forwards
//! exactly what was evaluated, and records how it ended. The server itself is an execution that somebody
//! else runs; everything here is below it.
//!
//! - **Architecture Invariant:** this crate knows no policy and no other gateway. It sees intents,
//!   permits and outcomes; the server is two streams and a way to end it.
//! - **Architecture Invariant:** nothing governed is forwarded without a [`Ticket`](governor::Ticket),
//!   which only a recorded start makes.

#![forbid(unsafe_code)]

pub mod anteroom;
mod asked;
pub mod catalog;
pub mod config;
pub mod connect;
pub mod denial;
pub mod emit;
pub mod frame;
pub mod governor;
pub mod headers;
pub mod hub;
pub mod listen;
pub mod method;
pub mod oauth;
pub mod pipe;
pub mod redact;
pub mod remote;
mod scan;
pub mod session;
pub mod sse;
pub mod subject;

pub use scan::Member;
