//! TLS as `tls_server_config` asks for it, by rustls with ring.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use crate::http::client_certificates::{ClientVerifier, Name};
use crate::http::web_config::{ClientAuth, Tls, TlsVersion, WebConfig};

/// `tls_server_config`, with the contents of the files that it names.
#[derive(Debug, Clone, PartialEq)]
struct Material {
    tls: Tls,
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

/// The TLS of `--web.config.file`, whose files are read again for every connection, so that a renewed certificate is used
/// from the next one on. While they are unchanged, sessions can be resumed.
#[derive(Debug)]
pub struct Acceptors {
    path: PathBuf,
    last: Mutex<Option<(Material, Arc<ServerConfig>)>>,
}

impl Acceptors {
    /// Acceptors for the file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last: Mutex::default() }
    }

    /// The configuration for the next connection.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn current(&self) -> Result<Arc<ServerConfig>, String> {
        let material = Material::read(WebConfig::read(&self.path)?.tls)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = &*last
            && *known == material
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(material.config()?);
        *last = Some((material, Arc::clone(&config)));
        Ok(config)
    }
}

impl Material {
    fn read(tls: Tls) -> Result<Self, String> {
        let one = |name: &str, text: &str, file: &Path| match (text.is_empty(), file.as_os_str().is_empty()) {
            (true, true) => Ok(Vec::new()),
            (false, true) => Ok(text.as_bytes().to_vec()),
            (true, false) => {
                fs::read(file).map_err(|error| format!("{name}_file {}: {error}", file.display()))
            }
            (false, false) => Err(format!("{name} and {name}_file are both given")),
        };
        let certificate = one("cert", &tls.cert, &tls.cert_file)?;
        let key = one("key", &tls.key, &tls.key_file)?;
        let authorities = one("client_ca", &tls.client_ca, &tls.client_ca_file)?;
        for (name, content) in [("cert", &certificate), ("key", &key)] {
            if content.is_empty() {
                return Err(format!("tls_server_config has no {name}_file, or an empty one"));
            }
        }
        Ok(Self { tls, certificate, key, authorities })
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let tls = &self.tls;
        let provider = Arc::new(provider(tls));
        let chain = certificates("cert_file", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| format!("key_file: {error}"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(tls)?)
            .map_err(|error| format!("min_version, max_version and cipher_suites leave nothing: {error}"))?;
        let builder = match self.clients(&provider)? {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("cert_file and key_file: {error}"))?;
        config.ignore_client_order = tls.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// How clients' certificates are verified; nothing where none is asked for.
    fn clients(&self, provider: &Arc<CryptoProvider>) -> Result<Option<ClientVerifier>, String> {
        let kind = self.tls.client_auth_type.unwrap_or_default();
        let names = self.tls.client_allowed_sans.as_deref();
        let names =
            names.map(|names| names.iter().map(|name| Name::parse(name)).collect::<Result<Vec<_>, _>>());
        let names = names.transpose()?;
        if kind == ClientAuth::No {
            return match (self.authorities.is_empty(), &names) {
                (true, None) => Ok(None),
                _ => Err("client_ca_file and client_allowed_sans need a client_auth_type".to_owned()),
            };
        }
        let verifies = matches!(kind, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
        let authority = if verifies { Some(self.authority(provider)?) } else { None };
        let mandatory = matches!(kind, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        Ok(Some(ClientVerifier { authority, mandatory, names, algorithms: algorithms(provider) }))
    }

    fn authority(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
        if self.authorities.is_empty() {
            return Err("client_auth_type needs a client_ca_file to verify by".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client_ca_file", &self.authorities)? {
            roots.add(certificate).map_err(|error| format!("client_ca_file: {error}"))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| format!("client_ca_file: {error}"))
    }
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{name}: there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// As in Go, `cipher_suites` is about TLS 1.2 alone; the suites of TLS 1.3 are always on.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let is_newer = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let chosen: Vec<_> =
        tls.cipher_suites.iter().map(|cipher| cipher.suite()).filter(|suite| !is_newer(suite)).collect();
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites.retain(is_newer);
        provider.cipher_suites.extend(chosen);
    }
    if !tls.curve_preferences.is_empty() {
        provider.kx_groups = tls.curve_preferences.iter().map(|curve| curve.group()).collect();
    }
    provider
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let least = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let most = tls.max_version.unwrap_or(TlsVersion::Tls13);
    let all = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
    let within: Vec<_> = all
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, known)| known)
        .collect();
    if within.is_empty() { Err("min_version is above max_version".to_owned()) } else { Ok(within) }
}

#[cfg(test)]
mod tests;
