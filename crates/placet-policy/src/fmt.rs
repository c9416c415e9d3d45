//! Formatting of Cedar members, with the formatter of the Cedar project, policy by policy.
//!
//! That formatter takes out the empty lines between comments, and with them the difference between
//! what a comment says of its file and what it says of the policy below. So it sees one policy at a
//! time, and what stands between policies is kept as it is, but for spaces.

use std::collections::BTreeMap;

use cedar_policy_formatter::{Config, policies_str_to_pretty};

use crate::bundle::Bundle;
use crate::policy::split;
use crate::problem::Problem;

const CONFIG: Config = Config {
    line_width: 100,
    indent_width: 2,
};

/// The Cedar members that are formatted otherwise, by path, as they should be.
///
/// Comments and annotations are kept; the formatter checks that no policy changed.
///
/// # Errors
///
/// A [`Problem`] for each policy that cannot be formatted: mostly, one that does not parse.
pub fn fmt(bundle: &Bundle) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let (mut changed, mut problems) = (BTreeMap::new(), Vec::new());
    for (path, text) in bundle.cedar("policies/").chain(bundle.cedar("templates/")) {
        match file(path, text) {
            Ok(pretty) if pretty != text => {
                changed.insert(path.to_owned(), pretty);
            }
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(changed)
    } else {
        Err(problems)
    }
}

fn file(path: &str, text: &str) -> Result<String, Problem> {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for statement in split(text) {
        push_gap(&mut out, text.get(at..statement.offset).unwrap_or_default());
        let pretty = policies_str_to_pretty(statement.text, &CONFIG)
            .map_err(|error| Problem::error(path, "fmt", error.to_string()).at(statement.line))?;
        out.push_str(pretty.trim_end());
        at = statement.offset + statement.text.len();
    }
    push_gap(&mut out, text.get(at..).unwrap_or_default());
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

/// What stands between two policies: comments, and at most one empty line in a row.
fn push_gap(out: &mut String, gap: &str) {
    let after_policy = !out.is_empty();
    let mut lines = gap.lines();
    // A comment on the line where the policy before ends stays there.
    let beside = lines.next().map(str::trim).unwrap_or_default();
    if after_policy && !beside.is_empty() {
        out.push(' ');
    }
    out.push_str(beside);
    if after_policy || !beside.is_empty() {
        out.push('\n');
    }
    let mut empty_before = false;
    if after_policy {
        out.push('\n');
        empty_before = true;
    }
    for line in lines.map(str::trim) {
        let skip = line.is_empty() && (empty_before || out.is_empty());
        if !skip {
            out.push_str(line);
            out.push('\n');
        }
        empty_before = line.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "@id(\"a\")\npermit (principal, action, resource);";

    #[test]
    fn comments_stay_with_what_they_belong_to() {
        let messy = format!(
            "// The file.\n\n\n// The policy.\n@id(\"a\") permit(principal,action,resource); // beside\n\
             // The next.\n{POLICY}\n\n\n\n// The end.\n\n"
        );
        let neat = format!(
            "// The file.\n\n// The policy.\n{POLICY} // beside\n\n// The next.\n{POLICY}\n\n// The end.\n"
        );
        assert_eq!(file("p", &messy).unwrap(), neat);
        assert_eq!(
            file("p", &neat).unwrap(),
            neat,
            "formatting twice changes nothing more"
        );
    }

    #[test]
    fn a_policy_that_does_not_parse_is_named_with_its_line() {
        let problem = file("p.cedar", &format!("{POLICY}\n\npermit(oops);\n")).unwrap_err();
        assert_eq!((problem.file.as_str(), problem.line), ("p.cedar", Some(4)));
    }
}
