//! The recipients of a notice in a drill: the addresses for drills instead of the planned recipients.
//!
//! A notice of a drill never goes to another address. The plan replaces the recipients, the freeze checks them again, and a
//! trigger of the database refuses to queue the notice otherwise.

use diesel::prelude::*;

use super::compose::RecipientContext;
use super::recipients::{Recipient, Recipients};
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::dialect::on_backend;
use crate::db::schema::drill_addresses as a;
use crate::directory::normal_address;

/// What the ID of a recipient of a drill begins with. It is no person of the directory, so that neither an answer nor a bounce in
/// a drill is about a customer.
const NOBODY: &str = "drill:";

/// Returns one email for each address for drills. Each has the content of one of the planned emails, so that it looks real.
/// Nobody gets an email if none was planned.
///
/// # Errors
/// `Invalid` if there are no addresses for drills.
pub(super) fn instead(planned: &Recipients, to: &[String]) -> Result<Recipients> {
    if to.is_empty() {
        let detail = "the incident is a drill, and there are no addresses for drills: set CANDOR_DRILL_TO";
        return Err(Error::invalid("", detail));
    }
    let mut emails = Vec::with_capacity(to.len());
    for (address, packed) in to.iter().zip(planned.iter().cycle()) {
        emails.push(Recipient {
            address: address.clone(),
            context: RecipientContext {
                people: vec![format!("{NOBODY}{}", normal_address(address))],
                ..packed.unpack()?.context
            },
        });
    }
    let mut recipients = Recipients::default();
    recipients.add(emails)?;
    Ok(recipients)
}

/// Checks that a notice of a drill goes only to the addresses for drills, and stores these addresses. The database refuses to
/// queue the notice for any other address. This is called directly before the recipients are stored.
///
/// # Errors
/// `Internal` if a recipient is not one of the addresses, or if endpoints would be called.
pub(super) fn allow(
    tx: &mut Tx<'_>,
    id: &NoticeId,
    recipients: &Recipients,
    endpoints: usize,
    to: &[String],
) -> Result<()> {
    let foreign = recipients
        .iter()
        .any(|packed| !to.iter().any(|address| address == packed.address()));
    if foreign || endpoints > 0 {
        return Err(Error::internal(
            "a notice of a drill would reach somebody outside the drill",
        ));
    }
    let rows: Vec<_> = recipients
        .iter()
        .map(|packed| (a::notice_id.eq(id.as_str()), a::address.eq(packed.address())))
        .collect();
    on_backend!(&mut *tx.conn, c => diesel::insert_into(a::table).values(&rows).execute(c))?;
    Ok(())
}
