//! Amazon SNS: the envelope of a message, its signature, and the confirmation of a subscription.
//!
//! Candor requests a URL only after its host is known to be a host of SNS.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use url::Url;
use webpki::EndEntityCert;

use super::fetch::Fetch;
use crate::base::json_repair;

/// The number of certificates in the cache. Amazon uses one for each region at a time.
const KEPT: usize = 32;

/// A message of SNS.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Envelope {
    /// `Notification`, `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The ID of the message, the same in every attempt to deliver it.
    pub message_id: String,
    /// The ARN of the topic.
    #[serde(default)]
    pub topic_arn: String,
    /// The published message, or a text for people.
    pub message: String,
    /// The subject of a notification, if it has one.
    #[serde(default)]
    pub subject: Option<String>,
    /// When the message was published. Stored as text, because the text is signed.
    #[serde(default)]
    pub timestamp: String,
    /// `1` for SHA-1, `2` for SHA-256.
    #[serde(default)]
    pub signature_version: String,
    /// The signature in base64.
    #[serde(default)]
    pub signature: String,
    /// The URL of the certificate.
    #[serde(default, rename = "SigningCertURL", alias = "SigningCertUrl")]
    pub signing_cert_url: String,
    /// The URL to request to confirm a subscription.
    #[serde(default, rename = "SubscribeURL")]
    pub subscribe_url: Option<String>,
    /// The token of a confirmation.
    #[serde(default)]
    pub token: Option<String>,
}

/// Returns the messages of a body: one message, or the messages in the records that a Lambda function gets.
///
/// # Errors
/// `Forged` if the body contains no message. Nothing is signed then.
pub fn envelopes(body: &[u8]) -> Result<Vec<Envelope>, Refused> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Records {
        records: Vec<Record>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        sns: Envelope,
    }
    if let Ok(one) = json_repair::read::<Envelope>(body) {
        return Ok(vec![one]);
    }
    match json_repair::read::<Records>(body) {
        Ok(all) if !all.records.is_empty() => Ok(all.records.into_iter().map(|record| record.sns).collect()),
        _ => Err(Refused::Forged("the body is not a signed message of Amazon SNS")),
    }
}

/// Returns whether a text is the ARN of a topic.
pub fn is_topic(text: &str) -> bool {
    static TOPIC: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^arn:aws[a-z-]*:sns:[a-z0-9-]{3,}:\d{12}:[A-Za-z0-9_.-]{1,256}$").ok());
    TOPIC.as_ref().is_some_and(|topic| topic.is_match(text))
}

/// Returns the URL if it is an HTTPS URL of SNS.
fn trusted(text: &str) -> Result<Url, &'static str> {
    static HOST: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?$").ok());
    let url = Url::parse(text).map_err(|_| "a URL of the message is not valid")?;
    let host = url.host_str().unwrap_or_default();
    let ours = HOST.as_ref().is_some_and(|pattern| pattern.is_match(host));
    if url.scheme() != "https"
        || !ours
        || url.port().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("a URL of the message does not belong to Amazon SNS");
    }
    Ok(url)
}

/// Why a message was rejected.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The message is not proven to be from Amazon.
    Forged(&'static str),
    /// The certificate or the confirmation could not be fetched. Amazon sends the message again.
    Unreachable(String),
}

/// Verifies messages, and caches the certificates.
pub struct Sns {
    fetch: Fetch,
    certificates: Mutex<HashMap<Url, Vec<u8>>>,
}

impl Sns {
    /// Creates a verifier that fetches certificates in this way.
    pub fn new(fetch: Fetch) -> Self {
        Sns {
            fetch,
            certificates: Mutex::default(),
        }
    }

    /// Checks that Amazon signed the message and that it is from this topic.
    ///
    /// # Errors
    /// The reason why the message is rejected.
    pub async fn verify(&self, envelope: &Envelope, topic: &str) -> Result<(), Refused> {
        if envelope.topic_arn != topic {
            return Err(Refused::Forged("the message is from another topic"));
        }
        let signed =
            string_to_sign(envelope).ok_or(Refused::Forged("the type of the message is not known"))?;
        let algorithm = match envelope.signature_version.as_str() {
            "1" => &SHA1,
            "2" => &SHA256,
            _ => return Err(Refused::Forged("the version of the signature is not known")),
        };
        let signature = STANDARD
            .decode(envelope.signature.trim())
            .map_err(|_| Refused::Forged("the signature is not base64"))?;
        let url = trusted(&envelope.signing_cert_url).map_err(Refused::Forged)?;
        if !url.path().ends_with(".pem") {
            return Err(Refused::Forged("the certificate's URL does not end in .pem"));
        }
        let pem = self.certificate(url).await?;
        let der = CertificateDer::from_pem_slice(&pem)
            .map_err(|_| Refused::Forged("the certificate cannot be read"))?;
        EndEntityCert::try_from(&der)
            .map_err(|_| Refused::Forged("the certificate cannot be read"))?
            .verify_signature(algorithm, signed.as_bytes(), &signature)
            .map_err(|_| Refused::Forged("the signature is not valid"))
    }

    async fn certificate(&self, url: Url) -> Result<Vec<u8>, Refused> {
        let known = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&url)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let pem = self
            .fetch
            .get(url.clone())
            .await
            .map_err(|reason| Refused::Unreachable(format!("the certificate of SNS: {reason}")))?;
        // Cache only a valid certificate. Anything else, such as an error page, must not be cached. It says
        // nothing about the message, so Amazon should send the message again.
        let none = || Refused::Unreachable("the certificate of SNS is not valid".to_owned());
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| none())?;
        EndEntityCert::try_from(&der).map_err(|_| none())?;
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if certificates.len() >= KEPT {
            certificates.clear();
        }
        certificates.insert(url, pem.clone());
        Ok(pem)
    }

    /// Checks that a message has a valid signature and belongs to one of these topics.
    ///
    /// # Errors
    /// The reason why the message is rejected.
    pub async fn verify_any(&self, envelope: &Envelope, topics: &[&str]) -> Result<(), Refused> {
        let topic = topics
            .iter()
            .find(|topic| **topic == envelope.topic_arn)
            .or(topics.first())
            .copied()
            .unwrap_or_default();
        self.verify(envelope, topic).await
    }

    /// Confirms a subscription by requesting the URL in the message. The caller must verify the message
    /// first.
    ///
    /// # Errors
    /// The reason why the subscription was not confirmed.
    pub async fn confirm(&self, envelope: &Envelope) -> Result<(), Refused> {
        let url = envelope.subscribe_url.as_deref().unwrap_or_default();
        let url = trusted(url).map_err(Refused::Forged)?;
        let confirms = url
            .query_pairs()
            .any(|(name, value)| name == "Action" && value == "ConfirmSubscription");
        if !confirms {
            return Err(Refused::Forged(
                "the message's URL does not confirm a subscription",
            ));
        }
        self.fetch.get(url).await.map(drop).map_err(|reason| {
            Refused::Unreachable(format!("the subscription could not be confirmed: {reason}"))
        })
    }
}

/// Returns the signed text: the names and values of some fields, one per line, sorted by name.
fn string_to_sign(envelope: &Envelope) -> Option<String> {
    let mut fields = vec![
        ("Message", envelope.message.as_str()),
        ("MessageId", &envelope.message_id),
        ("Timestamp", &envelope.timestamp),
        ("TopicArn", &envelope.topic_arn),
        ("Type", &envelope.kind),
    ];
    match envelope.kind.as_str() {
        "Notification" => {
            if let Some(subject) = &envelope.subject {
                fields.push(("Subject", subject));
            }
        }
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            fields.push(("SubscribeURL", envelope.subscribe_url.as_deref()?));
            fields.push(("Token", envelope.token.as_deref()?));
        }
        _ => return None,
    }
    fields.sort_unstable();
    Some(
        fields
            .iter()
            .map(|(name, value)| format!("{name}\n{value}\n"))
            .collect(),
    )
}

/// RSA with PKCS #1 v1.5, which SNS uses. SNS signs with SHA-1 unless it is configured otherwise. webpki does
/// not contain this algorithm, because certificates may no longer use it.
#[derive(Debug)]
struct Rsa(&'static RsaParameters, AlgorithmIdentifier);

static SHA256: Rsa = Rsa(&RSA_PKCS1_2048_8192_SHA256, alg_id::RSA_PKCS1_SHA256);
static SHA1: Rsa = Rsa(
    &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    // `sha1WithRSAEncryption`: an object identifier and a NULL. It is not compared with anything here.
    AlgorithmIdentifier::from_slice(&[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00,
    ]),
);

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.0, key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_sns_are_trusted() {
        for right in [
            "https://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/?Action=ConfirmSubscription",
        ] {
            assert!(trusted(right).is_ok(), "{right}");
        }
        for wrong in [
            "http://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
            "https://user@sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com:8443/a.pem",
            "https://sns.x.amazonaws.com/a.pem",
            "https://s3.amazonaws.com/bucket/a.pem",
            "https://sns.a.b.amazonaws.com/a.pem",
            "https://127.0.0.1/a.pem",
            "file:///etc/passwd.pem",
            "",
        ] {
            assert!(trusted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_topic_is_named_whole() {
        assert!(is_topic("arn:aws:sns:eu-west-1:123456789012:bounces"));
        for wrong in [
            "bounces",
            "arn:aws:sqs:eu-west-1:123456789012:bounces",
            "arn:aws:sns:eu-west-1:1:bounces",
            "",
        ] {
            assert!(!is_topic(wrong), "{wrong}");
        }
    }
}
