//! The certificate authorities that time stamps are verified with.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::base::time::Timestamp;

/// The purpose "time stamping" of a certificate (1.3.6.1.5.5.7.3.8), as bytes of DER.
const TIME_STAMPING: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 8];

/// The certificate authorities of the settings.
#[derive(Clone)]
pub struct Trust {
    roots: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Reads the certificates of a PEM file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn load(file: &Path) -> Result<Trust, String> {
        let about = |reason: String| format!("{}: {reason}", file.display());
        let pem = std::fs::read(file).map_err(|error| about(error.to_string()))?;
        Trust::parse(&pem).map_err(about)
    }

    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(pem: &[u8]) -> Result<Trust, String> {
        let roots: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("is not PEM: {error}"))?;
        if roots.is_empty() {
            return Err("contains no certificate".to_owned());
        }
        for root in &roots {
            anchor_from_trusted_cert(root)
                .map_err(|error| format!("contains a certificate that cannot be read: {error}"))?;
        }
        Ok(Trust { roots })
    }

    /// Verifies that one of the authorities issued this certificate for time stamping, at the time of the stamp.
    ///
    /// # Errors
    /// A sentence that says why the certificate is not trusted.
    pub(super) fn verify(
        &self,
        certificate: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        at: Timestamp,
    ) -> Result<(), String> {
        let anchors = self
            .roots
            .iter()
            .map(anchor_from_trusted_cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                others,
                UnixTime::since_unix_epoch(Duration::from_secs(at.unix().0)),
                KeyUsage::required(TIME_STAMPING),
                None,
                None,
            )
            .map(|_| ())
            .map_err(|error| {
                format!("its certificate is not from an authority that the settings name: {error}")
            })
    }
}
