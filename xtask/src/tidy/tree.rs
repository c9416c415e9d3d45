//! The files of the repository, read once, as the checks look at them.

use std::fs;
use std::io;
use std::path::Path;

use super::source;

/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", "artifacts", "corpus"];
/// What is read: text that people write.
const EXTENSIONS: &[&str] = &[
    "rs",
    "md",
    "toml",
    "sh",
    "json",
    "cedar",
    "cedarschema",
    "yml",
];
/// Files that are read though they have no extension.
const NAMES: &[&str] = &["Makefile", "run"];

/// A file.
#[derive(Debug)]
pub(super) struct File {
    /// Path within the repository, with `/` between its parts.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
    /// For Rust: the text with comments and the insides of literals blanked, of the same length.
    pub(super) code: String,
    /// For Rust: `code` with items under `#[cfg(test)]` blanked too; empty for a file of tests.
    pub(super) product: String,
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        Ok(tree)
    }

    /// A tree of these paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File::new((*path).into(), (*text).into());
        Self {
            files: files.iter().map(file).collect(),
        }
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.with_extension(".rs")
    }

    pub(super) fn with_extension<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files
            .iter()
            .filter(move |file| file.path.ends_with(end))
    }

    /// Names of the crates in `crates/`.
    pub(super) fn crates(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| {
            let inner = file.path.strip_prefix("crates/")?;
            inner
                .strip_suffix("/Cargo.toml")
                .filter(|name| !name.contains('/'))
        })
    }

    /// Whether the repository has a file or a directory at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty()
            || self.files.iter().any(|file| {
                let rest = file.path.strip_prefix(path);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    fn walk(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (kind, path) = (entry.file_type()?, format!("{prefix}{name}"));
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                self.files
                    .push(File::new(path, read_text(&entry.path(), &name)?));
            }
        }
        Ok(())
    }
}

/// The text of a file of ours; of any other only that it is there.
fn read_text(path: &Path, name: &str) -> io::Result<String> {
    let extension = name.rsplit_once('.').map_or("", |(_, end)| end);
    if EXTENSIONS.contains(&extension) || NAMES.contains(&name) {
        fs::read_to_string(path)
    } else {
        Ok(String::new())
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust {
            source::mask(&text)
        } else {
            String::new()
        };
        let product = if rust && !is_test_path(&path) {
            source::without_tests(&code)
        } else {
            String::new()
        };
        Self {
            path,
            text,
            code,
            product,
        }
    }

    /// Whether the whole file is there for tests, benchmarks or examples only.
    pub(super) fn is_test(&self) -> bool {
        is_test_path(&self.path)
    }

    /// Whether it belongs to one of `crates`.
    pub(super) fn is_in(&self, crates: &[&str]) -> bool {
        let inner = self.path.strip_prefix("crates/").unwrap_or_default();
        let name = inner.split('/').next().unwrap_or_default();
        crates.contains(&name)
    }
}

fn is_test_path(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples"))
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tests_has_no_product_code() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "fn a() {}"),
            ("crates/a/src/x/tests.rs", "fn b() {}"),
            ("crates/a/tests/y.rs", "fn c() {}"),
        ]);
        let product: Vec<_> = tree.rust().map(|file| file.product.as_str()).collect();
        assert_eq!(product, ["fn a() {}", "", ""]);
    }

    #[test]
    fn a_directory_is_there_when_a_file_is_in_it() {
        let tree = Tree::of(&[("spec/log.md", "")]);
        assert!(tree.has("spec") && tree.has("spec/") && tree.has("spec/log.md"));
        assert!(!tree.has("spe") && !tree.has("spec/log"));
    }

    #[test]
    fn what_is_built_is_not_read() {
        let at = tempfile::tempdir().unwrap();
        for path in ["src/a.rs", "target/b.rs", "x/node_modules/c.rs"] {
            let path = at.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "fn f() {}").unwrap();
        }
        let tree = Tree::read(at.path()).unwrap();
        let paths: Vec<_> = tree.files().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["src/a.rs"]);
    }
}
