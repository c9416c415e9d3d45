//! `placet demo`: a day of an agent on a fresh repository, from its first command to the proof.
//!
//! Everything is done as a user would do it, by running this program, and nothing is taken on its
//! word: what a step came to is read from the exit status, from the log and from the machine, and
//! compared with what was expected. One difference, and the demo fails.
//!
//! It happens in a directory that is made for it and removed afterwards, with a home, a repository
//! and a remote of its own. The steps are in the files of the four sections; here is their order.

mod artifacts;
mod children;
mod domain;
mod endings;
mod evidence;
mod ground;
mod kernel;
mod mcp;
mod nodes;
mod page;
mod policy;
mod presentation;
mod process;
mod report;
mod stage;
mod step;
mod tree;
mod work;

use crate::cli::Demo;
use crate::context::clock;
use crate::exit::{Failure, Status};
use crate::out::Out;

use report::Section;
use stage::Stage;

/// A part of the demo: some steps in a row.
type Scene = fn(&mut Stage) -> Result<(), Failure>;

const SCENES: &[(Section, &[Scene])] = &[
    (Section::Verify, &[domain::begins, domain::knows_who_asks]),
    (
        Section::Authorize,
        &[
            work::is_done,
            policy::refuses,
            artifacts::are_verified,
            mcp::governs_tools,
        ],
    ),
    (
        Section::Execute,
        &[
            kernel::holds_the_scope,
            children::stay_within,
            endings::supervisor_dies,
            endings::revoked,
            endings::subtree_revoked,
            endings::window_closes,
            endings::orphan_is_recorded,
            endings::halted,
        ],
    ),
    (
        Section::Prove,
        &[
            evidence::is_whole,
            evidence::recomputes,
            evidence::convinces,
            evidence::shows_damage,
        ],
    ),
];

pub(crate) fn demo(args: &Demo, out: Out) -> Result<Status, Failure> {
    if args.page {
        return page::serve(args, out);
    }
    let mut stage = Stage::new(args.keep, out, clock())?;
    let played = play(&mut stage);
    // What failed because somebody interrupted the demo did not fail by itself.
    stage.go_on().and(played)?;
    let kept = args.keep.then(|| stage.ground.root().to_owned());
    let report = stage.leave()?;
    report.close(kept.as_deref());
    Ok(if report.holds() {
        Status::Ok
    } else {
        Status::Error
    })
}

fn play(stage: &mut Stage) -> Result<(), Failure> {
    for (section, scenes) in SCENES {
        stage.report.open(*section);
        scenes.iter().try_for_each(|scene| scene(stage))?;
    }
    Ok(())
}
