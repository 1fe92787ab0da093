//! TLS settings under the names redis-py gives them, made into a rustls configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A setting of TLS that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {detail}")]
pub struct TlsError {
    /// Which: `ssl_ca_certs`, …
    pub setting: String,
    /// What is wrong with it.
    pub detail: String,
}

type Result<T, E = TlsError> = std::result::Result<T, E>;

/// What to trust and what to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// `ssl_ca_certs`: PEM file of trusted authorities; `None` trusts those of the system.
    pub ca_certs: Option<PathBuf>,
    /// `ssl_certfile`: PEM file of our certificate, for servers that ask for one.
    pub certfile: Option<PathBuf>,
    /// `ssl_keyfile`: PEM file of its key; `None` looks in `certfile`.
    pub keyfile: Option<PathBuf>,
    /// `ssl_cert_reqs`: false (`none`) accepts any certificate, which protects from listeners but not from impostors.
    pub verify: bool,
    /// `ssl_check_hostname`: whether the certificate must name the host in the URL.
    pub check_hostname: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca_certs: None, certfile: None, keyfile: None, verify: true, check_hostname: true }
    }
}

impl TlsOptions {
    /// The configuration for connections.
    ///
    /// # Errors
    /// [`TlsError`] for files that cannot be read or hold no certificate or key.
    pub fn config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| config_error("broker_url", &error))?;
        let roots = Arc::new(self.roots()?);
        let strict = || {
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                .build()
                .map_err(|error| config_error("ssl_ca_certs", &error))
        };
        let builder = if !self.verify {
            let lenient = Lenient { names_only: None, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        } else if !self.check_hostname {
            let lenient = Lenient { names_only: Some(strict()?), provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        } else {
            builder.with_webpki_verifier(strict()?)
        };
        let config = match &self.certfile {
            None => builder.with_no_client_auth(),
            Some(certfile) => builder
                .with_client_auth_cert(
                    certificates("ssl_certfile", certfile)?,
                    key(self.keyfile.as_deref().unwrap_or(certfile))?,
                )
                .map_err(|error| config_error("ssl_certfile", &error))?,
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.ca_certs {
            Some(path) => {
                for certificate in certificates("ssl_ca_certs", path)? {
                    roots.add(certificate).map_err(|error| config_error("ssl_ca_certs", &error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    // Slim containers have no certificates of their own.
                    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
            }
        }
        Ok(roots)
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(config_error(setting, &format!("{} holds no PEM certificate", path.display())))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(config_error(setting, &format!("{}: {error}", path.display()))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| config_error("ssl_keyfile", &format!("{}: {error}", path.display())))
}

fn config_error(setting: &str, detail: &dyn std::fmt::Display) -> TlsError {
    TlsError { setting: setting.to_owned(), detail: detail.to_string() }
}

/// Checks all but the name (`names_only`), or nothing.
#[derive(Debug)]
struct Lenient {
    names_only: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(strict) = &self.names_only else { return Ok(ServerCertVerified::assertion()) };
        match strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
