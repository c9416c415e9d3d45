//! The script that an interpreter was given, where the tree can write it: by `#!`, or as the first word of
//! its arguments that is no option.
//!
//! It is read by name when the interpreter stands at its first instruction, and the interpreter opens it again: so this
//! is evidence of what ran, and nothing is ever decided by it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags};

use super::facts;
use super::makers::Makers;
use super::{ImageFile, OwnScript, Script};
use crate::process::{self, Process};
use crate::spec::FileIdentity;
use crate::sys::{self, Inode};

/// Programs that run a file which their arguments name, without the version behind.
const INTERPRETERS: [&str; 18] = [
    "ash", "bash", "bun", "dash", "deno", "ksh", "lua", "mksh", "node", "nodejs", "perl", "php",
    "python", "ruby", "sh", "tclsh", "yash", "zsh",
];
/// Larger ones are not read: their interpreter would wait.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

/// What an interpreter was given; the script is the one whose first line named it. Without `makers` nobody wants to know; `trees`
/// are where a cell can write, if it stands on mounts that are all writable.
pub(super) fn of(
    (pid, process): (i32, &Process),
    (image, argv, by_line): (Option<&ImageFile>, &[OsString], Option<&Script>),
    (makers, trees): (Option<&Makers>, Option<&[PathBuf]>),
) -> Option<OwnScript> {
    let makers = makers?;
    let name = match by_line {
        Some(script) => script.path.as_path(),
        None => named(&image?.path, argv)?,
    };
    let file = process.resolve(name).ok()?;
    let stat = process::stat(&file).ok()?;
    let identity = FileIdentity::of_stat(&stat);
    // Nothing else is opened: that alone could do something.
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let same = by_line.is_none_or(|script| script.identity == identity);
    let path = process::path_of(&file).ok()?;
    if !regular || !same || identity.size > SCRIPT_BYTES_MAX || !is_writable(&file, &path, trees) {
        return None;
    }
    let alive = || !sys::has_ended(pid);
    let facts = facts::of(&readable(&file)?, identity, &alive, None).ok()?;
    Some(OwnScript {
        maker: makers.of(Inode {
            dev: identity.dev,
            ino: identity.ino,
        }),
        path,
        digest: facts.digest,
    })
}

fn named<'a>(image: &Path, argv: &'a [OsString]) -> Option<&'a Path> {
    let name = image.file_name()?;
    if !INTERPRETERS.iter().any(|known| is_one(name, known)) {
        return None;
    }
    let word = |word: &&OsString| !word.as_bytes().starts_with(b"-");
    argv.get(1..)?.iter().find(word).map(Path::new)
}

/// Whether it is this one, in any version.
fn is_one(name: &OsStr, known: &str) -> bool {
    let version = name.as_bytes().strip_prefix(known.as_bytes());
    version.is_some_and(|version| {
        let mut bytes = version.iter();
        bytes.all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    })
}

fn is_writable(file: &OwnedFd, path: &Path, trees: Option<&[PathBuf]>) -> bool {
    match trees {
        Some(trees) => trees.iter().any(|tree| path.starts_with(tree)),
        None => rustix::fs::fstatvfs(file)
            .is_ok_and(|mount| !mount.f_flag.contains(StatVfsMountFlags::RDONLY)),
    }
}

fn readable(file: &OwnedFd) -> Option<File> {
    // A lease on the file would hold this thread up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(name, flags, Mode::empty())
        .ok()
        .map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(image: &str, argv: &[&str]) -> Option<String> {
        let argv: Vec<OsString> = argv.iter().map(Into::into).collect();
        let found = named(Path::new(image), &argv)?;
        Some(found.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_interpreters_first_word_is_its_script() {
        assert_eq!(
            first("/usr/bin/dash", &["sh", "./a.sh", "b"]),
            Some("./a.sh".into())
        );
        assert_eq!(
            first("/usr/bin/python3.11", &["python3", "-B", "a.py"]),
            Some("a.py".into())
        );
        assert_eq!(first("/usr/bin/bash", &["bash"]), None);
        assert_eq!(first("/usr/bin/cat", &["cat", "a.sh"]), None);
        assert_eq!(first("/usr/bin/shuf", &["shuf", "a"]), None);
    }
}
