//! One process or thread of a traced tree.

use super::ExecId;

/// A process that calls exec again and again is one end for so many.
const OWN_MAX: usize = 64;

/// What is known of it.
#[derive(Clone, Default)]
pub(super) struct Task {
    /// The exec whose image it runs.
    pub(super) image: Option<ExecId>,
    /// The execs that it has called itself, the last [`OWN_MAX`] of them: its end is theirs.
    pub(super) own: Vec<ExecId>,
    pub(super) made_by: Option<u32>,
    /// Whether the stop of its maker has been heard. It comes before or after its own first one.
    pub(super) born: bool,
}

impl Task {
    /// It runs the image of this exec from now on.
    pub(super) fn runs(&mut self, id: ExecId) {
        self.image = Some(id);
        if self.own.len() >= OWN_MAX {
            self.own.remove(0);
        }
        self.own.push(id);
    }

    /// The stop of its maker was heard, which runs this image. What it has called itself by then counts.
    pub(super) fn is_born(&mut self, maker: i32, image: Option<ExecId>) {
        let already = self.image.filter(|_| !self.born);
        self.image = already.or(image);
        self.made_by = Some(maker.unsigned_abs());
        self.born = true;
    }
}
