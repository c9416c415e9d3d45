//! Which files a bundle may have, and how many and how large they may be.

use std::collections::BTreeMap;

use placet_types::ProfileName;

use super::signature::SIGNATURE_FILE;
use crate::problem::{Problem, line_at};

/// Most files that a bundle may have.
pub const MEMBERS_MAX: usize = 2_000;
/// Most bytes that the files of a bundle may have together: 8 MiB.
pub const TOTAL_BYTES_MAX: usize = 8 << 20;

/// The files of a bundle: bytes by path relative to its root, with `/` between parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleFiles(pub BTreeMap<String, Vec<u8>>);

/// What a member is, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    About,
    Schema,
    Directory,
    Entities,
    Identities,
    Links,
    References,
    Policies,
    Templates,
    Profile(ProfileName),
    Test,
    /// For people: digested, never read.
    Text,
}

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl FromIterator<(String, Vec<u8>)> for BundleFiles {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

/// Sorts the files into members and the signature.
pub(super) fn members(files: &BundleFiles) -> Result<(Vec<Member>, Option<String>), Vec<Problem>> {
    bounds(files).map_err(|problem| vec![problem])?;
    let (mut members, mut problems, mut signature) = (Vec::new(), Vec::new(), None);
    for (path, bytes) in &files.0 {
        match (text(path, bytes), kind(path)) {
            (Ok(text), _) if path == SIGNATURE_FILE => signature = Some(text),
            (Ok(text), Ok(kind)) => members.push(Member {
                path: path.clone(),
                kind,
                text,
            }),
            (Err(problem), _) | (_, Err(problem)) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok((members, signature))
    } else {
        Err(problems)
    }
}

fn bounds(files: &BundleFiles) -> Result<(), Problem> {
    let too_large = |message: String| Err(Problem::error("", "too-large", message));
    if files.0.len() > MEMBERS_MAX {
        return too_large(format!("the bundle has more than {MEMBERS_MAX} files"));
    }
    let total = files
        .0
        .values()
        .fold(0_usize, |sum, bytes| sum.saturating_add(bytes.len()));
    if total > TOTAL_BYTES_MAX {
        return too_large(format!("the bundle has more than {TOTAL_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Members are text: UTF-8, with no control character but tab and line feed.
///
/// Everything else has been used to show a reviewer something other than what is evaluated.
fn text(path: &str, bytes: &[u8]) -> Result<String, Problem> {
    let bad = |line, message| Problem::error(path, "encoding", message).at(line);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let sound = bytes
            .get(..error.valid_up_to())
            .and_then(|b| std::str::from_utf8(b).ok());
        let sound = sound.unwrap_or_default();
        bad(
            line_at(sound, sound.len()),
            "the text is not UTF-8".to_owned(),
        )
    })?;
    let hidden = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_bidi(c);
    if let Some((at, c)) = text.char_indices().find(|(_, c)| hidden(*c)) {
        let message = if c == '\r' {
            "carriage return: keep the file with line feeds only".to_owned()
        } else {
            format!("character U+{:04X} does not show", u32::from(c))
        };
        return Err(bad(line_at(text, at), message));
    }
    Ok(text.to_owned())
}

/// Characters that change the direction of text (CVE-2021-42574), and the byte-order mark.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What the member at `path` is. Every path that is not listed is refused, tricks included.
fn kind(path: &str) -> Result<Kind, Problem> {
    let unknown = || {
        Problem::error(
            path,
            "unknown-member",
            "a bundle has no such file; it has bundle.toml, schema.cedarschema, directory.json, entities.toml, \
             identities.toml, links.toml, reference.toml, README.md, bundle.sig, policies/*.cedar, \
             templates/*.cedar, profiles/*.toml and tests/*.toml, with names of lower-case \
             letters, digits, `_` and `-`",
        )
    };
    if let Some(kind) = fixed(path) {
        return Ok(kind);
    }
    let (directory, file) = path.split_once('/').ok_or_else(unknown)?;
    let (stem, extension) = file.rsplit_once('.').ok_or_else(unknown)?;
    if !is_stem(stem) {
        return Err(unknown());
    }
    match (directory, extension) {
        ("policies", "cedar") => Ok(Kind::Policies),
        ("templates", "cedar") => Ok(Kind::Templates),
        ("profiles", "toml") => ProfileName::parse(stem)
            .map(Kind::Profile)
            .map_err(|_| unknown()),
        ("tests", "toml") => Ok(Kind::Test),
        _ => Err(unknown()),
    }
}

fn fixed(path: &str) -> Option<Kind> {
    match path {
        "bundle.toml" => Some(Kind::About),
        "schema.cedarschema" => Some(Kind::Schema),
        "directory.json" => Some(Kind::Directory),
        "entities.toml" => Some(Kind::Entities),
        "identities.toml" => Some(Kind::Identities),
        "links.toml" => Some(Kind::Links),
        "reference.toml" => Some(Kind::References),
        "README.md" => Some(Kind::Text),
        _ => None,
    }
}

fn is_stem(stem: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    (1..=64).contains(&stem.len()) && stem.bytes().all(allowed)
}
