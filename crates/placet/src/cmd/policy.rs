//! `placet policy`: bundles, from the first draft to being in force.

mod draft;
mod force;
mod replay;
mod shadow;
mod status;

pub(crate) use shadow::lifecycle;
pub(crate) use status::attested;

use crate::cli::{Global, Policy};
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::out::Out;

pub(crate) fn policy(global: &Global, command: &Policy, out: Out) -> Result<Status, Failure> {
    match command {
        Policy::Init { dir } => draft::init(dir, out),
        Policy::Fmt { dir, check } => draft::fmt(dir, *check, out),
        Policy::Lint { dir } => draft::lint(dir, out),
        Policy::Check { dir } => draft::check(dir, out),
        Policy::Test { dir } => draft::test(dir, out),
        Policy::Diff { old, new } => draft::diff(old, new, out),
        Policy::Replay { bundle, since } => {
            replay::replay(&Domain::open(global)?, bundle, since.as_deref(), out)
        }
        Policy::Activate { dir } => force::activate(&Domain::open(global)?, dir, out),
        Policy::Rollback { bundle, to } => {
            let to = force::Back::to(*bundle, *to);
            force::rollback(&Domain::open(global)?, to, out)
        }
        Policy::Shadow(act) => shadow::shadow(&Domain::open(global)?, act, out),
        Policy::Status => status::status(&Domain::open(global)?, out),
    }
}
