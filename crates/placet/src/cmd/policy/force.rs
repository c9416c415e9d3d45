//! Putting a bundle in force, and going back to an earlier one.

use std::path::Path;

use placet_authority::keys::{self, Role};
use placet_authority::node::wire::{ActBody, BundleBody, Request, Response};
use placet_evidence::PolicyActivated;
use placet_policy::{Bundle, BundleFiles, Policy, SIGNATURE_FILE, run_tests};
use placet_types::{Digest, Index};
use serde_json::json;

use super::draft::problem_line;
use super::status::activations;
use crate::bundle;
use crate::cmd::revoke::act_recorded;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, GOOD, Out, WARN, paint};

/// File that states the revision of a bundle.
const ABOUT_FILE: &str = "bundle.toml";

pub(super) fn activate(domain: &Domain, dir: &Path, out: Out) -> Result<Status, Failure> {
    let bundle = bundle::read(&bundle::files(dir)?)?;
    tested(&bundle, out)?;
    check_revision(domain, &bundle)?;
    let index = put_in_force(domain, &bundle)?;
    report(&bundle, index, None, out);
    Ok(Status::Ok)
}

/// Compiles and tests, and shows what looks like a mistake. The node does the first two again:
/// what counts is what the node finds, but here it can be said in full.
pub(super) fn tested(bundle: &Bundle, out: Out) -> Result<(), Failure> {
    let policy = Policy::compile(bundle)
        .map_err(|problems| bundle::problems_failure("the bundle does not compile", &problems))?;
    for problem in placet_policy::lint(bundle, &policy, Some(clock().wall())) {
        if !out.is_json() {
            out.note(problem_line(&problem));
        }
    }
    let tests = run_tests(bundle, &policy);
    if tests.passed() {
        return Ok(());
    }
    let failed: Vec<String> = tests
        .failures()
        .map(|failed| format!("\n  {}:{} {}", failed.file, failed.line, failed.name))
        .collect();
    Err(
        Failure::new(format!("the bundle's own tests fail:{}", failed.concat()))
            .hint("`placet policy test` shows what each expected; nothing was changed"),
    )
}

fn check_revision(domain: &Domain, bundle: &Bundle) -> Result<(), Failure> {
    let Response::Status(status) = domain.ask(&Request::Status)? else {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    };
    let Some(active) = status.policy else {
        return Ok(());
    };
    let (revision, next) = (
        bundle.manifest().revision,
        active.revision.saturating_add(1),
    );
    if active.bundle == bundle.digest() {
        return Err(Failure::new(format!(
            "this very bundle is in force already, since record {}",
            active.since
        )));
    }
    if revision > active.revision {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the bundle has revision {revision}, and {} revision {} is in force",
        active.name, active.revision
    ))
    .hint(format!(
        "a new bundle needs a new revision: set `revision = {next}` in bundle.toml"
    )))
}

/// Signs with the operator's key and lets the node activate.
fn put_in_force(domain: &Domain, bundle: &Bundle) -> Result<Index, Failure> {
    let BundleBody { archive, bundle } = signed(domain, bundle)?;
    act_recorded(domain, ActBody::Activate { archive, bundle })
}

/// The bundle with a signature by the operator's key, in its single-file form.
pub(super) fn signed(domain: &Domain, bundle: &Bundle) -> Result<BundleBody, Failure> {
    let key = keys::load(&domain.dir, Role::Operator).map_err(|error| {
        Failure::new(error).hint("only an operator, who has this key, can sign a bundle")
    })?;
    let (archive, bundle) = bundle::sign(bundle, &key)?;
    let archive = String::from_utf8(archive).map_err(Failure::new)?;
    Ok(BundleBody { archive, bundle })
}

fn report(bundle: &Bundle, index: Index, back_to: Option<u64>, out: Out) {
    let manifest = bundle.manifest();
    out.value(&json!({
        "name": manifest.name, "revision": manifest.revision, "digest": bundle.digest(),
        "index": index, "content_of_revision": back_to,
    }));
    let back = back_to.map(|revision| format!(", with the content of revision {revision}"));
    out.line(format!(
        "{} {} revision {}{} {}",
        paint(GOOD, "in force:"),
        paint(BOLD, &manifest.name),
        manifest.revision,
        back.unwrap_or_default(),
        paint(DIM, format!("(record {index})"))
    ));
    out.line(format!("  {}", paint(DIM, bundle.digest())));
}

/// Which bundle to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    /// The one that was in force before.
    Before,
    /// The one with this digest.
    Bundle(Digest),
    /// The one that had this revision.
    Revision(u64),
}

impl Back {
    pub(super) fn to(bundle: Option<Digest>, revision: Option<u64>) -> Self {
        match (bundle, revision) {
            (Some(bundle), _) => Self::Bundle(bundle),
            (None, Some(revision)) => Self::Revision(revision),
            (None, None) => Self::Before,
        }
    }

    fn is(self, one: &PolicyActivated) -> bool {
        match self {
            Self::Before => false,
            Self::Bundle(digest) => one.bundle == digest,
            Self::Revision(revision) => one.revision == revision,
        }
    }
}

impl std::fmt::Display for Back {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Before => f.write_str("the bundle before"),
            Self::Bundle(digest) => write!(f, "the bundle {digest}"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

pub(super) fn rollback(domain: &Domain, to: Back, out: Out) -> Result<Status, Failure> {
    let history = activations(&domain.log()?, out)?;
    let (active, target) = choose(&history, to)?;
    let archive = domain.bundles().archive(target.bundle).map_err(|error| {
        Failure::new(format!(
            "the bundle of revision {} is not kept here: {error}",
            target.revision
        ))
    })?;
    let older = Bundle::from_archive(&archive, &target.bundle).map_err(|error| {
        Failure::unverified(format!(
            "the kept bundle of revision {}: {error}",
            target.revision
        ))
    })?;
    let revision = active.revision.saturating_add(1);
    let bundle = revised(&older, revision)?;
    tested(&bundle, out)?;
    let index = put_in_force(domain, &bundle)?;
    report(&bundle, index, Some(target.revision), out);
    if !bundle.manifest().validity.holds_at(clock().wall()) {
        out.note(format!(
            "{} the validity of this bundle does not include now",
            paint(WARN, "note:")
        ));
    }
    Ok(Status::Ok)
}

/// The activation in force, and the one to go back to.
fn choose(
    history: &[(Index, PolicyActivated)],
    to: Back,
) -> Result<(&PolicyActivated, &PolicyActivated), Failure> {
    let [earlier @ .., (_, active)] = history else {
        return Err(Failure::new("no bundle was ever in force"));
    };
    let target = match to {
        Back::Before => earlier.last(),
        // The same content may have been in force more than once: the last time is the one that is meant.
        Back::Bundle(_) | Back::Revision(_) => earlier.iter().rfind(|(_, one)| to.is(one)),
    };
    if to.is(active) {
        return Err(Failure::new(format!("{to} is in force already")));
    }
    target.map(|(_, target)| (active, target)).ok_or_else(|| {
        let message = match to {
            Back::Before => "there was no other bundle in force before".to_owned(),
            Back::Bundle(_) | Back::Revision(_) => format!("{to} was never in force"),
        };
        Failure::new(message).hint("`placet policy status` lists what was")
    })
}

/// The same content under another revision. Its signatures were over the old one.
fn revised(older: &Bundle, revision: u64) -> Result<Bundle, Failure> {
    let BundleFiles(mut files) = older.to_files();
    files.remove(SIGNATURE_FILE);
    let about = older.member(ABOUT_FILE).unwrap_or_default().to_owned();
    // A text of several lines may hold a line that looks like the revision: the right one is the
    // one after whose change the bundle reads as the same with the new revision.
    for at in revision_lines(&about) {
        let text = with_line(&about, at, &format!("revision = {revision}"));
        files.insert(ABOUT_FILE.to_owned(), text.into_bytes());
        let Ok(bundle) = Bundle::read(&files.clone().into_iter().collect()) else {
            continue;
        };
        let (was, is) = (older.about(), bundle.about());
        if is.revision == revision
            && is.name == was.name
            && is.description == was.description
            && is.default_profile == was.default_profile
            && is.validity() == was.validity()
        {
            return Ok(bundle);
        }
    }
    Err(
        Failure::new("bundle.toml of that revision has no line `revision = …` to change")
            .hint("write the bundle out, set its revision by hand, and activate it"),
    )
}

fn revision_lines(text: &str) -> Vec<usize> {
    let states = |line: &str| {
        line.trim_start()
            .strip_prefix("revision")
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| states(line))
        .map(|(at, _)| at)
        .collect()
}

fn with_line(text: &str, at: usize, line: &str) -> String {
    let lines = text
        .lines()
        .enumerate()
        .map(|(n, old)| if n == at { line } else { old });
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starter(change: impl Fn(&str) -> String) -> Bundle {
        let BundleFiles(mut files) = bundle::starter_files();
        let about = String::from_utf8(files[ABOUT_FILE].clone()).unwrap();
        files.insert(ABOUT_FILE.to_owned(), change(&about).into_bytes());
        Bundle::read(&files.into_iter().collect()).unwrap()
    }

    #[test]
    fn an_older_bundle_gets_a_new_revision_and_nothing_else() {
        let older = starter(str::to_owned);
        let newer = revised(&older, 77).unwrap();
        assert_eq!(newer.manifest().revision, 77);
        assert_ne!(newer.digest(), older.digest());
        for (path, digest) in &older.manifest().members {
            let same = newer.manifest().members[path] == *digest;
            assert_eq!(same, path != ABOUT_FILE, "{path}");
        }
    }

    #[test]
    fn a_description_that_looks_like_a_revision_is_left_alone() {
        let older = starter(|about| {
            let line = about
                .lines()
                .find(|line| line.starts_with("description"))
                .unwrap();
            about.replace(
                line,
                "description = \"\"\"\nwhat\nrevision = 3\nmeans\"\"\"",
            )
        });
        assert!(older.about().description.contains("revision = 3"));
        let newer = revised(&older, 9).unwrap();
        assert_eq!(newer.about().description, older.about().description);
        assert_eq!(newer.about().revision, 9);
    }

    fn activation(revision: u64) -> (Index, PolicyActivated) {
        let record = PolicyActivated {
            bundle: Digest::of(&revision.to_be_bytes()),
            by: placet_types::PrincipalId::parse("user:root").unwrap(),
            decided_by: None,
            governs: false,
            name: "starter".into(),
            revision,
            signers: Vec::new(),
            time: placet_types::Millis::new(revision),
        };
        (Index::new(revision), record)
    }

    #[test]
    fn a_rollback_goes_to_the_one_before_or_to_the_one_that_is_named() {
        let history = [activation(1), activation(4), activation(6)];
        let target = |to| choose(&history, to).map(|(_, target)| target.revision);
        assert_eq!(target(Back::Before).unwrap(), 4);
        assert_eq!(target(Back::Revision(1)).unwrap(), 1);
        let digest = |revision: u64| Back::Bundle(Digest::of(&revision.to_be_bytes()));
        assert_eq!(target(digest(1)).unwrap(), 1);
        for to in [digest(6), Back::Revision(6)] {
            assert!(target(to).unwrap_err().message.contains("in force already"));
        }
        assert!(
            target(digest(2))
                .unwrap_err()
                .message
                .contains("never in force")
        );
        assert!(
            target(Back::Revision(6))
                .unwrap_err()
                .message
                .contains("in force already")
        );
        assert!(
            target(Back::Revision(2))
                .unwrap_err()
                .message
                .contains("never in force")
        );
        assert!(
            choose(&history[..1], Back::Before)
                .unwrap_err()
                .message
                .contains("no other bundle")
        );
        assert!(choose(&[], Back::Before).is_err());
    }
}
