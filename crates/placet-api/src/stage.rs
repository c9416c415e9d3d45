//! What the page of a demo can play. A node that serves a real domain has no stage, and no such route.

use std::fmt;

use placet_types::{DenialCode, ExecutionId, Index};
use serde::Serialize;

/// Plays scenes in a domain that was made for it.
pub trait Stage: Send + Sync {
    /// Everything that can be played, in order.
    fn scenes(&self) -> Vec<Scene>;

    /// Plays one, and is back once it is over.
    ///
    /// # Errors
    ///
    /// [`NotPlayed`]
    fn play(&self, scene: &str) -> Result<Played, NotPlayed>;
}

/// A scene.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// What it is called by a program.
    pub name: String,
    /// What it is called by people.
    pub title: String,
    /// What to look at.
    pub words: &'static str,
    /// What is run, where something is.
    pub command: Vec<String>,
    /// Whether it is an attempt to break something.
    pub breaks: bool,
    /// Whether it goes on after it was played, until somebody ends it.
    pub stays: bool,
}

/// What came of a scene.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Played {
    /// The first record that it wrote.
    pub from: Index,
    /// The execution that it is about.
    pub exec: Option<ExecutionId>,
    /// How its program ended, as a shell says it.
    pub status: Option<i32>,
    /// The last of what it said.
    pub said: String,
    /// What was refused, and at which step of verification.
    pub refused: Option<(DenialCode, String)>,
    /// The record of what was refused, or the first record that was found damaged.
    pub index: Option<Index>,
}

/// Why nothing was played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPlayed {
    /// There is no such scene.
    Unknown,
    /// Another one is being played, or too many go on.
    Busy,
    /// It did not work.
    Failed(String),
}

impl fmt::Display for NotPlayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such scene"),
            Self::Busy => f.write_str("one scene at a time; what goes on is ended first"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NotPlayed {}
