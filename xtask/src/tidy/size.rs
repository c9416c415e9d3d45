//! Small functions in medium files.

use super::Finding;
use super::source::{item_len, words};
use super::tree::{File, Tree, line_at};

/// Most lines of a file, its own tests not counted. The aim is 500.
const FILE_LINES_MAX: usize = 550;
/// Most lines of a file of tests.
const TEST_FILE_LINES_MAX: usize = 700;
/// Longest function that goes without a note.
const FUNCTION_LINES_MAX: usize = 80;

/// No file of Rust is longer than a reader keeps in mind.
pub(super) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|file| {
            let (lines, max) = if file.is_test() {
                (file.text.lines().count(), TEST_FILE_LINES_MAX)
            } else {
                (product_lines(file), FILE_LINES_MAX)
            };
            let message = format!("{lines} lines: more than {max}, so it is two files");
            (lines > max).then(|| Finding::fails(&file.path, lines, message))
        })
        .collect()
}

/// Lines that are not under `#[cfg(test)]`.
fn product_lines(file: &File) -> usize {
    let under_test =
        |(code, product): &(&str, &str)| !code.trim().is_empty() && product.trim().is_empty();
    let lines = file.code.lines().zip(file.product.lines());
    file.text.lines().count() - lines.filter(under_test).count()
}

/// Notes functions that are long enough to deserve a second look.
pub(super) fn functions_are_short(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for at in words(&file.code, "fn") {
            let code = file.code.get(at..).unwrap_or_default();
            let lines = function_lines(code);
            if lines > FUNCTION_LINES_MAX {
                let message = format!("a function of {lines} lines");
                findings.push(Finding::note(&file.path, line_at(&file.text, at), message));
            }
        }
    }
    findings
}

/// Lines of the function whose `fn` stands here; none for the type of a function.
fn function_lines(code: &str) -> usize {
    if code.starts_with("fn(") {
        return 0;
    }
    let item = code.get(..item_len(code)).unwrap_or_default();
    item.lines().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let long = "fn f() {}\n".repeat(FILE_LINES_MAX);
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn t() {}\n".repeat(100)
        );
        let files = |text: &str, path| files_are_short(&Tree::of(&[(path, text)])).len();
        assert_eq!(files(&format!("{long}{tests}"), "src/a.rs"), 0);
        assert_eq!(files(&format!("{long}fn g() {{}}\n"), "src/a.rs"), 1);
        assert_eq!(
            files(&"fn t() {}\n".repeat(TEST_FILE_LINES_MAX), "tests/a.rs"),
            0
        );
        assert_eq!(
            files(&"fn t() {}\n".repeat(TEST_FILE_LINES_MAX + 1), "tests/a.rs"),
            1
        );
    }

    #[test]
    fn a_long_function_is_noted() {
        let text = format!(
            "fn f(a: fn() -> [u8; 2]) {{\n{}}}\nfn g() {{}}",
            "g();\n".repeat(80)
        );
        let found = functions_are_short(&Tree::of(&[("a.rs", &text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 1);
    }
}
