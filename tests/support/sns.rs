//! Messages with the signature of Amazon SNS, made with a key of the tests.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The URL of the certificate in the messages.
pub const CERTIFICATE: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem";

/// Returns the message with its signature, as SNS makes it in version 2.
pub fn signed(mut message: Value) -> Value {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("../fixtures/sns/key.pk8")).expect("a key");
    let mut names = vec!["Message", "MessageId", "Timestamp", "TopicArn", "Type"];
    if message["Subject"].is_string() {
        names.push("Subject");
    }
    if message["SubscribeURL"].is_string() {
        names.extend(["SubscribeURL", "Token"]);
    }
    names.sort_unstable();
    let text: String = names
        .iter()
        .map(|name| format!("{name}\n{}\n", message[*name].as_str().expect("a text")))
        .collect();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    message["SignatureVersion"] = json!("2");
    message["Signature"] = json!(STANDARD.encode(signature));
    message["SigningCertURL"] = json!(CERTIFICATE);
    message
}
