//! Which crate may know which: the list of ARCHITECTURE.md, read from the manifests.

use super::{Finding, tree::Tree};

/// Crates without clock, I/O, async or randomness, in order.
pub(super) const PURE: &[&str] = &[
    "placet-types",
    "placet-tlog",
    "placet-artifact",
    "placet-evidence",
    "placet-policy",
    "placet-state",
    "placet-decision",
    "placet-lineage",
];

/// The other crates, in order, after [`PURE`].
const EDGES: &[&str] = &[
    "placet-log",
    "placet-secrets",
    "placet-authority",
    "placet-enforce",
    "placet-sandbox",
    "placet-egress",
    "placet-fetch",
    "placet-process",
    "placet-mcp",
    "placet-http",
    "placet-mesh",
    "placet-api",
    "placet-console",
    "placet",
    // Measures all of the others, and is known to none.
    "placet-bench",
];

/// Adapters of one kind of execution each.
const GATEWAYS: &[&str] = &["placet-process", "placet-mcp", "placet-http"];

/// Every crate stands in the list, and imports only from above itself.
pub(super) fn crates_import_only_from_above(tree: &Tree) -> Vec<Finding> {
    let place = |name: &str| PURE.iter().chain(EDGES).position(|known| *known == name);
    let mut findings = Vec::new();
    for name in tree.crates() {
        let path = manifest_path(name);
        let Some(own) = place(name) else {
            let message = format!("`{name}` has no place in the order of crates: give it one");
            findings.push(Finding::fails(&path, 1, message));
            continue;
        };
        for dependency in ours(
            tree,
            name,
            &["dependencies", "build-dependencies", "dev-dependencies"],
        ) {
            // A crate may ask for itself with other features, for its own tests.
            if dependency != name && place(&dependency).is_none_or(|other| other > own) {
                let message = format!("`{name}` imports `{dependency}`, which is not above it");
                findings.push(Finding::fails(&path, 1, message));
            }
        }
    }
    findings
}

/// A gateway sees intents, permits and outcomes: no other gateway, and no policy.
pub(super) fn gateways_know_neither_each_other_nor_policy(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in GATEWAYS
        .iter()
        .filter(|name| tree.has(&manifest_path(name)))
    {
        for dependency in ours(tree, name, &["dependencies", "build-dependencies"]) {
            if GATEWAYS.contains(&dependency.as_str()) || dependency == "placet-policy" {
                let message = format!("the gateway `{name}` knows `{dependency}`");
                findings.push(Finding::fails(&manifest_path(name), 1, message));
            }
        }
    }
    findings
}

fn manifest_path(name: &str) -> String {
    format!("crates/{name}/Cargo.toml")
}

fn ours(tree: &Tree, name: &str, tables: &[&str]) -> Vec<String> {
    let text = tree
        .file(&manifest_path(name))
        .map_or("", |file| &file.text);
    let mut names = dependencies(text, tables);
    names.retain(|name| name.starts_with("placet"));
    names
}

/// Names in these tables of a manifest, those for single platforms included.
pub(super) fn dependencies(manifest: &str, tables: &[&str]) -> Vec<String> {
    let Ok(manifest) = manifest.parse::<toml::Table>() else {
        return Vec::new();
    };
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let places = platforms
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table)
        .chain([&manifest]);
    let mut names: Vec<String> = places
        .flat_map(|place| tables.iter().filter_map(|table| place.get(*table)))
        .filter_map(toml::Value::as_table)
        .flat_map(|table| table.iter().map(real_name))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The name of a dependency, past a `package = "…"` that renames it.
fn real_name((name, value): (&String, &toml::Value)) -> String {
    let renamed = value.get("package").and_then(toml::Value::as_str);
    renamed.unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, manifest: &str) -> Tree {
        Tree::of(&[(&manifest_path(name), manifest)])
    }

    #[test]
    fn importing_from_above_is_fine_and_from_below_is_not() {
        let up = "[dependencies]\nplacet-types.workspace = true";
        assert_eq!(crates_import_only_from_above(&tree("placet-tlog", up)), []);
        let down = "[dependencies]\nplacet-log.workspace = true";
        assert_eq!(
            crates_import_only_from_above(&tree("placet-tlog", down)).len(),
            1
        );
    }

    #[test]
    fn renames_platforms_and_dev_dependencies_are_seen() {
        let manifest =
            "[target.'cfg(unix)'.dependencies]\nx = { package = \"placet-log\", path = \"\" }";
        assert_eq!(
            crates_import_only_from_above(&tree("placet-tlog", manifest)).len(),
            1
        );
        let manifest = "[dev-dependencies]\nplacet-log = { path = \".\" }\nplacet-api = \"1\"";
        assert_eq!(
            crates_import_only_from_above(&tree("placet-log", manifest)).len(),
            1
        );
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(
            crates_import_only_from_above(&tree("placet-extra", "")).len(),
            1
        );
    }

    #[test]
    fn a_gateway_that_knows_policy_is_found() {
        let manifest = "[dependencies]\nplacet-policy.workspace = true";
        let findings =
            gateways_know_neither_each_other_nor_policy(&tree("placet-process", manifest));
        assert_eq!(findings.len(), 1);
    }
}
