//! A certificate authority of the domain's own: its key stays in the domain directory, its
//! certificate is for those who connect.
//!
//! The authority is made once. The server's certificate is issued when the service starts and every
//! day, with a key that is in memory only.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_types::Millis;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::TlsError;

/// The authority's certificate in the domain directory: what clients are given (`curl --cacert`).
pub const AUTHORITY_FILE: &str = "tls-ca.pem";
/// Its key.
const KEY_FILE: &str = "keys/tls-ca.key";
/// How long the authority's certificate counts, in seconds: ten years.
const AUTHORITY_SECS: u64 = 10 * 365 * 86_400;
/// How long a server's certificate counts, in seconds.
const SERVER_SECS: u64 = 7 * 86_400;
/// How long before it was made it counts: clocks differ.
const BEFORE_SECS: u64 = 3600;

type Issued = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate for these names and loopback, with its key.
pub(super) fn issue(
    directory: &Path,
    domain: &str,
    names: &[String],
    now: Millis,
) -> Result<Issued, TlsError> {
    let secs = now.as_unix_secs();
    let authority = authority(directory, domain, secs)?;
    let mut all = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    all.extend(names.iter().cloned());
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name = named("placet");
    (params.not_before, params.not_after) = (
        at(secs.saturating_sub(BEFORE_SECS)),
        at(secs.saturating_add(SERVER_SECS)),
    );
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.der().clone()], key.into()))
}

/// The domain's authority, made when there is none.
fn authority(
    directory: &Path,
    domain: &str,
    secs: u64,
) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let (key_path, path) = (directory.join(KEY_FILE), directory.join(AUTHORITY_FILE));
    let (key, made) = if key_path.exists() {
        let der = super::private_key(&key_path)?;
        (KeyPair::try_from(der.secret_der())?, false)
    } else {
        (KeyPair::generate()?, true)
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(&format!("Placet domain {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (
        at(secs.saturating_sub(BEFORE_SECS)),
        at(secs.saturating_add(AUTHORITY_SECS)),
    );
    if made {
        write(&key_path, &pem("PRIVATE KEY", &key.serialize_der()), 0o600)?;
    }
    // What clients were given stays; a lost one is made again, of the same key.
    if made || !path.exists() {
        let certificate = params.self_signed(&key)?;
        write(&path, &pem("CERTIFICATE", certificate.der()), 0o644)?;
    }
    CertificateDer::from_pem_file(&path).map_err(|error| TlsError::Pem(path, error))?;
    Ok(Issuer::new(params, key))
}

fn named(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn at(secs: u64) -> OffsetDateTime {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    lines.push_str(&format!("-----END {label}-----\n"));
    lines
}

/// Whole or not at all, and with its permissions from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let io = |error| TlsError::Io(path.to_owned(), error);
    let temporary = path.with_extension("new");
    drop(fs::remove_file(&temporary));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, path).map_err(io)
}
