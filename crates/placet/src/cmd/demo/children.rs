//! Execute: a governed command that asks for another one. The child is within its parent.

use placet_evidence::{Caller, Grant, RunEnd};
use placet_types::{DenialCode, Scope};

use super::ground::hold;
use super::report::Seen;
use super::stage::Stage;
use super::step::{End, Trace, Try};
use crate::exit::{DENIED, Failure};

/// A governed command that asks for another one, and what must be seen of that one.
struct Family {
    parent: Try,
    child: &'static str,
    expected: &'static str,
    look: fn(&Stage, &Trace) -> Result<String, String>,
}

const FAMILIES: &[Family] = &[
    Family {
        parent: Try::done(
            "a shell asks for a command: placet run",
            &["sh", "-c", "{placet} run --purpose 'count functions' -- grep -c def ledger/book.py"],
        )
        .says("4"),
        child: "  its execution",
        expected: "a child of the shell's",
        look: |_, parent| kinship(parent),
    },
    Family {
        parent: Try::new(
            "a readonly shell asks for --profile build",
            &["sh", "-c", "{placet} run --profile build -- sh -c 'echo mine > taken.txt'"],
            End::Stopped("Read-only file system"),
        )
        .with(&["--profile=readonly"])
        .also(|ground| hold(!ground.project().join("taken.txt").exists(), "the file was written")),
        child: "  its scope",
        expected: "build ∩ readonly",
        look: attenuated,
    },
    Family {
        parent: Try::new(
            "a shell asks for more time: --lifetime 100000",
            &["sh", "-c", "{placet} run --lifetime 100000 -- ls"],
            End::Exits(0),
        )
        .with(&["--lifetime=60"]),
        child: "  its window",
        expected: "within the shell's",
        look: |_, parent| window(parent),
    },
    Family {
        parent: Try::new(
            "a shell acts as the operator: --as",
            &["sh", "-c", "{placet} run --as {operator} -- ls"],
            End::Exits(DENIED),
        ),
        child: "  its request",
        expected: "denied, identity_unverified",
        look: |_, parent| refused(parent, DenialCode::IdentityUnverified),
    },
    Family {
        // It waits until the other one is there, and does not wait for its end.
        parent: Try::done(
            "a shell ends before the command it asked for",
            &[
                "sh",
                "-c",
                "{placet} run -- sh -c ': > begun; sleep 600' & until [ -e begun ]; do sleep 0.02; done",
            ],
        )
        .also(|ground| {
            let removed = std::fs::remove_file(ground.project().join("begun"));
            hold(removed.is_ok(), "the command never began")
        }),
        child: "  that command",
        expected: "lineage_fragmented",
        look: |_, parent| terminated(parent, DenialCode::LineageFragmented),
    },
];

/// Commands through the door of a cell.
pub(super) fn stay_within(stage: &mut Stage) -> Result<(), Failure> {
    for Family {
        parent,
        child,
        expected,
        look,
    } in FAMILIES
    {
        let parent = stage.attempt(parent)?;
        let index = self::child(&parent).and_then(|child| child.index());
        let seen = Seen::of(look(stage, &parent)).at(index);
        stage.add(child, expected, seen)?;
    }
    Ok(())
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
    let grant = grant(&child)?;
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
fn attenuated(stage: &Stage, parent: &Trace) -> Result<String, String> {
    let child = child(parent).ok_or("nothing is recorded")?;
    let (inner, outer) = (scope(stage, &child)?, scope(stage, parent)?);
    let profile = &grant(&child)?.profile;
    if let Some(excess) = inner.excess_over(&outer) {
        return Err(format!("{profile}, beyond its parent: {excess:?}"));
    }
    let writable = inner.write.iter().count();
    let observed = format!("{profile}, {writable} writable paths");
    hold(writable == 0, &observed).map(|()| observed)
}

/// The window of the child, beside that of the parent.
fn window(parent: &Trace) -> Result<String, String> {
    let child = child(parent).ok_or("nothing is recorded")?;
    let (inner, outer) = (grant(&child)?, grant(parent)?);
    let secs = inner.not_after.since(inner.not_before) / 1000;
    hold(
        inner.not_after <= outer.not_after,
        "it ends after the shell's",
    )?;
    Ok(format!("{secs} s"))
}

/// The scope that a permit grants.
fn scope(stage: &Stage, trace: &Trace) -> Result<Scope, String> {
    let digest = grant(trace)?.scope;
    let domain = stage.ground.domain().map_err(|failure| failure.message)?;
    let bytes = domain
        .blobs()
        .get(digest)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn grant(trace: &Trace) -> Result<&Grant, String> {
    let (_, decided) = trace.decided.as_ref().ok_or("nothing is recorded")?;
    decided
        .grant
        .as_ref()
        .ok_or_else(|| "it was denied".to_owned())
}

/// The child was denied with this code.
fn refused(parent: &Trace, code: DenialCode) -> Result<String, String> {
    let child = child(parent).ok_or("nothing is recorded")?;
    let (_, decided) = child.decided.as_ref().ok_or("nothing is recorded")?;
    let denial = decided.denial.as_ref().ok_or("it was permitted")?;
    hold(denial.code == code, denial.code.as_str()).map(|()| code.to_string())
}

/// The child was ended for this cause.
pub(super) fn terminated(parent: &Trace, cause: DenialCode) -> Result<String, String> {
    let child = child(parent).ok_or("nothing is recorded")?;
    let (_, ended) = child.ended.as_ref().ok_or("its end is not recorded")?;
    let observed = ended.cause.map_or("no cause", DenialCode::as_str);
    let fits = ended.outcome == RunEnd::Terminated && ended.cause == Some(cause);
    hold(fits, observed).map(|()| observed.to_owned())
}
