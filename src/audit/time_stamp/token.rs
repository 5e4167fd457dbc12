//! The answer of an authority: a signed message (CMS, RFC 5652) with the hash and the time.

use aws_lc_rs::digest::{SHA256, digest as hash};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use yasna::models::ObjectIdentifier;
use yasna::tags::{TAG_BOOLEAN, TAG_GENERALIZEDTIME, TAG_INTEGER, TAG_OCTETSTRING, TAG_SEQUENCE};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, BERReaderSeq, Tag};

use super::algorithm::{
    self, CONTENT_TYPE, MESSAGE_DIGEST, SHA_256, SIGNED_DATA, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2,
    TIME_STAMP, is,
};
use super::request::Nonce;
use super::trust::Trust;
use crate::audit::merkle::Hash;
use crate::base::text::{hex, one_line};
use crate::base::time::Timestamp;

/// The largest size of an answer, in bytes.
pub const MAX: usize = 64 * 1024;
/// The statuses of an answer that has a time stamp: granted, and granted with changes.
const GRANTED: [i64; 2] = [0, 1];

/// A time stamp that was read, and not verified yet.
pub struct Token {
    /// What is signed: the hash and the time, in DER.
    info: Vec<u8>,
    imprint: Vec<u8>,
    imprint_algorithm: ObjectIdentifier,
    nonce: Option<Vec<u8>>,
    serial: Vec<u8>,
    at: Timestamp,
    certificates: Vec<Vec<u8>>,
    signer: Signer,
}

/// Who signed, and how.
struct Signer {
    digest: ObjectIdentifier,
    signature_algorithm: ObjectIdentifier,
    signature: Vec<u8>,
    /// The signed attributes, as they are signed: as a SET OF.
    attributes: Vec<u8>,
    content_type: ObjectIdentifier,
    message_digest: Vec<u8>,
    /// The hash of the certificate of the signer, and its algorithm.
    certificate: (ObjectIdentifier, Vec<u8>),
}

fn invalid<T>() -> ASN1Result<T> {
    Err(ASN1Error::new(ASN1ErrorKind::Invalid))
}

impl Token {
    /// Reads the whole answer of an authority.
    ///
    /// # Errors
    /// A sentence: the authority refused, or the answer is not one of RFC 3161.
    pub fn read(response: &[u8]) -> Result<Token, String> {
        if response.len() > MAX {
            return Err(format!("the answer is longer than {MAX} bytes"));
        }
        // Some authorities do not sort their certificates, as DER would need it. The signature covers bytes, so this is harmless.
        let read = yasna::parse_ber(response, |reader| {
            reader.read_sequence(|reader| {
                let (status, text) = reader.next().read_sequence(status)?;
                if !GRANTED.contains(&status) {
                    while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                    return Ok(Err(text));
                }
                content_info(reader.next()).map(Ok)
            })
        });
        match read {
            Ok(Ok(token)) => token,
            Ok(Err(text)) => Err(one_line(
                &format!(
                    "the authority refused: {}",
                    text.as_deref().unwrap_or("it gives no reason")
                ),
                300,
            )),
            Err(_) => Err("the answer is not a time stamp in the form of RFC 3161".to_owned()),
        }
    }

    /// Returns the time that the authority confirms.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the serial number of the time stamp, in hexadecimal.
    pub fn serial(&self) -> String {
        hex(&self.serial)
    }

    /// Returns whether the answer repeats the nonce of a request.
    pub fn answers(&self, nonce: Nonce) -> bool {
        self.nonce.as_deref().is_some_and(|integer| nonce.is(integer))
    }

    /// Verifies that the time stamp is of this SHA-256 hash and that its signature is right. With certificate authorities, also that
    /// one of them issued the certificate for this purpose, and that it was valid at that time. Returns whether it is trusted,
    /// which is unknown without authorities.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the time stamp itself.
    pub fn verify(&self, imprint: &Hash, trust: Option<&Trust>) -> Result<Option<bool>, String> {
        if !is(&self.imprint_algorithm, SHA_256) || self.imprint != imprint {
            return Err("it is a time stamp of something else".to_owned());
        }
        let signer = &self.signer;
        if !is(&signer.content_type, TIME_STAMP) {
            return Err("its signature is not about a time stamp".to_owned());
        }
        let digest = algorithm::digest(&signer.digest, &self.info, false)
            .ok_or("its hash algorithm is not SHA-256, SHA-384 or SHA-512")?;
        if digest != signer.message_digest {
            return Err("its content does not match its signed digest".to_owned());
        }
        let (hash, named) = &signer.certificate;
        let own = self
            .certificates
            .iter()
            .find(|certificate| algorithm::digest(hash, certificate, true).as_ref() == Some(named))
            .ok_or("it does not contain the certificate that signed it")?;
        let certificate = CertificateDer::from(own.as_slice());
        let certificate = EndEntityCert::try_from(&certificate)
            .map_err(|error| format!("its certificate cannot be read: {error}"))?;
        let algorithms = algorithm::signatures(&signer.signature_algorithm, &signer.digest);
        if algorithms.is_empty() {
            return Err("its signature algorithm is not known here; verify it with openssl".to_owned());
        }
        let signed = algorithms.into_iter().any(|algorithm| {
            certificate
                .verify_signature(algorithm, &signer.attributes, &signer.signature)
                .is_ok()
        });
        if !signed {
            return Err("its signature is wrong".to_owned());
        }
        let Some(trust) = trust else { return Ok(None) };
        let others: Vec<CertificateDer<'_>> = self
            .certificates
            .iter()
            .filter(|other| *other != own)
            .map(|other| CertificateDer::from(other.as_slice()))
            .collect();
        Ok(Some(trust.verify(&certificate, &others, self.at).is_ok()))
    }
}

/// Returns the hash that a time stamp of a text is about.
pub fn imprint(text: &[u8]) -> Hash {
    let mut imprint = [0; 32];
    imprint.copy_from_slice(hash(&SHA256, text).as_ref());
    imprint
}

fn status(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<(i64, Option<String>)> {
    let status = reader.next().read_i64()?;
    let mut text = None;
    while let Some(one) = reader.read_optional(|reader| reader.read_tagged_der())? {
        // The texts are a sequence, and the bits of the failure are not shown.
        if one.tag() == TAG_SEQUENCE && text.is_none() {
            let texts = yasna::parse_ber(&wrapped(one.value()), |reader| {
                reader.collect_sequence_of(|reader| reader.read_utf8string())
            });
            text = texts.ok().map(|texts| texts.join(" "));
        }
    }
    Ok((status, text))
}

/// Returns the content of a sequence as a sequence again.
fn wrapped(content: &[u8]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_tagged_der(&yasna::models::TaggedDerValue::from_tag_and_bytes(
            TAG_SEQUENCE,
            content.to_vec(),
        ));
    })
}

fn content_info(reader: BERReader<'_, '_>) -> ASN1Result<Result<Token, String>> {
    reader.read_sequence(|reader| {
        if !is(&reader.next().read_oid()?, SIGNED_DATA) {
            return invalid();
        }
        reader
            .next()
            .read_tagged(Tag::context(0), |reader| reader.read_sequence(signed_data))
    })
}

fn algorithm_of(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<ObjectIdentifier> {
    let oid = reader.next().read_oid()?;
    reader.read_optional(|reader| reader.read_der())?;
    Ok(oid)
}

fn signed_data(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Result<Token, String>> {
    reader.next().read_i64()?;
    reader
        .next()
        .read_set_of(|reader| reader.read_der().map(|_| ()))?;
    let info = reader.next().read_sequence(|reader| {
        if !is(&reader.next().read_oid()?, TIME_STAMP) {
            return invalid();
        }
        reader
            .next()
            .read_tagged(Tag::context(0), |reader| reader.read_bytes())
    })?;
    let mut certificates = Vec::new();
    let mut signers = Vec::new();
    // The certificates and the revocation lists may be left out, so the next value is known by its tag.
    while let Some(end) = reader.read_optional(|reader| {
        let tag = reader.lookahead_tag()?;
        if tag == Tag::context(0) {
            reader.read_tagged_implicit(tag, |reader| {
                reader.read_set_of(|reader| {
                    certificates.push(reader.read_der()?);
                    Ok(())
                })
            })?;
            Ok(false)
        } else if tag == Tag::context(1) {
            reader.read_der()?;
            Ok(false)
        } else {
            reader.read_set_of(|reader| {
                signers.push(reader.read_sequence(signer)?);
                Ok(())
            })?;
            Ok(true)
        }
    })? {
        if end {
            break;
        }
    }
    // RFC 3161 allows one signature only.
    let (Some(signer), true) = (signers.pop(), signers.is_empty()) else {
        return Ok(Err("it must have exactly one signature".to_owned()));
    };
    let parsed = yasna::parse_ber(&info, |reader| reader.read_sequence(stamped))?;
    let Some(at) = time(&parsed.time) else {
        return Ok(Err("its time cannot be read".to_owned()));
    };
    Ok(Ok(Token {
        imprint: parsed.imprint,
        imprint_algorithm: parsed.algorithm,
        nonce: parsed.nonce,
        serial: parsed.serial,
        at,
        certificates,
        signer,
        info,
    }))
}

/// The parts of the signed content that matter here.
struct Stamped {
    algorithm: ObjectIdentifier,
    imprint: Vec<u8>,
    serial: Vec<u8>,
    time: Vec<u8>,
    nonce: Option<Vec<u8>>,
}

fn stamped(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Stamped> {
    reader.next().read_i64()?;
    reader.next().read_oid()?;
    let (algorithm, imprint) = reader.next().read_sequence(|reader| {
        Ok((
            reader.next().read_sequence(algorithm_of)?,
            reader.next().read_bytes()?,
        ))
    })?;
    let serial = reader.next().read_bigint_bytes()?.0;
    let time = reader.next().read_tagged_der()?;
    if time.tag() != TAG_GENERALIZEDTIME {
        return invalid();
    }
    let mut nonce = None;
    // The accuracy, whether stamps are ordered, the name and the extensions are not needed.
    while let Some(one) = reader.read_optional(|reader| reader.read_tagged_der())? {
        if one.tag() == TAG_INTEGER {
            nonce = Some(one.value().to_vec());
        } else if one.tag() == TAG_OCTETSTRING || (one.tag() == TAG_BOOLEAN && nonce.is_some()) {
            return invalid();
        }
    }
    Ok(Stamped {
        algorithm,
        imprint,
        serial,
        time: time.value().to_vec(),
        nonce,
    })
}

/// Reads a GeneralizedTime, which ends with Z: `20241130031500Z`, perhaps with a fraction of a second.
fn time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, fraction) = text.strip_suffix('Z')?.split_at_checked(14)?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| &digits[from..to];
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}{fraction}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
    .ok()
}

fn signer(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Signer> {
    reader.next().read_i64()?;
    // The name of the signer. The signed attributes name the certificate by its hash, which is stricter.
    reader.next().read_der()?;
    let digest = reader.next().read_sequence(algorithm_of)?;
    let mut attributes = Attributes::default();
    let (tag, mut raw) = {
        let reader = reader.next();
        let tag = reader.lookahead_tag()?;
        let ((), raw) = reader.read_with_buffer(|reader| {
            reader.read_tagged_implicit(Tag::context(0), |reader| {
                reader.read_set_of(|reader| reader.read_sequence(|reader| attributes.take(reader)))
            })
        })?;
        (tag, raw.to_vec())
    };
    // The signature covers the attributes with the tag of a SET OF.
    match raw.first_mut() {
        Some(first) if tag == Tag::context(0) => *first = 0x31,
        _ => return invalid(),
    }
    let signature_algorithm = reader.next().read_sequence(algorithm_of)?;
    let signature = reader.next().read_bytes()?;
    reader.read_optional(|reader| reader.read_der())?;
    let (Some(content_type), Some(message_digest), Some(certificate)) = (
        attributes.content_type,
        attributes.message_digest,
        attributes.certificate,
    ) else {
        return invalid();
    };
    Ok(Signer {
        digest,
        signature_algorithm,
        signature,
        attributes: raw,
        content_type,
        message_digest,
        certificate,
    })
}

/// The signed attributes that a time stamp must have.
#[derive(Default)]
struct Attributes {
    content_type: Option<ObjectIdentifier>,
    message_digest: Option<Vec<u8>>,
    certificate: Option<(ObjectIdentifier, Vec<u8>)>,
}

impl Attributes {
    fn take(&mut self, reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<()> {
        let oid = reader.next().read_oid()?;
        let mut values = Vec::new();
        reader.next().read_set_of(|reader| {
            values.push(reader.read_der()?);
            Ok(())
        })?;
        let [value] = values.as_slice() else {
            return invalid();
        };
        match oid.components().as_slice() {
            CONTENT_TYPE => self.content_type = Some(yasna::parse_ber(value, |reader| reader.read_oid())?),
            MESSAGE_DIGEST => {
                self.message_digest = Some(yasna::parse_ber(value, |reader| reader.read_bytes())?)
            }
            SIGNING_CERTIFICATE_V2 => {
                self.certificate = Some(yasna::parse_ber(value, |reader| {
                    signing_certificate(reader, true)
                })?);
            }
            // The second version is preferred if both are given.
            SIGNING_CERTIFICATE if self.certificate.is_none() => {
                self.certificate = Some(yasna::parse_ber(value, |reader| {
                    signing_certificate(reader, false)
                })?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the attribute that names the certificate of the signer. It may name more certificates behind the first one.
fn signing_certificate(
    reader: BERReader<'_, '_>,
    is_second: bool,
) -> ASN1Result<(ObjectIdentifier, Vec<u8>)> {
    reader.read_sequence(|reader| {
        let found = reader.next().read_sequence(|reader| {
            let first = reader
                .next()
                .read_sequence(|reader| certificate_hash(reader, is_second))?;
            while reader.read_optional(|reader| reader.read_der())?.is_some() {}
            Ok(first)
        })?;
        reader.read_optional(|reader| reader.read_der())?;
        Ok(found)
    })
}

/// Reads the hash of a certificate. In the first version it is SHA-1, in the second one SHA-256 unless it says otherwise.
fn certificate_hash(
    reader: &mut BERReaderSeq<'_, '_>,
    is_second: bool,
) -> ASN1Result<(ObjectIdentifier, Vec<u8>)> {
    let usual = if is_second { SHA_256 } else { algorithm::SHA_1 };
    let other = match is_second {
        true => reader.read_optional(|reader| reader.read_sequence(algorithm_of))?,
        false => None,
    };
    let named = other.unwrap_or_else(|| ObjectIdentifier::from_slice(usual));
    let bytes = reader.next().read_bytes()?;
    reader.read_optional(|reader| reader.read_der())?;
    Ok((named, bytes))
}
