//! What the gate says about an image, before anybody is asked.

use std::collections::HashSet;
use std::path::PathBuf;

use super::call::{self, Image};
use super::facts::{self, Facts};
use super::{ExecGate, ExecRule, ImageDigest, ImageFile, Refusal};
use crate::digests::Digests;
use crate::elf::Shape;
use crate::process::Process;
use crate::spec::FileIdentity;
use crate::sys::Inode;

/// Files of the cell that the rules treat apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The cell's program, in the state that was decided on.
    pub(crate) program: FileIdentity,
    /// [`crate::CellSpec::client`].
    pub(crate) client: Option<Inode>,
    /// Whether the program stands in a copied tree, where it shows another device.
    pub(crate) in_copy: bool,
}

impl Known {
    fn is_program(&self, image: FileIdentity) -> bool {
        image == self.program || (self.in_copy && self.program.is_shown_as(&image))
    }
}

/// What is to be done about an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Start,
    Ask,
    Refuse(Refusal),
}

/// The image as far as it could be identified, and the judgement.
pub(super) struct Judged {
    pub(super) image: Option<ImageFile>,
    pub(super) judgement: Judgement,
}

/// Judges the images of one tree.
pub(super) struct Judge {
    rule: ExecRule,
    known: Known,
    /// Where digests are remembered.
    digests: Option<Digests>,
    /// Where a cell can write, if it stands on mounts that are all writable.
    writable: Option<Vec<PathBuf>>,
    /// Program interpreters that images of the read-only scope have named.
    interpreters: HashSet<Inode>,
    /// Images whose interpreter is in that set.
    learned: HashSet<Inode>,
}

/// Interpreters and images of one tree that are remembered; a scope has a handful of the first.
const LEARNED_MAX: usize = 4096;

impl Judge {
    pub(super) fn new(gate: &ExecGate, known: Known, writable: Option<Vec<PathBuf>>) -> Self {
        Self {
            rule: gate.rule.clone(),
            known,
            digests: gate.digests.clone(),
            writable,
            interpreters: HashSet::new(),
            learned: HashSet::new(),
        }
    }

    /// Judges a stopped process; `first` is the exec of the cell's program.
    pub(super) fn judge(
        &mut self,
        process: &Process,
        first: bool,
        alive: &dyn Fn() -> bool,
    ) -> Judged {
        let Ok(mut image) = call::image(process) else {
            return Judged {
                image: None,
                judgement: Judgement::Refuse(Refusal::Unreadable),
            };
        };
        if let Some(trees) = &self.writable {
            image.writable = trees.iter().any(|tree| image.path.starts_with(tree));
        }
        let (digest, judgement) = match self.identify(process, &image, alive) {
            Ok(digest) => (Some(digest), self.by_rule(&image, digest, first)),
            Err(Denied { digest, why }) => (digest, Judgement::Refuse(why)),
        };
        let image = Some(ImageFile {
            path: image.path,
            identity: image.identity,
            digest,
            writable: image.writable,
        });
        Judged { image, judgement }
    }

    /// Where a cell can write, if it stands on mounts that are all writable.
    pub(super) fn writable(&self) -> Option<&[PathBuf]> {
        self.writable.as_deref()
    }

    /// What no rule lets through.
    fn identify(
        &mut self,
        process: &Process,
        image: &Image,
        alive: &dyn Fn() -> bool,
    ) -> Result<ImageDigest, Denied> {
        let without_digest = |why| Denied { digest: None, why };
        if image.links == 0 {
            return Err(without_digest(Refusal::Nameless));
        }
        let kept = self.digests.as_ref().filter(|_| !image.writable);
        let facts = facts::of(&image.file, image.identity, alive, kept).map_err(without_digest)?;
        if facts.shape == Shape::Library || self.interpreters.contains(&inode(image)) {
            return Err(Denied {
                digest: Some(facts.digest),
                why: Refusal::Interpreter,
            });
        }
        self.learn(process, image, &facts);
        Ok(facts.digest)
    }

    /// Remembers the interpreter that an image names. Only of the read-only scope: a program that
    /// was built inside may name any file, and must not get that one refused.
    fn learn(&mut self, process: &Process, image: &Image, facts: &Facts) {
        let Shape::Dynamic(interpreter) = &facts.shape else {
            return;
        };
        if image.writable || self.learned.contains(&inode(image)) {
            return;
        }
        if self.learned.len() >= LEARNED_MAX {
            self.learned.clear();
        }
        if let Ok(found) = process.inode_of(interpreter) {
            self.interpreters.insert(found);
            self.learned.insert(inode(image));
        }
    }

    fn by_rule(&self, image: &Image, digest: ImageDigest, first: bool) -> Judgement {
        // The mount keeps the tree from changing the client, and the inode was pinned there.
        if Some(inode(image)) == self.known.client && !image.writable {
            return Judgement::Start;
        }
        match &self.rule {
            ExecRule::Ungated | ExecRule::Any => Judgement::Start,
            ExecRule::Listed(digests) if image.writable || digests.contains(&digest) => {
                Judgement::Start
            }
            ExecRule::Listed(_) => Judgement::Refuse(Refusal::Unlisted),
            ExecRule::Ask { .. } if first && self.known.is_program(image.identity) => {
                Judgement::Start
            }
            ExecRule::Ask { .. } => Judgement::Ask,
        }
    }
}

struct Denied {
    digest: Option<ImageDigest>,
    why: Refusal,
}

fn inode(image: &Image) -> Inode {
    Inode {
        dev: image.identity.dev,
        ino: image.identity.ino,
    }
}
