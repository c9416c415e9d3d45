//! From single accesses to the lines of a profile: what is general is said generally.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use placet_sandbox::elf_interpreter;
use placet_types::{AbsPath, Digest};

use super::Learned;

/// What a profile says, each path with what was seen of it.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) read: Lines,
    pub(super) write: Lines,
    pub(super) exec: Lines,
    /// Contents of the programs that ran, each with where it stands. Not those of writable trees, which a list does not mean.
    pub(super) images: BTreeMap<Digest, BTreeSet<String>>,
    /// Read, and better not: commented out.
    pub(super) secrets: BTreeSet<String>,
    /// Not visible in the dry run although they are there: commented out.
    pub(super) unseen: BTreeSet<String>,
    /// Where it wanted to write and could not: commented out.
    pub(super) unwritten: BTreeSet<String>,
    /// Whether programs that stand in the workspace were started.
    pub(super) own_programs: bool,
}

/// Lines of a profile: the path and an example of what was seen.
pub(super) type Lines = BTreeMap<String, String>;

/// Trees of the system, which hold nothing of anybody's.
const SYSTEM: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
];
/// What a cell has of its own.
const OWN: [&str; 6] = ["/proc", "/dev", "/run", "/tmp", "/sys", "/"];
/// Toolchains below home that are read as wholes.
const TOOLS: [&str; 11] = [
    ".cargo/bin",
    ".cargo/registry",
    ".cargo/git",
    ".rustup",
    ".pyenv",
    ".nvm",
    ".local/bin",
    ".local/lib",
    ".m2/repository",
    "go/bin",
    "go/pkg",
];
/// Below home: credentials, or places that hold them.
const SECRETS: [&str; 20] = [
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".password-store",
    ".pki",
    ".mozilla",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/gcloud",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".local/share/keyrings",
    ".bash_history",
];

pub(super) fn sort(learned: &Learned) -> Sorted {
    let mut sorted = Sorted::default();
    for (path, opened) in &learned.observed.opened {
        if opened.missing && !opened.written {
            unseen(learned, path, &mut sorted);
            continue;
        }
        if is_secret(learned, path) {
            sorted.secrets.extend(text(learned, path));
            continue;
        }
        if opened.written && !is_own(path) && !could_write(learned, path) {
            sorted.unwritten.extend(text(learned, path));
        } else if opened.written {
            writable(learned, path, &mut sorted);
        }
        if opened.read || !opened.written {
            readable(learned, path, &mut sorted);
        }
    }
    for (program, image) in &learned.observed.programs {
        // A script is decided by its path; what starts is the program that reads it.
        let image = image.map(|image| Digest::new(image.0));
        executable(learned, program, image, &mut sorted);
    }
    let program = Path::new(&learned.program);
    executable(learned, program, Some(learned.digest), &mut sorted);
    // Where it begins has to be there.
    readable(learned, &learned.cwd, &mut sorted);
    drop_covered(&mut sorted.read);
    drop_covered(&mut sorted.write);
    sorted
}

/// The path as a profile writes it; nothing for one that a profile cannot hold.
fn text(learned: &Learned, path: &Path) -> Option<String> {
    let below = |base: &Path, name: &str| {
        let rest = path.strip_prefix(base).ok()?.to_str()?;
        Some(match rest {
            "" => name.to_owned(),
            rest => format!("{name}/{rest}"),
        })
    };
    let text = below(&learned.workspace, "${workspace}")
        .or_else(|| below(&learned.home, "${home}"))
        .or_else(|| path.to_str().map(str::to_owned))?;
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    text.chars().all(plain).then_some(text)
}

fn is_secret(learned: &Learned, path: &Path) -> bool {
    let secret = |name: &&str| path.starts_with(learned.home.join(name));
    SECRETS.iter().any(secret)
        || ["/etc/shadow", "/etc/gshadow", "/etc/ssl/private"]
            .iter()
            .any(|secret| path.starts_with(secret))
}

fn is_own(path: &Path) -> bool {
    OWN.iter()
        .any(|own| path == Path::new(own) || (*own != "/" && path.starts_with(own)))
}

/// Whether the dry run let it write there.
fn could_write(learned: &Learned, path: &Path) -> bool {
    let path = path.to_str().and_then(|path| AbsPath::parse(path).ok());
    path.is_some_and(|path| learned.writable.contains(&path))
}

fn unseen(learned: &Learned, path: &Path, sorted: &mut Sorted) {
    let there = std::fs::symlink_metadata(path).is_ok();
    let secret = is_secret(learned, path);
    if there && !path.starts_with(&learned.workspace) && (secret || !is_own(path)) {
        let into = if secret {
            &mut sorted.secrets
        } else {
            &mut sorted.unseen
        };
        into.extend(text(learned, path));
    }
}

fn put(lines: &mut Lines, learned: &Learned, tree: &Path, seen: &Path) {
    if let Some(line) = text(learned, tree) {
        let seen = text(learned, seen).unwrap_or_default();
        lines.entry(line).or_insert(seen);
    }
}

fn readable(learned: &Learned, path: &Path, sorted: &mut Sorted) {
    if path.starts_with(&learned.workspace) {
        put(&mut sorted.read, learned, &learned.workspace, path);
        return;
    }
    if is_own(path) {
        return;
    }
    let tree = tool(learned, path).unwrap_or_else(|| system(path));
    put(&mut sorted.read, learned, &tree, path);
}

/// The tree of a toolchain that a path lies in.
fn tool(learned: &Learned, path: &Path) -> Option<PathBuf> {
    TOOLS
        .iter()
        .map(|tool| learned.home.join(tool))
        .find(|tool| path.starts_with(tool))
}

/// The tree of the system that a path lies in, or the path itself.
fn system(path: &Path) -> PathBuf {
    let tree = SYSTEM.iter().find(|tree| path.starts_with(tree));
    tree.map_or_else(|| path.to_path_buf(), PathBuf::from)
}

fn writable(learned: &Learned, path: &Path, sorted: &mut Sorted) {
    if path.starts_with(&learned.workspace) {
        put(&mut sorted.write, learned, &learned.workspace, path);
    } else if !is_own(path) {
        // Files are made and renamed beside others: what is written to is the directory.
        let tree = path.parent().unwrap_or(path);
        put(&mut sorted.write, learned, tree, path);
    }
}

fn executable(learned: &Learned, program: &Path, image: Option<Digest>, sorted: &mut Sorted) {
    if program.starts_with("/run") || program.starts_with("/proc") {
        return;
    }
    if program.starts_with(&learned.workspace) {
        sorted.own_programs = true;
        put(&mut sorted.write, learned, &learned.workspace, program);
        return;
    }
    put(&mut sorted.exec, learned, program, program);
    if let (Some(image), Some(path)) = (image, text(learned, program)) {
        sorted.images.entry(image).or_default().insert(path);
    }
    // Names such as `cc` are links through here, which nobody opens.
    let links = Path::new("/etc/alternatives");
    if links.is_dir() {
        put(&mut sorted.read, learned, links, links);
    }
    readable(learned, program, sorted);
    let interpreter = elf_interpreter(program).ok().flatten();
    if let Some(loader) = interpreter.and_then(|path| std::fs::canonicalize(path).ok()) {
        put(&mut sorted.exec, learned, &loader, &loader);
        readable(learned, &loader, sorted);
    }
}

/// A tree says all of what lies in it.
fn drop_covered(lines: &mut Lines) {
    let all: Vec<String> = lines.keys().cloned().collect();
    lines.retain(|line, _| {
        !all.iter().any(|tree| {
            line.strip_prefix(tree.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        })
    });
}
