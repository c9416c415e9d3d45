//! Client certificates of workloads (X.509-SVID, SPIFFE): which id they show, and who vouches for it.
//!
//! A trust domain's certificates are verified against that domain's own bundle and no other: the
//! authority of one cannot speak for another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_types::canonical::{Bounds, Json};
use placet_types::{Denial, DenialCode, Millis, SpiffeId, TrustDomain};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::leaf::Leaf;
use super::{TlsError, certificates};
use crate::config::Clients;

/// Longest trust bundle, in bytes.
const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Certificates that a client may show.
const CHAIN_MAX: usize = 8;

/// A workload whose certificate was verified. Only [`Trust::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) id: SpiffeId,
    /// Its certificate counts until then.
    pub(crate) until: Millis,
}

/// What a client showed, and what it was worth when it was last looked at.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    chain: Arc<Vec<CertificateDer<'static>>>,
    generation: u64,
    found: Result<Option<Workload>, Denial>,
}

/// Who vouches for the workloads of each trust domain.
#[derive(Debug)]
pub(super) struct Trust(BTreeMap<TrustDomain, Arc<dyn ClientCertVerifier>>);

impl Peer {
    pub(super) fn new(
        chain: &[CertificateDer<'_>],
        trust: &Trust,
        generation: u64,
        now: Millis,
    ) -> Self {
        Self {
            found: trust.verify(chain, now),
            chain: Arc::new(
                chain
                    .iter()
                    .take(CHAIN_MAX + 1)
                    .map(|one| one.clone().into_owned())
                    .collect(),
            ),
            generation,
        }
    }

    pub(super) fn workload(
        &self,
        trust: &Trust,
        generation: u64,
        now: Millis,
    ) -> Result<Option<Workload>, Denial> {
        match &self.found {
            Ok(Some(workload)) if generation == self.generation && now < workload.until => {
                Ok(Some(workload.clone()))
            }
            Ok(_) | Err(_) => trust.verify(&self.chain, now),
        }
    }
}

impl Trust {
    pub(super) fn read(all: &[Clients]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut domains = BTreeMap::new();
        for one in all {
            let bad = |error: String| TlsError::Bundle(one.bundle.clone(), error);
            let mut roots = RootCertStore::empty();
            for root in bundle(&one.bundle)? {
                roots.add(root).map_err(|error| bad(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
            let verifier = verifier.build().map_err(|error| bad(error.to_string()))?;
            domains.insert(one.trust_domain.clone(), verifier);
        }
        Ok(Self(domains))
    }

    /// The workload that shows this chain; nobody, when it shows none.
    fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: Millis,
    ) -> Result<Option<Workload>, Denial> {
        let Some((own, others)) = chain.split_first() else {
            return Ok(None);
        };
        let refuse = |code, reason: String| Err(Denial::new(code, reason));
        let unverified = DenialCode::IdentityUnverified;
        let Some(leaf) = Leaf::read(own).filter(|_| others.len() < CHAIN_MAX) else {
            return refuse(unverified, "the client certificate does not read".into());
        };
        let id = match leaf.uris.as_slice() {
            [one] => SpiffeId::parse(one),
            _ => {
                let count = leaf.uris.len();
                let reason = format!(
                    "the client certificate has {count} names of kind URI; a workload's has exactly one, its SPIFFE id"
                );
                return refuse(unverified, reason);
            }
        };
        let id = match id {
            Ok(id) => id,
            Err(error) => return refuse(unverified, format!("the client certificate: {error}")),
        };
        let Some(verifier) = self.0.get(&id.trust_domain()) else {
            let reason = format!(
                "the trust domain {} is none of this node's",
                id.trust_domain()
            );
            return refuse(unverified, reason);
        };
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now.get()));
        if let Err(error) = verifier.verify_client_cert(own, others, time) {
            return refuse(
                code(&error),
                format!("the client certificate of {id}: {error}"),
            );
        }
        Ok(Some(Workload {
            id,
            until: leaf.until,
        }))
    }
}

fn code(error: &Error) -> DenialCode {
    let Error::InvalidCertificate(error) = error else {
        return DenialCode::IdentityUnverified;
    };
    // Compared one by one: the library's list of errors grows.
    let is = |these: &[CertificateError]| these.contains(error);
    if is(&[CertificateError::Expired]) || matches!(error, CertificateError::ExpiredContext { .. })
    {
        DenialCode::Expired
    } else if is(&[CertificateError::NotValidYet])
        || matches!(error, CertificateError::NotValidYetContext { .. })
    {
        DenialCode::NotYetValid
    } else if is(&[
        CertificateError::BadSignature,
        CertificateError::UnknownIssuer,
    ]) {
        DenialCode::InvalidSignature
    } else {
        DenialCode::IdentityUnverified
    }
}

/// The authorities of a bundle: PEM, or a SPIFFE trust bundle (JSON, SPIFFE Trust Domain and Bundle).
fn bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |error: &str| TlsError::Bundle(path.to_owned(), error.to_owned());
    let size = std::fs::metadata(path).map_err(|error| TlsError::Io(path.to_owned(), error))?;
    if size.len() > BUNDLE_BYTES_MAX as u64 {
        return Err(bad("longer than 1 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|error| TlsError::Io(path.to_owned(), error))?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return certificates(path);
    }
    let bounds = Bounds {
        bytes_max: BUNDLE_BYTES_MAX,
        depth_max: 8,
    };
    let json = Json::parse(&bytes, bounds).map_err(|error| bad(&error.to_string()))?;
    let Some(Json::Array(keys)) = json.get("keys") else {
        return Err(bad("it has no `keys`"));
    };
    let mut found = Vec::new();
    for key in keys {
        // Others are for tokens.
        if key.get("use").and_then(Json::as_str) != Some("x509-svid") {
            continue;
        }
        let Some(Json::Array(chain)) = key.get("x5c") else {
            return Err(bad("an x509-svid key needs `x5c` with one certificate"));
        };
        let [one] = chain.as_slice() else {
            return Err(bad("an x509-svid key needs `x5c` with one certificate"));
        };
        let der = one.as_str().and_then(|text| STANDARD.decode(text).ok());
        found.push(CertificateDer::from(
            der.ok_or_else(|| bad("`x5c` is not base64"))?,
        ));
    }
    if found.is_empty() {
        return Err(bad("it has no key for x509-svid"));
    }
    Ok(found)
}

/// Lets whoever holds the key of the certificate that it shows through the handshake. What that
/// certificate is worth is for [`Trust::verify`] to say.
#[derive(Debug)]
pub(super) struct AnyHolder(Arc<CryptoProvider>);

impl AnyHolder {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
