//! Who was sent what: the frozen recipients exactly as they were hashed, their deliveries, and the emails.
//!
//! A file about everybody has the whole frozen list of each notice: its SHA-256 is the digest in the event of the notice. A file about a
//! person or an account has only the own lines, each with the proof that it is part of that list.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Write as _;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::bundle::{Bundle, Spool};
use super::emails::Emails;
use super::erasures::Erasures;
use super::frozen_rows::{Row, deliveries, is_erased, line, read};
use super::notices::{Sent, Shown};
use super::scope::{Part, Scope, Whose};
use super::summary::{Summary, Told};
use super::table::Table;
use crate::audit::row_tree::{RowProof, RowTree, Salts};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::delivery_attempts as da;
use crate::feedback::stored::of_deliveries;
use crate::notice::EMAIL;
use crate::notice::compose::RecipientContext;
use crate::notice::payload::EndpointContext;

/// What was found while the recipients were written, for the other parts of the file.
#[derive(Default)]
pub(super) struct Gathered {
    /// The notices of the file.
    pub notices: BTreeSet<NoticeId>,
    /// The deliveries of the file. Only collected if the file is not about everybody.
    pub deliveries: HashSet<i64>,
    /// The batches of their attempts.
    pub batches: BTreeSet<String>,
    /// The resources that the emails name, by incident. Only collected for a person.
    pub resources: BTreeMap<String, BTreeSet<(String, String, String, String)>>,
    /// The emails of the file.
    pub emails: Emails,
}

/// The last attempt of a delivery, and how many there were.
#[derive(Default)]
struct Attempts {
    count: i64,
    reply: String,
}

/// The proofs of the lines of a notice.
#[derive(Serialize)]
struct Proofs<'a> {
    notice: &'a str,
    /// The proofs in the order of the lines. The first line has the texts of the notice.
    proofs: Vec<RowProof>,
}

/// Writes the recipients of all notices.
pub(super) struct Recipients<'a> {
    scope: &'a Scope,
    bundle: &'a mut Bundle,
    salts: Option<Salts>,
    erasures: Erasures,
    recipients: Table,
    deliveries: Table,
    gathered: Gathered,
}

impl<'a> Recipients<'a> {
    /// Starts to write them.
    ///
    /// # Errors
    /// An error of the database, or `Internal` if there is no room for temporary files.
    pub fn new(conn: &mut Conn, scope: &'a Scope, bundle: &'a mut Bundle) -> Result<Self> {
        Ok(Recipients {
            scope,
            bundle,
            salts: Salts::stored(conn)?,
            erasures: Erasures::read(conn)?,
            recipients: Table::new(
                "recipients",
                &[
                    "notice",
                    "phase",
                    "ordinal",
                    "channel",
                    "people",
                    "name",
                    "address",
                    "reason",
                    "resources",
                    "more_resources",
                    "withheld",
                ],
            )?,
            deliveries: Table::new(
                "deliveries",
                &[
                    "incident",
                    "notice",
                    "phase",
                    "delivery",
                    "ordinal",
                    "channel",
                    "people",
                    "address",
                    "state",
                    "queued_at",
                    "sent_at",
                    "attempts",
                    "reply",
                    "reason",
                    "bounced_at",
                    "bounce",
                    "message_id",
                    "email",
                ],
            )?,
            gathered: Gathered::default(),
        })
    }

    /// Writes the recipients of a notice. Returns what the file says about the notice, or `None` if the notice is not about whom the
    /// file is about.
    ///
    /// # Errors
    /// An error of the database, or `Internal` if a file cannot be written.
    pub fn add<'s>(
        &mut self,
        conn: &mut Conn,
        sent: &'s Sent,
        summary: &mut Summary,
    ) -> Result<Option<Shown<'s>>> {
        let whole = self.scope.is_whole();
        let mut lines = Spool::new()?;
        // Without an event that has the root, there is nothing that a proof could lead to.
        let salts = self.salts.clone().filter(|_| !whole && sent.root.is_some());
        let mut tree = salts.map(|salts| RowTree::for_proofs(salts, sent.notice.id.as_str()));
        let mut shown: Vec<u64> = vec![0];
        if let Some(tree) = &mut tree {
            tree.add(&sent.line);
        }
        write_line(&mut lines, &sent.line)?;
        let (mut last, mut position, mut erased, mut kept) = (i64::MIN, 0_u64, 0_u64, 0_usize);
        loop {
            let rows = read(conn, &sent.notice.id, last)?;
            let Some(row) = rows.last() else { break };
            last = row.ordinal;
            let mut parts = Vec::new();
            for row in rows {
                position += 1;
                erased += u64::from(is_erased(&row));
                let line = line(&row)?;
                if let Some(tree) = &mut tree {
                    tree.add(&line);
                }
                match self.scope.part(&row.channel, &row.context)? {
                    Part::Nothing => {}
                    Part::Withheld => parts.push((row, true)),
                    Part::Everything => {
                        write_line(&mut lines, &line)?;
                        shown.push(position);
                        parts.push((row, false));
                    }
                }
            }
            kept += parts.len();
            self.rows(conn, sent, parts, summary)?;
        }
        if kept == 0 && !whole {
            return Ok(None);
        }
        let id = sent.notice.id.as_str();
        self.bundle
            .add_spool(&format!("data/recipients/{id}.ndjson"), lines)?;
        if self.erasures.changed(id) {
            erased = erased.max(1);
        }
        // After an erasure, the stored list does not give the recorded root any more. Without one, a proof that fails shows that
        // somebody changed the list.
        if let Some(tree) = tree.filter(|_| erased == 0) {
            let proofs = shown.iter().filter_map(|position| tree.prove(*position));
            let proofs = serde_json::to_vec(&Proofs {
                notice: id,
                proofs: proofs.collect(),
            })?;
            self.bundle
                .add(&format!("data/recipients/{id}.proofs.json"), &proofs)?;
        }
        self.gathered.notices.insert(sent.notice.id.clone());
        Ok(Some(sent.shown(erased, whole)))
    }

    /// Writes both tables. Returns what was found on the way.
    ///
    /// # Errors
    /// `Internal` if a file cannot be written.
    pub fn finish(self) -> Result<Gathered> {
        self.recipients.finish(self.bundle)?;
        self.deliveries.finish(self.bundle)?;
        Ok(self.gathered)
    }

    /// Adds some recipients of a notice to the tables. Each comes with whether its email is withheld.
    fn rows(
        &mut self,
        conn: &mut Conn,
        sent: &Sent,
        parts: Vec<(Row, bool)>,
        summary: &mut Summary,
    ) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let ordinals: Vec<i64> = parts.iter().map(|(row, _)| row.ordinal).collect();
        let mut deliveries = deliveries(conn, &sent.notice.id, &ordinals)?;
        let ids: Vec<i64> = deliveries.values().map(|delivery| delivery.id).collect();
        let mut attempts = self.attempts(conn, &ids)?;
        let mut feedback = of_deliveries(conn, &ids)?;
        for (row, withheld) in parts {
            let delivery = deliveries.remove(&row.ordinal);
            let tried = delivery
                .as_ref()
                .and_then(|delivery| attempts.remove(&delivery.id))
                .unwrap_or_default();
            let bounce = delivery
                .as_ref()
                .and_then(|delivery| feedback.remove(&delivery.id))
                .and_then(|reports| reports.into_iter().find(|report| report.effect == "bounced"));
            let facts = self.recipient(sent, &row, withheld)?;
            let email = match &delivery {
                Some(delivery) if !withheld && row.channel == EMAIL => self.gathered.emails.add(
                    conn,
                    self.bundle,
                    (&sent.notice, delivery.id, delivery.state),
                    self.scope.is_whole(),
                )?,
                _ => None,
            };
            if let Some(delivery) = &delivery
                && !self.scope.is_whole()
            {
                self.gathered.deliveries.insert(delivery.id);
            }
            let state = delivery.as_ref().map(|delivery| delivery.state.as_str());
            let reply = tried.reply;
            summary.told(Told {
                notice: sent.notice.id.clone(),
                name: facts.name.clone(),
                address: row.address.clone(),
                channel: row.channel.clone(),
                reason: facts.reason.clone(),
                state: state.unwrap_or("not sent").to_owned(),
                sent_at: delivery.as_ref().and_then(|delivery| delivery.sent_at),
                bounced_at: bounce.as_ref().map(|report| report.at),
                reply: reply.clone(),
                email: email.clone(),
                withheld,
            });
            self.deliveries.add(vec![
                json!(sent.notice.incident),
                json!(sent.notice.id),
                json!(sent.notice.phase),
                json!(delivery.as_ref().map(|delivery| delivery.id)),
                json!(row.ordinal),
                json!(row.channel),
                facts.people,
                json!(row.address),
                json!(state),
                json!(sent.notice.queued_at),
                json!(delivery.as_ref().and_then(|delivery| delivery.sent_at)),
                json!(tried.count),
                json!(reply),
                json!(delivery.as_ref().and_then(|delivery| delivery.reason.clone())),
                json!(bounce.as_ref().map(|report| report.at)),
                json!(bounce.map(|report| report.diagnostic)),
                json!(delivery.map(|delivery| delivery.message_id)),
                json!(email),
            ])?;
        }
        Ok(())
    }

    /// Adds a recipient to its table.
    fn recipient(&mut self, sent: &Sent, row: &Row, withheld: bool) -> Result<Facts> {
        let facts = match row.channel == EMAIL {
            true => self.person(sent, row, withheld)?,
            false => endpoint(row)?,
        };
        self.recipients.add(vec![
            json!(sent.notice.id),
            json!(sent.notice.phase),
            json!(row.ordinal),
            json!(row.channel),
            facts.people.clone(),
            json!(facts.name),
            json!(row.address),
            json!(facts.reason),
            facts.resources.clone(),
            json!(facts.more),
            json!(withheld.then_some("The email also names another account, or somebody who is no member.")),
        ])?;
        Ok(facts)
    }

    fn person(&mut self, sent: &Sent, row: &Row, withheld: bool) -> Result<Facts> {
        let context: RecipientContext = serde_json::from_str(&row.context)?;
        if withheld {
            let people = match &self.scope.whose {
                Whose::Account(account) => account.members(&context.people),
                Whose::Everybody | Whose::Person { .. } => Vec::new(),
            };
            return Ok(Facts {
                people: json!(people),
                name: String::new(),
                reason: String::new(),
                resources: json!([]),
                more: 0,
            });
        }
        if matches!(self.scope.whose, Whose::Person { .. }) {
            let of = self
                .gathered
                .resources
                .entry(sent.notice.incident.to_string())
                .or_default();
            of.extend(context.resources.iter().map(|resource| {
                let (type_, id) = (resource.type_.clone(), resource.id.clone());
                (type_, id, resource.label.clone(), resource.account.clone())
            }));
        }
        let resources: Vec<String> = context
            .resources
            .iter()
            .map(|resource| format!("{}/{}", resource.type_, resource.id))
            .collect();
        Ok(Facts {
            people: json!(context.people),
            name: context.name,
            reason: context.reason,
            resources: json!(resources),
            more: context.more_resources,
        })
    }

    /// Returns the attempts of deliveries, and keeps the batches that recorded them.
    fn attempts(&mut self, conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Attempts>> {
        let rows: Vec<(i64, String, String)> = da::table
            .filter(da::delivery_id.eq_any(deliveries))
            .order((da::delivery_id, da::attempt))
            .select((da::delivery_id, da::reply, da::batch))
            .load(conn)?;
        let mut found: HashMap<i64, Attempts> = HashMap::new();
        for (delivery, reply, batch) in rows {
            let of = found.entry(delivery).or_default();
            of.count += 1;
            of.reply = reply;
            self.gathered.batches.insert(batch);
        }
        Ok(found)
    }
}

/// What the tables say about a recipient.
struct Facts {
    people: Value,
    name: String,
    reason: String,
    resources: Value,
    more: usize,
}

fn endpoint(row: &Row) -> Result<Facts> {
    let context: EndpointContext = serde_json::from_str(&row.context)?;
    let resources: Vec<String> = context
        .resources
        .iter()
        .map(|resource| format!("{}/{}", resource.at.type_, resource.at.id))
        .collect();
    Ok(Facts {
        people: json!([]),
        name: context.account.name,
        reason: "This is a system of an account that owns affected resources.".to_owned(),
        resources: json!(resources),
        more: context.more_resources,
    })
}

fn write_line(to: &mut Spool, line: &[u8]) -> Result<()> {
    to.write_all(line)
        .and_then(|()| to.write_all(b"\n"))
        .map_err(Error::internal)
}
