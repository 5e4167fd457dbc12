//! The sender of an email, and the address that replies go to: by the settings of the process, unless the frozen brand of the notice says
//! otherwise. This module does no I/O.
//!
//! The address of the sender is always that of the settings, because the domain of it has the keys and records that make the email
//! trustworthy.

use std::borrow::Cow;

use lettre::Address;
use lettre::message::Mailbox;

use crate::base::mailbox;
use crate::notice::branding::FrozenBrand;

/// Returns the values of From and Reply-To.
pub(super) fn of<'a>(
    brand: Option<&FrozenBrand>,
    from: &'a Mailbox,
    reply_to: Option<&'a Mailbox>,
) -> (Cow<'a, Mailbox>, Option<Cow<'a, Mailbox>>) {
    let name = brand.and_then(|brand| brand.name.clone());
    let from = match name {
        Some(name) => Cow::Owned(Mailbox::new(Some(name), from.email.clone())),
        None => Cow::Borrowed(from),
    };
    // The address was checked when the brand was stored.
    let own = brand
        .and_then(|brand| mailbox::Mailbox::parse(brand.reply_to.as_deref()?).ok())
        .map(|own| Mailbox::new(None, Address::new_dangerous(own.local(), own.domain())));
    let reply_to = match own {
        Some(own) => Some(Cow::Owned(own)),
        None => reply_to.map(Cow::Borrowed),
    };
    (from, reply_to)
}
