//! `placet log proof`: the C2SP proof of a record, or a whole proof bundle.

use placet_authority::keys::{self, Role};
use placet_authority::proofs::{self, ProofBundleError, Sources};
use placet_evidence::{Glance, Record};
use placet_log::{LogReader, Payload};
use placet_types::Index;

use crate::context::Domain;
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::Out;

pub(super) fn proof(domain: &Domain, what: &str, out: Out) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let index = find::index(&reader, what, out)?;
    let proof = proofs::proof(&reader, index)?.to_string();
    if out.is_json() {
        out.value(&serde_json::json!({ "index": index, "proof": proof }));
    } else {
        out.bytes(proof.as_bytes());
    }
    Ok(Status::Ok)
}

pub(super) fn bundle(
    domain: &Domain,
    what: &str,
    disclose: bool,
    out: Out,
) -> Result<Status, Failure> {
    let reader = domain.log()?;
    let index = find::index(&reader, what, out)?;
    let record = find::record(&reader, index)?;
    if disclose {
        check_disclosable(&reader, index, &record)?;
    }
    let path = domain.dir.policy_file();
    let policy = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let artifact_key = keys::load(&domain.dir, Role::Artifact).map_err(Failure::new)?;
    let sources = Sources {
        reader: &reader,
        blobs: &domain.blobs(),
        domain: &domain.name,
        policy: &policy,
        artifact_key: &artifact_key,
    };
    let related = related(&reader, index, &record, out)?;
    let bundle = proofs::bundle(sources, index, &related, disclose).map_err(|error| {
        if let ProofBundleError::Read(error) = error {
            error.into()
        } else {
            Failure::unverified(error)
        }
    })?;
    let mut bytes = bundle.encode()?;
    bytes.push(b'\n');
    out.bytes(&bytes);
    Ok(Status::Ok)
}

fn check_disclosable(reader: &LogReader, index: Index, record: &Record) -> Result<(), Failure> {
    let Record::Decided(_) = record else {
        let kind = record.kind().as_str();
        return Err(
            Failure::new(format!("the record at {index} is of kind `{kind}`"))
                .hint("only decisions have parameters to disclose; leave --disclose out"),
        );
    };
    let hint = "leave --disclose out: the bundle verifies without the parameters";
    match reader.payload(index)? {
        Payload::Present(_) => Ok(()),
        Payload::Erased => {
            Err(Failure::new(format!("the parameters of record {index} were erased")).hint(hint))
        }
        Payload::Damaged | Payload::None => {
            let message = format!("the parameters of record {index} are missing or damaged");
            Err(Failure::unverified(message).hint(hint))
        }
    }
}

/// The decision, the start and the end of the same execution, as far as they are recorded; of an act that needed one, the
/// decision that allowed it.
fn related(
    reader: &LogReader,
    about: Index,
    record: &Record,
    out: Out,
) -> Result<Vec<Index>, Failure> {
    let Some(exec) = record.exec() else {
        let allowed = record
            .decided_by()
            .map(|exec| find::decision(reader, &exec.to_string(), out));
        return Ok(allowed
            .transpose()?
            .map(|(index, _)| index)
            .into_iter()
            .collect());
    };
    let decided = if let Record::Decided(decided) = record {
        if decided.denial.is_some() {
            return Ok(Vec::new());
        }
        about
    } else if let Ok((index, _)) = find::decision(reader, &exec.to_string(), out) {
        index
    } else {
        // A refused artifact may name an execution that never was.
        return Ok(Vec::new());
    };
    let mut related = vec![decided];
    let glanced = |glance: Glance| glance.exec == Some(exec);
    for record in find::select(reader, decided.next(), glanced) {
        let (index, record) = record?;
        let ended = matches!(record, Record::Ended(_));
        if ended || matches!(record, Record::Started(_)) {
            related.push(index);
        }
        if ended {
            break;
        }
    }
    related.retain(|index| *index != about);
    Ok(related)
}
