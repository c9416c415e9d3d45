//! Verify: a domain is made, the machine is asked what it can enforce, a stranger is turned away.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use placet_evidence::Record;
use placet_types::{DenialCode, Index};

use super::ground::hold;
use super::report::Seen;
use super::stage::Stage;
use super::step::{End, Try};
use crate::exit::Failure;

const STRANGER: Try = Try {
    principal: "agent:stranger",
    ..Try::new(
        "an agent that nobody registered: ls",
        &["ls"],
        End::Denied(DenialCode::IdentityUnverified),
    )
};

/// Makes the domain, and gives the auditor its public policy file.
pub(super) fn begins(stage: &mut Stage) -> Result<(), Failure> {
    let made = stage
        .ground
        .placet(&["init", "--json"])?
        .successful("placet init")?;
    let dir = stage.ground.domain()?.dir;
    fs::copy(
        dir.policy_file(),
        stage.ground.auditor().join("domain.tlog-policy"),
    )?;
    let name = made.json()?.get("domain").cloned().unwrap_or_default();
    let private = private_keys(&dir.keys()).map(|count| {
        format!(
            "{}, {count} keys of mode 0600",
            name.as_str().unwrap_or_default()
        )
    });
    let seen = Seen::of(private).at(Index::default());
    stage.add("placet init", "a domain, keys private", seen)?;
    let policy = policy_in_force(&stage.ground.records(Index::default())?);
    let (seen, index) = match policy {
        Ok((text, index)) => (Seen::holds(text), Some(index)),
        Err(why) => (Seen::differs(why), None),
    };
    stage.add("the starter policy", "signed and in force", seen.at(index))?;
    let found = stage.ground.placet(&["doctor", "--json"])?.json()?;
    let text = |name: &str| found.get(name).map(ToString::to_string).unwrap_or_default();
    let tier = text("tier");
    let tier = tier.trim_matches('"');
    let observed = format!("tier {tier}, Landlock ABI {}", text("landlock_abi"));
    // As root it may be more; what the demo shows takes this much.
    let seen = if ["U1", "P"].contains(&tier) {
        Seen::holds(observed)
    } else {
        Seen::differs(observed)
    };
    stage.add(
        "placet doctor: what this machine enforces",
        "tier U1 or P",
        seen,
    )
}

/// Somebody without a name here gets nothing.
pub(super) fn knows_who_asks(stage: &mut Stage) -> Result<(), Failure> {
    stage.attempt_all(&[STRANGER])
}

/// How many keys there are, all of them readable by their owner alone.
fn private_keys(dir: &Path) -> Result<usize, String> {
    let modes: Result<Vec<u32>, std::io::Error> = fs::read_dir(dir).and_then(|found| {
        found
            .map(|key| Ok(key?.metadata()?.mode() & 0o7777))
            .collect()
    });
    let modes = modes.map_err(|error| error.to_string())?;
    hold(
        !modes.is_empty() && modes.iter().all(|mode| *mode == 0o600),
        "others can read a key",
    )?;
    Ok(modes.len())
}

fn policy_in_force(records: &[(Index, Record)]) -> Result<(String, Index), String> {
    let found = records.iter().find_map(|(index, record)| {
        let Record::Policy(policy) = record else {
            return None;
        };
        Some((policy, *index))
    });
    let (policy, index) = found.ok_or("no policy was activated")?;
    hold(!policy.signers.is_empty(), "nobody signed the policy")?;
    let (name, revision, signers) = (&policy.name, policy.revision, policy.signers.len());
    Ok((
        format!("{name} revision {revision}, {signers} signature"),
        index,
    ))
}
