//! Opting out of optional notices, by the link in a mail.
//!
//! Must never happen here: a mandatory notice ("you are affected") that somebody can opt out of.

use diesel::prelude::*;

use crate::audit::{Action, Event, Tx};
use crate::db::dialect::on_backend;
use crate::db::schema::opt_outs;
use crate::error::Result;

/// Takes an address out of optional notices. Doing it again changes nothing.
///
/// # Errors
/// `NotFound` where there is no such delivery.
pub fn opt_out(tx: &mut Tx<'_>, delivery: i64) -> Result<()> {
    let address = super::get(tx.conn, delivery)?.address;
    let address = crate::directory::normal_address(&address);
    let added = on_backend!(&mut *tx.conn, c => diesel::insert_into(opt_outs::table)
        .values((opt_outs::address.eq(&address), opt_outs::at.eq(tx.now)))
        .on_conflict(opt_outs::address)
        .do_nothing()
        .execute(c))?;
    if added > 0 {
        tx.record(Event::new(Action::OptedOut, "delivery", delivery.to_string()));
    }
    Ok(())
}
