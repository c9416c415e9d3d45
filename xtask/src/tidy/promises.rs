//! SPECIFICATION.md: promises as numbers, each with the test that holds us to it.
//!
//! A test is named in backquotes: `crate_name::module::test_name`, or `tests/file.rs::test_name`
//! with a path that ends so. In a table with a column `test`, every row names at least one.

use super::Finding;
use super::source::words;
use super::tree::{File, Tree};

const SPECIFICATION: &str = "SPECIFICATION.md";

/// Every test that the specification names exists, and every promise in a table names one.
pub(super) fn every_promise_has_its_test(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(SPECIFICATION) else {
        return Vec::new();
    };
    let mut findings = untested_rows(&file.text);
    let mut named = 0;
    for (at, line) in file.text.lines().enumerate() {
        for reference in references(line) {
            named += 1;
            if !reference.exists(tree) {
                let message = format!("there is no test `{}`", reference.text);
                findings.push(Finding::fails(SPECIFICATION, at + 1, message));
            }
        }
    }
    if named == 0 {
        findings.push(Finding::fails(SPECIFICATION, 1, "names no test"));
    }
    findings
}

/// A test as the specification names it.
struct Reference<'a> {
    text: &'a str,
    place: &'a str,
    test: &'a str,
}

/// The tests that a line names.
fn references(line: &str) -> impl Iterator<Item = Reference<'_>> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter_map(|text| {
        let (place, test) = text.rsplit_once("::")?;
        let snake = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let file = place.ends_with(".rs");
        // A path to a type or a function, such as `Note::parse` or `std::fs`, is not a test.
        let module = place.split("::").all(|part| snake(&part.replace('-', "_")))
            && place.starts_with("placet");
        (snake(test) && test.contains('_') && (file || module)).then_some(Reference {
            text,
            place,
            test,
        })
    })
}

impl Reference<'_> {
    fn exists(&self, tree: &Tree) -> bool {
        tree.rust()
            .any(|file| self.is_in(file) && defines(&file.code, self.test))
    }

    fn is_in(&self, file: &File) -> bool {
        if self.place.ends_with(".rs") {
            return format!("/{}", file.path).ends_with(&format!("/{}", self.place));
        }
        let name = self.place.split("::").next().unwrap_or_default();
        file.is_in(&[&name.replace('_', "-")])
    }
}

fn defines(code: &str, name: &str) -> bool {
    words(code, name).any(|at| {
        let before = code.get(..at).unwrap_or_default();
        before.trim_end().ends_with("fn")
    })
}

/// Rows without a test, of tables that have a column for it.
fn untested_rows(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut in_table, mut asked) = (false, false);
    for (at, line) in text.lines().enumerate() {
        let row = line.starts_with('|');
        if row && !in_table {
            asked = line
                .split('|')
                .any(|cell| matches!(cell.trim().to_ascii_lowercase().as_str(), "test" | "tests"));
        } else if row && asked && !is_separator(line) && references(line).next().is_none() {
            findings.push(Finding::fails(
                SPECIFICATION,
                at + 1,
                "a promise without its test",
            ));
        }
        in_table = row;
    }
    findings
}

fn is_separator(line: &str) -> bool {
    line.chars().all(|char| "|-: ".contains(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(specification: &str) -> usize {
        every_promise_has_its_test(&Tree::of(&[
            (SPECIFICATION, specification),
            (
                "crates/placet-log/src/file/tests.rs",
                "#[test]\nfn a_b() {}\n// fn c_d() {}",
            ),
            ("crates/placet-log/tests/crash/main.rs", "fn e_f() {}"),
        ]))
        .len()
    }

    #[test]
    fn a_test_that_exists_is_accepted_in_both_forms() {
        assert_eq!(found("`placet_log::file::a_b` and `placet-log::a_b`"), 0);
        assert_eq!(found("`tests/crash/main.rs::e_f`"), 0);
        assert_eq!(
            found("`placet_log::a_b` beside `Note::parse` and `std::fs`"),
            0
        );
    }

    #[test]
    fn a_test_that_does_not_exist_there_is_found() {
        assert_eq!(found("`placet_log::c_d`"), 1);
        assert_eq!(found("`placet_tlog::a_b`"), 1);
        assert_eq!(found("`tests/crash.rs::e_f`"), 1);
    }

    #[test]
    fn a_row_without_a_test_is_found_and_so_is_a_page_without_any() {
        let table = "| promise | test |\n|---|---|\n| 1 ms | `placet_log::a_b` |\n";
        assert_eq!(found(table), 0);
        assert_eq!(found(&format!("{table}| 2 ms | soon |\n")), 1);
        assert_eq!(found("nothing"), 1);
    }

    #[test]
    fn a_tree_without_a_specification_promises_nothing() {
        assert_eq!(every_promise_has_its_test(&Tree::of(&[])), []);
    }
}
