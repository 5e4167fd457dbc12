//! Selectors over people: the members of accounts, by account, by role in the account, and by label of the
//! account. The fields have the same form as those of a selector over resources.
//!
//! A selector never means more than it says. An unknown name, an empty list and a selector that finds nobody
//! are errors. Archived people, archived accounts and memberships that ended are never found.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde_json::{Value, json};

use super::evaluate::{self, account_label, account_label_known};
use super::tree::{MAX_PARTS, Part, Place, Spot, Test};
use super::view::View;
use super::{Json, json as form, text};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement, dialect};

/// A parsed selector over people. All of its conditions must match the same membership.
#[derive(Clone, Debug)]
pub struct PeopleSelector {
    /// The person is a member of one of these accounts. Empty if any account matches.
    accounts: Vec<Spot<ExternalId>>,
    /// The member has one of these roles. Empty if any role matches.
    roles: Vec<Spot<ExternalId>>,
    /// The account has these labels.
    labels: Vec<(Spot<String>, Test)>,
    place: Place,
    view: View,
}

/// A selector over people: the active members of accounts. All fields that are given must match.
#[derive(utoipa::ToSchema)]
#[schema(as = PeopleSelector)]
#[allow(dead_code)]
pub struct PeopleSelectorSchema {
    /// The person is a member of one of these accounts.
    accounts: Option<Vec<String>>,
    /// The person has one of these roles in the account.
    roles: Option<Vec<String>>,
    /// The account has these labels: `"value"`, `{"in": ["a", "b"]}`, or `{"exists": true}`.
    #[schema(value_type = Option<Object>)]
    account_labels: Option<()>,
}

impl PeopleSelector {
    /// Parses the selector at `pointer` of a request.
    ///
    /// # Errors
    /// `Invalid` with one error for each wrong part.
    pub fn parse(pointer: &str, given: &Json) -> Result<Self> {
        let mut errors = Vec::new();
        let mut selector = PeopleSelector {
            accounts: Vec::new(),
            roles: Vec::new(),
            labels: Vec::new(),
            place: Place::Pointer(pointer.to_owned()),
            view: View::Now,
        };
        let possible = "accounts, roles or account_labels";
        for (at, name, value) in form::fields(pointer, given, &mut errors, possible) {
            match name {
                "accounts" => selector
                    .accounts
                    .extend(form::words(&at, value, &mut errors).into_iter().flatten()),
                "roles" => selector
                    .roles
                    .extend(form::words(&at, value, &mut errors).into_iter().flatten()),
                "account_labels" => {
                    form::labels(&at, value, &mut errors, &mut selector.labels, |name, test| {
                        (name, test)
                    })
                }
                _ => form::wrong(
                    &mut errors,
                    &at,
                    "is not a field of a selector over people; the fields are accounts, roles, account_labels",
                ),
            }
        }
        if selector.parts() > MAX_PARTS {
            errors.push(FieldError::at(
                pointer,
                format!("has more than {MAX_PARTS} parts and values"),
            ));
        }
        match errors.is_empty() {
            true => Ok(selector),
            false => Err(Error::fields(errors)),
        }
    }

    fn parts(&self) -> usize {
        let values = self.labels.iter().map(|(_, test)| match test {
            Test::In(values) => values.len(),
            Test::Is(_) | Test::Exists => 1,
        });
        self.accounts.len() + self.roles.len() + values.sum::<usize>()
    }

    /// Evaluates the selector as of a time, with the members and the labels that the directory knew then. `None` means now.
    ///
    /// # Errors
    /// `Invalid` at `/as_of` if the time is in the future, or before the history of the directory begins.
    pub fn at(self, conn: &mut Conn, as_of: Option<Timestamp>, now: Timestamp) -> Result<Self> {
        let view = View::of(conn, as_of, now)?;
        Ok(PeopleSelector { view, ..self })
    }

    /// Returns the time as of which the selector is evaluated. `None` means now.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.view.as_of()
    }

    /// Returns the selector for people, followed by the time if it is not now.
    pub fn described(&self) -> String {
        format!("{self}{}", self.view.suffix())
    }

    /// Returns the JSON form. It parses to an equal selector.
    pub fn to_json(&self) -> Value {
        let mut whole = json!({});
        let words =
            |words: &[Spot<ExternalId>]| json!(words.iter().map(|word| &word.value).collect::<Vec<_>>());
        if !self.accounts.is_empty() {
            whole["accounts"] = words(&self.accounts);
        }
        if !self.roles.is_empty() {
            whole["roles"] = words(&self.roles);
        }
        for (name, test) in &self.labels {
            whole["account_labels"][name.value.as_str()] = form::test_value(test);
        }
        whole
    }

    /// Adds a query for the keys of the people who are found, each once. Its only column is `key`.
    pub fn keys(&self, conn: &Conn, to: &mut Statement) {
        to.push("SELECT DISTINCT m.person_key AS key");
        self.memberships(conn, to);
    }

    /// Writes the memberships that match, from `FROM` on.
    fn memberships(&self, conn: &Conn, to: &mut Statement) {
        let view = self.view;
        to.push(&format!(
            " FROM {} m JOIN {} a ON a.key = m.account_key JOIN {} p ON p.key = m.person_key WHERE {} AND {} AND {}",
            view.members(),
            view.accounts(),
            view.people(),
            view.active("m"),
            view.active("a"),
            view.active("p")
        ));
        for (column, words) in [("a.id", &self.accounts), ("m.role", &self.roles)] {
            if !words.is_empty() {
                to.push(&format!(" AND {column} IN "));
                evaluate::list(to, words.iter().map(|word| word.value.as_str()));
            }
        }
        let expression = dialect::account_label(conn);
        for (name, test) in &self.labels {
            to.push(" AND ");
            account_label(to, &expression, name, test);
        }
    }

    /// Checks that the directory knows every name in the selector, and that somebody is found. Returns the
    /// numbers of people and of their accounts.
    ///
    /// # Errors
    /// `Invalid` with one error for each unknown name, or if nobody is found.
    pub fn count(&self, conn: &mut Conn) -> Result<(i64, i64)> {
        #[derive(QueryableByName)]
        struct Counted {
            #[diesel(sql_type = BigInt)]
            people: i64,
            #[diesel(sql_type = BigInt)]
            accounts: i64,
        }
        let mut errors = Vec::new();
        self.known(conn, &mut errors)?;
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        let mut statement = Statement::default();
        statement
            .push("SELECT COUNT(DISTINCT m.person_key) AS people, COUNT(DISTINCT m.account_key) AS accounts");
        self.memberships(conn, &mut statement);
        let counted: Counted = statement.finish().get_result(conn)?;
        match counted.people {
            0 => Err(Error::fields(vec![
                self.place
                    .error(format!("matches no people{}", self.view.suffix())),
            ])),
            people => Ok((people, counted.accounts)),
        }
    }

    /// Adds an error for each unknown name.
    fn known(&self, conn: &mut Conn, errors: &mut Vec<FieldError>) -> Result<()> {
        let (view, suffix) = (self.view, self.view.suffix());
        for account in &self.accounts {
            let id = account.value.as_str();
            if !evaluate::account_exists(conn, id, view)? {
                let detail = format!("account '{id}' is not in the directory{suffix}");
                errors.push(account.place.error(detail));
                continue;
            }
            let mut statement = Statement::default();
            statement
                .push(&format!(
                    "SELECT CAST(1 AS BIGINT) AS n FROM {} m JOIN accounts a ON a.key = m.account_key WHERE {} AND a.id = ",
                    view.members(),
                    view.active("m")
                ))
                .text(id)
                .push(" LIMIT 1");
            if !evaluate::any(conn, statement)? {
                let detail = format!("account '{id}' has no members{suffix}");
                errors.push(account.place.error(detail));
            }
        }
        for role in &self.roles {
            let mut statement = Statement::default();
            statement
                .push(&format!(
                    "SELECT CAST(1 AS BIGINT) AS n FROM {} m WHERE {} AND m.role = ",
                    view.members(),
                    view.active("m")
                ))
                .text(role.value.as_str())
                .push(" LIMIT 1");
            if !evaluate::any(conn, statement)? {
                let detail = format!("no member of any account has the role '{}'{suffix}", role.value);
                errors.push(role.place.error(detail));
            }
        }
        for (name, test) in &self.labels {
            account_label_known(conn, name, test, view, errors)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for PeopleSelector {
    /// Writes the selector for people, for example `account:acme role:owner account.tier:pro`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.accounts.is_empty() {
            parts.push(text::line(&Part::Accounts(self.accounts.clone())));
        }
        if !self.roles.is_empty() {
            let roles: Vec<String> = self
                .roles
                .iter()
                .map(|role| text::value(role.value.as_str()))
                .collect();
            parts.push(format!("role:{}", roles.join(",")));
        }
        for (name, test) in &self.labels {
            parts.push(text::line(&Part::AccountLabel(name.clone(), test.clone())));
        }
        f.write_str(&parts.join(" "))
    }
}
