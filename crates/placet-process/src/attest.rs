//! What this machine says of itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use placet_authority::host::{MachineError, said};
use placet_authority::node::wire::Welcome;
use placet_evidence::Environment;
use placet_sandbox::Capabilities;
use placet_types::canonical::Malformed;
use placet_types::{Digest, DomainName, Fixed, Tier, Weakness};

use crate::program;

/// How long what was tried counts for another start.
const TRIED_FOR: Duration = Duration::from_secs(5);

/// Whether the gateway's own program is measured, which takes a while where nobody remembers it.
#[derive(Clone, Copy, Debug)]
pub enum OwnProgram<'a> {
    /// It is not attested.
    Unmeasured,
    /// Its digest is attested; it is remembered in this directory.
    Measured(&'a Path),
}

impl<'a> OwnProgram<'a> {
    /// As the node asks for it, remembered in this directory.
    #[must_use]
    pub fn as_asked(welcome: &Welcome, memory: &'a Path) -> Self {
        if welcome.measures_gateways {
            Self::Measured(memory)
        } else {
            Self::Unmeasured
        }
    }

    /// Of this very process: that does not change while it runs.
    fn digest(self) -> Option<Digest> {
        static DIGEST: OnceLock<Option<Digest>> = OnceLock::new();
        match self {
            Self::Unmeasured => None,
            Self::Measured(memory) => *DIGEST.get_or_init(|| {
                let measured = program::measure(Path::new("/proc/self/exe"), Some(memory));
                measured.ok().map(|program| program.digest)
            }),
        }
    }
}

/// The machine as it is now. Costs one short-lived process, which tries what a cell needs.
///
/// # Errors
///
/// [`MachineError`]
pub fn environment(
    domain: &DomainName,
    own: OwnProgram<'_>,
) -> Result<Fixed<Environment>, MachineError> {
    fixed(Environment {
        gateway_digest: own.digest(),
        ..probed(said(domain)?)
    })
}

/// The machine as it is now, but what it can enforce as it was found at most five seconds ago by this process: for whoever
/// starts one command after the other. Whatever is not there any more is refused when the cell is built.
///
/// # Errors
///
/// [`MachineError`]
pub fn lately(
    domain: &DomainName,
    own: OwnProgram<'_>,
) -> Result<Fixed<Environment>, MachineError> {
    let environment = with(said(domain)?, &placet_sandbox::probe_lately(TRIED_FOR));
    fixed(Environment {
        gateway_digest: own.digest(),
        ..environment
    })
}

fn fixed(environment: Environment) -> Result<Fixed<Environment>, MachineError> {
    let malformed = |error: serde_json::Error| Malformed::Shape(error.to_string()).into();
    Fixed::new(environment).map_err(malformed)
}

/// Has what the machine can enforce tried while this process does something else; once, since a process that starts many
/// commands mostly knows. A gateway does it before it asks for anything; whoever is about to be one may do it earlier.
pub fn try_beside() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        let thread = std::thread::Builder::new().name("probe".into());
        // Without a thread it is tried when it is asked for.
        drop(thread.spawn(|| drop(placet_sandbox::probe_lately(TRIED_FOR))));
    });
}

/// The first part of what the machine says of itself that is not as it was attested. What it can
/// enforce is only tried again with `probe`, which costs a process; the rest is a few short files.
pub(crate) fn drifted(
    attested: &Environment,
    domain: &DomainName,
    probe: bool,
) -> Option<&'static str> {
    // Where it stands cannot be read any more.
    let Ok(now) = said(domain) else {
        return Some("configured place");
    };
    // A process runs the program that it runs; whether that was replaced is looked at with the files.
    let now = Environment {
        gateway_digest: attested.gateway_digest,
        ..now
    };
    let now = if probe {
        probed(now)
    } else {
        Environment {
            landlock_abi: attested.landlock_abi,
            tier: attested.tier,
            weaker: attested.weaker.clone(),
            ..now
        }
    };
    attested.differing(&now).into_iter().next()
}

fn probed(said: Environment) -> Environment {
    with(said, &placet_sandbox::probe())
}

fn with(said: Environment, capabilities: &Capabilities) -> Environment {
    Environment {
        landlock_abi: capabilities.landlock_abi,
        tier: capabilities.tier().map(tier),
        weaker: weaker(capabilities.tier()),
        ..said
    }
}

pub(crate) fn tier(tier: placet_sandbox::Tier) -> Tier {
    match tier {
        placet_sandbox::Tier::U0 => Tier::U0,
        placet_sandbox::Tier::U1 => Tier::U1,
        placet_sandbox::Tier::P => Tier::P,
    }
}

fn weaker(tier: Option<placet_sandbox::Tier>) -> BTreeSet<Weakness> {
    let weaker = tier.map_or(&[] as &[_], placet_sandbox::Tier::weaker);
    weaker.iter().map(|one| weakness(*one)).collect()
}

fn weakness(weakness: placet_sandbox::Weakness) -> Weakness {
    match weakness {
        placet_sandbox::Weakness::CodeFromWritable => Weakness::CodeFromWritable,
        placet_sandbox::Weakness::SharedNetwork => Weakness::SharedNetwork,
        placet_sandbox::Weakness::SharedProcesses => Weakness::SharedProcesses,
        placet_sandbox::Weakness::UnboundedTmp => Weakness::UnboundedTmp,
        placet_sandbox::Weakness::VisibleMetadata => Weakness::VisibleMetadata,
    }
}
