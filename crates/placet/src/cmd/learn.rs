//! `placet learn`: a dry run whose accesses are noted, and a profile and policy made of them for review.
//!
//! It authorizes nothing. The run itself is permitted by policy like every other; what it writes are
//! files in a directory, which count once somebody has put them into a bundle and activated that.

mod sort;
mod write;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use placet_authority::node::wire::{Request, Response};
use placet_policy::{Policy, Profile, Vars};
use placet_process::changes::Kept;
use placet_process::terminal::{self, Front};
use placet_process::{Contacts, Notice, Outcome};
use placet_sandbox::Observed;
use placet_types::{Digest, ExecutionId, PathSet, PrincipalId, ProcessParams, ProfileName, Writes};
use serde_json::json;

use crate::cli::{Global, Learn};
use crate::cmd::run::{at_terminal, command, failure, program_of, report};
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, GOOD, Out, paint};

/// Everything that the files are made of.
pub(super) struct Learned {
    /// Name of profile, policy and tests.
    pub(super) name: String,
    /// Who is permitted.
    pub(super) principal: PrincipalId,
    pub(super) argv: Vec<String>,
    /// Resolved.
    pub(super) program: String,
    /// What it consists of.
    pub(super) digest: Digest,
    /// Whether only the contents of what ran are permitted.
    pub(super) listed: bool,
    pub(super) cwd: PathBuf,
    pub(super) workspace: PathBuf,
    pub(super) home: PathBuf,
    /// What the dry run could write to.
    pub(super) writable: PathSet,
    pub(super) observed: Observed,
    /// Whom it wanted to reach.
    pub(super) contacts: Contacts,
    /// Variables that the command had.
    pub(super) env: Vec<String>,
}

pub(crate) fn learn(
    global: &Global,
    args: &Learn,
    front: bool,
    out: Out,
) -> Result<Status, Failure> {
    if !front && terminal::is_at_terminal() {
        return at_terminal();
    }
    let mut front = front.then(Front::attach).transpose()?;
    let domain = Domain::open(global)?;
    let mut call = args.call.clone();
    let profile = match &call.profile {
        Some(profile) => profile.clone(),
        None => ProfileName::parse("dryrun").map_err(Failure::new)?,
    };
    call.profile = Some(profile.clone());
    check_empty(&args.out)?;
    let policy = in_force(&domain)?;
    let found = policy.profile(&profile).ok_or_else(|| {
        Failure::new(format!("the bundle in force has no profile `{profile}`"))
            .hint("`placet policy init` writes one: profiles/dryrun.toml")
    })?;
    if found.writes() != Writes::Discarded {
        return Err(Failure::new(format!(
            "the profile `{profile}` does not discard what is written"
        ))
        .hint("learning takes a dry run: name a profile with `writes = \"discarded\"`"));
    }
    let command = command(&call)?;
    let (noted, mut gateway) = (Rc::new(RefCell::new(Noted::default())), domain.gateway()?);
    gateway.observe = true;
    let into = Rc::clone(&noted);
    gateway.tell = Box::new(move |notice| {
        let mut noted = into.borrow_mut();
        match notice {
            Notice::Observed {
                exec,
                observed,
                contacts,
            } => noted.observed = Some((*exec, (*observed).clone(), (*contacts).clone())),
            Notice::Changed { summary, .. } => noted.changes = Some(summary.digest),
            notice => crate::cmd::run::tell(notice, out),
        }
    });
    let (measured, _) = gateway
        .preview(&command)
        .map_err(|error| failure(error, program_of(&call)))?;
    let outcome = gateway.run(&command, front.as_mut());
    // Whatever is said about it comes after what the command has said.
    if let Some(front) = front {
        front.release();
    }
    let outcome = outcome.map_err(|error| failure(error, program_of(&call)))?;
    let status = report(&outcome, out);
    let Noted { observed, changes } = noted.take();
    let (Outcome::Ended { .. }, Some((exec, mut observed, contacts))) = (&outcome, observed) else {
        return Ok(status);
    };
    if let Some(digest) = changes {
        add_changes(&domain, exec, &digest, &mut observed);
    }
    let has = |name: &String| command.env.contains_key(name);
    let learned = Learned {
        name: name(exec, measured.program.path.file_name()),
        principal: args
            .permit
            .clone()
            .unwrap_or_else(|| command.principal.clone()),
        argv: command.argv.clone(),
        program: measured.program.path.to_string(),
        digest: measured.program.digest,
        listed: args.digests,
        cwd: PathBuf::from(measured.params.cwd.as_str()),
        workspace: PathBuf::from(measured.params.workspace.as_str()),
        home: PathBuf::from(measured.params.home.as_str()),
        writable: writable(found, &measured.params)?,
        observed,
        contacts,
        env: found.env().filter(|name| has(name)).cloned().collect(),
    };
    let files = write::files(&learned, found)?;
    for (path, text) in &files {
        let path = args.out.join(path);
        let failed = |error| Failure::new(format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, text).map_err(failed)?;
    }
    told(&learned, &args.out, &files, out);
    Ok(status)
}

/// The write trees of the dry run.
fn writable(profile: &Profile, params: &ProcessParams) -> Result<PathSet, Failure> {
    let vars = Vars {
        workspace: params.workspace.clone(),
        home: params.home.clone(),
    };
    let scope = profile.scope(&vars).map_err(|it| Failure::new(it.reason))?;
    Ok(scope.write)
}

/// What the run said of itself.
#[derive(Default)]
struct Noted {
    observed: Option<(ExecutionId, Observed, Contacts)>,
    changes: Option<Digest>,
}

/// What was made, renamed or removed without being opened.
fn add_changes(domain: &Domain, exec: ExecutionId, digest: &Digest, observed: &mut Observed) {
    // Without changes there is no list.
    let kept = Kept::of(&domain.dir.changes(), exec);
    let Ok(list) = kept.and_then(|kept| kept.list(digest)) else {
        return;
    };
    for change in &list.changes {
        if let Some(tree) = list.trees.get(change.tree) {
            let path = Path::new(tree.as_str()).join(change.path.as_path());
            let opened = observed.opened.entry(path).or_default();
            opened.written = true;
        }
    }
}

fn told(learned: &Learned, dir: &Path, files: &[(String, String)], out: Out) {
    let names: Vec<&String> = files.iter().map(|(path, _)| path).collect();
    if out.is_json() {
        out.note(json!({ "learned": learned.name, "directory": dir, "files": names }));
        return;
    }
    let shown = dir.display();
    out.note(format!(
        "{} {} files to {}: read them, they authorize nothing",
        paint(GOOD, "learned:"),
        names.len(),
        paint(BOLD, shown)
    ));
    for name in names {
        out.note(format!("  {name}"));
    }
    let next = format!(
        "next: copy them into a bundle, raise its revision, `placet policy test`, `placet policy activate`; then `placet run --as {} -- …`",
        learned.principal
    );
    out.note(paint(DIM, next));
}

/// A name for what was learned that another run does not have.
fn name(exec: ExecutionId, program: &str) -> String {
    let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let program: String = program.chars().filter(plain).take(20).collect();
    let digits = exec.to_string();
    let digits: String = digits.chars().skip("exec_".len()).take(8).collect();
    format!("learned-{program}-{digits}")
}

fn check_empty(dir: &Path) -> Result<(), Failure> {
    let occupied = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || dir.is_file() {
        return Err(Failure::new(format!("{} is not empty", dir.display()))
            .hint("name a directory that is not there yet: `placet learn --out DIR -- …`"));
    }
    Ok(())
}

pub(crate) fn in_force(domain: &Domain) -> Result<Policy, Failure> {
    let Response::Status(status) = domain.ask(&Request::Status)? else {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    };
    let active = status
        .policy
        .ok_or_else(|| Failure::new("no policy bundle is in force"))?;
    domain.bundles().load(active.bundle).map_err(Failure::new)
}
