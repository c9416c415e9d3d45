//! One file per command.

mod approvals;
mod changes;
mod config;
mod console;
mod decide;
mod demo;
mod doctor;
mod environment;
mod executions;
mod explain;
mod gateway;
mod halt;
mod init;
mod key;
mod learn;
mod lineage;
mod log;
mod mcp;
mod node;
mod policy;
mod principal;
mod revoke;
pub(crate) mod run;
mod secret;
mod shell;
mod up;
mod verify;

use clap::CommandFactory as _;
use placet_evidence::Verdict;

use crate::cli::{Cli, Command};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// Does what the command line says.
pub(crate) fn dispatch(cli: &Cli, out: &Out) -> Result<Status, Failure> {
    let (global, out) = (&cli.global, *out);
    match &cli.command {
        Command::Init(args) => init::init(global, args, out),
        Command::Run(args) => run::run(
            global,
            &args.call,
            run::Manner::plain(cli.front, args.no_wait),
            out,
        ),
        Command::Shell(args) => shell::shell(global, args, cli.front, out),
        Command::Mcp(args) => mcp::mcp(global, args, out),
        Command::Decide(args) => decide::decide(global, args, out),
        Command::Explain(args) => explain::explain(global, args, out),
        Command::Executions(args) => executions::executions(global, args, out),
        Command::Revoke(args) => revoke::revoke(global, args, out),
        Command::Halt(args) => halt::halt(global, args, out),
        Command::Resume(args) => halt::resume(global, args, out),
        Command::Changes(command) => changes::changes(global, command, out),
        Command::Approvals => approvals::list(global, out),
        Command::Approve(args) => approvals::say(global, args, Verdict::Approve, out),
        Command::Reject(args) => approvals::say(global, args, Verdict::Reject, out),
        Command::Key(command) => key::key(command, out),
        Command::Principal(command) => principal::principal(global, command, out),
        Command::Secret(command) => secret::secret(global, command, out),
        Command::Policy(command) => policy::policy(global, command, out),
        Command::Log(command) => log::log(global, command, out),
        Command::Learn(args) => learn::learn(global, args, cli.front, out),
        Command::Lineage(command) => lineage::lineage(global, command, out),
        Command::Verify(args) => verify::verify(global, args, out),
        Command::Demo(args) => demo::demo(args, out),
        Command::Environment => environment::environment(global, out),
        Command::Gateway(act) => gateway::gateway(global, act, out),
        Command::Node(command) => node::node(global, command, out),
        Command::Up(args) => up::up(global, args, out),
        Command::Console(args) => console::console(global, args, out),
        Command::Config(command) => config::config(global, command, out),
        Command::Doctor => doctor::doctor(global, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "placet", &mut script);
            out.bytes(&script);
            Ok(Status::Ok)
        }
    }
}
