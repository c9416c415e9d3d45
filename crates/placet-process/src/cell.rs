//! From a permit to a cell: the scope of the artifact, as the kernel will enforce it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_egress::{Proxy, Reach, Sockets};
use placet_enforce::Permit;
use placet_evidence::Environment;
use placet_sandbox::{
    Arguments, CellSpec, Copied, Digests, EgressRules, ExecGate, ExecRule, ImageDigest, Limits,
    Listed, Looked, Network, OnRefusal, Others, OwnFile, PROXY_PORT, Paths, Peers,
    Program as CellProgram, Resolved, SandboxError, Session, TerminalStreams, Tier, WaitingCell,
};
use placet_types::{
    AbsPath, Digest, Egress, ExecCheck, Images, PathSet, PeerRule, ProcessParams, Scope, Writes,
};

use crate::credentials;
use crate::program::Program;

/// How long a cell may take to be built and to wait for its release. Nothing runs in it until then, and its lease begins with
/// the release: on a machine that is busy for longer than that, a cell would otherwise end before it has begun.
const SETUP_MAX: Duration = Duration::from_secs(30);

/// How long a program waits at its first instruction for its decision, and a connection for its own.
const DECISION_PATIENCE: Duration = Duration::from_secs(10);

/// What a cell needs beside the permit.
pub(crate) struct Setting<'a> {
    /// The call that was admitted.
    pub(crate) params: &'a ProcessParams,
    /// What the machine reaches, as it was attested.
    pub(crate) tier: Tier,
    /// The program that was measured.
    pub(crate) program: &'a Program,
    /// The write trees that are changed as copies; absent where they are changed themselves.
    pub(crate) copied: Option<Vec<Copied>>,
    /// Whether what is opened is noted.
    pub(crate) observed: bool,
    /// Whether names that it looks up are heard where its scope has none.
    pub(crate) heard: bool,
    /// Never visible inside: the domain directory, with keys and log.
    pub(crate) hidden: Vec<PathBuf>,
    /// Where digests of programs are remembered: in the domain directory.
    pub(crate) digests: PathBuf,
    /// What names lead to, once they were looked up.
    pub(crate) resolved: Resolved,
    /// This program, so that commands inside can ask for more through the door.
    pub(crate) client: Option<PathBuf>,
    /// The streams that are to be a terminal of the cell's own, if one is at hand.
    pub(crate) terminal: Option<TerminalStreams>,
}

/// The spec of the cell that a permit of this scope allows.
pub(crate) fn spec(scope: &Scope, setting: Setting<'_>) -> CellSpec {
    let looked = Looked::default();
    let params = setting.params;
    let hidden = setting.hidden;
    // Who learns, or waits for it, wants to hear of names as well, of which a proxy that refuses them all tells.
    let named = Reach::new(&scope.network).has_names();
    let proxied = named || setting.observed || setting.heard;
    let egress = egress(scope, proxied, (setting.resolved, &hidden));
    // One way or the other: a scope that asks for copies never gives the trees themselves.
    let (write, copied) = match setting.copied {
        None if scope.writes == Writes::Direct => (present(&scope.write, &looked), Vec::new()),
        None => (Vec::new(), Vec::new()),
        Some(copied) => (Vec::new(), copied),
    };
    CellSpec {
        tier: setting.tier,
        program: program(params, setting.program),
        env: environment(scope, &params.env, proxied),
        credentials: credentials::slots(&scope.credentials),
        cwd: PathBuf::from(params.cwd.as_str()),
        paths: Paths {
            read: present(&scope.read, &looked),
            write,
            copied,
            observed: setting.observed,
            exec: present(&scope.exec, &looked),
            exec_in_writable: scope.exec_in_writable,
            hidden,
            tmp_bytes_max: scope.limits.tmp_bytes,
        },
        exec: exec_gate(scope, setting.digests),
        network: Network::Loopback,
        egress,
        limits: limits(scope),
        // Never the supervisor's: what a terminal does for whoever holds it is not in any scope.
        session: setting.terminal.map_or(Session::Own, Session::Terminal),
        lease: SETUP_MAX,
        proxied,
        own_files: if proxied { own_files() } else { Vec::new() },
        door: setting.client.is_some(),
        client: setting.client,
        looked,
    }
}

/// The program that a cell begins with.
pub(crate) fn program(params: &ProcessParams, program: &Program) -> CellProgram {
    CellProgram {
        path: PathBuf::from(program.path.as_str()),
        identity: program.identity,
        argv: params.argv.iter().map(OsString::from).collect(),
    }
}

/// What serves a cell whose scope names hosts.
pub(crate) fn proxy(
    cell: &WaitingCell,
    permit: &Permit,
    resolved: Resolved,
) -> std::io::Result<Option<Proxy>> {
    let reach = Reach::new(&permit.scope().network);
    let sockets = cell.proxied()?.map(|[proxy, dns]| Sockets { proxy, dns });
    let patience = (permit.scope().egress == Egress::Decide).then_some(DECISION_PATIENCE);
    sockets
        .map(|sockets| Proxy::start(sockets, reach, resolved, patience))
        .transpose()
}

/// How programs in a cell find the proxy. A name in capitals is not read by everybody, and `ALL_PROXY`
/// is no SOCKS one because some refuse to start without a library for that.
fn proxy_variables() -> Vec<(OsString, OsString)> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let own = "localhost,127.0.0.1,::1";
    let mut variables = vec![("NODE_USE_ENV_PROXY".into(), "1".into())];
    for (name, value) in [
        ("http_proxy", proxy.as_str()),
        ("https_proxy", &proxy),
        ("all_proxy", &proxy),
        ("no_proxy", own),
    ] {
        variables.push((name.to_uppercase().into(), value.into()));
        variables.push((name.into(), value.into()));
    }
    variables
}

/// Names are looked up on the cell's loopback; what the host's own list says about them, the supervisor
/// looks up there.
fn own_files() -> Vec<OwnFile> {
    let file = |path: &str, contents: &str| OwnFile {
        path: PathBuf::from(path),
        contents: contents.as_bytes().to_vec(),
    };
    vec![
        file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        file(
            "/etc/resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:10 attempts:2\n",
        ),
    ]
}

/// The tier that the cell is built with: what the machine reaches, if that is what the scope demands.
///
/// # Errors
///
/// [`SandboxError::Unsupported`] when it is less; the node denies that before.
pub(crate) fn tier(scope: &Scope, environment: &Environment) -> Result<Tier, SandboxError> {
    let enough = |tier: &placet_types::Tier| *tier >= scope.tier;
    let lacking = SandboxError::Unsupported("the tier of enforcement that the scope demands");
    let tier = environment.tier.filter(enough).ok_or(lacking)?;
    Ok(match tier {
        placet_types::Tier::U0 => Tier::U0,
        placet_types::Tier::U1 => Tier::U1,
        placet_types::Tier::P => Tier::P,
    })
}

/// Whom the supervisor connects the tree to.
fn egress(scope: &Scope, proxied: bool, (resolved, hidden): (Resolved, &[PathBuf])) -> EgressRules {
    let peers: Vec<Peers> = scope
        .network
        .rules()
        .filter_map(|rule| match rule {
            PeerRule::Address(rule) => Peers::network(rule.address(), rule.prefix(), rule.ports()),
            // By what it leads to, once that is pinned.
            PeerRule::Name(_) => None,
        })
        .collect();
    // Whoever reaches the domain's own sockets acts as its user: no scope gives that.
    let is_hidden = |path: &PathBuf| hidden.iter().any(|hidden| path.starts_with(hidden));
    let mut sockets: Vec<PathBuf> = scope.sockets.iter().filter_map(socket).collect();
    sockets.retain(|path| !is_hidden(path));
    EgressRules {
        peers,
        resolved: proxied.then_some(resolved),
        listed: match scope.egress {
            Egress::Scope => Listed::Make,
            Egress::Decide => Listed::Ask {
                patience: DECISION_PATIENCE,
            },
        },
        sockets,
        others: Others::Refuse,
    }
}

/// A socket that stands where the scope says. A link in its place grants nothing: whoever can plant
/// one must not choose the service.
fn socket(path: &AbsPath) -> Option<PathBuf> {
    let path = PathBuf::from(path.as_str());
    let resolved = std::fs::canonicalize(&path).ok()?;
    let is_socket = std::fs::symlink_metadata(&path)
        .ok()?
        .file_type()
        .is_socket();
    (resolved == path && is_socket).then_some(path)
}

/// Where each program is decided about, that decision looks at its contents as well.
fn exec_gate(scope: &Scope, digests: PathBuf) -> ExecGate {
    ExecGate {
        rule: match (scope.exec_check, &scope.exec_digests) {
            (ExecCheck::Image, Images::Any) => ExecRule::Any,
            (ExecCheck::Image, Images::Listed(digests)) => {
                let digest = |digest: &Digest| ImageDigest(*digest.as_bytes());
                ExecRule::Listed(digests.iter().map(digest).collect())
            }
            (ExecCheck::Decide, _) => ExecRule::Ask {
                patience: DECISION_PATIENCE,
            },
        },
        refused: OnRefusal::EndProcess,
        digests: Some(Digests::at(digests)),
        arguments: match scope.exec_check {
            ExecCheck::Image => Arguments::Unread,
            ExecCheck::Decide => Arguments::Read,
        },
    }
}

/// The variables that were offered and that the scope passes on, and those that name the files of
/// credentials; nothing else is inherited. Those that lead to the proxy of the cell are its own.
fn environment(
    scope: &Scope,
    offered: &BTreeMap<String, String>,
    proxied: bool,
) -> Vec<(OsString, OsString)> {
    let own = if proxied {
        proxy_variables()
    } else {
        Vec::new()
    };
    let passed = offered
        .iter()
        .filter(|(name, _)| scope.env.contains(*name))
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .filter(|(name, _)| !own.iter().any(|(other, _)| other == name));
    passed
        .chain(own.iter().cloned())
        .chain(credentials::paths(&scope.credentials))
        .collect()
}

fn limits(scope: &Scope) -> Limits {
    let limits = &scope.limits;
    Limits {
        cpu_secs: Some(limits.cpu_secs),
        address_space_bytes: Some(limits.memory_bytes),
        processes: Some(limits.processes),
        tree_memory_bytes: limits.tree_memory_bytes,
        tree_cpu_percent: limits.tree_cpu_percent,
        open_files: Some(limits.open_files),
        file_size_bytes: Some(limits.file_size_bytes),
    }
}

/// The trees that exist; one that does not grants nothing.
///
/// A tree that is reached through a symbolic link counts as what the link points to, and only when
/// the scope names that too: whoever can plant a link must not widen the scope with it.
pub(crate) fn present(paths: &PathSet, looked: &Looked) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| {
            if let Some(stands) = looked.stands(Path::new(path.as_str())) {
                return stands.then(|| PathBuf::from(path.as_str()));
            }
            let resolved = std::fs::canonicalize(path.as_str()).ok()?;
            let resolved = AbsPath::parse(resolved.to_str()?).ok()?;
            paths
                .contains(&resolved)
                .then(|| PathBuf::from(resolved.as_str()))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether the door's client can be offered: a regular file that this process runs from.
pub(crate) fn client(program: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(program)
        .ok()
        .filter(|path| path.is_file())
}
