//! `placet init`: a domain in one directory.

use placet_authority::init::{Beginning, init as make};
use placet_types::{Digest, DomainName, SigningKey};

use crate::bundle;
use crate::cli::{Global, Init};
use crate::context::{clock, domain_path, user_principal};
use crate::exit::{Failure, Status};
use crate::out::{BOLD, DIM, GOOD, Out, paint};

pub(crate) fn init(global: &Global, args: &Init, out: Out) -> Result<Status, Failure> {
    let path = domain_path(global)?;
    let name = match &args.name {
        Some(name) => DomainName::parse(name).map_err(Failure::new)?,
        None => random_name()?,
    };
    let operator = args.operator.clone().map_or_else(user_principal, Ok)?;
    let beginning = Beginning {
        domain: name.clone(),
        operator: operator.clone(),
        principals: vec![(args.agent.clone(), vec!["agents".to_owned()])],
        uid: rustix::process::getuid().as_raw(),
        bundle: &starter,
    };
    let dir = make(&path, clock(), &beginning).map_err(Failure::new)?;
    out.value(&serde_json::json!({
        "domain": name, "directory": dir.root(), "operator": operator, "agent": args.agent,
        "policy": dir.policy_file(),
    }));
    out.line(format!(
        "{} domain {} in {}",
        paint(GOOD, "made"),
        paint(BOLD, &name),
        dir.root().display()
    ));
    out.line(format!("  operator  {operator}"));
    out.line(format!("  agent     {}", args.agent));
    out.line(format!(
        "  policy    starter bundle, in force {}",
        paint(DIM, "(placet policy status)")
    ));
    out.line(format!(
        "  public    {} {}",
        dir.policy_file().display(),
        paint(DIM, "(give this file to auditors)")
    ));
    out.line(format!(
        "next: {}",
        paint(BOLD, format!("placet run --as {} -- ls", args.agent))
    ));
    Ok(Status::Ok)
}

fn starter(operator: &SigningKey) -> Result<(Vec<u8>, Digest), String> {
    let bundle = bundle::read(&bundle::starter_files()).map_err(|failure| failure.message)?;
    bundle::sign(&bundle, operator).map_err(|failure| failure.message)
}

fn random_name() -> Result<DomainName, Failure> {
    // Half of a random UUID is enough to tell the domains of one organization apart.
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let short: String = uuid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    DomainName::parse(&format!("placet.local/{short}")).map_err(Failure::new)
}
