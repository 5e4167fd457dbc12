//! The list of who gets a mail, kept small: addresses in order, and what is each one's own as the text that is frozen and
//! hashed. A million are a few hundred megabytes; as values they would be several times that.
//!
//! Must never happen here: an address twice, or a text that differs from what is frozen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::compose::RecipientContext;
use super::plan::Recipient;
use crate::audience::{Addressee, Reason};
use crate::base::error::Result;
use crate::base::shared::Shared;
use crate::directory::normal_address;

/// Who gets a mail, by address.
#[derive(Default)]
pub struct Recipients {
    list: Vec<Packed>,
}

/// One mail to be.
pub struct Packed {
    /// As addresses are compared.
    key: Box<str>,
    /// Where it goes, where that is spelled otherwise.
    address: Option<Box<str>>,
    /// What is their own, as JSON.
    context: Box<str>,
    /// The accounts through which they are affected.
    accounts: Box<[Shared]>,
}

/// What is looked at of a context without unpacking all of it.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    /// Ids of the people behind the address.
    #[serde(borrow)]
    pub people: Vec<Cow<'a, str>>,
    /// Their name or names.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

impl Packed {
    fn new(key: String, recipient: &Recipient, accounts: Vec<Shared>) -> Result<Self> {
        Ok(Packed {
            address: (recipient.address != key).then(|| recipient.address.as_str().into()),
            key: key.into(),
            context: serde_json::to_string(&recipient.context)?.into(),
            accounts: accounts.into(),
        })
    }

    /// As addresses are compared.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it goes.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.key)
    }

    /// What is their own, as it is frozen.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The accounts through which they are affected; none where they only were told before.
    pub fn accounts(&self) -> &[Shared] {
        &self.accounts
    }

    /// The people behind it.
    pub(super) fn head(&self) -> Result<Head<'_>> {
        Ok(serde_json::from_str(&self.context)?)
    }

    /// All of it.
    pub(super) fn unpack(&self) -> Result<Recipient> {
        Ok(Recipient {
            address: self.address().to_owned(),
            context: serde_json::from_str(&self.context)?,
        })
    }
}

impl Recipients {
    /// One mail for each address: people who share one are written to together. Uses the people up, so that nobody's words
    /// are held in both forms; what their reasons share stays until the last one.
    pub(super) fn of(people: Vec<Addressee>) -> Result<Self> {
        let mut order: Vec<(Box<str>, u32)> = people
            .iter()
            .enumerate()
            .filter(|(_, addressee)| addressee.unreachable.is_none())
            .map(|(index, addressee)| (normal_address(&addressee.person.email).into(), index as u32))
            .collect();
        order.sort_unstable();
        let mut list = Vec::with_capacity(order.len());
        // In place: the two are of one size.
        let mut people: Vec<Option<Addressee>> = people.into_iter().map(Some).collect();
        let mut order = order.into_iter().peekable();
        let mut group: Vec<Addressee> = Vec::new();
        while let Some((key, index)) = order.next() {
            group.extend(people[index as usize].take());
            if order.peek().is_some_and(|(next, _)| *next == key) {
                continue;
            }
            list.push(together(key.into(), std::mem::take(&mut group))?);
        }
        Ok(Recipients { list })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// By address.
    pub fn iter(&self) -> std::slice::Iter<'_, Packed> {
        self.list.iter()
    }

    /// In parts, by address.
    pub(super) fn chunks(&self, size: usize) -> std::slice::Chunks<'_, Packed> {
        self.list.chunks(size)
    }

    /// Whether somebody has the address, as addresses are compared.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Takes out those who are not to be kept.
    ///
    /// # Errors
    /// The first that `keep` answers.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Packed) -> Result<bool>) -> Result<()> {
        let mut failed = None;
        self.list.retain(|packed| {
            failed.is_some()
                || keep(packed).unwrap_or_else(|error| {
                    failed = Some(error);
                    true
                })
        });
        failed.map_or(Ok(()), Err)
    }

    /// Adds people, each with the address that they have now: to the mail that goes there anyway, or with one of their own.
    pub(super) fn add(&mut self, more: Vec<Recipient>) -> Result<()> {
        let mut new: BTreeMap<String, Recipient> = BTreeMap::new();
        for recipient in more {
            let key = normal_address(&recipient.address);
            // They share a mailbox with somebody who gets it anyway.
            let join = |other: &mut Recipient| {
                for id in &recipient.context.people {
                    other.context.add_person(id, &recipient.context.name);
                }
            };
            if let Ok(index) = self.find(&key) {
                let mut other = self.list[index].unpack()?;
                join(&mut other);
                self.list[index].context = serde_json::to_string(&other.context)?.into();
            } else if let Some(other) = new.get_mut(&key) {
                join(other);
            } else {
                new.insert(key, recipient);
            }
        }
        for (key, recipient) in new {
            self.list.push(Packed::new(key, &recipient, Vec::new())?);
        }
        self.list.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }

    fn find(&self, key: &str) -> std::result::Result<usize, usize> {
        self.list.binary_search_by(|packed| (*packed.key).cmp(key))
    }
}

/// The mail to people of one address, in the order of their ids.
fn together(key: String, group: Vec<Addressee>) -> Result<Packed> {
    let mut names: Vec<&str> = group
        .iter()
        .map(|addressee| addressee.person.name.as_str())
        .collect();
    names.dedup();
    let names = names.join(", ");
    let address = group
        .first()
        .map(|addressee| addressee.person.email.trim().to_owned())
        .unwrap_or_default();
    let time_zone = group.first().and_then(|addressee| addressee.time_zone.clone());
    let mut ids = Vec::with_capacity(group.len());
    let mut reasons: Vec<Reason> = Vec::new();
    let mut accounts: Vec<Shared> = Vec::new();
    for addressee in group {
        ids.push(addressee.person.id);
        reasons.extend(addressee.reasons.iter());
        accounts.extend(addressee.reasons.accounts().cloned());
    }
    accounts.sort_unstable();
    accounts.dedup();
    let context = RecipientContext::new(ids, names, time_zone, &reasons);
    Packed::new(key, &Recipient { address, context }, accounts)
}
