//! Certificates for servers in tests, and the files that a client or another server program needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der).into_bytes();
    let lines: Vec<&str> = text
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64"))
        .collect();
    format!(
        "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
        lines.join("\n")
    )
}

/// A self-signed certificate that is made for one test.
pub struct Certificate {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Creates a certificate for localhost and 127.0.0.1.
    pub fn new() -> Self {
        Self::named(&["localhost", "127.0.0.1"])
    }

    /// Creates a certificate for other names.
    pub fn named(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Certificate {
            certificate: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
        }
    }

    /// Creates a certificate for localhost and 127.0.0.1 that expires after this time.
    pub fn running_out_in(time: std::time::Duration) -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        let now = std::time::Duration::from_secs(candor::base::time::Clock::system().now().unix().0);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + time;
        let key = rcgen::KeyPair::generate().expect("a key");
        Certificate {
            certificate: params.self_signed(&key).expect("a certificate").der().to_vec(),
            key: key.serialize_der(),
        }
    }

    /// Writes a file with the certificate as the only trusted authority, for `SSL_CERT_FILE`.
    pub fn trusted_by(&self, directory: &Path) -> PathBuf {
        let path = directory.join("authority.pem");
        std::fs::write(&path, pem("CERTIFICATE", &self.certificate)).expect("a file");
        path
    }

    /// Writes a file with the key, for a server that is another program.
    pub fn key_file(&self, directory: &Path) -> PathBuf {
        let path = directory.join("key.pem");
        std::fs::write(&path, pem("PRIVATE KEY", &self.key)).expect("a file");
        path
    }

    /// Returns the configuration of a server with this certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone().into()], key)
            .expect("a key that fits");
        Arc::new(config)
    }
}
