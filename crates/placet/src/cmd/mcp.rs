//! `placet mcp`: a server of the Model Context Protocol behind the gateway, and what belongs to it.

mod bearers;
mod definitions;
mod elsewhere;
mod install;
mod kept;
mod listen;
mod lobby;
mod login;
mod name;
mod program;
mod renew;
mod serve;

use crate::cli::{Global, Mcp, McpAct};
use crate::exit::{Failure, Status};
use crate::out::Out;

pub(crate) fn mcp(global: &Global, args: &Mcp, out: Out) -> Result<Status, Failure> {
    match &args.act {
        None => serve::serve(global, &args.serve, out),
        Some(McpAct::Login(args)) => login::login(global, args, out),
        Some(McpAct::Logout { server }) => login::logout(global, server, out),
        Some(McpAct::Pins) => definitions::list(global, out),
        Some(McpAct::Diff { tool }) => definitions::diff(global, tool, out),
        Some(McpAct::Approve {
            tool,
            digest,
            reason,
        }) => definitions::approve(global, tool, *digest, reason, out),
        Some(McpAct::Install { principal, change }) => {
            install::install(change, principal.as_ref(), out)
        }
        Some(McpAct::Uninstall(change)) => install::uninstall(change, out),
    }
}
