//! What this machine says of itself.

use std::collections::BTreeSet;
use std::sync::Once;
use std::time::Duration;

use placet_authority::host::said;
use placet_evidence::Environment;
use placet_sandbox::Capabilities;
use placet_types::canonical::Malformed;
use placet_types::{DomainName, Fixed, Tier, Weakness};

/// How long what was tried counts for another start.
const TRIED_FOR: Duration = Duration::from_secs(5);

/// The machine as it is now. Costs one short-lived process, which tries what a cell needs.
///
/// # Errors
///
/// Never in practice: every field is JSON.
pub fn environment(domain: &DomainName) -> Result<Fixed<Environment>, Malformed> {
    let environment = probed(said(domain));
    Fixed::new(environment).map_err(|error| Malformed::Shape(error.to_string()))
}

/// The machine as it is now, but what it can enforce as it was found at most [`TRIED_FOR`] ago by this process: for whoever
/// starts one command after the other. Whatever is not there any more is refused when the cell is built.
pub(crate) fn for_start(domain: &DomainName) -> Result<Fixed<Environment>, Malformed> {
    let environment = with(said(domain), &placet_sandbox::probe_lately(TRIED_FOR));
    Fixed::new(environment).map_err(|error| Malformed::Shape(error.to_string()))
}

/// Has what the machine can enforce tried while this process waits for something else; once, since a process that starts many
/// commands mostly knows.
pub(crate) fn try_beside() {
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
    let now = said(domain);
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
    [
        ("boot", attested.boot == now.boot),
        ("machine id", attested.machine == now.machine),
        ("kernel", attested.kernel == now.kernel),
        ("architecture", attested.arch == now.arch),
        ("distribution", attested.distribution == now.distribution),
        ("gateway version", attested.gateway == now.gateway),
        ("enforcement tier", attested.tier == now.tier),
        ("Landlock ABI", attested.landlock_abi == now.landlock_abi),
        // Whatever else there will be.
        ("environment", *attested == now),
    ]
    .into_iter()
    .find(|(_, same)| !same)
    .map(|(part, _)| part)
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
