use super::*;

fn refusal(text: &str) -> String {
    WebConfig::parse(text).unwrap_err()
}

#[test]
fn the_whole_format_of_the_toolkit_is_read() {
    let config = WebConfig::parse(
        "tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: default-src 'none'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection:
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
rate_limit:
  interval: 1m30s
  burst: 2
",
    )
    .unwrap();
    assert!(config.tls.is_enabled() && config.tls.client_auth_type == Some(ClientAuth::RequireAndVerify));
    assert_eq!((config.rate_limit.interval, config.rate_limit.burst), (Duration::from_secs(90), 2));
    let names: Vec<&str> = config.http.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["content-security-policy", "x-frame-options", "x-content-type-options", "strict-transport-security"]
    );
    assert!(config.users.contains_key("alice"));
    assert!(!format!("{config:?}").contains("X0h1gDsPszW"), "no hash in the log");
}

#[test]
fn what_is_empty_is_as_good_as_absent() {
    for text in
        ["", "\n", "# nothing\n", "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n"]
    {
        assert_eq!(WebConfig::parse(text).unwrap(), WebConfig::default(), "{text:?}");
    }
    assert!(!WebConfig::default().tls.is_enabled());
    assert!(
        WebConfig::parse("tls_server_config: {client_auth_type: NoClientCert}").unwrap().tls.is_enabled()
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, said, line) in [
        ("tls_server_config:\n  cert_file: a\n  cert_flie: b\n", "unknown field `cert_flie`", "line 3"),
        ("tls_config: {}\n", "unknown field `tls_config`", "line 1"),
        ("http_server_config:\n  headers:\n    X-Powered-By: y\n", "unknown field `X-Powered-By`", "line 3"),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
            "unknown variant `allow`",
            "line 3",
        ),
        ("\ntls_server_config:\n  min_version: TLS10\n", "expected `TLS12` or `TLS13`", "line 3"),
        ("tls_server_config:\n  client_auth_type: Maybe\n", "unknown variant `Maybe`", "line 2"),
        (
            "tls_server_config:\n  cipher_suites:\n  - TLS_RSA_WITH_RC4_128_SHA\n",
            "TLS_RSA_WITH_RC4_128_SHA",
            "line 3",
        ),
        ("tls_server_config:\n  curve_preferences: [CurveP521]\n", "CurveP521", "line 2"),
        ("basic_auth_users:\n  alice: secret\n", "not hashed with bcrypt", "line 2"),
        ("basic_auth_users:\n  alice: a\n  alice: b\n", "bcrypt", "line 2"),
        ("rate_limit:\n  interval: soon\n", "expected a duration", "line 2"),
        ("tls_server_config: yes\n", "invalid type", "line 1"),
        ("basic_auth_users: {\n", "did not find", "line 2"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(said) && refusal.contains(line), "{text:?}: {refusal}");
        assert!(!refusal.contains("secret"), "a password is not repeated: {refusal}");
    }
}

#[test]
fn durations_are_gos() {
    for (text, milliseconds) in [("1s", 1000), ("1m30s", 90_000), ("100ms", 100), ("1.5h", 5_400_000)] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
    }
    for bad in ["", "1", "s", "1d", "-1s", "1s1", "1e3s"] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
}
