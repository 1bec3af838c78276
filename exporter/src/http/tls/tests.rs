use super::*;
use crate::http::web_config::Cipher;

fn tls(yaml: &str) -> Tls {
    yaml_serde::from_str(yaml).unwrap()
}

fn refusal(yaml: &str) -> String {
    Material::read(tls(yaml)).and_then(|material| material.config()).unwrap_err()
}

#[test]
fn ciphers_are_named_as_go_does() {
    let provider =
        provider(&tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]"));
    let names: Vec<String> =
        provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    let (older, newer): (Vec<_>, Vec<_>) = names.iter().partition(|name| !name.starts_with("TLS13_"));
    assert_eq!(older, ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
    assert_eq!(newer.len(), 3, "TLS 1.3 keeps all of its own");
    for name in ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"] {
        assert!(Cipher::try_from(name.to_owned()).is_ok(), "{name}");
    }
    assert!(Cipher::try_from("TLS13_AES_128_GCM_SHA256".to_owned()).is_err());
}

#[test]
fn curves_are_in_the_order_that_is_written() {
    let provider = provider(&tls("curve_preferences: [CurveP384, X25519]"));
    let names: Vec<String> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
    assert_eq!(names, ["secp384r1", "X25519"]);
}

#[test]
fn versions_are_between_the_lowest_and_the_highest() {
    let count = |yaml: &str| versions(&tls(yaml)).map(|versions| versions.len());
    assert_eq!(count("{}"), Ok(2));
    assert_eq!(count("min_version: TLS13"), Ok(1));
    assert_eq!(count("max_version: TLS12"), Ok(1));
    assert!(count("{min_version: TLS13, max_version: TLS12}").is_err());
}

#[test]
fn what_is_missing_is_named() {
    for (yaml, said) in [
        ("client_auth_type: NoClientCert", "no cert_file"),
        ("cert: x", "no key_file"),
        ("{cert: x, cert_file: y, key: z}", "cert and cert_file are both given"),
        ("{cert_file: /nowhere/crt, key: z}", "cert_file /nowhere/crt: No such file"),
        ("{cert: x, key: y}", "there is no certificate"),
    ] {
        let refusal = refusal(yaml);
        assert!(refusal.contains(said), "{yaml}: {refusal}");
    }
}
