//! The node: one authority, served over a Unix socket in the domain directory.
//!
//! A node is started by whoever needs one first and leaves when nobody has needed it for a while,
//! the way gpg-agent does. That keeps one writer at any moment, lets a hundred commands share one
//! `fdatasync`, and gives every gateway a connection over which a revocation reaches it at once.
//! The alternative, short turns of many processes on the log, would fold the log anew in each
//! process and has nobody to push a revocation.
//!
//! The socket lies in a directory that only the owner can enter, and no governed tree sees it.

mod acts;
mod answer;
mod attesting;
pub mod checks;
pub mod client;
mod intents;
mod leave;
mod overdue;
mod pulse;
mod registry;
mod secrets;
mod server;
mod service;
mod start;
mod views;
mod waiting;
pub mod wire;

pub use acts::Acted;
pub use attesting::Standing;
pub use client::{Asked, Connection, LinkError, Pushed};
pub use server::{Host, ServeError, ServeOptions, serve};
pub use service::{Renewal, Service};
pub use start::{READY, StartError, connect, connect_or_start};
