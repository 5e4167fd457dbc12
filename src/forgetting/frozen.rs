//! Frozen recipients and their deliveries: what an erasure changes in what was sent, and the proof that stays.
//!
//! A recipient keeps a commitment to the ID and to the address. The digest of the notice before and after stands in the event of the
//! erasure, so the chain of digests goes on. The mail of everybody else stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use sha2::{Digest, Sha256};

use super::attempts::{ReplyChange, replies};
use super::needles::Needles;
use crate::audit::Tx;
use crate::audit::erased::{self, ErasedNotice, Erasures, LISTED, Protected, checked_digest, digest_of};
use crate::base::error::{Error, Result};
use crate::base::id::{ErasureId, NoticeId};
use crate::base::text::hex;
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{deliveries as d, erased_recipients as er, notice_recipients as nr};
use crate::db::{Conn, Statement};
use crate::directory::erased::{PLACEHOLDER, is_placeholder};
use crate::directory::normal_address;
use crate::notice::delivery_state::{Changes, stop_erased};
use crate::notice::erased::{people_of, without};

/// What the ID of a recipient of a drill begins with.
const DRILL: &str = "drill:";

/// A frozen recipient that is to be changed.
#[derive(Clone, Debug)]
pub(super) struct RecipientChange {
    pub notice: NoticeId,
    pub ordinal: i64,
    /// The ID of the person who is erased, and the address, which are committed to.
    pub committed: (String, String),
    pub person: String,
    pub name: String,
    pub address: String,
    pub context: String,
    pub domain: String,
}

/// What was found of a person in what was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub recipients: Vec<RecipientChange>,
    /// The deliveries of those recipients whose address is erased.
    pub deliveries: Vec<i64>,
    /// The deliveries of all those recipients, whose emails cannot be shown any more.
    pub emails: Vec<i64>,
    pub replies: Vec<ReplyChange>,
    /// The addresses that only this person has in what was sent.
    pub own: BTreeSet<String>,
    /// The addresses that somebody else has too.
    pub shared: BTreeSet<String>,
    /// The names with which the person was written to.
    pub names: BTreeSet<String>,
}

/// A recipient as it is stored.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    notice_id: String,
    #[diesel(sql_type = BigInt)]
    ordinal: i64,
    #[diesel(sql_type = Text)]
    person_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    context: String,
    #[diesel(sql_type = Text)]
    domain: String,
}

/// Returns a random text in hexadecimal.
///
/// # Errors
/// `Internal` if the machine gives no random bytes.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(hex(&bytes))
}

/// Returns a new placeholder for an ID or an address.
///
/// # Errors
/// `Internal` if the machine gives no random bytes.
pub(super) fn placeholder() -> Result<String> {
    Ok(format!("{PLACEHOLDER}{}", random()?))
}

/// Returns the commitment to a text.
pub(super) fn commitment(salt: &str, text: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt.as_bytes());
    hasher.update(text.as_bytes());
    hex(&hasher.finalize())
}

fn rows(conn: &mut Conn, needles: &Needles, addresses: &BTreeSet<String>) -> Result<Vec<Row>> {
    let mut statement = Statement::default();
    statement
        .push(
            "SELECT notice_id, ordinal, person_id, name, address, context, domain FROM notice_recipients \
             WHERE channel = 'email' AND (person_id = ",
        )
        .text(&needles.id);
    for address in addresses {
        statement.push(" OR LOWER(address) = ").text(address);
    }
    statement.push(" OR ");
    needles.condition(&mut statement, "context");
    statement.push(") ORDER BY notice_id, ordinal");
    Ok(statement.finish().load(conn)?)
}

/// Finds the person in the frozen lists. `email` is the present address. `names` and the addresses are completed by what was sent.
///
/// # Errors
/// An error of the database.
pub(super) fn find(conn: &mut Conn, needles: &Needles, email: &str) -> Result<Sent> {
    let mut sent = Sent::default();
    let mut addresses: BTreeSet<String> = BTreeSet::new();
    if !email.trim().is_empty() {
        addresses.insert(normal_address(email));
    }
    // The addresses of earlier emails are known only after the first search.
    let mut found = rows(conn, needles, &addresses)?;
    let known = addresses.len();
    for row in &found {
        if people_of(&row.context)?.contains(&needles.id) && !is_placeholder(&row.address) {
            addresses.insert(normal_address(&row.address));
        }
    }
    if addresses.len() > known {
        found = rows(conn, needles, &addresses)?;
    }
    let mut names: Vec<String> = needles.names.clone();
    for row in &found {
        let people = people_of(&row.context)?;
        if people.len() == 1 && people[0] == needles.id && !names.contains(&row.name) {
            names.push(row.name.clone());
        }
        let others = people.iter().any(|id| *id != needles.id && !is_placeholder(id));
        if others && addresses.contains(&normal_address(&row.address)) {
            sent.shared.insert(normal_address(&row.address));
        }
    }
    let email_of_others = others_with(conn, &needles.id, &addresses)?;
    sent.shared.extend(email_of_others);
    sent.own = addresses.difference(&sent.shared).cloned().collect();
    for row in found {
        let people = people_of(&row.context)?;
        let change = if people.contains(&needles.id) {
            of_person(needles, &names, &row, &sent.own)?
        } else if people.iter().all(|id| id.starts_with(DRILL)) && names.contains(&row.name) {
            of_drill(needles, &names, &row)?
        } else {
            continue;
        };
        let delivery: Option<i64> = d::table
            .filter(d::notice_id.eq(change.notice.as_str()))
            .filter(d::ordinal.eq(change.ordinal))
            .select(d::id)
            .first(conn)
            .optional()?;
        sent.emails.extend(delivery);
        if people.contains(&needles.id) && is_placeholder(&change.address) {
            sent.deliveries.extend(delivery);
        }
        sent.recipients.push(change);
    }
    sent.names = names.into_iter().filter(|name| !name.is_empty()).collect();
    let searched = Needles::new(
        &needles.id,
        &needles.placeholder,
        sent.names.iter().cloned().collect(),
        &sent.own.iter().cloned().collect::<Vec<_>>(),
    );
    sent.replies = replies(conn, &sent.deliveries, &sent.emails, &searched)?;
    Ok(sent)
}

/// Returns which of these addresses other people of the directory have.
fn others_with(conn: &mut Conn, id: &str, addresses: &BTreeSet<String>) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Email {
        #[diesel(sql_type = Text)]
        email: String,
    }
    let mut shared = Vec::new();
    for address in addresses {
        let mut statement = Statement::default();
        statement
            .push("SELECT email FROM people WHERE LOWER(email) = ")
            .text(address);
        statement.push(" AND id <> ").text(id);
        let found: Vec<Email> = statement.finish().load(conn)?;
        shared.extend(found.iter().map(|row| normal_address(&row.email)));
    }
    Ok(shared)
}

fn of_person(
    needles: &Needles,
    names: &[String],
    row: &Row,
    own: &BTreeSet<String>,
) -> Result<RecipientChange> {
    let kept = without(&row.context, &needles.id, names, &needles.placeholder)?;
    // The mailbox is somebody else's too: a person of the same email, or of the directory.
    let keeps_address = is_placeholder(&row.address)
        || !kept.others.is_empty()
        || !own.contains(&normal_address(&row.address));
    Ok(RecipientChange {
        notice: NoticeId::parse(&row.notice_id).map_err(Error::internal)?,
        ordinal: row.ordinal,
        committed: (needles.id.clone(), row.address.clone()),
        person: kept.person,
        name: kept.name,
        address: if keeps_address {
            row.address.clone()
        } else {
            placeholder()?
        },
        context: kept.context,
        domain: if keeps_address {
            row.domain.clone()
        } else {
            String::new()
        },
    })
}

/// An email of a drill went to the team, with the content for somebody.
fn of_drill(needles: &Needles, names: &[String], row: &Row) -> Result<RecipientChange> {
    let kept = without(&row.context, &row.person_id, names, &row.person_id)?;
    // The content is about the person, so nothing but the address of the team is kept.
    let context = crate::notice::erased::without_personal_parts(&kept.context)?;
    Ok(RecipientChange {
        notice: NoticeId::parse(&row.notice_id).map_err(Error::internal)?,
        ordinal: row.ordinal,
        committed: (needles.id.clone(), row.address.clone()),
        person: row.person_id.clone(),
        name: String::new(),
        address: row.address.clone(),
        context,
        domain: row.domain.clone(),
    })
}

/// Changes frozen recipients with their deliveries. Deliveries that were not made yet are not made any more. The digest of each notice
/// is compared with the audit trail first. Returns what the event of the erasure says about them, and how many deliveries were stopped.
///
/// # Errors
/// `Conflict` if a notice is not what was frozen, or if an email to the person is being sent.
pub(super) fn change_recipients(
    tx: &mut Tx<'_>,
    erasure: &ErasureId,
    changes: &[RecipientChange],
    trail: &Erasures,
    listed: bool,
) -> Result<(Vec<ErasedNotice>, usize)> {
    let mut notices: BTreeMap<&NoticeId, Vec<&RecipientChange>> = BTreeMap::new();
    for change in changes {
        notices.entry(&change.notice).or_default().push(change);
    }
    // Whoever creates the deliveries of a list holds this lock. Otherwise a delivery could be created with the former address.
    for notice in notices.keys() {
        dialect::lock(tx.conn, dialect::Lock::Notice, notice.as_str())?;
    }
    let mut recorded = Vec::with_capacity(notices.len());
    let (mut moved, mut stopped) = (Changes::default(), 0);
    for (notice, changes) in notices {
        let before = checked_digest(tx.conn, trail, notice)?;
        let keys: Vec<String> = changes
            .iter()
            .map(|change| format!("{notice}/{}", change.ordinal))
            .collect();
        erased::permit(tx.conn, erasure, Protected::Recipient, &keys)?;
        commit(tx.conn, erasure, &changes)?;
        let mut gone = Vec::new();
        for change in &changes {
            diesel::update(nr::table.find((notice.as_str(), change.ordinal)))
                .set((
                    nr::person_id.eq(&change.person),
                    nr::name.eq(&change.name),
                    nr::address.eq(&change.address),
                    nr::context.eq(&change.context),
                    nr::domain.eq(&change.domain),
                ))
                .execute(tx.conn)?;
            if is_placeholder(&change.address) {
                gone.push(change.ordinal);
                diesel::update(
                    d::table
                        .filter(d::notice_id.eq(notice.as_str()))
                        .filter(d::ordinal.eq(change.ordinal)),
                )
                .set((d::address.eq(&change.address), d::domain.eq(&change.domain)))
                .execute(tx.conn)?;
            }
        }
        stopped += stop_erased(tx.conn, notice, &gone, &mut moved)?;
        let (digest, first) = erased::commitments(tx.conn, erasure.as_str(), notice.as_str())?;
        recorded.push(ErasedNotice {
            notice: notice.to_string(),
            before,
            after: digest_of(tx.conn, notice)?,
            recipients: changes.len() as i64,
            commitments: digest,
            erased: if listed && changes.len() <= LISTED {
                first
            } else {
                Vec::new()
            },
        });
    }
    moved.store(tx.conn)?;
    Ok((recorded, stopped))
}

/// Stores the commitments to what stands in the recipients.
fn commit(conn: &mut Conn, erasure: &ErasureId, changes: &[&RecipientChange]) -> Result<()> {
    for chunk in changes.chunks(200) {
        let mut rows = Vec::with_capacity(chunk.len());
        for change in chunk {
            let (person, address) = &change.committed;
            let (person_salt, address_salt) = (random()?, random()?);
            rows.push((
                er::notice_id.eq(change.notice.as_str()),
                er::ordinal.eq(change.ordinal),
                er::erasure_id.eq(erasure.as_str()),
                er::person_commitment.eq(commitment(&person_salt, person)),
                er::person_salt.eq(person_salt),
                er::address_commitment.eq(commitment(&address_salt, &normal_address(address))),
                er::address_salt.eq(address_salt),
            ));
        }
        on_backend!(&mut *conn, c => diesel::insert_into(er::table).values(&rows).execute(c))?;
    }
    Ok(())
}
