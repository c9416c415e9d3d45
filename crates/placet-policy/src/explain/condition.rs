//! The conditions of a policy, part by part: whether each holds, and what it looked at.
//!
//! `when { a && b }` has the parts a and b; `unless { a || b }` has the parts "not a" and "not b".
//! Cedar stops at the first part that is false; here every part is evaluated on its own, so one
//! that relies on an earlier one (`resource has digest && resource.digest == …`) can fail.

use std::cell::RefCell;
use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Var};
use cedar_policy::{Entities, EvalResult, Expression, Policy, Request, eval_expression};

use super::{Condition, Holds};

/// Longest text of a value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 120;

pub(super) fn of(policy: &Policy, request: &Request, entities: &Entities) -> Vec<Condition> {
    let Ok(tree) = policy.to_pst() else {
        return Vec::new();
    };
    let mut conditions = Vec::new();
    for clause in tree.body().clauses() {
        let (expr, joint, wanted) = match clause {
            Clause::When(expr) => (expr, BinaryOp::And, true),
            Clause::Unless(expr) => (expr, BinaryOp::Or, false),
        };
        let mut parts = Vec::new();
        flatten(expr, joint, &mut parts);
        conditions.extend(
            parts
                .into_iter()
                .map(|part| judge(part, wanted, request, entities)),
        );
    }
    conditions
}

fn flatten<'a>(expr: &'a Expr, joint: BinaryOp, parts: &mut Vec<&'a Expr>) {
    if let Expr::BinaryOp { op, left, right } = expr
        && *op == joint
    {
        flatten(left, joint, parts);
        flatten(right, joint, parts);
    } else {
        parts.push(expr);
    }
}

fn judge(part: &Expr, wanted: bool, request: &Request, entities: &Entities) -> Condition {
    let holds = match evaluate(part, request, entities) {
        Ok(EvalResult::Bool(value)) if value == wanted => Holds::Yes,
        Ok(_) => Holds::No,
        Err(message) => Holds::Failed(message),
    };
    let text = unwrapped(part.to_string());
    Condition {
        text: if wanted { text } else { format!("!({text})") },
        holds,
        seen: seen(part, request, entities),
    }
}

fn evaluate(expr: &Expr, request: &Request, entities: &Entities) -> Result<EvalResult, String> {
    let text = expr.to_string();
    let expression: Expression = text.parse().map_err(|_| format!("cannot read `{text}`"))?;
    eval_expression(request, entities, &expression).map_err(|error| error.to_string())
}

/// The values of everything that the part looks at: attributes of the request's own entities and
/// of the context.
fn seen(part: &Expr, request: &Request, entities: &Entities) -> Vec<(String, String)> {
    let paths = RefCell::new(BTreeSet::new());
    part.reduce(&|node| note(node, &paths), &|(), ()| (), ());
    paths
        .into_inner()
        .into_iter()
        .filter_map(|text| {
            let expression: Expression = text.parse().ok()?;
            let value = eval_expression(request, entities, &expression).ok()?;
            Some((text, shortened(&value.to_string())))
        })
        .collect()
}

/// Notes an expression such as `context.risk.score`, whose children then need no look. The context
/// as a whole is too long to show.
fn note(node: &Expr, paths: &RefCell<BTreeSet<String>>) -> Option<()> {
    let entity = matches!(
        node,
        Expr::Var(Var::Principal | Var::Resource | Var::Action)
    );
    let attribute = matches!(node, Expr::GetAttr { .. }) && is_path(node);
    (entity || attribute).then(|| {
        paths.borrow_mut().insert(node.to_string());
    })
}

fn is_path(expr: &Expr) -> bool {
    if let Expr::GetAttr { expr, .. } = expr {
        return is_path(expr);
    }
    matches!(expr, Expr::Var(_))
}

fn unwrapped(text: String) -> String {
    // Parts of a conjunction print in parentheses that only the conjunction needed.
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.contains(['(', ')', '"']) => inner.to_owned(),
        Some(_) | None => text,
    }
}

fn shortened(text: &str) -> String {
    let mut kept: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}
