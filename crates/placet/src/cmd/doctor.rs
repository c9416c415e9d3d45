//! `placet doctor`: what this machine can enforce, and what stands in the way.

use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};

pub(crate) fn doctor(out: Out) -> Result<Status, Failure> {
    let found = placet_sandbox::probe();
    let missing: Vec<_> = found
        .missing
        .iter()
        .map(|one| serde_json::json!({ "what": one.what, "remedy": one.remedy }))
        .collect();
    out.value(&serde_json::json!({
        "tier": found.tier(), "kernel": found.kernel_release, "landlock_abi": found.landlock_abi,
        "seccomp": found.seccomp, "user_namespaces": found.user_namespaces, "missing": missing,
    }));
    let mark = |good: bool| {
        if good {
            paint(GOOD, "yes")
        } else {
            paint(BAD, "no")
        }
    };
    out.line(format!("enforcement tier  {}", paint(BOLD, found.tier())));
    out.line(format!("  kernel           {}", found.kernel_release));
    out.line(format!("  Landlock         ABI {}", found.landlock_abi));
    out.line(format!("  seccomp          {}", mark(found.seccomp)));
    out.line(format!(
        "  user namespaces  {}",
        mark(found.user_namespaces)
    ));
    for one in &found.missing {
        out.line(format!("{} {}", paint(BAD, "missing:"), one.what));
        out.line(format!(
            "  {} {}",
            paint(DIM, "to change that:"),
            one.remedy
        ));
    }
    Ok(if found.missing.is_empty() {
        Status::Ok
    } else {
        Status::Unverified
    })
}
