//! `placet config`: what a configuration of `placet up` means.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use placet_api::config::{Config, Settings};
use placet_api::{openapi, tls};
use serde_json::json;

use crate::cli::{Config as Command, Global};
use crate::context::domain_path;
use crate::exit::{Failure, Status};
use crate::out::Out;

/// Name of the file in a domain directory.
const FILE: &str = "placet.toml";

pub(crate) fn config(global: &Global, command: &Command, out: Out) -> Result<Status, Failure> {
    match command {
        Command::Check { file } => check(global, file.as_deref(), out),
        Command::Openapi => {
            out.bytes(openapi::text().as_bytes());
            Ok(Status::Ok)
        }
    }
}

fn check(global: &Global, file: Option<&Path>, out: Out) -> Result<Status, Failure> {
    let settings = settings(&domain_path(global)?, file, None)?;
    if let Some(tls) = settings.tls.clone() {
        let now = crate::context::clock().wall();
        tls::Listener::new(tls, now).map_err(Failure::new)?;
    }
    let listen = settings.listen.map(|address| address.to_string());
    let checks = settings.checks;
    let every = checks.every.map(|every| every.as_secs() / 3600);
    out.value(&json!({
        "checks": { "core_percent": checks.percent.get(), "every_hours": every.unwrap_or(0) },
        "listen": listen, "socket": settings.socket, "socket_mode": format!("{:04o}", settings.socket_mode),
        "tls": settings.tls.is_some(), "oidc": settings.oidc.iter().map(|one| &one.issuer).collect::<Vec<_>>(),
        "public": settings.public, "metrics_public": settings.metrics_public,
        "hosts": settings.hosts, "grace_secs": settings.grace.as_secs(), "gateways": settings.gateways,
    }));
    let word = |yes: bool| if yes { "yes" } else { "no" };
    out.line("the configuration stands");
    out.line(format!("  listen   {}", listen.as_deref().unwrap_or("no")));
    out.line(format!(
        "  socket   {} ({:04o})",
        settings.socket.display(),
        settings.socket_mode
    ));
    out.line(format!("  tls      {}", word(settings.tls.is_some())));
    for provider in &settings.oidc {
        out.line(format!("  oidc     {}", provider.issuer));
    }
    out.line(format!("  public   {}", word(settings.public)));
    out.line(format!("  gateways {}", settings.gateways));
    let often = every.map_or("when asked".to_owned(), |hours| format!("every {hours} h"));
    let percent = checks.percent.get();
    out.line(format!("  checks   {often}, {percent} % of a core"));
    Ok(Status::Ok)
}

/// How many gateways may wait under a node that starts by itself: what the file says, and none where it says nothing.
pub(crate) fn gateways(domain: &Path) -> Result<usize, Failure> {
    let usual = domain.join(FILE);
    if !usual.exists() {
        return Ok(0);
    }
    let config = Config::read(&usual).map_err(Failure::new)?;
    Ok(config.gateways.unwrap_or(0))
}

/// What counts for a domain directory: the file, the environment above it, the command line above that.
pub(crate) fn settings(
    domain: &Path,
    file: Option<&Path>,
    listen: Option<SocketAddr>,
) -> Result<Settings, Failure> {
    let usual: PathBuf = domain.join(FILE);
    let config = match file {
        Some(file) => Config::read(file),
        None if usual.exists() => Config::read(&usual),
        None => Ok(Config::default()),
    };
    let variable = |name: &str| std::env::var(name).ok();
    let mut config = config
        .and_then(|config| config.overridden(variable))
        .map_err(Failure::new)?;
    config.listen = listen.or(config.listen);
    config.settle(domain).map_err(|error| {
        Failure::new(error).hint("`placet config check` reads it without starting anything")
    })
}
