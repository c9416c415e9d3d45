//! Profiles: the confinement that a permit is carried out with, as TOML, and the scope it makes.
//!
//! Pure text: no path is looked at. A path that does not exist grants nothing; gateways skip it.

mod guard;
mod read;

use std::collections::BTreeSet;

use placet_types::{
    AbsPath, Credentials, Denial, DenialCode, Egress, ExecCheck, Images, Limits, Network, PathSet,
    PeerRule, ProfileName, Redaction, Scope, Seconds, Tier, Trips, Writes,
};

pub(crate) use read::read;

/// A profile of a bundle. [`Profile::scope`] makes a scope of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: ProfileName,
    description: String,
    credentials: Credentials,
    sockets: Vec<Template>,
    read: Vec<Template>,
    write: Vec<Template>,
    exec: Vec<Template>,
    env: BTreeSet<String>,
    egress: Egress,
    exec_check: ExecCheck,
    exec_digests: Images,
    exec_in_writable: bool,
    limits: Limits,
    network: BTreeSet<PeerRule>,
    pinned: Vec<Template>,
    redact: BTreeSet<Redaction>,
    trips: Trips,
    lifetime: Seconds,
    lease_secs: Seconds,
    staleness_secs: Seconds,
    tier: Tier,
    writes: Writes,
}

/// What profiles are filled in with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vars {
    /// Root of the work: `${workspace}`.
    pub workspace: AbsPath,
    /// The caller's home directory: `${home}`.
    pub home: AbsPath,
}

/// A path of a profile: absolute, or below a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) base: Base,
    /// What follows the base, without a slash in front; empty for the base itself.
    pub(crate) rest: String,
}

/// Where a path of a profile begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Root,
    Workspace,
    Home,
}

impl Profile {
    /// Name of the profile.
    #[must_use]
    pub fn name(&self) -> &ProfileName {
        &self.name
    }

    /// Names of environment variables that it passes on, in order.
    pub fn env(&self) -> impl Iterator<Item = &String> {
        self.env.iter()
    }

    /// Secrets that it hands over, and in which form.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What it is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Lifetime of a permit that does not name a shorter one.
    #[must_use]
    pub fn lifetime(&self) -> Seconds {
        self.lifetime
    }

    /// Interval in which the holder renews its lease, in milliseconds.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.lease_secs.as_millis()
    }

    /// Age of the view of the log beyond which the holder must stop, in milliseconds.
    #[must_use]
    pub fn staleness_ms(&self) -> u64 {
        self.staleness_secs.as_millis()
    }

    /// How far behaviour may go before all of an execution is ended.
    #[must_use]
    pub fn trips(&self) -> &Trips {
        &self.trips
    }

    /// Bounds on resources.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where what is written goes.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.writes
    }

    /// Whether it names any write tree.
    pub(crate) fn writes_anything(&self) -> bool {
        !self.write.is_empty()
    }

    /// Trees that are read as a whole although they hold everything.
    pub(crate) fn wide_reads(&self) -> impl Iterator<Item = &'static str> {
        self.read.iter().filter_map(|template| match template.base {
            Base::Root if template.rest.is_empty() => Some("/"),
            Base::Root if template.rest == "home" || template.rest == "root" => Some("/home"),
            Base::Home if template.rest.is_empty() => Some("${home}"),
            Base::Root | Base::Home | Base::Workspace => None,
        })
    }

    /// The scope that this profile grants for a workspace and a home directory. Deterministic.
    ///
    /// # Errors
    ///
    /// A [`Denial`] with [`DenialCode::ScopeExceeded`] when the workspace is a directory that
    /// nobody should hand over as a whole: `/`, a home directory or a directory above it, a system
    /// directory, or one with credentials in it.
    pub fn scope(&self, vars: &Vars) -> Result<Scope, Denial> {
        if self.uses(Base::Workspace) {
            guard::workspace(vars)?;
        }
        if self.uses(Base::Home) {
            guard::home(vars)?;
        }
        let sockets: Result<_, _> = self
            .sockets
            .iter()
            .map(|socket| socket.fill(vars))
            .collect();
        Ok(Scope {
            credentials: self.credentials.clone(),
            egress: self.egress,
            env: self.env.clone(),
            exec: trees(&self.exec, vars)?,
            exec_check: self.exec_check,
            exec_digests: self.exec_digests.clone(),
            exec_in_writable: self.exec_in_writable,
            limits: self.limits,
            network: Network::peers(&self.network),
            pinned: fill(&self.pinned, vars)?.into_iter().collect(),
            read: trees(&self.read, vars)?,
            // What a process prints goes to whoever started it, as it is: only gateways of calls hold answers back.
            redact: BTreeSet::new(),
            sockets: sockets?,
            tier: self.tier,
            trips: self.trips.clone(),
            write: trees(&self.write, vars)?,
            writes: self.writes,
        }
        .normalized())
    }

    /// What stands before each connection that leaves it.
    #[must_use]
    pub fn egress(&self) -> Egress {
        self.egress
    }

    /// What it grants an action that is no process: limits, network, and what answers must not show.
    #[must_use]
    pub(crate) fn bare_scope(&self) -> Scope {
        Scope {
            credentials: Credentials::default(),
            egress: self.egress,
            env: BTreeSet::new(),
            exec: PathSet::default(),
            exec_check: self.exec_check,
            // It starts nothing.
            exec_digests: Images::Any,
            exec_in_writable: false,
            limits: self.limits,
            network: Network::peers(&self.network),
            pinned: BTreeSet::new(),
            read: PathSet::default(),
            redact: self.redact.clone(),
            sockets: BTreeSet::new(),
            // Nothing is confined, so no machine is too weak for it.
            tier: Tier::U0,
            trips: self.trips.clone(),
            write: PathSet::default(),
            writes: self.writes,
        }
    }

    /// As [`Profile::bare_scope`], with the credentials that it hands over.
    #[must_use]
    pub(crate) fn remote_scope(&self) -> Scope {
        Scope {
            credentials: self.credentials.clone(),
            ..self.bare_scope()
        }
    }

    fn uses(&self, base: Base) -> bool {
        let mounted = self.read.iter().chain(&self.write).chain(&self.exec);
        let all = mounted.chain(&self.sockets).chain(&self.pinned);
        all.into_iter().any(|template| template.base == base)
    }
}

impl Template {
    fn fill(&self, vars: &Vars) -> Result<AbsPath, Denial> {
        let filled = match self.base {
            Base::Root => AbsPath::parse("/").and_then(|root| root.join(&self.rest)),
            Base::Workspace => vars.workspace.join(&self.rest),
            Base::Home => vars.home.join(&self.rest),
        };
        filled.map_err(|error| exceeded(error.to_string()))
    }
}

fn trees(templates: &[Template], vars: &Vars) -> Result<PathSet, Denial> {
    fill(templates, vars).map(PathSet::new)
}

fn fill(templates: &[Template], vars: &Vars) -> Result<Vec<AbsPath>, Denial> {
    templates
        .iter()
        .map(|template| template.fill(vars))
        .collect()
}

fn exceeded(reason: String) -> Denial {
    Denial::new(DenialCode::ScopeExceeded, reason)
}

#[cfg(test)]
mod tests;
