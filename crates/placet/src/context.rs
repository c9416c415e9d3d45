//! Which domain a command is about, and the ways to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_authority::activate::Bundles;
use placet_authority::blobs::Blobs;
use placet_authority::clock::{Clock, SystemClock};
use placet_authority::dir::{DirError, DomainDir};
use placet_authority::init::{domain_name, public_policy};
use placet_authority::node::wire::{Request, Response};
use placet_authority::node::{Connection, StartError, connect, connect_or_start};
use placet_evidence::{Entry, EntryError, Record};
use placet_log::LogReader;
use placet_process::{Gateway, Kept};
use placet_types::{DomainName, Index, PrincipalId};

use crate::cli::Global;
use crate::exit::{Failure, Status};

/// Environment variable that names the domain directory.
pub(crate) const DOMAIN_VARIABLE: &str = "PLACET_DOMAIN";
/// Environment variable that names the principal of `run`.
pub(crate) const PRINCIPAL_VARIABLE: &str = "PLACET_PRINCIPAL";

/// Name under which this program is a shell: what wants the path of one gets a link of that name.
const SHELL_NAME: &str = "placet-shell";

/// The command line. Under [`SHELL_NAME`] all of it is for the shell.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut arguments = std::env::args_os();
    let own = arguments.next().unwrap_or_default();
    let called = Path::new(&own).file_name().unwrap_or_default();
    // A login shell is called with a `-` in front.
    let is_shell = called
        .as_encoded_bytes()
        .strip_prefix(b"-")
        .unwrap_or(called.as_encoded_bytes())
        == SHELL_NAME.as_bytes();
    let between: &[&str] = if is_shell { &["shell", "--"] } else { &[] };
    let between = between.iter().map(OsString::from);
    std::iter::once(own)
        .chain(between)
        .chain(arguments)
        .collect()
}

/// Why arguments are refused of which one is no text: records hold text, and what they cannot hold is not run.
pub(crate) fn not_text(arguments: &[OsString]) -> Failure {
    let odd = arguments
        .iter()
        .enumerate()
        .find(|(_, argument)| argument.to_str().is_none());
    let which = odd.map_or_else(String::new, |(at, argument)| {
        format!(" {at}, {:?},", argument.as_os_str())
    });
    Failure {
        status: Status::Code(2),
        ..Failure::new(format!(
            "argument{which} is not UTF-8: invalid UTF-8 cannot be written in a record"
        ))
    }
    .hint("rename the file, or let a script that is governed pass the argument on")
}

/// The directory that a command is about, whether or not a domain is in it.
pub(crate) fn domain_path(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.domain {
        return Ok(path.clone());
    }
    if let Some(path) = std::env::var_os(DOMAIN_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| {
        Failure::new("there is no home directory to look for a domain in").hint(format!(
            "name the directory with --domain or {DOMAIN_VARIABLE}"
        ))
    })?;
    Ok(Path::new(&home).join(".placet"))
}

/// An opened domain directory.
pub(crate) struct Domain {
    pub(crate) dir: DomainDir,
    pub(crate) name: DomainName,
}

impl Domain {
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        let path = domain_path(global)?;
        let dir = open_dir(&path)?;
        let name = domain_name(&dir)?;
        Ok(Self { dir, name })
    }

    /// The node of the domain, started if none runs.
    pub(crate) fn node(&self) -> Result<Connection, Failure> {
        Ok(connect_or_start(&self.dir, &program()?)?)
    }

    /// The node of the domain, if one runs.
    pub(crate) fn running_node(&self) -> Result<Option<Connection>, Failure> {
        match connect(&self.dir) {
            Ok(connection) => Ok(Some(connection)),
            Err(StartError::NotRunning) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the node.
    pub(crate) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        match self.node()?.ask(request)? {
            Response::Error(denial) => Err(denial.into()),
            response => Ok(response),
        }
    }

    /// The log, for reading. A node may write to it meanwhile.
    pub(crate) fn log(&self) -> Result<LogReader, Failure> {
        let policy = public_policy(&self.dir)?;
        let log = policy
            .logs()
            .first()
            .ok_or_else(|| Failure::new("the policy names no log"))?;
        LogReader::open(&self.dir.log(), log.key()).map_err(|error| {
            Failure::unverified(error).hint("`placet log fsck` names what is wrong with the log")
        })
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::new(self.dir.blobs())
    }

    pub(crate) fn bundles(&self) -> Bundles {
        Bundles::new(self.dir.bundles())
    }

    pub(crate) fn gateway(&self) -> Result<Gateway, Failure> {
        let (dir, own) = (self.dir.clone(), program()?);
        let program = own.clone();
        Ok(Gateway {
            dir: self.dir.clone(),
            policy: public_policy(&self.dir)?,
            connect: Box::new(move || connect_or_start(&dir, &own)),
            clock: clock(),
            program,
            observe: false,
            hear: false,
            kept: Kept::nothing(),
            tell: Box::new(|_| {}),
        })
    }
}

/// Takes a domain directory.
pub(crate) fn open_dir(path: &Path) -> Result<DomainDir, Failure> {
    let there = |name: &str| path.join(name).try_exists().unwrap_or(true);
    let error = match DomainDir::open(path) {
        Ok(dir) => return Ok(dir),
        Err(error) => error,
    };
    if path.is_file() {
        return Err(
            Failure::new(format!("{} is not a directory", path.display()))
                .hint("name the directory of a domain with --domain"),
        );
    }
    if matches!(error, DirError::NoDomain(_)) && there("keys") {
        return Err(Failure::new(format!(
            "{} has keys and no public policy file, domain.tlog-policy",
            path.display()
        ))
        .hint(
            "bring a copy of the file back; if `placet init` was interrupted, remove the directory",
        ));
    }
    // A directory without a domain is said to have none, whatever its permissions.
    if matches!(error, DirError::NoDomain(_)) || !(there("keys") || there("domain.tlog-policy")) {
        return Err(Failure::new(DirError::NoDomain(path.to_owned()))
            .hint("run `placet init`, or name another one with --domain"));
    }
    Err(Failure::new(error))
}

/// The machine's clocks.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// This program.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(format!("this program: {error}")))
}

/// Name of the operator that a Unix user is, as `placet init` registers it.
pub(crate) fn user_principal() -> Result<PrincipalId, Failure> {
    let uid = rustix::process::getuid().as_raw();
    let clean = |name: String| {
        name.chars()
            .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
            .collect::<String>()
    };
    let name = login_name(uid).map(clean).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| format!("uid-{uid}"));
    PrincipalId::parse(&format!("user:{name}")).map_err(Failure::new)
}

/// Login name of a user, from `/etc/passwd`: the environment is the caller's to choose.
fn login_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}

/// The environment, as far as it is text.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Every record from `from` on with its index, in order. One that does not read ends the walk.
pub(crate) fn records(
    reader: &LogReader,
    from: Index,
) -> impl Iterator<Item = Result<(Index, Record), Failure>> {
    reader.entries(from..reader.size()).map(|entry| {
        let (index, bytes) = entry?;
        let unread =
            |error: EntryError| Failure::unverified(format!("the record at {index}: {error}"));
        Ok((index, Entry::from_bytes(bytes).read().map_err(unread)?))
    })
}
