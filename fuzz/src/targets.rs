//! The targets, one file for each crate whose decoders they are.

pub(crate) mod artifact;
pub(crate) mod authority;
pub(crate) mod egress;
pub(crate) mod evidence;
pub(crate) mod log;
pub(crate) mod mcp;
pub(crate) mod policy;
pub(crate) mod secrets;
pub(crate) mod types;
