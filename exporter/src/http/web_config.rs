//! The file of `--web.config.file`, in the exporter-toolkit's format (github.com/prometheus/exporter-toolkit,
//! docs/web-configuration.md): what is written there, checked value by value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderValue;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, de};
use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::{SupportedKxGroup, ring};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// TLS and client certificates.
    #[serde(rename = "tls_server_config", deserialize_with = "or_default")]
    pub tls: Tls,
    /// Headers of every answer.
    #[serde(rename = "http_server_config", deserialize_with = "or_default")]
    pub http: Http,
    /// How often somebody may ask.
    #[serde(deserialize_with = "or_default")]
    pub rate_limit: RateLimit,
    /// Who may ask, with a hash of the password; everybody where it is empty.
    #[serde(rename = "basic_auth_users", deserialize_with = "or_default")]
    pub users: BTreeMap<String, PasswordHash>,
}

/// `tls_server_config`; there is TLS where one of its first seven keys is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate with those that lead to its authority, as PEM.
    #[serde(deserialize_with = "or_default")]
    pub cert: String,
    /// Its private key, as PEM.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// The authorities of clients' certificates, as PEM.
    #[serde(deserialize_with = "or_default")]
    pub client_ca: String,
    /// A file with what `cert` has.
    #[serde(deserialize_with = "or_default")]
    pub cert_file: PathBuf,
    /// A file with what `key` has.
    #[serde(deserialize_with = "or_default")]
    pub key_file: PathBuf,
    /// A file with what `client_ca` has.
    #[serde(deserialize_with = "or_default")]
    pub client_ca_file: PathBuf,
    /// Whether clients show a certificate.
    pub client_auth_type: Option<ClientAuth>,
    /// Subject alternative names, one of which a client's certificate must have.
    pub client_allowed_sans: Option<Vec<String>>,
    /// The lowest version of TLS.
    pub min_version: Option<TlsVersion>,
    /// The highest version of TLS.
    pub max_version: Option<TlsVersion>,
    /// The cipher suites of TLS 1.2, the best first.
    #[serde(deserialize_with = "or_default")]
    pub cipher_suites: Vec<Cipher>,
    /// Whether this order counts rather than the client's; it does by default.
    pub prefer_server_cipher_suites: Option<bool>,
    /// The curves of the key exchange, the best first.
    #[serde(deserialize_with = "or_default")]
    pub curve_preferences: Vec<Curve>,
}

impl Tls {
    /// Whether there is to be TLS.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.client_ca];
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        texts.iter().any(|text| !text.is_empty())
            || files.iter().any(|file| !file.as_os_str().is_empty())
            || self.client_auth_type.is_some()
    }
}

/// Whether clients show a certificate, and whether it is checked (Go's `crypto/tls.ClientAuthType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    #[serde(rename = "NoClientCert", alias = "")]
    No,
    /// They are asked for one, and may show any or none.
    #[serde(rename = "RequestClientCert")]
    Request,
    /// They must show one, and may show any.
    #[serde(rename = "RequireAnyClientCert", alias = "RequireClientCert")]
    RequireAny,
    /// If they show one, it must be of an authority that is trusted.
    #[serde(rename = "VerifyClientCertIfGiven")]
    VerifyIfGiven,
    /// They must show one, of an authority that is trusted.
    #[serde(rename = "RequireAndVerifyClientCert")]
    RequireAndVerify,
}

/// A version of TLS. The toolkit knows TLS10 and TLS11 too, which are broken and which rustls does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "TLS12")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "TLS13")]
    Tls13,
}

/// A cipher suite, named as Go does.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cipher(SupportedCipherSuite);

impl Cipher {
    /// As rustls knows it.
    #[must_use]
    pub fn suite(self) -> SupportedCipherSuite {
        self.0
    }
}

impl TryFrom<String> for Cipher {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // rustls says TLS13_AES_128_GCM_SHA256 where Go says TLS_AES_128_GCM_SHA256.
        let go = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        let all = ring::ALL_CIPHER_SUITES;
        all.iter().find(|suite| go(suite) == name).map(|suite| Self(*suite)).ok_or_else(|| {
            let known: Vec<String> = all.iter().map(go).collect();
            format!("the cipher suite {} is not one of {}", name.escape_debug(), known.join(", "))
        })
    }
}

/// A curve of the key exchange, named as Go does.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Curve(&'static dyn SupportedKxGroup);

impl Curve {
    /// As rustls knows it.
    #[must_use]
    pub fn group(self) -> &'static dyn SupportedKxGroup {
        self.0
    }
}

impl PartialEq for Curve {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl TryFrom<String> for Curve {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "X25519" => Ok(Self(ring::kx_group::X25519)),
            "CurveP256" => Ok(Self(ring::kx_group::SECP256R1)),
            "CurveP384" => Ok(Self(ring::kx_group::SECP384R1)),
            _ => Err(format!("the curve {} is not one of X25519, CurveP256, CurveP384", name.escape_debug())),
        }
    }
}

/// `http_server_config`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Whether clients may speak HTTP/2. There is none here, and clients that offer it speak HTTP/1.1.
    pub http2: Option<bool>,
    /// Headers of every answer.
    #[serde(deserialize_with = "or_default")]
    pub headers: Headers,
}

/// The headers that can be set, each absent where it is empty.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Headers {
    #[serde(rename = "Content-Security-Policy")]
    content_security_policy: HeaderText,
    #[serde(rename = "X-Frame-Options")]
    frame_options: FrameOptions,
    #[serde(rename = "X-Content-Type-Options")]
    content_type_options: ContentTypeOptions,
    #[serde(rename = "X-XSS-Protection")]
    xss_protection: HeaderText,
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: HeaderText,
}

impl Headers {
    /// Those that are set, by their names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let frame = match self.frame_options {
            FrameOptions::Unset => None,
            FrameOptions::Deny => Some(HeaderValue::from_static("deny")),
            FrameOptions::SameOrigin => Some(HeaderValue::from_static("sameorigin")),
        };
        let no_sniff = self.content_type_options == ContentTypeOptions::NoSniff;
        [
            ("content-security-policy", self.content_security_policy.0.clone()),
            ("x-frame-options", frame),
            ("x-content-type-options", no_sniff.then(|| HeaderValue::from_static("nosniff"))),
            ("x-xss-protection", self.xss_protection.0.clone()),
            ("strict-transport-security", self.strict_transport_security.0.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct HeaderText(Option<HeaderValue>);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(Self(None));
        }
        HeaderValue::try_from(text).map(|value| Self(Some(value))).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum FrameOptions {
    #[default]
    #[serde(rename = "")]
    Unset,
    #[serde(rename = "deny")]
    Deny,
    #[serde(rename = "sameorigin")]
    SameOrigin,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ContentTypeOptions {
    #[default]
    #[serde(rename = "")]
    Unset,
    #[serde(rename = "nosniff")]
    NoSniff,
}

/// `rate_limit`: a bucket of `burst` tokens, to which one is added every `interval`; none where the interval is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// How long until the next request, once the bucket is empty.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// How many requests at once.
    pub burst: u32,
}

/// A bcrypt hash. It is never printed.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct PasswordHash(String);

impl PasswordHash {
    /// As bcrypt writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse::<bcrypt::HashParts>() {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err("a password is not hashed with bcrypt (`htpasswd -nBC 10 \"\"` makes a hash)"),
        }
    }
}

impl WebConfig {
    /// Reads the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// The file system's, or what is wrong with the file and in which line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut config = Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = &mut config.tls;
        for file in [&mut tls.cert_file, &mut tls.key_file, &mut tls.client_ca_file] {
            if !file.as_os_str().is_empty() {
                *file = folder.join(&file);
            }
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parsed = yaml_serde::from_str::<Option<Self>>(text);
        parsed.map(Option::unwrap_or_default).map_err(|error| {
            let said = error.to_string();
            // The very first character is the one place that is not said.
            match error.location() {
                Some(place) if !said.contains(" line ") => {
                    format!("{said} at line {} column {}", place.line(), place.column())
                }
                _ => said,
            }
        })
    }
}

/// A key without a value is as good as none, as in the toolkit.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A duration as Go writes it: `1s`, `1m30s`, `100ms`, `0`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a duration such as 1s, 1m30s or 100ms")
        }

        fn visit_u64<E: de::Error>(self, nanoseconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_nanos(nanoseconds))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Visitor)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, unit) = rest.split_at(number);
        let unit_end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, next) = unit.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let value: f64 = value.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests;
