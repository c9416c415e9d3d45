//! The public HTTP interface of a node.
//!
//! One table of routes makes the dispatcher and the OpenAPI document. Each request is bounded, its
//! caller is identified, and it is translated to the node's [`Service`]; what comes back is JSON, or
//! a problem (RFC 9457) with the denial code. Nothing is decided here.
//!
//! - **Architecture Invariant:** this crate holds no key, no policy and no state of its own; its
//!   lineage index is folded from the log and may be dropped at any time.
//! - **Architecture Invariant:** what may be done follows from the identity and the principal
//!   records; how an identity is proven is the business of [`identity`] alone.
//!
//! HTTP/1.1 by `hyper` and nothing around it: routing by `matchit`, TLS by `rustls`.
//!
//! [`Service`]: placet_authority::node::Service

#![forbid(unsafe_code)]

mod body;
mod call;
pub mod config;
mod connection;
mod dpop;
mod first;
pub mod identity;
mod index;
mod lifecycle;
mod listen;
pub mod log;
mod metrics;
pub mod oidc;
pub mod openapi;
mod pages;
mod problem;
mod query;
mod recent;
mod reply;
mod route;
mod routes;
mod schemas;
mod seen;
mod server;
mod sessions;
pub mod stage;
pub mod tls;
pub mod traces;
mod unmapped;
pub mod webhooks;

pub use server::{Server, StartError};
pub use stage::Stage;
