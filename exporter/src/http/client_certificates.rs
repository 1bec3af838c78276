//! Clients' certificates: whether one is needed, who must have signed it, and which names it may have.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};

/// An entry of `client_allowed_sans`, which a certificate's subject alternative name must equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// An IP address.
    Address(IpAddr),
    /// A URI.
    Uri(String),
    /// A DNS name.
    Dns(String),
}

impl Name {
    /// Reads one.
    ///
    /// # Errors
    /// An e-mail address, which cannot be compared here.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text {
            _ if text.contains("://") || text.starts_with("urn:") => Ok(Self::Uri(text.to_owned())),
            _ if text.contains('@') => {
                Err("client_allowed_sans has an e-mail address, which ocinet-exporter does not compare"
                    .to_owned())
            }
            _ => Ok(Self::Dns(text.to_owned())),
        }
    }

    fn is_of(&self, certificate: &webpki::EndEntityCert<'_>) -> bool {
        match self {
            Self::Address(address) => {
                let name = ServerName::IpAddress((*address).into());
                certificate.verify_is_valid_for_subject_name(&name).is_ok()
            }
            Self::Uri(uri) => certificate.valid_uri_names().any(|name| name == uri),
            Self::Dns(dns) => certificate.valid_dns_names().any(|name| name == dns),
        }
    }
}

/// How clients' certificates are verified.
#[derive(Debug)]
pub struct ClientVerifier {
    /// The authority that must have signed them; `None` accepts any signer.
    pub authority: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether a client must present one.
    pub mandatory: bool,
    /// The names of which a certificate must have one; `None` accepts any.
    pub names: Option<Vec<Name>>,
    /// How signatures are checked: with any signer, too, a client must have the key of its certificate.
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.as_ref().map_or(&[], |authority| authority.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authority) = &self.authority {
            authority.verify_client_cert(certificate, intermediates, now)?;
        }
        if let Some(names) = &self.names {
            let parsed = webpki::EndEntityCert::try_from(certificate)
                .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            if !names.iter().any(|name| name.is_of(&parsed)) {
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_addresses_uris_or_of_dns() {
        let parse = |text: &str| Name::parse(text).unwrap();
        assert_eq!(parse("2001:db8::1"), Name::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(parse("spiffe://a/b"), Name::Uri("spiffe://a/b".to_owned()));
        assert_eq!(parse("prometheus.example"), Name::Dns("prometheus.example".to_owned()));
        assert!(Name::parse("a@example.com").is_err());
    }
}
