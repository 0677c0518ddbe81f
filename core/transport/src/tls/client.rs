//! How a client looks at the certificate of a server.

use super::credentials::{protocols, provider, read_authorities, read_certificates, read_pair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use whimbrel_core::runtime::{Scheme, TlsOptions};

/// What a client connects with to a server of this scheme.
///
/// # Errors
///
/// In words: a file that is not what it should be, or options that do not go together.
pub(crate) fn load(options: &TlsOptions, scheme: Scheme) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if options.insecure {
        let verifier = Arc::new(Anyone(provider()));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else if options.ca.is_empty() {
        let file = system_authorities()
            .ok_or("this system has no list of authorities; name a file with some")?;
        let mut roots = RootCertStore::empty();
        // Some lists have certificates that are too old to be understood.
        roots.add_parsable_certificates(read_certificates(&file)?);
        builder.with_root_certificates(roots)
    } else {
        builder.with_root_certificates(read_authorities(&options.ca)?)
    };
    let mut config = match (&options.certificate, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let pair = read_pair(certificate, key).map_err(|wrong| wrong.what)?;
            let pair = Arc::unwrap_or_clone(pair);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
        _ => {
            return Err("a client certificate needs its key, and a key its certificate".to_owned());
        }
    };
    config.alpn_protocols = protocols(scheme);
    Ok(Arc::new(config))
}

/// Where systems keep the authorities that they believe, if not where `SSL_CERT_FILE` says.
fn system_authorities() -> Option<String> {
    const FILES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let named = std::env::var("SSL_CERT_FILE").ok();
    let known = || FILES.iter().find(|file| Path::new(file).exists());
    named.or_else(|| known().map(|file| (*file).to_owned()))
}

/// Believes every certificate, as the user has asked for; the signatures still have to be right.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
