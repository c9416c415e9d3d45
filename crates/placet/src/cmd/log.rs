//! `placet log`: the evidence log. Nothing here but `erase` needs a node, and nothing but the
//! bundle of a permit needs a private key.

mod check;
mod proof;
mod tail;

use placet_authority::node::wire::ActBody;
use placet_tlog::tile::{BundleId, TileId};

use crate::cli::{Global, Log};
use crate::cmd::revoke::act_recorded;
use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BOLD, DIM, GOOD, Out, WARN, paint};

pub(crate) fn log(global: &Global, command: &Log, out: Out) -> Result<Status, Failure> {
    let domain = Domain::open(global)?;
    match command {
        Log::Tail { lines, follow } => tail::tail(&domain, *lines, *follow, out),
        Log::Entry { index } => entry(&domain, *index, out),
        Log::Proof {
            what,
            bundle: false,
            ..
        } => proof::proof(&domain, what, out),
        Log::Proof { what, disclose, .. } => proof::bundle(&domain, what, *disclose, out),
        Log::Checkpoint => checkpoint(&domain, out),
        Log::Policy => policy(&domain, out),
        Log::Fsck { repair } => check::fsck(&domain, *repair, out),
        Log::Replay => check::replay(&domain, out),
        Log::Export { dir } => export(&domain, dir, out),
        Log::Erase { what, reason } => erase(&domain, what, reason, out),
    }
}

fn entry(domain: &Domain, index: placet_types::Index, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    // For its message; damage is reported by the reader.
    find::exists(&reader, index)?;
    let bytes = reader.entry(index)?;
    if out.is_json() {
        let text = String::from_utf8_lossy(&bytes);
        out.value(&serde_json::json!({ "index": index, "entry": text }));
    } else {
        out.bytes(&bytes);
    }
    Ok(Status::Ok)
}

fn checkpoint(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let checkpoint = domain.log()?.checkpoint();
    let note = checkpoint.to_string();
    if out.is_json() {
        let claim = checkpoint.claim();
        out.value(&serde_json::json!({
            "origin": claim.origin().as_str(), "size": claim.size(),
            "root": claim.root().to_string(), "checkpoint": note,
        }));
    } else {
        out.bytes(note.as_bytes());
    }
    Ok(Status::Ok)
}

fn policy(domain: &Domain, out: Out) -> Result<Status, Failure> {
    let path = domain.dir.policy_file();
    let bytes = std::fs::read(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    if out.is_json() {
        let text = String::from_utf8_lossy(&bytes);
        out.value(&serde_json::json!({ "path": path, "policy": text }));
    } else {
        out.bytes(&bytes);
    }
    Ok(Status::Ok)
}

fn export(domain: &Domain, dir: &std::path::Path, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let size = reader.size().get();
    let files = TileId::all(size).count() + BundleId::changed(0, size).count() + 1;
    let bar = out.progress("exporting", files as u64);
    let done = reader.export(dir, |done| bar.set_position(done.files));
    bar.finish_and_clear();
    let done = done.map_err(export_failure)?;
    out.value(&serde_json::json!({
        "directory": dir, "size": done.size, "files": done.files, "bytes": done.bytes,
    }));
    out.line(format!(
        "{} {} records to {} {}",
        paint(GOOD, "exported"),
        done.size,
        paint(BOLD, dir.display()),
        paint(DIM, format!("({} files, {} bytes)", done.files, done.bytes))
    ));
    Ok(Status::Ok)
}

fn export_failure(error: placet_log::ExportError) -> Failure {
    use placet_log::ExportError;
    if let ExportError::Read(error) = error {
        return error.into();
    }
    let occupied = matches!(error, ExportError::NotEmpty);
    let failure = Failure::new(error);
    if occupied {
        failure.hint("name a directory that is not there yet")
    } else {
        failure
    }
}

fn erase(domain: &Domain, what: &str, reason: &str, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let erased = find::index(&reader, what, out)?;
    if matches!(reader.payload(erased)?, placet_log::Payload::None) {
        return Err(
            Failure::new(format!("the record at {erased} has no private parameters")).hint(
                "decisions and refused attempts have; `placet log tail` shows which they are",
            ),
        );
    }
    let index = act_recorded(
        domain,
        ActBody::Erase {
            index: erased,
            reason: reason.to_owned(),
        },
    )?;
    out.value(&serde_json::json!({ "erased": erased, "index": index }));
    out.line(format!(
        "{} the private parameters of record {erased} {}",
        paint(WARN, "erased"),
        paint(
            DIM,
            format!("(record {index}; the record itself still verifies)")
        )
    ));
    Ok(Status::Ok)
}
