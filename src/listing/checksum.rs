//! Checksums, however they are written: hexadecimal or base64, with or without the name of the algorithm, in quotation
//! marks as an ETag.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::base::text::{hex, one_line};

/// The algorithm that is meant if only the checksum is written, by its number of bytes.
const BY_LENGTH: [(usize, &str); 8] = [
    (4, "crc32"),
    (8, "crc64"),
    (16, "md5"),
    (20, "sha1"),
    (28, "sha224"),
    (32, "sha256"),
    (48, "sha384"),
    (64, "sha512"),
];

/// The longest checksum with its name that is looked at, in bytes.
const LONGEST: usize = 256;

/// Base64 with or without the characters that fill it up.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the normal form of a checksum, see [`super::value`].
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn normalise(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "'{}' is not a checksum in hexadecimal digits or base64",
            one_line(text, 60)
        )
    };
    let bare = text.trim_ascii();
    // The quotation marks of an ETag are a part of its notation.
    let bare = bare
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(bare);
    if bare.is_empty() || bare.len() > LONGEST {
        return Err(wrong());
    }
    if let Some(form) = of_parts(bare) {
        return Ok(form);
    }
    let (algorithm, written) = match bare.split_once(':') {
        Some((name, written)) => (Some(algorithm(name).ok_or_else(wrong)?), written),
        None => match bare.split_once('-') {
            // The notation of subresource integrity.
            Some((name @ ("sha256" | "sha384" | "sha512"), written)) => (Some(name.to_owned()), written),
            _ => (None, bare),
        },
    };
    let digits = digits(written).ok_or_else(wrong)?;
    let length = digits.len() / 2;
    let usual = BY_LENGTH
        .iter()
        .find(|(known, _)| *known == length)
        .map(|(_, name)| *name)
        .ok_or_else(wrong)?;
    match algorithm {
        None => Ok(format!("{usual}:{digits}")),
        Some(name) => match BY_LENGTH.iter().find(|(_, known)| *known == name) {
            Some((right, _)) if *right != length => Err(format!(
                "'{}' has {length} bytes, but a checksum of {name} has {right}",
                one_line(text, 60)
            )),
            _ => Ok(format!("{name}:{digits}")),
        },
    }
}

/// Returns whether two checksums can be compared: both were computed over the content by the same algorithm.
pub(super) fn comparable(one: &str, other: &str) -> bool {
    match (one.split_once(':'), other.split_once(':')) {
        (Some((one, _)), Some((other, _))) => one == other && one != MULTIPART && one != OPAQUE,
        _ => false,
    }
}

/// Marks the checksum of an object that was uploaded in parts. It depends on the sizes of the parts.
const MULTIPART: &str = "multipart";
/// Marks what looks like a checksum and is none: the ETag of an object that was encrypted with a key of its own.
pub(super) const OPAQUE: &str = "opaque";

/// Returns the normal form of a checksum with a number of parts behind it, such as `9b2cf535f27731c974343645a3985328-12`.
fn of_parts(text: &str) -> Option<String> {
    let (sum, parts) = text.rsplit_once('-')?;
    let number = (1..=5).contains(&parts.len()) && parts.bytes().all(|byte| byte.is_ascii_digit());
    let sum = sum.split_once(':').map_or(sum, |(_, sum)| sum);
    let digits = digits(sum)?;
    let known = BY_LENGTH.iter().any(|(length, _)| length * 2 == digits.len());
    (number && known).then(|| format!("{MULTIPART}:{digits}-{parts}"))
}

/// Returns the name of an algorithm in its usual form: `SHA-256` is `sha256`.
fn algorithm(name: &str) -> Option<String> {
    let name = name.trim_ascii().to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 20 || !name.chars().all(allowed) {
        return None;
    }
    Some(match name.as_str() {
        "sha-1" | "sha_1" => "sha1".to_owned(),
        "sha-224" | "sha_224" => "sha224".to_owned(),
        "sha-256" | "sha_256" => "sha256".to_owned(),
        "sha-384" | "sha_384" => "sha384".to_owned(),
        "sha-512" | "sha_512" => "sha512".to_owned(),
        "md-5" | "md_5" | "etag" => "md5".to_owned(),
        _ => name,
    })
}

/// Returns a checksum as hexadecimal digits in lower case. All lengths of hexadecimal checksums are lengths of base64 too,
/// but no checksum in base64 of such a length consists only of hexadecimal digits by chance.
fn digits(written: &str) -> Option<String> {
    let text = written.trim_ascii();
    let bytes = text.as_bytes();
    if !bytes.is_empty() && bytes.len().is_multiple_of(2) && bytes.iter().all(u8::is_ascii_hexdigit) {
        return Some(text.to_ascii_lowercase());
    }
    BASE64.decode(bytes).ok().map(|bytes| hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_checksum_has_one_form() {
        let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
        for text in [
            "d41d8cd98f00b204e9800998ecf8427e",
            "D41D8CD98F00B204E9800998ECF8427E",
            "\"d41d8cd98f00b204e9800998ecf8427e\"",
            " md5:d41d8cd98f00b204e9800998ecf8427e ",
            "MD5:1B2M2Y8AsgTpgAmY7PhCfg==",
            "1B2M2Y8AsgTpgAmY7PhCfg==",
            "1B2M2Y8AsgTpgAmY7PhCfg",
        ] {
            assert_eq!(normalise(text).as_deref(), Ok(md5), "{text}");
        }
        let sha256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "SHA-256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert_eq!(normalise(text).as_deref(), Ok(sha256), "{text}");
        }
        assert_eq!(normalise("AAAAAA=="), Ok("crc32:00000000".to_owned()));
        assert_eq!(normalise("crc32c:00000000"), Ok("crc32c:00000000".to_owned()));
    }

    #[test]
    fn a_checksum_of_parts_is_marked() {
        for text in [
            "9b2cf535f27731c974343645a3985328-12",
            "\"9b2cf535f27731c974343645a3985328-12\"",
        ] {
            let form = "multipart:9b2cf535f27731c974343645a3985328-12".to_owned();
            assert_eq!(normalise(text), Ok(form));
        }
        assert!(normalise("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-3").is_ok());
        for (one, other, fits) in [
            ("md5:aa", "md5:bb", true),
            ("md5:aa", "sha1:bb", false),
            ("multipart:aa-1", "multipart:bb-1", false),
            ("multipart:aa-1", "md5:aa", false),
        ] {
            assert_eq!(comparable(one, other), fits);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "\"\"",
            "xyz",
            "d41d8cd98f00b204e9800998ecf8427",
            "d41d8cd98f00b204e9800998ecf8427ee",
            "md5:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "UNSUPPORTED",
            ":aa",
            "W/\"d41d8cd98f00b204e9800998ecf8427e\"",
        ] {
            assert!(normalise(text).is_err(), "{text}: {:?}", normalise(text));
        }
    }
}
