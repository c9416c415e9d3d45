//! Explanations: an answer in words, for people. Nothing depends on them.

use placet_types::DenialCode;

use crate::{CHECKS, Input, decide};

/// Says what is decided about an input and why: the check, the policies, what would have to change.
#[must_use]
pub fn explain(input: &Input<'_>) -> String {
    let decision = decide(input);
    let policies = || decision.policy().determining.join(", ");
    if let Some((grant, _)) = decision.permit() {
        return format!("permitted by {} with profile {}", policies(), grant.profile);
    }
    if let Some(waiting) = decision.deferral() {
        return format!(
            "deferred by {}: it waits for the approval of {}",
            policies(),
            waiting.in_words()
        );
    }
    let Some(denial) = decision.denial() else {
        return String::new();
    };
    let check = CHECKS
        .get(usize::from(denial.check).saturating_sub(1))
        .copied()
        .unwrap_or_default();
    let mut lines = vec![
        format!("check {} of 10 failed: {check}", denial.check),
        format!("{}: {}", denial.code, denial.reason),
    ];
    if denial.code == DenialCode::PolicyForbids {
        lines.push(format!("forbidden by {}", policies()));
    }
    lines.push(format!("to change that: {}", denial.code.remedy()));
    lines.join("\n")
}
