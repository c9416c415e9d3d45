//! `placet gateway`: gateways that stay, and wait for commands.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use placet_authority::clock::Clock;
use placet_authority::gateways::{Gateways, Said};
use placet_process::resident::{Leaving, Offer, Slot, Taken, detach};
use placet_process::{Command, Gateway, Kept, Outcome, Waits};
use zeroize::Zeroize as _;

use crate::cli::{GatewayAct, Global};
use crate::cmd::run;
use crate::context::{Domain, clock};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, Out, paint};
use crate::show::many;

/// How often a gateway that waits looks whether it should.
const LOOK: Duration = Duration::from_millis(500);
/// How long it waits for a command.
const IDLE: Duration = Duration::from_mins(10);
/// How often it has the next cell built again, where the last one has waited long enough.
const RESTOCK: Duration = Duration::from_secs(20);

pub(crate) fn gateway(global: &Global, act: &GatewayAct, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    match act {
        GatewayAct::Status => status(&domain, out),
        GatewayAct::Serve { slot } => serve(&domain, *slot),
    }
}

fn status(domain: &Domain, out: Out) -> Result<Status, Failure> {
    out.value(&as_value(domain));
    show(domain, out);
    Ok(Status::Ok)
}

/// How many the domain offers, and what those that stay say of themselves.
pub(crate) fn as_value(domain: &Domain) -> serde_json::Value {
    let found = Gateways::of(&domain.dir);
    let all: Vec<&Said> = found.staying.values().collect();
    serde_json::json!({ "offered": found.offered, "gateways": all })
}

/// In lines for people, also below what the node says, and the doctor.
pub(crate) fn show(domain: &Domain, out: Out) {
    let Gateways {
        offered, staying, ..
    } = Gateways::of(&domain.dir);
    if offered == 0 {
        out.line("  gateways    none may wait: `placet up` offers some, or `gateways = 2` in placet.toml");
        return;
    }
    out.line(format!("  gateways    {} of {offered}", staying.len()));
    for one in staying.values() {
        out.line(format!(
            "    process {}: {} run, {} waits; {} were built ahead, {} of them used",
            paint(BOLD, one.pid),
            many(one.served, "command"),
            many(one.waiting, "cell"),
            one.built,
            one.taken
        ));
        if let Some(why) = &one.failed {
            out.line(format!("      {} {why}", paint(DIM, "not built ahead:")));
        }
        for (part, count) in &one.declined {
            let what = paint(DIM, "ran by themselves, standing otherwise in");
            out.line(format!("      {what} {part}: {count}"));
        }
    }
}

/// One gateway, from its first caller to the last.
struct Resident<'a> {
    domain: &'a Domain,
    gateway: Gateway,
    slot: &'a Slot,
    number: usize,
    program: (u64, u64, i64),
    clock: Arc<dyn Clock>,
    said: Said,
    /// What was written down last.
    told: Option<Said>,
}

fn serve(domain: &Domain, number: usize) -> Result<Status, Failure> {
    if number >= domain.dir.gateways_offered() {
        return Ok(Status::Ok);
    }
    let Some(slot) = Slot::take(&domain.dir.gateways(), number)? else {
        // Somebody was faster.
        return Ok(Status::Ok);
    };
    Said::forget(&domain.dir, number);
    // A session of its own: no terminal's signals, and nobody's job.
    if rustix::process::setsid().is_err() {
        // It leads a group already, so it is nobody's job as it is.
    }
    detach()?;
    let mut gateway = domain.gateway()?;
    gateway.kept = Kept::for_many()?;
    let resident = Resident {
        domain,
        gateway,
        slot: &slot,
        number,
        program: own_program()?,
        clock: clock(),
        said: Said {
            pid: std::process::id(),
            ..Said::default()
        },
        told: None,
    };
    resident.stay()?;
    Ok(Status::Ok)
}

impl Resident<'_> {
    fn stay(mut self) -> Result<(), Failure> {
        let slot = self.slot;
        self.tell();
        let mut waiting = slot.wait()?;
        let mut heard_at = self.clock.monotonic();
        let mut stocked_at = heard_at;
        loop {
            let visit = waiting.visit(LOOK)?;
            let now = self.clock.monotonic();
            match visit {
                None if now.saturating_sub(heard_at) > IDLE || !self.is_wanted() => return Ok(()),
                None => {
                    self.gateway.kept.let_go(now);
                    let is_due = now.saturating_sub(stocked_at) > RESTOCK;
                    if is_due && self.gateway.kept.waiting() == 0 {
                        stocked_at = now;
                        self.gateway.kept.restock();
                    }
                    self.tell();
                }
                Some(Err(part)) => {
                    self.said.decline(part);
                    self.tell();
                }
                Some(Ok(visit)) => {
                    match visit.take(waiting) {
                        Ok(taken) => {
                            self.said.served += 1;
                            work(self.domain, &mut self.gateway, taken)?;
                        }
                        // It runs by itself.
                        Err(_) => detach()?,
                    }
                    self.tell();
                    waiting = slot.wait()?;
                    heard_at = self.clock.monotonic();
                    stocked_at = heard_at;
                }
            }
        }
    }

    /// Writes down what it says of itself, where that has changed.
    fn tell(&mut self) {
        let counts = self.gateway.kept.counts();
        let now = Said {
            waiting: self.gateway.kept.waiting() as u64,
            built: counts.built,
            taken: counts.taken,
            failed: counts.failed,
            declined: self.said.declined.clone(),
            ..self.said
        };
        if self.told.as_ref() != Some(&now) {
            // Who cannot be told does not know.
            now.keep(&self.domain.dir, self.number).unwrap_or(());
            self.told = Some(now);
        }
    }

    /// Whether the domain still offers it, and it is still the program that is installed.
    fn is_wanted(&self) -> bool {
        self.number < self.domain.dir.gateways_offered()
            && self.slot.is_there()
            && std::env::current_exe()
                .and_then(fs::metadata)
                .is_ok_and(|found| (found.dev(), found.ino(), found.ctime_nsec()) == self.program)
    }
}

fn own_program() -> Result<(u64, u64, i64), Failure> {
    let found = fs::metadata("/proc/self/exe")?;
    Ok((found.dev(), found.ino(), found.ctime_nsec()))
}

/// One command, with the same words and records as if its caller ran it by itself.
fn work(domain: &Domain, gateway: &mut Gateway, taken: Taken) -> Result<(), Failure> {
    let Taken { offer, mut front } = taken;
    let out = Out::new(offer.json);
    gateway.tell = Box::new(move |notice| run::tell(notice, out));
    let name = offer.argv.first().cloned().unwrap_or_default();
    let outcome = command(offer).and_then(|mut command| {
        let outcome = gateway.run(&command, Some(&mut front));
        // This process stays: what a caller had in its environment does not.
        command.env.values_mut().for_each(String::zeroize);
        let outcome = outcome.map_err(|error| run::failure(error, &name))?;
        if let (Outcome::Denied { .. }, Some(asked)) = (&outcome, &command.profile) {
            run::tell_of_profiles(domain, asked, out);
        }
        Ok(outcome)
    });
    // Whatever is said about it comes after what the command has said.
    let parting = front.part();
    let status = match outcome {
        Ok(outcome) => run::report(&outcome, out),
        Err(failure) => {
            out.failure(&failure);
            failure.status
        }
    };
    gateway.tell = Box::new(|_| {});
    let leaving = match status {
        Status::Signal(signal) => Leaving::Signal(signal),
        other => Leaving::Code(other.code()),
    };
    let left = parting.leave(leaving);
    // Its caller waits for nothing any more.
    gateway.kept.restock();
    Ok(left?)
}

fn command(offer: Offer) -> Result<Command, Failure> {
    let cwd = std::env::current_dir()
        .map_err(|error| Failure::new(format!("the working directory: {error}")))?;
    Ok(Command {
        argv: offer.argv,
        env: offer.env,
        cwd,
        principal: offer.principal,
        purpose: offer.purpose,
        profile: offer.profile,
        lifetime: offer.lifetime,
        parent: offer.parent,
        door: None,
        waits: if offer.no_wait { Waits::No } else { Waits::Yes },
        decide: offer.decide,
        announce: offer.announce,
    })
}
