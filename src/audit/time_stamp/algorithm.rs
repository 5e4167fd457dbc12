//! The algorithms that time stamps are made with, by their object identifiers.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;
use yasna::models::ObjectIdentifier;

/// An object identifier, by its numbers.
pub(super) type Oid = &'static [u64];

pub(super) const SIGNED_DATA: Oid = &[1, 2, 840, 113_549, 1, 7, 2];
pub(super) const TIME_STAMP: Oid = &[1, 2, 840, 113_549, 1, 9, 16, 1, 4];
pub(super) const CONTENT_TYPE: Oid = &[1, 2, 840, 113_549, 1, 9, 3];
pub(super) const MESSAGE_DIGEST: Oid = &[1, 2, 840, 113_549, 1, 9, 4];
pub(super) const SIGNING_CERTIFICATE: Oid = &[1, 2, 840, 113_549, 1, 9, 16, 2, 12];
pub(super) const SIGNING_CERTIFICATE_V2: Oid = &[1, 2, 840, 113_549, 1, 9, 16, 2, 47];
pub(super) const SHA_1: Oid = &[1, 3, 14, 3, 2, 26];
pub(super) const SHA_256: Oid = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const SHA_384: Oid = &[2, 16, 840, 1, 101, 3, 4, 2, 2];
const SHA_512: Oid = &[2, 16, 840, 1, 101, 3, 4, 2, 3];
const RSA: Oid = &[1, 2, 840, 113_549, 1, 1, 1];
const RSA_SHA_256: Oid = &[1, 2, 840, 113_549, 1, 1, 11];
const RSA_SHA_384: Oid = &[1, 2, 840, 113_549, 1, 1, 12];
const RSA_SHA_512: Oid = &[1, 2, 840, 113_549, 1, 1, 13];
const RSA_PSS: Oid = &[1, 2, 840, 113_549, 1, 1, 10];
const ECDSA_SHA_256: Oid = &[1, 2, 840, 10_045, 4, 3, 2];
const ECDSA_SHA_384: Oid = &[1, 2, 840, 10_045, 4, 3, 3];
const ECDSA_SHA_512: Oid = &[1, 2, 840, 10_045, 4, 3, 4];
const ED25519: Oid = &[1, 3, 101, 112];

/// Returns whether an object identifier has these numbers.
pub(super) fn is(oid: &ObjectIdentifier, numbers: Oid) -> bool {
    oid.components() == numbers
}

/// Returns the digest of data with the hash algorithm of this identifier, or none if Candor does not know it. SHA-1 only names a
/// certificate (RFC 2634), so it is not for what is signed.
pub(super) fn digest(oid: &ObjectIdentifier, data: &[u8], names_certificate: bool) -> Option<Vec<u8>> {
    let algorithm = match oid.components().as_slice() {
        SHA_256 => &SHA256,
        SHA_384 => &SHA384,
        SHA_512 => &SHA512,
        SHA_1 if names_certificate => &SHA1_FOR_LEGACY_USE_ONLY,
        _ => return None,
    };
    Some(digest::digest(algorithm, data).as_ref().to_vec())
}

/// Returns the signature algorithms that these identifiers mean. The key of the certificate decides which of them it is.
pub(super) fn signatures(
    signature: &ObjectIdentifier,
    hash: &ObjectIdentifier,
) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let hash = hash.components().as_slice();
    match (signature.components().as_slice(), hash) {
        (RSA, SHA_256) | (RSA_SHA_256, _) => vec![algorithms::RSA_PKCS1_2048_8192_SHA256],
        (RSA, SHA_384) | (RSA_SHA_384, _) => vec![algorithms::RSA_PKCS1_2048_8192_SHA384],
        (RSA, SHA_512) | (RSA_SHA_512, _) => vec![algorithms::RSA_PKCS1_2048_8192_SHA512],
        (RSA_PSS, SHA_256) => vec![algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        (RSA_PSS, SHA_384) => vec![algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        (RSA_PSS, SHA_512) => vec![algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        (ECDSA_SHA_256, _) => vec![
            algorithms::ECDSA_P256_SHA256,
            algorithms::ECDSA_P384_SHA256,
            algorithms::ECDSA_P521_SHA256,
        ],
        (ECDSA_SHA_384, _) => vec![
            algorithms::ECDSA_P256_SHA384,
            algorithms::ECDSA_P384_SHA384,
            algorithms::ECDSA_P521_SHA384,
        ],
        (ECDSA_SHA_512, _) => vec![
            algorithms::ECDSA_P256_SHA512,
            algorithms::ECDSA_P384_SHA512,
            algorithms::ECDSA_P521_SHA512,
        ],
        (ED25519, _) => vec![algorithms::ED25519],
        _ => Vec::new(),
    }
}
