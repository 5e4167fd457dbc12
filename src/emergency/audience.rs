//! Chooses who gets a message, from the copy of the contacts alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::contacts::Contacts;
use crate::base::error::{Error, FieldError, Result};
use crate::base::mailbox::Mailbox;

/// Which accounts are chosen. There is no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All accounts of the copy.
    All,
    /// The accounts with these IDs.
    Accounts(Vec<String>),
}

/// Why a person gets the message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// The ID of the account.
    pub account: String,
    /// The role, as a member or a collaborator.
    pub role: String,
}

/// A person with the reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The caller's ID of the person.
    pub person: String,
    /// The accounts and roles because of which the person is chosen.
    pub reasons: Vec<Reason>,
}

/// A mailbox that gets one email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The key that all spellings of the mailbox have.
    pub key: String,
    /// The email address that the email is sent to, with the domain in ASCII.
    pub address: String,
    /// The name of the first person.
    pub name: String,
    /// The people with this mailbox.
    pub people: Vec<Chosen>,
}

/// A person who is chosen and gets no email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The caller's ID of the person.
    pub person: String,
    /// Why the person gets no email: there is no usable address, or the address is suppressed.
    pub why: String,
}

/// The list of who gets the message, and who is chosen and gets no email.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// The mailboxes, ordered by key.
    pub recipients: Vec<Recipient>,
    /// The people without an email, ordered by ID.
    pub left_out: Vec<LeftOut>,
    /// The chosen accounts of which nobody gets an email.
    pub without: Vec<String>,
}

/// Chooses the people of accounts. Without `roles` they are the owners, and the collaborators on resources of the account, as in a
/// notice about all of its resources. With `roles` they are the members and collaborators with one of these roles.
///
/// # Errors
/// `Invalid` if an account is not in the copy, if a role occurs nowhere in it, or if nobody is left.
pub fn choose(contacts: &Contacts, choice: &Choice, roles: &[String]) -> Result<Audience> {
    let accounts: BTreeSet<&str> = match choice {
        Choice::All => contacts.accounts.keys().map(String::as_str).collect(),
        Choice::Accounts(ids) => ids.iter().map(String::as_str).collect(),
    };
    let mut errors = Vec::new();
    for id in &accounts {
        if !contacts.accounts.contains_key(*id) {
            errors.push(FieldError::at(
                "--accounts",
                format!("'{id}' is not an account of the copy"),
            ));
        }
    }
    for role in roles {
        if !contacts.roles.iter().any(|(_, _, one, _)| one == role) {
            errors.push(FieldError::at(
                "--roles",
                format!("'{role}' is the role of nobody in the copy"),
            ));
        }
    }
    if accounts.is_empty() {
        errors.push(FieldError::at("--accounts", "names no account"));
    }
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    let mut reasons: BTreeMap<&str, BTreeSet<Reason>> = BTreeMap::new();
    for (account, person, role, is_member) in &contacts.roles {
        let wanted = match roles.is_empty() {
            true => !is_member || role == "owner",
            false => roles.contains(role),
        };
        if wanted && accounts.contains(account.as_str()) {
            reasons.entry(person).or_default().insert(Reason {
                account: account.clone(),
                role: role.clone(),
            });
        }
    }
    let (mut by_key, mut left_out): (BTreeMap<String, Recipient>, _) = (BTreeMap::new(), Vec::new());
    let mut reached: BTreeSet<String> = BTreeSet::new();
    for (person, reasons) in reasons {
        let (name, email) = contacts.people.get(person).cloned().unwrap_or_default();
        let mut leave = |why: String| {
            left_out.push(LeftOut {
                person: person.to_owned(),
                why,
            });
        };
        if email.trim().is_empty() {
            leave("no address".to_owned());
            continue;
        }
        let mailbox = match Mailbox::parse(&email) {
            Ok(mailbox) => mailbox,
            Err(reason) => {
                leave(format!("no usable address: it {reason}"));
                continue;
            }
        };
        let key = mailbox.key();
        if let Some(reason) = contacts.suppressed.get(&key) {
            leave(format!("the address is suppressed ({reason})"));
            continue;
        }
        reached.extend(reasons.iter().map(|reason| reason.account.clone()));
        let chosen = Chosen {
            person: person.to_owned(),
            reasons: reasons.into_iter().collect(),
        };
        by_key
            .entry(key.clone())
            .or_insert_with(|| Recipient {
                key,
                address: mailbox.address(),
                name,
                people: Vec::new(),
            })
            .people
            .push(chosen);
    }
    if by_key.is_empty() {
        return Err(Error::invalid(
            "--accounts",
            "have nobody with a usable address, so there is nobody to send to",
        ));
    }
    let without = accounts
        .into_iter()
        .filter(|account| !reached.contains(*account))
        .map(str::to_owned)
        .collect();
    Ok(Audience {
        recipients: by_key.into_values().collect(),
        left_out,
        without,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts() -> Contacts {
        let role = |account: &str, person: &str, role: &str, member| {
            (account.to_owned(), person.to_owned(), role.to_owned(), member)
        };
        let person = |id: &str, email: &str| (id.to_owned(), (id.to_uppercase(), email.to_owned()));
        Contacts {
            made_at: None,
            accounts: [("acme", "Acme"), ("zeta", "Zeta"), ("empty", "Empty")]
                .map(|(id, name)| (id.to_owned(), name.to_owned()))
                .into(),
            people: [
                person("ann", "ann@example.com"),
                person("twin", "ANN@example.com"),
                person("bob", "bob@example.com"),
                person("cat", ""),
                person("dan", "dan@example.com"),
                person("eve", "eve@example.com"),
            ]
            .into(),
            roles: vec![
                role("acme", "ann", "owner", true),
                role("acme", "twin", "editor", false),
                role("acme", "bob", "billing", true),
                role("acme", "cat", "owner", true),
                role("zeta", "dan", "owner", true),
                role("zeta", "eve", "owner", true),
                role("zeta", "ann", "editor", false),
            ],
            suppressed: [("dan@example.com".to_owned(), "bounced".to_owned())].into(),
        }
    }

    fn addresses(audience: &Audience) -> Vec<&str> {
        audience
            .recipients
            .iter()
            .map(|one| one.address.as_str())
            .collect()
    }

    #[test]
    fn each_mailbox_is_chosen_once() {
        let of = |ids: &[&str]| Choice::Accounts(ids.iter().map(|id| (*id).to_owned()).collect());
        let chosen = choose(&contacts(), &of(&["acme"]), &[]).unwrap();
        assert_eq!(addresses(&chosen), ["ann@example.com"]);
        assert_eq!(chosen.recipients[0].people.len(), 2);
        assert_eq!(chosen.left_out[0].person, "cat");
        let all = choose(&contacts(), &Choice::All, &[]).unwrap();
        assert_eq!(addresses(&all), ["ann@example.com", "eve@example.com"]);
        assert_eq!(all.without, ["empty"]);
        assert!(
            all.left_out
                .iter()
                .any(|one| one.person == "dan" && one.why.contains("bounced"))
        );
        let billing = choose(&contacts(), &Choice::All, &["billing".to_owned()]).unwrap();
        assert_eq!(addresses(&billing), ["bob@example.com"]);
    }

    #[test]
    fn what_is_unknown_is_an_error_and_never_everybody() {
        let of = |ids: &[&str]| Choice::Accounts(ids.iter().map(|id| (*id).to_owned()).collect());
        for choice in [of(&["acme", "nobody"]), of(&[""]), of(&[]), of(&["empty"])] {
            assert!(choose(&contacts(), &choice, &[]).is_err(), "{choice:?}");
        }
        assert!(choose(&contacts(), &Choice::All, &["nothing".to_owned()]).is_err());
    }
}
