//! Certificates, keys and authorities: read from files, checked against each other, made into what
//! a listener serves.
//!
//! Everything is read and checked before anything of it is used, so a reload either has all of it
//! or changes nothing.

use super::authorities::Authorities;
use super::facts::{has_made, is_understood, next_update, validity};
use crate::security::{CertificateError, CertificateFinding};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::sync::Arc;
use whimbrel_core::UnixTime;
use whimbrel_core::runtime::{ClientCertificate, ListenerConfig, Scheme, TlsVersion};

/// When the end of a certificate's life is worth a warning: time to act, before it is urgent.
const SOON_S: i64 = 14 * 24 * 3_600;

/// What TLS carries, as a client of this scheme may call it (ALPN); other names are refused, none
/// at all is fine. A WebSocket begins as HTTP, and browsers call it that.
pub(crate) fn protocols(scheme: Scheme) -> Vec<Vec<u8>> {
    match scheme.has_websocket() {
        true => vec![b"http/1.1".to_vec(), b"mqtt".to_vec()],
        false => vec![b"mqtt".to_vec()],
    }
}

/// Looks at the dates of the certificates of a listener.
pub(crate) fn check_dates(listener: &ListenerConfig, now: UnixTime) -> Vec<CertificateFinding> {
    let error = |key, what| Wrong { key, what }.at(listener);
    let pairs = match read_pairs(listener) {
        Ok(pairs) => pairs,
        Err(wrong) => return vec![CertificateFinding::Unusable(wrong.at(listener))],
    };
    let now_s = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
    let days = |seconds: i64| seconds / (24 * 3_600);
    let mut findings = Vec::new();
    for (file, pair) in listener.certificate.iter().zip(&pairs) {
        // What follows the first certificate only helps to find the way to an authority.
        let Some((begin, end)) = pair.cert.first().and_then(|der| validity(der)) else {
            continue;
        };
        if end <= now_s {
            let what = format!("{file} expired {} days ago; renew it", days(now_s - end));
            findings.push(CertificateFinding::Error(error("certificate", what)));
        } else if begin > now_s {
            let what = format!("{file} is not valid yet; is the clock right?");
            findings.push(CertificateFinding::Error(error("certificate", what)));
        } else if end - now_s < SOON_S {
            let what = format!("{file} expires in {} days; renew it", days(end - now_s));
            findings.push(CertificateFinding::Warning(error("certificate", what)));
        }
    }
    // Nobody is kept out because a list is old: that would be everybody.
    let lists = read_client_authorities(listener)
        .and_then(|authorities| read_lists(listener, &authorities));
    for list in lists.unwrap_or_default() {
        if let Some(next) = next_update(&list).filter(|next| *next <= now_s) {
            let what = format!(
                "a list in `crl` should have been replaced {} days ago: whoever was revoked since is let \
                 in; fetch the new one, and reload",
                days(now_s - next)
            );
            findings.push(CertificateFinding::Warning(error("crl", what)));
        }
    }
    findings
}

/// What is wrong, in words, and the key of the listener that is to be changed.
pub(crate) struct Wrong {
    pub(crate) key: &'static str,
    pub(crate) what: String,
}

impl Wrong {
    /// For the value of this key.
    fn by(key: &'static str) -> impl Fn(String) -> Self {
        move |what| Self { key, what }
    }

    /// Of this listener.
    pub(crate) fn at(self, listener: &ListenerConfig) -> CertificateError {
        CertificateError {
            url: listener.url.clone(),
            key: self.key,
            what: self.what,
        }
    }
}

/// What a listener serves TLS with, and whom it believes about clients if it asks them.
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) authorities: Option<Arc<Authorities>>,
}

/// Reads what a listener serves TLS with.
///
/// # Errors
///
/// A file cannot be read or is not what it should be.
pub(crate) fn load(listener: &ListenerConfig) -> Result<Loaded, CertificateError> {
    build(listener).map_err(|wrong| wrong.at(listener))
}

fn build(listener: &ListenerConfig) -> Result<Loaded, Wrong> {
    let pairs = read_pairs(listener)?;
    let (verifier, authorities) = client_verifier(listener)?.unzip();
    let versions: Vec<&SupportedProtocolVersion> = listener
        .tls_versions
        .iter()
        .map(|version| match version {
            TlsVersion::Tls12 => &version::TLS12,
            TlsVersion::Tls13 => &version::TLS13,
        })
        .collect();
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .map_err(|error| Wrong::by("tls_versions")(error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName { pairs }));
    config.alpn_protocols = protocols(listener.url.scheme());
    // Sessions are resumed by tickets, which are kept by clients. Their keys live as long as this
    // configuration: after a reload everybody is looked at anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()
        .map_err(|error| Wrong::by("url")(format!("no randomness: {error}")))?;
    // A certificate that is checked for revocation is checked each time.
    if !listener.crl.is_empty() {
        config.ticketer = Arc::new(NoTickets);
    }
    Ok(Loaded {
        config: Arc::new(config),
        authorities: authorities.map(Arc::new),
    })
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Every chain with its key.
fn read_pairs(listener: &ListenerConfig) -> Result<Vec<Arc<CertifiedKey>>, Wrong> {
    let (certificates, keys) = (&listener.certificate, &listener.key);
    if certificates.is_empty() {
        let what = "needs a certificate: set `certificate` and `key`";
        return Err(Wrong::by("certificate")(what.to_owned()));
    }
    if certificates.len() != keys.len() {
        return Err(Wrong::by("key")(format!(
            "{} certificates and {} keys: name one key for each certificate, in the same order",
            certificates.len(),
            keys.len()
        )));
    }
    let pairs = certificates.iter().zip(keys);
    pairs
        .map(|(certificate, key)| read_pair(certificate, key))
        .collect()
}

/// A chain and its key.
pub(crate) fn read_pair(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, Wrong> {
    let chain = read_usable(certificate).map_err(Wrong::by("certificate"))?;
    let bytes = read(key).map_err(Wrong::by("key"))?;
    let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        Wrong::by("key")(format!(
            "{key} has no private key: it should have one in PEM, unencrypted; `openssl pkey -in \
             {key} -out FILE` takes a passphrase away, and makes PEM of DER"
        ))
    })?;
    let mismatch = rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
    let pair = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
        Wrong::by("key")(if error == mismatch {
            format!(
                "{key} is not the key of {certificate}; name the one that the certificate was made for, in \
                 the same place of `key`"
            )
        } else {
            format!("{certificate} and {key}: {error}")
        })
    })?;
    Ok(Arc::new(pair))
}

pub(crate) fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{file} is no PEM file: {error}"))?;
    if certificates.is_empty() {
        let hint = match PrivateKeyDer::from_pem_slice(&bytes) {
            Ok(_) => "it has a private key, which belongs into `key`",
            Err(_) => "name a file in PEM that has one",
        };
        return Err(format!("{file} has no certificate; {hint}"));
    }
    Ok(certificates)
}

/// The same, all of which can be used.
fn read_usable(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = read_certificates(file)?;
    if certificates.iter().all(|der| is_understood(der)) {
        return Ok(certificates);
    }
    Err(format!(
        "{file} has a certificate that is damaged, or not of version 3; make a new one, such as with \
         `openssl req -x509 -addext subjectAltName=DNS:…`"
    ))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))
}

/// All authorities of some files.
pub(crate) fn read_authorities(files: &[String]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in read_usable(file)? {
            roots
                .add(certificate)
                .map_err(|error| format!("{file} has a certificate that is none: {error}"))?;
        }
    }
    Ok(roots)
}

/// Who looks at the certificates of clients, and whom that believes; `None` when nobody asks for
/// them.
#[expect(
    clippy::type_complexity,
    reason = "two values, both named where they are taken apart"
)]
fn client_verifier(
    listener: &ListenerConfig,
) -> Result<Option<(Arc<dyn ClientCertVerifier>, Authorities)>, Wrong> {
    if listener.client_ca.is_empty() {
        if listener.crl.is_empty() {
            return Ok(None);
        }
        let what = "a `crl` needs `client_ca`: whose certificates does it take back?";
        return Err(Wrong::by("crl")(what.to_owned()));
    }
    let of_clients = Wrong::by("client_ca");
    let certificates = read_client_authorities(listener).map_err(&of_clients)?;
    let roots = read_authorities(&listener.client_ca).map_err(&of_clients)?;
    let roots = Arc::new(roots);
    let lists = read_lists(listener, &certificates).map_err(Wrong::by("crl"))?;
    let authorities = Authorities::new(&certificates, &lists);
    let has_lists = !lists.is_empty();
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(roots, provider()).with_crls(lists);
    if has_lists {
        // Authorities without a list revoke nothing.
        builder = builder.allow_unknown_revocation_status();
    }
    if listener.client_certificate == ClientCertificate::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder
        .build()
        .map_err(|error| of_clients(format!("client_ca or crl: {error}")))?;
    Ok(Some((verifier, authorities)))
}

/// The certificates in `client_ca`.
fn read_client_authorities(
    listener: &ListenerConfig,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut authorities = Vec::new();
    for file in &listener.client_ca {
        authorities.extend(read_usable(file)?);
    }
    Ok(authorities)
}

/// The lists of revoked certificates. One by an authority that nobody is asked about would look as
/// if it revoked something, and revoke nothing.
fn read_lists(
    listener: &ListenerConfig,
    authorities: &[CertificateDer<'_>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut lists = Vec::new();
    for file in &listener.crl {
        let bytes = read(file)?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
            let list = list.map_err(|error| format!("{file} is no PEM file: {error}"))?;
            if !authorities
                .iter()
                .any(|authority| has_made(authority, &list))
            {
                return Err(format!(
                    "{file} has a list that no authority in `client_ca` has made, so it would revoke \
                     nothing; name the certificate of the one that has, or leave the list out"
                ));
            }
            lists.push(list);
        }
        if lists.len() == before {
            return Err(format!("{file} has no list of revoked certificates"));
        }
    }
    Ok(lists)
}

/// Chooses by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    pairs: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    /// The first whose names have that one and whose key the client understands; without such, the
    /// first that it understands.
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = client.signature_schemes();
        let understood = || {
            self.pairs
                .iter()
                .filter(|pair| pair.key.choose_scheme(schemes).is_some())
        };
        let name = client
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| understood().find(|pair| is_of(pair, &name)));
        named.or_else(|| understood().next()).cloned()
    }
}

fn is_of(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = pair.cert.first().map(ParsedCertificate::try_from);
    matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, name).is_ok())
}

/// Makes no tickets, and takes none.
#[derive(Debug)]
struct NoTickets;

impl rustls::server::ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
