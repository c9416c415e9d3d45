//! Execute: a governed command that asks for another one. The child is within its parent.

use placet_evidence::{Caller, Decided};
use placet_types::{DenialCode, Scope};

use super::ground::hold;
use super::report::Seen;
use super::stage::Stage;
use super::step::{End, Trace, Try};
use crate::exit::{DENIED, Failure};

const COUNT: Try = Try::done(
    "a shell asks for a command: placet run",
    &[
        "sh",
        "-c",
        "{placet} run --purpose 'count functions' -- grep -c def ledger/book.py",
    ],
)
.says("4");

const WIDER: Try = Try::new(
    "a readonly shell asks for --profile build",
    &[
        "sh",
        "-c",
        "{placet} run --profile build -- sh -c 'echo mine > taken.txt'",
    ],
    End::Stopped("Read-only file system"),
)
.with(&["--profile=readonly"])
.also(|ground| {
    hold(
        !ground.project().join("taken.txt").exists(),
        "the file was written",
    )
});

const OPERATOR: Try = Try::new(
    "a shell acts as the operator: --as",
    &["sh", "-c", "{placet} run --as {operator} -- ls"],
    End::Exits(DENIED),
);

/// Commands through the door of a cell.
pub(super) fn stay_within(stage: &mut Stage) -> Result<(), Failure> {
    let parent = stage.attempt(&COUNT)?;
    let (child, kin) = (child(&parent), kinship(&parent));
    let seen = Seen::of(kin).at(child.and_then(|child| child.index()));
    stage.add("  its execution", "a child of the shell's", seen)?;
    let parent = stage.attempt(&WIDER)?;
    let scope = attenuated(stage, &parent)?;
    let index = self::child(&parent).and_then(|child| child.index());
    stage.add("  its scope", "build ∩ readonly", Seen::of(scope).at(index))?;
    let parent = stage.attempt(&OPERATOR)?;
    let child = self::child(&parent);
    let seen = Seen::of(refused(child.as_ref(), DenialCode::IdentityUnverified));
    let index = child.and_then(|child| child.index());
    stage.add(
        "  its request",
        &End::Denied(DenialCode::IdentityUnverified).to_string(),
        seen.at(index),
    )
}

/// What is recorded of the first child.
pub(super) fn child(parent: &Trace) -> Option<Trace> {
    let exec = parent.exec()?;
    let child = Trace::about(parent.records.clone(), |decided| {
        decided.intent.parent == Some(exec)
    });
    child.decided.is_some().then_some(child)
}

/// The child is known by the door that it came through, and ended before its parent.
fn kinship(parent: &Trace) -> Result<String, String> {
    let child = child(parent).ok_or("nothing is recorded")?;
    let exec = parent.exec().ok_or("nothing is recorded")?;
    let (_, decided) = child.decided.as_ref().ok_or("nothing is recorded")?;
    let grant = decided.grant.as_ref().ok_or("it was denied")?;
    hold(
        decided.facts.caller == Caller::Execution(exec),
        "it did not come through the door",
    )?;
    hold(
        grant.root == exec && grant.depth == 1,
        "its place in the lineage is another",
    )?;
    let ends = child.ended.as_ref().zip(parent.ended.as_ref());
    let (first, last) = ends.ok_or("an end is not recorded")?;
    hold(first.0 < last.0, "it outlived its parent")?;
    Ok(format!("child of {}, depth {}", exec.short(), grant.depth))
}

/// What was granted, beside what was granted to the parent.
fn attenuated(stage: &Stage, parent: &Trace) -> Result<Result<String, String>, Failure> {
    let child = child(parent);
    let decided = |trace: &Trace| trace.decided.as_ref().map(|(_, decided)| decided.clone());
    let Some((child, parent)) = child.as_ref().and_then(decided).zip(decided(parent)) else {
        return Ok(Err("nothing is recorded".to_owned()));
    };
    let (inner, outer) = (scope(stage, &child)?, scope(stage, &parent)?);
    let profile = child
        .grant
        .map(|grant| grant.profile.to_string())
        .unwrap_or_default();
    if let Some(excess) = inner.excess_over(&outer) {
        return Ok(Err(format!("{profile}, beyond its parent: {excess:?}")));
    }
    let may_write = inner.write.iter().count();
    let observed = format!("{profile} with {may_write} writable paths");
    Ok(hold(may_write == 0, &observed).map(|()| observed))
}

/// The scope that a permit grants.
fn scope(stage: &Stage, decided: &Decided) -> Result<Scope, Failure> {
    let grant = decided
        .grant
        .as_ref()
        .ok_or_else(|| Failure::new("the decision is no permit"))?;
    let bytes = stage
        .ground
        .domain()?
        .blobs()
        .get(grant.scope)
        .map_err(Failure::unverified)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn refused(child: Option<&Trace>, code: DenialCode) -> Result<String, String> {
    let decided = child.and_then(|child| child.decided.as_ref());
    let (_, decided) = decided.ok_or("nothing is recorded")?;
    let denial = decided.denial.as_ref().ok_or("it was permitted")?;
    let observed = End::Denied(denial.code).to_string();
    hold(denial.code == code, &observed).map(|()| observed)
}
