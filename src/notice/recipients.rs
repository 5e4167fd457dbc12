//! The list of the recipients of emails in a compact form: the addresses in order, and the data of each
//! recipient as the JSON text that is frozen and hashed. A million recipients need a few hundred megabytes.
//! As values they would need several times as much.
//!
//! No address appears twice. The text is always the one that is frozen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::compose::RecipientContext;
use crate::audience::{Addressee, Reason};
use crate::base::error::Result;
use crate::base::language::Language;
use crate::base::shared::Shared;
use crate::directory::normal_address;

/// One planned email: the address and the data of the recipient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipient {
    /// The email address that the email is sent to.
    pub address: String,
    /// The data of the recipient.
    pub context: RecipientContext,
}

/// The recipients, ordered by address.
#[derive(Default)]
pub struct Recipients {
    list: Vec<Packed>,
}

/// One planned email, in a form that uses little memory.
pub struct Packed {
    /// The address in its normal form, for comparisons.
    key: Box<str>,
    /// The address to send to, if its spelling differs from the key.
    address: Option<Box<str>>,
    /// The data of the recipient, as JSON.
    context: Box<str>,
    /// The accounts through which the people are affected.
    accounts: Box<[Shared]>,
    /// The number of people with this address.
    people: u32,
    /// The language of the recipient, and that of the account if it is another one.
    languages: (Language, Option<Language>),
}

/// The part of the data that is read without parsing all of it.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    /// The IDs of the people with this address.
    #[serde(borrow)]
    pub people: Vec<Cow<'a, str>>,
    /// The name of the person, or the names of all people with this address.
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
            people: people_of(recipient),
            languages: (recipient.context.language, recipient.context.second_language),
        })
    }

    /// Returns the number of people with this address.
    pub(super) fn people(&self) -> u32 {
        self.people
    }

    /// Returns the language of the recipient, and that of the account if it is another one.
    pub(super) fn languages(&self) -> (Language, Option<Language>) {
        self.languages
    }

    /// Returns the address in its normal form, for comparisons.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the address to send to.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.key)
    }

    /// Returns the data of the recipient, as it is frozen.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Returns the accounts through which the people are affected. Empty if the people were only notified
    /// before.
    pub fn accounts(&self) -> &[Shared] {
        &self.accounts
    }

    /// Returns whether the email names a resource.
    pub(super) fn has_resources(&self) -> bool {
        // The names of the fields of the data are in this order, and a text in JSON contains no quote without a backslash.
        !self.context.contains("\"resources\":[]")
    }

    /// Returns the people with this address.
    pub(super) fn head(&self) -> Result<Head<'_>> {
        Ok(serde_json::from_str(&self.context)?)
    }

    /// Parses all data of the recipient.
    pub(super) fn unpack(&self) -> Result<Recipient> {
        Ok(Recipient {
            address: self.address().to_owned(),
            context: serde_json::from_str(&self.context)?,
        })
    }
}

fn people_of(recipient: &Recipient) -> u32 {
    u32::try_from(recipient.context.people.len()).unwrap_or(u32::MAX)
}

impl Recipients {
    /// Makes one email for each address. People who share an address get one email together. The people are
    /// consumed, so that no text is in memory in both forms. Data that their reasons share is dropped with
    /// the last of them. Whoever has no language gets the email in `default`.
    pub(super) fn of(people: Vec<Addressee>, default: Language) -> Result<Self> {
        let mut order: Vec<(Box<str>, u32)> = people
            .iter()
            .enumerate()
            .filter(|(_, addressee)| addressee.unreachable.is_none())
            .map(|(index, addressee)| (normal_address(&addressee.person.email).into(), index as u32))
            .collect();
        order.sort_unstable();
        let mut list = Vec::with_capacity(order.len());
        // The collection happens in place, because both types have the same size.
        let mut people: Vec<Option<Addressee>> = people.into_iter().map(Some).collect();
        let mut order = order.into_iter().peekable();
        let mut group: Vec<Addressee> = Vec::new();
        while let Some((key, index)) = order.next() {
            group.extend(people[index as usize].take());
            if order.peek().is_some_and(|(next, _)| *next == key) {
                continue;
            }
            list.push(together(key.into(), std::mem::take(&mut group), default)?);
        }
        Ok(Recipients { list })
    }

    /// Returns the number of recipients.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there are no recipients.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the recipients, ordered by address.
    pub fn iter(&self) -> std::slice::Iter<'_, Packed> {
        self.list.iter()
    }

    /// Returns the recipients in parts, ordered by address.
    pub(super) fn chunks(&self, size: usize) -> std::slice::Chunks<'_, Packed> {
        self.list.chunks(size)
    }

    /// Gives the recipients another order. Searching them by address is not possible any more.
    pub(super) fn reorder(&mut self, order: impl FnOnce(&mut Vec<Packed>)) {
        order(&mut self.list);
    }

    /// Returns whether a recipient has this address in its normal form.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Removes the recipients for which `keep` returns false.
    ///
    /// # Errors
    /// The first error that `keep` returns.
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

    /// Adds people with their current address. If the address already gets an email, they are added to it.
    /// Otherwise they get their own.
    pub(super) fn add(&mut self, more: Vec<Recipient>) -> Result<()> {
        let mut new: BTreeMap<String, Recipient> = BTreeMap::new();
        for recipient in more {
            let key = normal_address(&recipient.address);
            // These people share a mailbox with somebody who already gets the email.
            let join = |other: &mut Recipient| {
                for id in &recipient.context.people {
                    other.context.add_person(id, &recipient.context.name);
                }
            };
            if let Ok(index) = self.find(&key) {
                let mut other = self.list[index].unpack()?;
                join(&mut other);
                self.list[index].people = people_of(&other);
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

    /// Changes the data of the recipients for which `which` returns true.
    ///
    /// # Errors
    /// The first error that `which` or `change` returns.
    pub(super) fn change(
        &mut self,
        mut which: impl FnMut(&Packed) -> Result<bool>,
        mut change: impl FnMut(&mut RecipientContext) -> Result<()>,
    ) -> Result<()> {
        for packed in &mut self.list {
            if which(packed)? {
                let mut recipient = packed.unpack()?;
                change(&mut recipient.context)?;
                packed.context = serde_json::to_string(&recipient.context)?.into();
            }
        }
        Ok(())
    }

    fn find(&self, key: &str) -> std::result::Result<usize, usize> {
        self.list.binary_search_by(|packed| (*packed.key).cmp(key))
    }
}

/// Makes the email to people with the same address, in the order of their IDs.
fn together(key: String, group: Vec<Addressee>, default: Language) -> Result<Packed> {
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
    let languages = group
        .first()
        .map(|addressee| addressee.languages)
        .unwrap_or_default();
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
    let context = RecipientContext::new(ids, names, time_zone, languages.spoken(default), &reasons);
    Packed::new(key, &Recipient { address, context }, accounts)
}
