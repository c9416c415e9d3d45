//! What policies see of `process:run`.

use placet_types::canonical::Json;

use super::{Builder, Request, Unusable, text};

/// Adds `args`, `called`, `cwd`, `in_workspace`, `line`, `program_in_workspace`, `purpose`, `script`, `verb` and `workspace`.
///
/// `args` is everything after the program's own name; `called` is the last part of that name, by
/// which programs of many faces know what to do. `verb` is the first argument that does not begin
/// with `-`, or "". None of them says what a program will do with them: `-c` and `-C` of git take
/// the word that follows, so a policy that permits by `verb` should list verbs, and one that
/// forbids should look in `args`.
pub(super) fn add(
    request: &Request<'_>,
    params: &Json,
    to: &mut Builder<'_>,
) -> Result<(), Unusable> {
    let argv = argv(params)?;
    let (cwd, workspace) = (string(params, "cwd")?, string(params, "workspace")?);
    let purpose = params
        .get("purpose")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let script = params
        .get("script")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let (called, args) = argv.split_first().ok_or(Unusable::Params("argv"))?;
    let verb = args
        .iter()
        .find(|arg| !arg.starts_with('-'))
        .copied()
        .unwrap_or_default();
    to.set("args", args.iter().map(|arg| Ok(text(arg))))?;
    to.text("called", called.rsplit('/').next().unwrap_or_default())?;
    to.text("cwd", cwd)?;
    to.bool("in_workspace", is_within(cwd, workspace))?;
    to.add("line", || Ok(text(&argv.join(" "))))?;
    to.bool(
        "program_in_workspace",
        is_within(&request.resource.id, workspace),
    )?;
    to.text("purpose", purpose)?;
    to.text("script", script)?;
    to.text("verb", verb)?;
    to.text("workspace", workspace)
}

fn argv(params: &Json) -> Result<Vec<&str>, Unusable> {
    let Some(Json::Array(items)) = params.get("argv") else {
        return Err(Unusable::Params("argv"));
    };
    items
        .iter()
        .map(|item| item.as_str().ok_or(Unusable::Params("argv")))
        .collect()
}

fn string<'a>(params: &'a Json, name: &'static str) -> Result<&'a str, Unusable> {
    params
        .get(name)
        .and_then(Json::as_str)
        .ok_or(Unusable::Params(name))
}

/// Whether the path is the tree's root or below it. Both are in normal form already.
fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root == "/")
}
