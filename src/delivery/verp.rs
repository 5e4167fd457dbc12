//! Bounce addresses. Each delivery has its own, so that a bounce identifies its email.
//!
//! `bounces@example.com` becomes `bounces+4711.3f0c…@example.com`. It contains the ID of the delivery and a
//! code that only this instance can make. A bounce is easy to forge, but this code is not.
//!
//! An address never identifies a delivery without a valid code. The emails to a subscriber of the status page have addresses of the same
//! form, with a code that no delivery has.

use hmac::{Hmac, Mac};
use lettre::Address;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::mailbox::{self, Mailbox};
use crate::base::text::hex;

/// The length of the code, in characters. It has 80 bits. It is hexadecimal, because some servers change the
/// case of the part before the @.
const CODE: usize = 20;
/// The largest number of characters that `+`, the ID of a delivery, the dot and the code add to the part
/// before the @.
const ADDED: usize = 1 + 19 + 1 + CODE;

/// Makes and reads bounce addresses.
#[derive(Clone)]
pub struct Verp {
    key: Vec<u8>,
    user: String,
    domain: String,
}

impl Verp {
    /// Checks a bounce address from the settings.
    ///
    /// # Errors
    /// A sentence for the operator who sets it.
    pub fn check(address: &str) -> Result<(), String> {
        Self::new(&[], address).map(drop)
    }

    /// Makes bounce addresses from `address`, with codes that are made with `key`.
    ///
    /// # Errors
    /// A sentence for the operator who sets the address.
    pub fn new(key: &[u8], address: &str) -> Result<Self, String> {
        let parsed = Mailbox::parse(address)
            .map_err(|reason| format!("must be an address such as bounces@example.com: it {reason}"))?;
        if !parsed.local().is_ascii() {
            return Err(
                "must have only ASCII characters before the @, because not every mail server accepts others"
                    .to_owned(),
            );
        }
        if parsed.local().contains('+') {
            return Err("must have no + before the @, because Candor adds one".to_owned());
        }
        if parsed.local().len() + ADDED > 64 {
            return Err(format!(
                "is too long: at most {} characters before the @",
                64 - ADDED
            ));
        }
        Ok(Verp {
            key: key.to_vec(),
            user: parsed.local().to_owned(),
            domain: parsed.domain().to_ascii_lowercase(),
        })
    }

    fn code(&self, of: Of, id: i64) -> String {
        // HMAC accepts a key of any length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(never) => unreachable!("{never}"),
        };
        let purpose = match of {
            Of::Delivery => "bounce",
            Of::Subscriber => "subscriber",
        };
        mac.update(format!("{purpose}:{id}").as_bytes());
        hex(&mac.finalize().into_bytes()[..CODE / 2])
    }

    /// Returns the envelope sender of a delivery's email.
    ///
    /// # Errors
    /// An error if the result is not an address, which `new` has already ruled out.
    pub fn address(&self, delivery: i64) -> Result<Address, lettre::address::AddressError> {
        self.address_of(Of::Delivery, delivery)
    }

    /// Returns the envelope sender of the emails to a subscriber of the status page.
    ///
    /// # Errors
    /// An error if the result is not an address, which `new` has already ruled out.
    pub fn subscriber_address(&self, subscriber: i64) -> Result<Address, lettre::address::AddressError> {
        self.address_of(Of::Subscriber, subscriber)
    }

    fn address_of(&self, of: Of, id: i64) -> Result<Address, lettre::address::AddressError> {
        Address::new(format!("{}+{id}.{}", self.user, self.code(of, id)), &self.domain)
    }

    /// Returns the ID of the delivery for which this address was made. Returns `None` if this instance did
    /// not make the address.
    pub fn delivery_of(&self, address: &str) -> Option<i64> {
        self.target(Of::Delivery, address)
    }

    /// Returns the ID of the subscriber of the status page for whom this address was made. Returns `None` if this instance did not make
    /// the address, or if it is that of a delivery.
    pub fn subscriber_of(&self, address: &str) -> Option<i64> {
        self.target(Of::Subscriber, address)
    }

    fn target(&self, of: Of, address: &str) -> Option<i64> {
        // Every spelling is accepted, because some servers show an internationalised domain in Unicode.
        let usual = mailbox::key_of(address);
        let (user, domain) = usual.rsplit_once('@')?;
        let (user, mark) = user.rsplit_once('+')?;
        if !domain.eq_ignore_ascii_case(&self.domain) || !user.eq_ignore_ascii_case(&self.user) {
            return None;
        }
        let (id, code) = mark.split_once('.')?;
        let known: i64 = id.parse().ok()?;
        // Only one spelling of the ID is accepted, without a sign and without leading zeros.
        if known <= 0 || known.to_string() != id {
            return None;
        }
        let holds: bool = self
            .code(of, known)
            .as_bytes()
            .ct_eq(code.to_ascii_lowercase().as_bytes())
            .into();
        holds.then_some(known)
    }
}

/// What a bounce address is made for. The code of one is never that of the other.
#[derive(Clone, Copy)]
enum Of {
    Delivery,
    Subscriber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_delivery_in_any_case() {
        let verp = Verp::new(b"key", "bounces@example.com").unwrap();
        for delivery in [1, 4711, i64::MAX] {
            let address = verp.address(delivery).unwrap().to_string();
            assert_eq!(verp.delivery_of(&address), Some(delivery));
            assert_eq!(verp.delivery_of(&address.to_uppercase()), Some(delivery));
            assert_eq!(
                Verp::new(b"another", "bounces@example.com")
                    .unwrap()
                    .delivery_of(&address),
                None
            );
        }
    }

    #[test]
    fn a_delivery_and_a_subscriber_have_different_addresses() {
        let verp = Verp::new(b"key", "bounces@example.com").unwrap();
        let (delivery, subscriber) = (verp.address(7).unwrap(), verp.subscriber_address(7).unwrap());
        assert_eq!(verp.subscriber_of(subscriber.as_ref()), Some(7));
        assert_eq!(verp.subscriber_of(delivery.as_ref()), None);
        assert_eq!(verp.delivery_of(subscriber.as_ref()), None);
    }

    #[test]
    fn one_changed_bit_is_refused() {
        let verp = Verp::new(b"key", "bounces@example.com").unwrap();
        let address = verp.address(4711).unwrap().to_string();
        for at in 0..address.len() {
            for bit in 0..8 {
                let mut bytes = address.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else {
                    continue;
                };
                // A difference in the case of letters does not matter.
                if !changed.eq_ignore_ascii_case(&address) {
                    assert_eq!(verp.delivery_of(&changed), None, "{changed}");
                }
            }
        }
        for wrong in [
            "",
            "@",
            "bounces@example.com",
            "bounces+@example.com",
            "bounces+1@example.com",
        ] {
            assert_eq!(verp.delivery_of(wrong), None);
        }
        assert_eq!(verp.delivery_of(&address.replace("4711", "04711")), None);
    }

    #[test]
    fn an_address_without_room_is_refused() {
        assert!(Verp::check("bounces@example.com").is_ok());
        for wrong in [
            "bounces",
            "a+b@example.com",
            "bounces@",
            &format!("{}@example.com", "b".repeat(24)),
        ] {
            assert!(Verp::check(wrong).is_err(), "{wrong}");
        }
    }
}
