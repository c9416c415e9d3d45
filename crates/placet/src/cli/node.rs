//! What serves a domain, on the command line.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayAct {
    /// Which wait, and what they ran
    Status,
    /// Wait for commands until nobody needs it
    #[command(hide = true)]
    Serve {
        /// Its number
        slot: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// What the node of the domain is doing
    Status,
    /// End the node once nothing runs under it
    Stop,
    /// Serve a domain until nobody needs it
    #[command(hide = true)]
    Serve {
        /// Started by another command: say when ready, and detach
        #[arg(long)]
        detached: bool,
        /// Leave after this many idle seconds; 0 for never
        #[arg(long, default_value_t = 120)]
        idle: u64,
    },
}
