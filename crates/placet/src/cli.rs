//! The command line: what can be said, and the help that teaches it.

mod acts;
mod mcp;
mod node;
mod read;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell as CompletedShell;
use placet_types::{Digest, ExecutionId, Index, PrincipalId, ProfileName};

pub(crate) use acts::{Approve, Changes, Key, Principal, Reason, Resume, Revoke, Secret, Shadow};
pub(crate) use mcp::{Client, Mcp, McpAct, McpChange, McpLogin, Resource, Serve};
pub(crate) use node::{GatewayAct, Node};
pub(crate) use verify::Verify;

const EXIT_STATUSES: &str = "\
Exit statuses:
  0     done; `run` passes the command's own status through (and its signal)
  1     an error
  2     the command line was not understood
  120   denied: nothing ran
  121   terminated: it ran, and its authority ended
  122   could not verify: evidence, artifact, log or node
  126   the program cannot be executed        127   the program was not found

Start with `placet init`, then `placet run -- ls`.";

/// Governed execution: verify, authorize, execute, prove.
///
/// Every command runs only after policy permitted it, inside the scope that was permitted, is ended
/// when that authority ends, and leaves proof that a stranger can check.
#[derive(Debug, Parser)]
#[command(name = "placet", version, after_help = EXIT_STATUSES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Standard input is the connection of a process at the user's terminal (set by the gateway)
    #[arg(long, hide = true)]
    pub(crate) front: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The domain directory (default: $PLACET_DOMAIN, else ~/.placet)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) domain: Option<PathBuf>,
    /// Print one JSON value instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a domain in one directory: keys, log, a starter policy in force
    Init(Init),
    /// Run a command, governed
    #[command(after_help = "\
Examples:
  placet run -- git status
  placet run --as agent:coder --purpose 'fix the tests' -- make test
  placet run --profile readonly -- sh -c 'ls | wc -l'")]
    Run(Run),
    /// A shell in which every command is governed, one by one
    #[command(after_help = "\
Examples:
  placet shell                                   # your shell, as yourself
  placet shell --as agent:coder -c 'make test'
  ln -s placet placet-shell; SHELL=$PWD/placet-shell some-agent

A program that is called placet-shell passes all its arguments to the shell; PLACET_PRINCIPAL,
PLACET_PROFILE, PLACET_SHELL and PLACET_PROMPT say the rest.")]
    Shell(Shell),
    /// A server of the Model Context Protocol behind the gateway: every call is governed
    #[command(after_help = mcp::EXAMPLES)]
    Mcp(Box<Mcp>),
    /// Say what would be decided about a command, and why; nothing is recorded
    Decide(Decide),
    /// Explain a recorded decision
    Explain(Explain),
    /// List executions: what runs, and what has run
    Executions(Executions),
    /// End authority early: of an execution, a principal, a group, a policy, a node, of everything
    #[command(after_help = "\
Selectors:
  exec_…            one execution (the beginning of its id is enough while it runs)
  art_…             the artifact of an execution, used or not
  subtree:exec_…    an execution and everything below it
  principal:NAME    everything a principal does; it is suspended
  group:NAME        everything that the principals of a group do; they are suspended
  policy:ID         everything that a policy determined, and will determine
  node:sha256:…     everything on a machine; it is turned away until `placet resume --node` (its
                    digest stands in each decision: `placet explain`)
  everything        all that is authorized or runs; what is asked for afterwards is decided as ever")]
    Revoke(Revoke),
    /// Halt the whole domain: what runs is ended, and nothing starts
    Halt(Reason),
    /// Let a halted domain continue, or a node that was revoked
    Resume(Resume),
    /// Review what executions changed in copies of their write trees
    #[command(
        subcommand,
        after_help = "\
A profile with `writes = \"kept\"` lets an execution work on a copy. What it changed there waits here
until somebody applies or discards it. Applying refuses what does not fit any more, as a whole."
    )]
    Changes(Changes),
    /// List what waits for approvals, with its arguments
    Approvals,
    /// Approve what waits, with your own key; it is then decided afresh
    #[command(after_help = "\
The approval is signed with your key (`placet key new` makes one; an operator registers it with
`placet principal add-key user:NAME THUMBPRINT`) and bound to exactly what waits: to its program,
its arguments and its environment. Nobody approves what they asked for themselves.")]
    Approve(Approve),
    /// Reject what waits, with your own key
    Reject(Approve),
    /// Your own key, for approvals
    #[command(subcommand)]
    Key(Key),
    /// Principals: who may act
    #[command(subcommand)]
    Principal(Principal),
    /// Secrets: what profiles hand over to executions, encrypted at rest
    #[command(
        subcommand,
        after_help = "\
A profile names the secrets that it hands over, and how:

  [[credentials]]
  name = \"github-token\"
  env = \"GITHUB_TOKEN\"               # the value, in this variable

  [[credentials]]
  name = \"deploy-key\"
  file = \"ssh/deploy\"                # /run/placet/credentials/ssh/deploy, for it alone
  path_env = \"DEPLOY_KEY_FILE\"       # optional: a variable that names the path

Examples:
  placet secret set github-token < token.txt
  placet secret set github-token          (asks at the terminal, without echo)"
    )]
    Secret(Secret),
    /// Policy bundles: write, check, test, put in force
    #[command(subcommand)]
    Policy(Policy),
    /// The evidence log: read, prove, check, recompute
    #[command(subcommand)]
    Log(Log),
    /// Run a command in a dry run, and write the profile and policy that would permit exactly that
    #[command(after_help = "\
The run is permitted by policy like every other, writes go to a copy that is discarded, and what is
written here authorizes nothing: read it, add it to a bundle, test and activate that.")]
    Learn(Learn),
    /// Which execution led to which
    #[command(subcommand)]
    Lineage(Lineage),
    /// Verify a proof bundle, offline
    Verify(Verify),
    /// Show the whole of it on a fresh repository, and check every outcome
    Demo(Demo),
    /// The node that serves a domain; it starts by itself
    #[command(subcommand)]
    Node(Node),
    /// Gateways that stay: `placet run` finds one that waits with the next cell built, and is done sooner
    #[command(
        subcommand,
        after_help = "\
How many may wait says `gateways` in the configuration (placet.toml in the domain directory): 2 under `placet up`, none
under a node that starts by itself, unless it is said; 0 for none. The first `placet run` starts one. It runs commands of its own user
only, one at a time, and only for callers whose limits, masks, groups, namespaces and program are its own; others run by themselves."
    )]
    Gateway(GatewayAct),
    /// Serve a domain over HTTP, beside its own socket, until it is told to stop
    #[command(after_help = "\
On SIGTERM it takes no new intents, lets running executions finish for `grace_secs`, ends the rest,
and goes once every end is recorded.

Without a configuration it listens on `http.sock` in the domain directory only. Environment variables
override the file: PLACET_LISTEN, PLACET_HTTP_SOCKET, PLACET_HTTP_SOCKET_MODE, PLACET_PUBLIC,
PLACET_METRICS_PUBLIC, PLACET_TLS_CERT, PLACET_TLS_KEY, PLACET_TLS_DOMAIN, PLACET_LOG_LEVEL, PLACET_LOG_FORMAT,
PLACET_GRACE_SECS, PLACET_GATEWAYS.

Examples:
  placet up
  placet up --listen 127.0.0.1:8790
  curl --unix-socket ~/.placet/http.sock http://placet/v1/policy")]
    Up(Up),
    /// Print a one-time link that signs a browser in to the console of `placet up`, as you
    #[command(after_help = "\
The link counts once, for ten minutes. The browser that opens it makes a key of its own, which stands
for you for twelve hours, until you sign out there, or until the node stops.

Example:
  placet up --listen 127.0.0.1:8790 &
  placet console")]
    Console(Console),
    /// The configuration of `placet up`
    #[command(subcommand)]
    Config(Config),
    /// What this machine can enforce, and what stands in the way
    Doctor,
    /// What this machine attests, and how the bundle in force appraises it
    /// (region, zone and image stand in /etc/placet/environment.toml, or where PLACET_ENVIRONMENT says)
    Environment,
    /// Write a completion script for a shell
    Completions {
        /// Which shell
        shell: CompletedShell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the domain: a schema-less URL (default: placet.local/ and random digits)
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The first operator (default: user: and your login)
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) operator: Option<PrincipalId>,
    /// A first agent
    #[arg(long, value_name = "PRINCIPAL", default_value = "agent:coder")]
    pub(crate) agent: PrincipalId,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Call {
    /// Act as this principal (default: $PLACET_PRINCIPAL, else user: and your login)
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub(crate) principal: Option<PrincipalId>,
    /// What it is for; policies and auditors see it
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// Ask for at most the scope of this profile
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Ask for at most this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lifetime: Option<u64>,
    /// Make it a child of this running execution: within its scope, and ended with it
    #[arg(long, value_name = "EXEC")]
    pub(crate) parent: Option<ExecutionId>,
    /// Have each program that it starts decided by policy as well, as an execution of its own
    #[arg(long)]
    pub(crate) decide: bool,
    /// Say refusals of single programs on standard error (set by the gateway)
    #[arg(long, hide = true)]
    pub(crate) announce: bool,
    /// Hear of names that it looks up although its scope has none (set by the gateway)
    #[arg(long, hide = true)]
    pub(crate) hear: bool,
    /// The execution through whose door the command came (set by the gateway)
    #[arg(long, value_name = "EXEC", hide = true, conflicts_with = "parent")]
    pub(crate) door: Option<ExecutionId>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Give up at once where approvals are needed
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) call: Call,
}

#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// A new directory for profiles/, policies/ and tests/
    #[arg(long, value_name = "DIR", default_value = "placet-learned")]
    pub(crate) out: PathBuf,
    /// Whom the policy permits (default: whoever runs it)
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) permit: Option<PrincipalId>,
    /// Let only these contents of the programs start, not what an update makes of them
    #[arg(long)]
    pub(crate) digests: bool,
    #[command(flatten)]
    pub(crate) call: Call,
}

#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// Act as this principal (default: $PLACET_PRINCIPAL, else user: and your login)
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub(crate) principal: Option<PrincipalId>,
    /// What it is for; policies and auditors see it
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// Ask for at most the scope of this profile (default: $PLACET_PROFILE)
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Ask for at most this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lifetime: Option<u64>,
    /// Which shell (default: $PLACET_SHELL, else $SHELL, else bash)
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) shell: Option<PathBuf>,
    /// What stands before the shell's own prompt; empty for nothing (default: $PLACET_PROMPT, else the
    /// principal)
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Run this instead of reading commands
    #[arg(short = 'c', value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// Arguments for the shell
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    #[command(flatten)]
    pub(crate) call: Call,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An index, `dec_<index>`, or an execution
    pub(crate) decision: String,
}

#[derive(Debug, Args)]
pub(crate) struct Executions {
    /// Only what is authorized or runs now
    #[arg(long)]
    pub(crate) running: bool,
    /// Only those of this principal
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: Option<PrincipalId>,
    /// At most this many, the latest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Write the starter bundle into a new directory
    Init {
        /// The directory
        dir: PathBuf,
    },
    /// Format the policies of a bundle in place
    Fmt {
        /// The bundle's directory
        dir: PathBuf,
        /// Change nothing; exit 1 when something would change
        #[arg(long)]
        check: bool,
    },
    /// Look for what is likely a mistake
    Lint {
        /// The bundle's directory
        dir: PathBuf,
    },
    /// Read, validate and compile a bundle
    Check {
        /// The bundle's directory
        dir: PathBuf,
    },
    /// Run a bundle's tests, with coverage
    Test {
        /// The bundle's directory
        dir: PathBuf,
    },
    /// Show what changes from one bundle to another
    Diff {
        /// The older bundle's directory
        old: PathBuf,
        /// The newer bundle's directory
        new: PathBuf,
    },
    /// Show what a bundle would have changed in the recorded past
    #[command(after_help = "\
Every recorded decision is made again with this bundle in the place of the one that was in force, from what was
recorded with it. Nothing is changed. What would have followed from a difference is not followed up.")]
    Replay {
        /// The bundle's directory
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
        /// Only decisions from here on: an index, or how long ago, such as 7d or 12h (default: all)
        #[arg(long, value_name = "SINCE")]
        since: Option<String>,
    },
    /// Test a bundle, sign it with the operator's key, and put it in force
    Activate {
        /// The bundle's directory
        dir: PathBuf,
    },
    /// Put an earlier bundle in force again, under a new and higher revision
    Rollback {
        /// Digest of the bundle to go back to (default: the one before)
        #[arg(conflicts_with = "to")]
        bundle: Option<Digest>,
        /// Or its revision
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
    /// Decide a bundle beside the one in force, and see what it would change
    #[command(subcommand)]
    Shadow(Shadow),
    /// What is in force, what was, and what each node and gateway works with
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// The latest records in words
    Tail {
        /// At most this many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u64,
        /// Go on as records are written
        #[arg(short, long)]
        follow: bool,
    },
    /// The raw leaf bytes of a record
    Entry {
        /// Its index
        index: Index,
    },
    /// The C2SP proof of a record, or a bundle that `placet verify` takes
    Proof {
        /// An index, `dec_<index>`, or an execution
        what: String,
        /// A whole proof bundle instead of the bare .tlog-proof
        #[arg(long)]
        bundle: bool,
        /// With --bundle: open the commitment to the parameters
        #[arg(long, requires = "bundle")]
        disclose: bool,
    },
    /// The latest signed checkpoint
    Checkpoint,
    /// The domain's public C2SP policy file
    Policy,
    /// Check every byte of the log; names the first bad index
    Fsck {
        /// Compute damaged derived files again
        #[arg(long)]
        repair: bool,
    },
    /// Recompute every decision and compare
    Replay,
    /// Write the log as a static C2SP tlog-tiles directory
    Export {
        /// A new directory
        dir: PathBuf,
    },
    /// Destroy the private parameters of a record; every proof still verifies
    Erase {
        /// An index, `dec_<index>`, or an execution
        what: String,
        /// Why; public
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lineage {
    /// The tree of executions
    Tree {
        /// Only what is below this execution (or the beginning of its id)
        exec: Option<String>,
        /// Plain ASCII
        #[arg(long)]
        ascii: bool,
    },
    /// One execution in full
    Show {
        /// The execution (or the beginning of its id)
        exec: String,
    },
    /// Export for other tools
    Export {
        /// Which format
        #[arg(long, value_enum, default_value_t = LineageFormat::Otlp)]
        format: LineageFormat,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LineageFormat {
    /// OpenTelemetry spans (OTLP/JSON)
    Otlp,
    /// W3C PROV-JSON
    Prov,
    /// OpenLineage run events, one a line
    Openlineage,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the demo's directory and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// Let its scenes be played on a page: serves the console of the demo's own domain for an hour at most
    #[arg(long)]
    pub(crate) page: bool,
    /// Where the page is served: a loopback address (default: a free port)
    #[arg(long, value_name = "ADDR", requires = "page")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The configuration (default: placet.toml in the domain directory, if it is there)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this address and port too
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Print a one-time link that signs a browser in, also where standard error is no terminal
    #[arg(long)]
    pub(crate) link: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The configuration of the node (default: placet.toml in the domain directory, if it is there)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Read a configuration, with what the environment overrides, and say what it means
    Check {
        /// The file (default: placet.toml in the domain directory, if it is there)
        file: Option<PathBuf>,
    },
    /// Print the OpenAPI document of the HTTP interface
    Openapi,
}
