//! Reading a profile from TOML.

use std::collections::BTreeSet;

use placet_types::{
    AbsPath, Credential, CredentialForm, CredentialPath, Credentials, Egress, ExecCheck, Images,
    Limits, PeerRule, ProfileName, Redaction, Seconds, SecretName, Tier, Trip, Trips, VariableName,
    Writes,
};
use serde::Deserialize;

use super::{Base, Profile, Template};
use crate::problem::Problem;
use crate::strict::{self, Duration, Size};

/// Variables that make the loader run other code than the one that was authorized.
const LOADER_ENV: [&str; 3] = ["LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// A profile as it stands in its file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProfile {
    description: String,
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default)]
    exec: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    credentials: Vec<FileCredential>,
    #[serde(default)]
    sockets: Vec<String>,
    #[serde(default)]
    egress: Egress,
    #[serde(default)]
    exec_check: ExecCheck,
    #[serde(default)]
    exec_digests: Images,
    #[serde(default)]
    exec_in_writable: bool,
    lifetime: Duration,
    limits: FileLimits,
    #[serde(default)]
    network: BTreeSet<PeerRule>,
    #[serde(default)]
    pinned: Vec<String>,
    #[serde(default)]
    redact: BTreeSet<Redaction>,
    lease: FileLease,
    #[serde(default)]
    tier: Tier,
    #[serde(default)]
    trips: FileTrips,
    #[serde(default)]
    writes: Writes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLimits {
    cpu: Duration,
    file_size: Size,
    memory: Size,
    open_files: u64,
    processes: u64,
    tmp: Size,
    #[serde(default)]
    tree_cpu_percent: Option<u64>,
    #[serde(default)]
    tree_memory: Option<Size>,
    wall: Duration,
}

/// What a cell itself takes until its program starts, with room.
const TREE_MEMORY_MIN: Size = Size(16 << 20);
/// A thousand processors.
const TREE_CPU_PERCENT_MAX: u64 = 100_000;

/// A credential as it stands in its table: with `env` alone a variable, with `file` a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCredential {
    name: SecretName,
    env: Option<VariableName>,
    file: Option<CredentialPath>,
    path_env: Option<VariableName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLease {
    interval: Duration,
    staleness: Duration,
}

/// Every limit is optional; 0 ends the tree at the first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTrips {
    cpu_total: Option<Duration>,
    execs_per_minute: Option<u64>,
    network_bytes: Option<Size>,
    programs: Option<u64>,
    refused_connects: Option<u64>,
    refused_execs: Option<u64>,
    refused_reads: Option<u64>,
    refused_writes: Option<u64>,
    signals: Option<u64>,
}

/// Reads the profile `name` from its member of the bundle.
pub(crate) fn read(name: &ProfileName, file: &str, text: &str) -> Result<Profile, Vec<Problem>> {
    let parsed: FileProfile = strict::read(file, text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut bad = |message: String| problems.push(Problem::error(file, "profile", message));
    let read = templates(&parsed.read, &mut bad);
    let write = templates(&parsed.write, &mut bad);
    let exec = templates(&parsed.exec, &mut bad);
    let pinned = templates(&parsed.pinned, &mut bad);
    check_trips(&parsed.trips, &mut bad);
    check_write(&write, &mut bad);
    check_exec(&parsed, &write, &exec, &mut bad);
    let env = environment(&parsed.env, &mut bad);
    let sockets = sockets(&parsed.sockets, &mut bad);
    let credentials = credentials(&parsed.credentials, &env, &mut bad);
    if parsed.lease.staleness.0 < parsed.lease.interval.0 {
        bad("the lease would be stale before it is renewed: staleness is below interval".into());
    }
    for (what, value) in [
        ("open_files", parsed.limits.open_files),
        ("processes", parsed.limits.processes),
    ] {
        if value == 0 {
            bad(format!("limits.{what} is 0: nothing could start"));
        }
    }
    check_tree(&parsed.limits, &mut bad);
    check_redact(&parsed.redact, &mut bad);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Profile {
        name: name.clone(),
        description: parsed.description,
        credentials,
        sockets,
        read,
        write,
        exec,
        env,
        egress: parsed.egress,
        exec_check: parsed.exec_check,
        exec_digests: parsed.exec_digests,
        exec_in_writable: parsed.exec_in_writable,
        limits: limits(&parsed.limits),
        network: parsed.network,
        pinned,
        redact: parsed.redact,
        trips: trips(&parsed.trips),
        lifetime: Seconds::new(parsed.lifetime.0),
        lease_secs: Seconds::new(parsed.lease.interval.0),
        staleness_secs: Seconds::new(parsed.lease.staleness.0),
        tier: parsed.tier,
        writes: parsed.writes,
    })
}

/// Rules that nobody could apply would deny every answer.
fn check_redact(rules: &BTreeSet<Redaction>, bad: &mut impl FnMut(String)) {
    if rules.len() > Redaction::COUNT_MAX {
        bad(format!(
            "`redact` has more than {} rules",
            Redaction::COUNT_MAX
        ));
    }
    for rule in rules {
        if let Redaction::Pattern(pattern) = rule {
            // The bounds of whoever applies it.
            let built = regex::RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build();
            match built {
                Ok(regex) if regex.is_match("") => {
                    bad(format!(
                        "`redact`: `{rule}` matches an empty text, which is everywhere"
                    ));
                }
                Ok(_) => {}
                Err(error) => bad(format!("`redact`: `{rule}`: {error}")),
            }
        }
    }
}

fn check_tree(limits: &FileLimits, bad: &mut impl FnMut(String)) {
    let (memory, percent) = (limits.tree_memory, limits.tree_cpu_percent);
    if memory.is_some_and(|memory| memory.0 < TREE_MEMORY_MIN.0) {
        bad("limits.tree_memory is below 16MiB: nothing could start".into());
    }
    if percent.is_some_and(|percent| percent == 0 || percent > TREE_CPU_PERCENT_MAX) {
        bad("limits.tree_cpu_percent is not from 1 to 100000: 100 is one processor".into());
    }
}

fn limits(file: &FileLimits) -> Limits {
    Limits {
        cpu_secs: file.cpu.0,
        file_size_bytes: file.file_size.0,
        memory_bytes: file.memory.0,
        open_files: file.open_files,
        processes: file.processes,
        tmp_bytes: file.tmp.0,
        tree_cpu_percent: file.tree_cpu_percent,
        tree_memory_bytes: file.tree_memory.map(|size| size.0),
        wall_secs: file.wall.0,
    }
}

fn trips(file: &FileTrips) -> Trips {
    let limits = [
        (Trip::CpuTotalSecs, file.cpu_total.map(|it| it.0)),
        (Trip::ExecsPerMinute, file.execs_per_minute),
        (Trip::NetworkBytes, file.network_bytes.map(|it| it.0)),
        (Trip::Programs, file.programs),
        (Trip::RefusedConnects, file.refused_connects),
        (Trip::RefusedExecs, file.refused_execs),
        (Trip::RefusedReads, file.refused_reads),
        (Trip::RefusedWrites, file.refused_writes),
        (Trip::Signals, file.signals),
    ];
    limits
        .into_iter()
        .filter_map(|(trip, limit)| Some((trip, limit?)))
        .collect()
}

/// The command itself is a program that is started.
fn check_trips(file: &FileTrips, bad: &mut impl FnMut(String)) {
    for (what, value) in [
        ("programs", file.programs),
        ("execs_per_minute", file.execs_per_minute),
    ] {
        if value == Some(0) {
            bad(format!("trips.{what} is 0: nothing could start"));
        }
    }
}

fn templates(texts: &[String], bad: &mut impl FnMut(String)) -> Vec<Template> {
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        match template(text) {
            Some(template) => found.push(template),
            None => bad(format!(
                "`{text}` is no path: begin with `/`, `${{workspace}}` or `${{home}}`, and use no \
                 `..`, `.`, `//` or closing `/`"
            )),
        }
    }
    found
}

fn template(text: &str) -> Option<Template> {
    let variable = [("${workspace}", Base::Workspace), ("${home}", Base::Home)]
        .into_iter()
        .find_map(|(name, base)| text.strip_prefix(name).map(|rest| (base, rest)));
    let (base, rest) = variable.unwrap_or((Base::Root, text));
    if text.contains("${") && variable.is_none() || rest.contains("${") {
        return None;
    }
    let normal = rest.is_empty() && base != Base::Root || AbsPath::parse(rest).is_ok();
    let rest = rest.strip_prefix('/').unwrap_or(rest).to_owned();
    // `${workspace}/` alone would read as the root directory.
    (normal && !(base != Base::Root && text.ends_with('/'))).then_some(Template { base, rest })
}

/// Trees that no profile may make writable: whoever writes there runs code outside the sandbox.
fn check_write(write: &[Template], bad: &mut impl FnMut(String)) {
    const TOPS: [&str; 14] = [
        "", "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin",
        "sys", "usr",
    ];
    for template in write {
        let top = template.rest.split('/').next().unwrap_or_default();
        match template.base {
            Base::Root if TOPS.contains(&top) && !is_device(&template.rest) => {
                bad(format!("`/{}` must not be writable", template.rest));
            }
            Base::Home if template.rest.is_empty() => {
                bad("`${home}` must not be writable as a whole".into());
            }
            Base::Root | Base::Home | Base::Workspace => {}
        }
    }
}

/// Devices that hold nothing and reach nothing.
fn is_device(rest: &str) -> bool {
    ["dev/null", "dev/zero", "dev/full", "dev/tty"].contains(&rest)
}

fn check_exec(
    file: &FileProfile,
    write: &[Template],
    exec: &[Template],
    bad: &mut impl FnMut(String),
) {
    if exec.is_empty() {
        bad("`exec` names no program: nothing could start".into());
    }
    if let Images::Listed(digests) = &file.exec_digests
        && (digests.is_empty() || digests.len() > Images::COUNT_MAX)
    {
        let most = Images::COUNT_MAX;
        bad(format!(
            "`exec_digests` has no digest, or more than {most}; leave it out to start programs by their paths alone"
        ));
    }
    let within = |inner: &Template, outer: &Template| {
        inner.base == outer.base
            && inner.rest.strip_prefix(&outer.rest).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || outer.rest.is_empty()
            })
    };
    let born = exec.iter().find(|e| write.iter().any(|w| within(e, w)));
    if let (Some(_), false) = (born, file.exec_in_writable) {
        bad(
            "an `exec` path lies in a `write` path: programs that are written there could be \
             started; say so with `exec_in_writable = true`"
                .into(),
        );
    }
}

fn environment(names: &[String], bad: &mut impl FnMut(String)) -> BTreeSet<String> {
    for name in names {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            bad(format!("`{name}` is no name of an environment variable"));
        }
        if LOADER_ENV.contains(&name.as_str()) {
            bad(format!(
                "`{name}` must not be passed on: it puts other code into programs"
            ));
        }
    }
    names.iter().cloned().collect()
}

/// Sockets of services: each one file, never a tree of whatever listens in it.
fn sockets(texts: &[String], bad: &mut impl FnMut(String)) -> Vec<Template> {
    let found = templates(texts, bad);
    if found.iter().any(|socket| socket.rest.is_empty()) {
        bad("`sockets` names files, one by one".into());
    }
    found
}

fn credentials(
    files: &[FileCredential],
    passed_on: &BTreeSet<String>,
    bad: &mut impl FnMut(String),
) -> Credentials {
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        match form(file) {
            Some(form) => all.push(Credential {
                form,
                name: file.name.clone(),
            }),
            None => bad(format!(
                "the credential `{}` needs one of `env` and `file`; `path_env` goes with `file`",
                file.name
            )),
        }
    }
    let taken = all.iter().filter_map(Credential::variable);
    for name in taken.filter(|name| passed_on.contains(name.as_str())) {
        bad(format!(
            "the variable `{name}` is a credential and passed on as well: which is it?"
        ));
    }
    Credentials::new(all).unwrap_or_else(|clash| {
        bad(clash.to_string());
        Credentials::default()
    })
}

fn form(file: &FileCredential) -> Option<CredentialForm> {
    match (&file.env, &file.file, &file.path_env) {
        (Some(env), None, None) => Some(CredentialForm::Env(env.clone())),
        (None, Some(path), env) => Some(CredentialForm::File {
            env: env.clone(),
            path: path.clone(),
        }),
        (None, None, _) | (Some(_), Some(_), _) | (Some(_), None, Some(_)) => None,
    }
}
