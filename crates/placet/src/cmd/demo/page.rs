//! `placet demo --page`: the demo's ground with a node that serves the console, where a visitor plays the
//! scenes and watches the records that they write.
//!
//! It is a domain of its own in a directory of its own, on a loopback address, for an hour at most; nothing
//! of another domain is opened. What a visitor can have run is in the table below, one scene at a time;
//! everything else goes through the public interface, as on every node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_api::Stage;
use placet_api::config::Config;
use placet_api::stage::{NotPlayed, Played, Scene};
use placet_authority::clock::Clock;
use placet_types::Index;

use super::artifacts::{self, Attempt};
use super::evidence::{copy_of_domain, first_refusal, flip_a_byte, fsck};
use super::ground::{AGENT, Ground};
use super::nodes;
use super::process::Running;
use super::step::Trace;
use crate::cli::Demo;
use crate::cmd::up::Serving;
use crate::context::clock;
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, Out, paint};

/// How long it is there.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Commands that go on at a time.
const JOBS_MAX: usize = 4;
/// How long a command that goes on may take to be recorded as started.
const PATIENCE: Duration = Duration::from_secs(20);
/// The last of what a program said, in bytes.
const SAID_MAX: usize = 2000;
/// The scene that needs no command and no artifact.
const DAMAGE: &str = "damage";

/// A command that a visitor can have run.
struct Act {
    name: &'static str,
    title: &'static str,
    words: &'static str,
    principal: &'static str,
    options: &'static [&'static str],
    argv: &'static [&'static str],
    breaks: bool,
    stays: bool,
}

const ACT: Act = Act {
    name: "",
    title: "",
    words: "",
    principal: AGENT,
    options: &[],
    argv: &[],
    breaks: false,
    stays: false,
};

const ACTS: &[Act] = &[
    Act {
        name: "work",
        title: "An agent looks around",
        words: "A policy permits it. It runs within its scope, and its end is recorded.",
        argv: &["git", "status", "--short", "--branch"],
        ..ACT
    },
    Act {
        name: "child",
        title: "A shell asks for another command",
        words: "The command is an execution of its own, within the scope of the shell.",
        argv: &["sh", "-c", "{placet} run -- grep -c def ledger/book.py"],
        ..ACT
    },
    Act {
        name: "long",
        title: "A command goes on, and is ended",
        words: "It runs with two children. Revoke it: the whole tree is gone at once.",
        argv: &["sh", "-c", "sleep 600 & sleep 600 & wait"],
        stays: true,
        ..ACT
    },
    Act {
        name: "window",
        title: "Authority ends by itself",
        words: "It may run for three seconds and wants ten minutes.",
        options: &["--lifetime=3"],
        argv: &["sleep", "600"],
        ..ACT
    },
    Act {
        name: "push",
        title: "The agent pushes",
        words: "A policy forbids it. Nothing runs, and the denial is recorded.",
        argv: &["git", "push", "origin", "main"],
        breaks: true,
        ..ACT
    },
    Act {
        name: "stranger",
        title: "Somebody who is nobody here",
        words: "No principal of this name is registered.",
        principal: "agent:stranger",
        argv: &["ls"],
        breaks: true,
        ..ACT
    },
    Act {
        name: "secret",
        title: "A permitted shell reads a private key",
        words: "The shell is permitted. In its cell there is no such file.",
        argv: &["sh", "-c", "cat \"$HOME\"/.s*/id_*"],
        breaks: true,
        ..ACT
    },
    Act {
        name: "connect",
        title: "A permitted program connects out",
        words: "Its cell has no network.",
        argv: &[
            "python3",
            "-c",
            "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
        ],
        breaks: true,
        ..ACT
    },
];

/// The demo's ground, and what a visitor made on it.
struct Theatre {
    /// Held while a scene is played.
    ground: Mutex<Ground>,
    jobs: Mutex<Vec<Running>>,
    clock: Arc<dyn Clock>,
}

/// Serves the page until it is told to stop, or the hour is over; then everything is removed.
pub(super) fn serve(args: &Demo, out: Out) -> Result<Status, Failure> {
    let listen = args.listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    if !listen.ip().is_loopback() {
        let failure = Failure::new("the page of the demo is served on a loopback address only");
        return Err(failure.hint("a visitor can have commands run on this machine"));
    }
    let ground = Ground::make(args.keep)?;
    ground.placet(&["init"])?.successful("placet init")?;
    let domain = ground.domain()?;
    nodes::stop(&ground.domain_dir())?;
    let config = Config {
        listen: Some(listen),
        ..Config::default()
    };
    let settings = config.settle(domain.dir.root()).map_err(Failure::new)?;
    let theatre = Arc::new(Theatre {
        ground: Mutex::new(ground),
        jobs: Mutex::default(),
        clock: clock(),
    });
    let serving = Serving {
        domain: &domain,
        settings,
        stage: Some(Arc::clone(&theatre) as Arc<dyn Stage>),
        lifetime: Some(LIFETIME),
    };
    let served = serving.run(&|link| {
        let link = link.unwrap_or_default();
        out.line(paint(BOLD, link));
        let words = "opens once, within ten minutes; Ctrl-C ends the demo and removes it";
        out.line(paint(DIM, words));
    });
    theatre.jobs().clear();
    let mut ground = theatre
        .ground
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let cleared = ground.clear();
    served.and_then(|status| cleared.map(|()| status))
}

impl Stage for Theatre {
    fn scenes(&self) -> Vec<Scene> {
        let texts = |argv: &[&str]| argv.iter().map(|text| (*text).to_owned()).collect();
        let acts = ACTS.iter().map(|act| Scene {
            name: act.name.to_owned(),
            title: act.title.to_owned(),
            words: act.words,
            command: texts(act.argv),
            breaks: act.breaks,
            stays: act.stays,
        });
        let attacks = artifacts::attacks().enumerate().map(|(at, what)| Scene {
            name: format!("artifact-{at}"),
            title: format!("An artifact, {}", what.trim_start_matches("the same, ")),
            words: "A permit for `cat README.md`, presented with one thing wrong.",
            command: Vec::new(),
            breaks: true,
            stays: false,
        });
        let damage = Scene {
            name: DAMAGE.to_owned(),
            title: "One byte of the log, flipped".to_owned(),
            words: "In a copy of this domain, in the middle of a denial; then `placet log fsck` reads it.",
            command: ["placet", "log", "fsck"].map(str::to_owned).to_vec(),
            breaks: true,
            stays: false,
        };
        acts.chain(attacks).chain([damage]).collect()
    }

    fn play(&self, scene: &str) -> Result<Played, NotPlayed> {
        let ground = self.ground.try_lock().map_err(|_| NotPlayed::Busy)?;
        let failed = |failure: Failure| NotPlayed::Failed(failure.message);
        if let Some(act) = ACTS.iter().find(|act| act.name == scene) {
            return if act.stays {
                self.begin(&ground, act)
            } else {
                run(&ground, act).map_err(failed)
            };
        }
        if scene == DAMAGE {
            return damage(&ground).map_err(failed);
        }
        let at = scene
            .strip_prefix("artifact-")
            .and_then(|at| at.parse().ok());
        let at = at.filter(|at| *at < artifacts::attacks().count());
        let at = at.ok_or(NotPlayed::Unknown)?;
        let from = ground.size().map_err(failed)?;
        let Attempt { refusal, index } =
            artifacts::attempt(&ground, &*self.clock, at).map_err(failed)?;
        let said = refusal.as_ref().map(|(_, _, reason)| reason.clone());
        Ok(Played {
            from,
            said: said.unwrap_or_else(|| "admitted".to_owned()),
            refused: refusal.map(|(code, step, _)| (code, step)),
            index,
            ..Played::default()
        })
    }
}

impl Theatre {
    fn jobs(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what goes on, and is back once it is recorded as started.
    fn begin(&self, ground: &Ground, act: &Act) -> Result<Played, NotPlayed> {
        let failed = |failure: Failure| NotPlayed::Failed(failure.message);
        let mut jobs = self.jobs();
        jobs.retain(|job| !job.has_ended());
        if jobs.len() >= JOBS_MAX {
            return Err(NotPlayed::Busy);
        }
        let from = ground.size().map_err(failed)?;
        let job = start(ground, act).map_err(failed)?;
        let until = self.clock.monotonic().saturating_add(PATIENCE);
        loop {
            let trace = Trace::of(ground.records(from).map_err(failed)?);
            if trace.started || job.has_ended() || self.clock.monotonic() > until {
                jobs.push(job);
                let exec = trace.exec();
                return Ok(Played {
                    from,
                    exec,
                    ..Played::default()
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn start(ground: &Ground, act: &Act) -> Result<Running, Failure> {
    let mut args = vec!["run".to_owned(), format!("--as={}", act.principal)];
    args.extend(act.options.iter().map(|text| (*text).to_owned()));
    args.push("--".to_owned());
    args.extend(act.argv.iter().map(|text| ground.fill(text)));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    ground.start(&args)
}

fn run(ground: &Ground, act: &Act) -> Result<Played, Failure> {
    let from = ground.size()?;
    let finished = start(ground, act)?.wait()?;
    let trace = Trace::of(ground.records(from)?);
    Ok(Played {
        from,
        exec: trace.exec(),
        status: finished.status.code(),
        said: end_of(&[finished.stdout, finished.stderr].concat()),
        ..Played::default()
    })
}

/// Flips a byte of a denial in a copy, and lets `fsck` find it.
fn damage(ground: &Ground) -> Result<Played, Failure> {
    let from = ground.size()?;
    let index = first_refusal(ground).map_err(|failure| {
        let hint = "; let the agent push first";
        Failure::new(format!("{}{hint}", failure.message))
    })?;
    let copy = copy_of_domain(ground, "altered")?;
    let found = flip_a_byte(ground, &copy, index).and_then(|()| fsck(ground, &copy));
    std::fs::remove_dir_all(&copy)?;
    let found = found?;
    let report = found.json()?;
    let damage = report
        .pointer("/damage/index")
        .and_then(serde_json::Value::as_u64);
    let words = report
        .pointer("/damage/damage")
        .and_then(serde_json::Value::as_str);
    Ok(Played {
        from,
        status: found.status.code(),
        said: words.unwrap_or("sound").to_owned(),
        index: damage.map(Index::new),
        ..Played::default()
    })
}

/// The end of a text, cut between characters.
fn end_of(text: &str) -> String {
    let from = text.len().saturating_sub(SAID_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    text.get(from.unwrap_or_default()..)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}
