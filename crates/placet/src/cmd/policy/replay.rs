//! `placet policy replay`: what a bundle would have changed in the recorded past.

use std::ops::ControlFlow;
use std::path::Path;

use placet_authority::replay::Sources;
use placet_authority::suppose::{Brief, Difference, Supposed, Supposition, supposed};
use placet_evidence::Outcome;
use placet_policy::{Bundle, Policy};
use placet_types::{Index, Millis};

use crate::bundle;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};
use crate::show::{self, shown};

/// Differences that are listed for people; programs get more.
const LISTED_MAX: usize = 50;

pub(super) fn replay(
    domain: &Domain,
    dir: &Path,
    since: Option<&str>,
    out: Out,
) -> Result<Status, Failure> {
    let (from, since) = beginning(since)?;
    let bundle: Bundle = bundle::read(&bundle::files(dir)?)?;
    let policy = Policy::compile(&bundle)
        .map_err(|problems| bundle::problems_failure("the bundle does not compile", &problems))?;
    let reader = domain.log()?;
    let (bundles, blobs) = (domain.bundles(), domain.blobs());
    let sources = Sources {
        reader: &reader,
        bundles: &bundles,
        blobs: &blobs,
    };
    let supposition = Supposition {
        policy: &policy,
        from,
        since,
    };
    let bar = out.progress("replaying", reader.size().get());
    let found = supposed(sources, supposition, |index| {
        bar.set_position(index.get());
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let found = found?;
    out.value(&found);
    lines(&found, out);
    Ok(Status::Ok)
}

/// An index, or a length of time before now.
fn beginning(since: Option<&str>) -> Result<(Index, Millis), Failure> {
    let all = (Index::default(), Millis::default());
    let Some(text) = since else {
        return Ok(all);
    };
    if let Ok(index) = text.parse::<u64>() {
        return Ok((Index::new(index), Millis::default()));
    }
    let odd = || {
        Failure::new(format!("{} is neither an index nor a time", shown(text)))
            .hint("write an index, or how long ago: 30m, 12h, 7d")
    };
    let unit = text.chars().last().ok_or_else(odd)?;
    let count: u64 = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(odd)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(odd()),
    };
    let ago = count.saturating_mul(secs).saturating_mul(1000);
    let begin = clock().wall().get().saturating_sub(ago);
    Ok((Index::default(), Millis::new(begin)))
}

/// The counts of what was found.
pub(super) fn counts(found: &Supposed, out: Out) {
    out.line(format!("{} decisions", found.decisions));
    out.line(format!("  same       {}", found.same));
    out.line(format!(
        "  different  {}: {} would have been permitted, {} would not",
        paint(BOLD, found.different),
        found.opened,
        found.closed
    ));
    if found.unknown > 0 {
        out.line(format!(
            "  unknown    {} {}",
            found.unknown,
            paint(DIM, "their parameters were erased, or do not read")
        ));
    }
}

fn lines(found: &Supposed, out: Out) {
    counts(found, out);
    listed(found.listed.iter().take(LISTED_MAX), out);
    let rest = found.different.saturating_sub(LISTED_MAX as u64);
    if rest > 0 {
        out.line(paint(
            DIM,
            format!("… and {rest} more (--json lists up to 1000)"),
        ));
    }
}

/// Differences, and why.
pub(super) fn listed<'a>(all: impl Iterator<Item = &'a Difference>, out: Out) {
    for one in all {
        let what = format!("{} {} {}", one.principal, one.action, shown(&one.resource));
        let (was, would_be) = (brief(&one.was), brief(&one.would_be));
        out.line(format!("{:>8}  {what}", one.index));
        out.line(format!("          {was} {} {would_be}", paint(DIM, "→")));
    }
}

fn brief(one: &Brief) -> String {
    let by = if one.policies.is_empty() {
        String::new()
    } else {
        format!(" ({})", show::list(&one.policies))
    };
    let why = one
        .reason
        .as_ref()
        .map(|reason| format!(": {}", shown(reason)));
    let by = format!("{by}{}", why.unwrap_or_default());
    match (one.outcome, &one.code, &one.profile) {
        (Outcome::Permit, _, profile) => {
            // An answer to a question gives nobody a profile.
            let with = profile.as_deref().map(|it| format!(" with {it}"));
            format!("{}{}{by}", paint(GOOD, "permit"), with.unwrap_or_default())
        }
        (Outcome::Defer, _, _) => format!("defer{by}"),
        (Outcome::Deny, Some(code), _) => format!("{} {code}{by}", paint(BAD, "deny")),
        (Outcome::Deny, None, _) => format!("{}{by}", paint(BAD, "deny")),
    }
}
