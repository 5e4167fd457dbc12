//! Addresses for bounces: one for each delivery, so that whatever comes back names its mail.
//!
//! `bounces@example.com` becomes `bounces+4711.3f0c…@example.com`: the delivery, and a code that only this instance can
//! make. A bounce is trivially forged; this part of it is not.
//!
//! Must never happen here: an address that names a delivery without proving it.

use hmac::{Hmac, Mac};
use lettre::Address;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::mailbox::{self, Mailbox};
use crate::base::text::hex;

/// Characters of the code: 80 bits. Hexadecimal, as some servers change the case of what is before the @.
const CODE: usize = 20;
/// What `+`, a delivery's id and the code add to the part before the @, at most.
const ADDED: usize = 1 + 19 + 1 + CODE;

/// Makes and reads such addresses.
#[derive(Clone)]
pub struct Verp {
    key: Vec<u8>,
    user: String,
    domain: String,
}

impl Verp {
    /// Checks an address for bounces.
    ///
    /// # Errors
    /// A sentence for whoever sets it.
    pub fn check(address: &str) -> Result<(), String> {
        Self::new(&[], address).map(drop)
    }

    /// Addresses below `address`, signed with `key`.
    ///
    /// # Errors
    /// A sentence for whoever sets it.
    pub fn new(key: &[u8], address: &str) -> Result<Self, String> {
        let parsed = Mailbox::parse(address)
            .map_err(|reason| format!("must be an address such as bounces@example.com: it {reason}"))?;
        if !parsed.local().is_ascii() {
            return Err(
                "must have ASCII characters alone before the @: not every mail server takes others"
                    .to_owned(),
            );
        }
        if parsed.local().contains('+') {
            return Err("must have no + before the @: Candor adds one".to_owned());
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

    fn code(&self, delivery: i64) -> String {
        // HMAC takes a key of any length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(never) => unreachable!("{never}"),
        };
        mac.update(format!("bounce:{delivery}").as_bytes());
        hex(&mac.finalize().into_bytes()[..CODE / 2])
    }

    /// The envelope sender of a delivery's mail.
    ///
    /// # Errors
    /// Where it is no address, which `new` has ruled out.
    pub fn address(&self, delivery: i64) -> Result<Address, lettre::address::AddressError> {
        Address::new(
            format!("{}+{delivery}.{}", self.user, self.code(delivery)),
            &self.domain,
        )
    }

    /// The delivery that an address stands for, where it was made here.
    pub fn delivery_of(&self, address: &str) -> Option<i64> {
        // In any spelling: servers show an international domain in letters.
        let usual = mailbox::key_of(address);
        let (user, domain) = usual.rsplit_once('@')?;
        let (user, mark) = user.rsplit_once('+')?;
        if !domain.eq_ignore_ascii_case(&self.domain) || !user.eq_ignore_ascii_case(&self.user) {
            return None;
        }
        let (id, code) = mark.split_once('.')?;
        let delivery: i64 = id.parse().ok()?;
        // One spelling for each delivery: no sign, no leading zero.
        if delivery <= 0 || delivery.to_string() != id {
            return None;
        }
        let holds: bool = self
            .code(delivery)
            .as_bytes()
            .ct_eq(code.to_ascii_lowercase().as_bytes())
            .into();
        holds.then_some(delivery)
    }
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
                // The case of letters alone says nothing.
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
