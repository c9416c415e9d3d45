//! Bundles on disk, and the starter bundle that is part of this program.

use std::collections::BTreeMap;
use std::path::Path;

use placet_policy::{Bundle, BundleFiles, Problem, SIGNATURE_FILE};
use placet_types::{Digest, SigningKey};

use crate::exit::Failure;

include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// Deepest directory below a bundle that is looked into.
const DEPTH_MAX: usize = 4;

/// The members of the starter bundle.
pub(crate) fn starter_files() -> BundleFiles {
    STARTER
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

/// Reads the files of a bundle's directory.
pub(crate) fn files(dir: &Path) -> Result<BundleFiles, Failure> {
    let mut found = BTreeMap::new();
    collect(dir, "", 0, &mut found)
        .map_err(|error| Failure::new(format!("{}: {error}", dir.display())))?;
    Ok(found.into_iter().collect())
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: usize,
    found: &mut BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(std::io::Error::other(
            "the directories of a bundle nest too deep",
        ));
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            std::io::Error::other(format!("{}: a name that is not UTF-8", name.display()))
        })?;
        // Editors and version control keep such files; they are no part of the bundle.
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), depth + 1, found)?;
        } else if kind.is_file() {
            found.insert(path, std::fs::read(entry.path())?);
        } else {
            return Err(std::io::Error::other(format!("{path} is no regular file")));
        }
    }
    Ok(())
}

/// Reads a bundle strictly.
pub(crate) fn read(files: &BundleFiles) -> Result<Bundle, Failure> {
    Bundle::read(files).map_err(|problems| problems_failure("the bundle does not read", &problems))
}

/// A failure that lists what is wrong.
pub(crate) fn problems_failure(what: &str, problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    Failure::new(format!("{what}:{}", lines.concat()))
}

/// Signs a bundle with the operator's key; gives its single-file form and its digest.
pub(crate) fn sign(bundle: &Bundle, key: &SigningKey) -> Result<(Vec<u8>, Digest), Failure> {
    let signature = placet_policy::sign(bundle, key).map_err(Failure::new)?;
    let mut files: BTreeMap<String, Vec<u8>> = bundle.to_files().0;
    files.insert(SIGNATURE_FILE.to_owned(), signature);
    let signed = read(&files.into_iter().collect())?;
    Ok((signed.to_archive(), signed.digest()))
}
