//! What each crate says about itself.

use super::Finding;
use super::tree::Tree;

const LICENSE: &str = "Apache-2.0";

/// Every crate has a description, this project's licence, and its lints.
pub(super) fn every_crate_says_what_it_is(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("Cargo.toml") {
        let Ok(manifest) = file.text.parse::<toml::Table>() else {
            findings.push(Finding::fails(&file.path, 1, "not TOML"));
            continue;
        };
        let Some(package) = manifest.get("package") else {
            continue;
        };
        let lacks = |what: &str| Finding::fails(&file.path, 1, format!("lacks {what}"));
        if text(package, "description").is_none_or(str::is_empty) {
            findings.push(lacks("a description"));
        }
        if text(package, "license") != Some(LICENSE) && !inherits(package.get("license")) {
            findings.push(lacks("the licence"));
        }
        if !inherits(manifest.get("lints")) && manifest.get("workspace").is_none() {
            findings.push(lacks("`[lints] workspace = true`"));
        }
    }
    findings
}

fn text<'a>(table: &'a toml::Value, key: &str) -> Option<&'a str> {
    table.get(key).and_then(toml::Value::as_str)
}

fn inherits(value: Option<&toml::Value>) -> bool {
    let inherited = value.and_then(|value| value.get("workspace"));
    inherited.and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str) -> usize {
        every_crate_says_what_it_is(&Tree::of(&[("crates/a/Cargo.toml", manifest)])).len()
    }

    #[test]
    fn description_licence_and_lints_are_asked_for() {
        let good =
            "[package]\ndescription = \"x\"\nlicense.workspace = true\n[lints]\nworkspace = true";
        assert_eq!(found(good), 0);
        assert_eq!(found("[package]\nname = \"a\""), 3);
        assert_eq!(
            found(&good.replace("license.workspace = true", "license = \"MIT\"")),
            1
        );
        assert_eq!(found("[workspace]\nmembers = []"), 0);
    }
}
