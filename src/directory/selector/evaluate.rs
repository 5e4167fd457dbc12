//! Evaluates a selector on the directory. First it checks that every name in the selector exists. Then one
//! statement finds the keys of the resources, for counting and for `INSERT … SELECT`.
//!
//! A conjunction is one query with `IN` conditions, which both databases answer with their indexes. `or` is a
//! UNION and `not` an EXCEPT, so that no row is ever compared with each row of another set.
//!
//! The result never contains an archived resource, or one that is reached only through an archived ancestor.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::Selector;
use super::tree::{Part, Place, Spot, Test, Window};
use super::view::View;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::db::{Conn, Statement, dialect};

/// Writes the query of a selector.
struct Writer<'a> {
    to: &'a mut Statement,
    /// The directory at the time of the selector.
    view: View,
    /// The SQL expression for a label of an account, from [`dialect::account_label`].
    account_label: String,
}

impl Writer<'_> {
    fn query(&mut self, part: &Part) {
        if let Part::Any(parts) = part {
            for (index, part) in parts.iter().enumerate() {
                self.to.push(if index > 0 {
                    " UNION SELECT key FROM ("
                } else {
                    "SELECT key FROM ("
                });
                self.query(part);
                self.to.push(") u");
            }
            return;
        }
        let parts: &[Part] = match part {
            Part::All(parts) => parts,
            only => std::slice::from_ref(only),
        };
        self.to.push(&format!(
            "SELECT r.key FROM {} r WHERE {}",
            self.view.resources(),
            self.view.active("r")
        ));
        for part in parts.iter().filter(|part| !matches!(part, Part::Not(_))) {
            self.to.push(" AND ");
            self.condition(part);
        }
        for part in parts {
            if let Part::Not(inner) = part {
                self.to.push(" EXCEPT SELECT key FROM (");
                self.query(&inner.value);
                self.to.push(") e");
            }
        }
    }

    fn condition(&mut self, part: &Part) {
        match part {
            Part::Type(type_) => {
                self.to.push("r.type = ").text(type_.value.as_str());
            }
            Part::Label(name, test) => {
                self.to
                    .push(&format!(
                        "r.key IN (SELECT resource_key FROM {} l WHERE name = ",
                        self.view.labels()
                    ))
                    .text(&name.value)
                    .push(" AND ");
                test_on(self.to, "value", test);
                self.to.push(")");
            }
            Part::Under(at) => {
                let (resources, tree) = (self.view.resources(), self.view.tree());
                let (active, child) = (self.view.active("t"), self.view.active("c"));
                self.to
                    .push(&format!(
                        "r.key IN (WITH RECURSIVE below(key) AS ( \
                         SELECT c.key FROM {resources} t JOIN {tree} c ON c.parent_key = t.key WHERE t.type = "
                    ))
                    .text(at.value.type_.as_str())
                    .push(" AND t.id = ")
                    .text(at.value.id.as_str())
                    .push(&format!(
                        " AND {active} AND {child} \
                         UNION ALL SELECT c.key FROM below b JOIN {tree} c ON c.parent_key = b.key \
                         WHERE {child}) SELECT key FROM below)"
                    ));
            }
            Part::Accounts(accounts) => {
                self.owned();
                self.to.push("a.id IN ");
                list(self.to, accounts.iter().map(|account| account.value.as_str()));
                self.owned_end();
            }
            Part::AccountLabel(name, test) => {
                self.owned();
                account_label(self.to, &self.account_label, name, test);
                self.owned_end();
            }
            Part::Created(window) => self.within("r.created_at", &window.value),
            Part::Changed(window) => {
                self.to.push("(");
                self.within("r.created_at", &window.value);
                self.to.push(" OR ");
                self.seen("r.updated_at", &window.value);
                // Include resources that were changed in the window and were written again after it.
                self.to
                    .push(" OR r.key IN (SELECT h.resource_key FROM resource_history h WHERE ");
                self.seen("h.valid_to", &window.value);
                self.to.push("))");
            }
            Part::All(_) | Part::Any(_) | Part::Not(_) => {
                self.to.push("r.key IN (SELECT key FROM (");
                self.query(part);
                self.to.push(") n)");
            }
        }
    }

    /// Begins the condition that a resource belongs to an account: those of the account, and those below them without an account.
    /// The condition on the account `a` follows.
    fn owned(&mut self) {
        let (tree, accounts) = (self.view.tree(), self.view.accounts());
        let (active, account) = (self.view.active("o"), self.view.active("a"));
        self.to.push(&format!(
            "r.key IN (WITH RECURSIVE owned(key) AS ( \
             SELECT o.key FROM {tree} o WHERE {active} \
                 AND o.account_key IN (SELECT a.key FROM {accounts} a WHERE {account} AND "
        ));
    }

    fn owned_end(&mut self) {
        let (tree, child) = (self.view.tree(), self.view.active("c"));
        self.to.push(&format!(
            ") UNION ALL SELECT c.key FROM owned o JOIN {tree} c ON c.parent_key = o.key \
             WHERE {child} AND c.account_key IS NULL) SELECT key FROM owned)"
        ));
    }

    /// Writes the condition that a change was in the window, and was known at the time of the selector.
    fn seen(&mut self, column: &str, window: &Window) {
        self.within(column, window);
        if let Some(at) = self.view.as_of() {
            self.to.push(" AND ").push(column).push(" <= ").time(at);
        }
    }

    fn within(&mut self, column: &str, window: &Window) {
        self.to.push("(");
        if let Some(from) = window.from {
            self.to.push(column).push(" >= ").time(from);
        }
        if window.from.is_some() && window.to.is_some() {
            self.to.push(" AND ");
        }
        if let Some(to) = window.to {
            self.to.push(column).push(" < ").time(to);
        }
        self.to.push(")");
    }
}

/// Writes `(value, value …)`.
pub(super) fn list<'a>(to: &mut Statement, values: impl Iterator<Item = &'a str>) {
    to.push("(");
    for (index, value) in values.enumerate() {
        if index > 0 {
            to.push(",");
        }
        to.text(value);
    }
    to.push(")");
}

fn test_on(to: &mut Statement, column: &str, test: &Test) {
    to.push(column);
    match test {
        Test::Is(value) => {
            to.push(" = ").text(&value.value);
        }
        Test::In(values) => {
            to.push(" IN ");
            list(to, values.iter().map(|value| value.value.as_str()));
        }
        Test::Exists => {
            to.push(" IS NOT NULL");
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Returns whether the query finds anything.
pub(super) fn any(conn: &mut Conn, statement: Statement) -> Result<bool> {
    let row: Option<Number> = statement.finish().get_result(conn).optional()?;
    Ok(row.is_some_and(|row| row.n == 1))
}

impl Selector {
    /// Adds a query for the keys of the resources that are found. Its only column is `key`.
    pub fn keys(&self, conn: &Conn, to: &mut Statement) {
        let account_label = dialect::account_label(conn);
        let view = self.view;
        Writer {
            to,
            view,
            account_label,
        }
        .query(&self.root);
    }

    /// Checks that the directory knows every name in the selector, and that something is found. Returns the
    /// number of resources by type.
    ///
    /// # Errors
    /// `Invalid` with one error for each unknown name, or if nothing is found.
    pub fn count(&self, conn: &mut Conn) -> Result<BTreeMap<String, i64>> {
        #[derive(QueryableByName)]
        struct Counted {
            #[diesel(sql_type = Text)]
            type_: String,
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        let mut errors = Vec::new();
        self.root.known(conn, self.view, &mut errors)?;
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        let mut statement = Statement::default();
        statement.push("SELECT r.type AS type_, COUNT(*) AS n FROM (");
        self.keys(conn, &mut statement);
        statement.push(") found JOIN resources r ON r.key = found.key GROUP BY r.type");
        let counted: Vec<Counted> = statement.finish().load(conn)?;
        if counted.is_empty() {
            return Err(Error::fields(vec![
                self.place
                    .error(format!("matches no resources{}", self.view.suffix())),
            ]));
        }
        Ok(counted.into_iter().map(|row| (row.type_, row.n)).collect())
    }
}

impl Part {
    /// Adds an error for each unknown name.
    fn known(&self, conn: &mut Conn, view: View, errors: &mut Vec<FieldError>) -> Result<()> {
        match self {
            Part::Type(type_) => {
                let mut statement = Statement::default();
                statement
                    .push(&format!(
                        "SELECT CAST(1 AS BIGINT) AS n FROM {} r WHERE {} AND r.type = ",
                        view.resources(),
                        view.active("r")
                    ))
                    .text(type_.value.as_str())
                    .push(" LIMIT 1");
                if !any(conn, statement)? {
                    let detail = format!("no resource has the type '{}'{}", type_.value, view.suffix());
                    errors.push(type_.place.error(detail).code(Code::UnknownType));
                }
            }
            Part::Label(name, test) => labels_known(
                conn,
                name,
                test,
                ("resource", view),
                errors,
                |_, statement, test| {
                    statement
                    .push(&format!(
                        "SELECT CAST(1 AS BIGINT) AS n FROM {} l JOIN {} r ON r.key = l.resource_key WHERE {} AND l.name = ",
                        view.labels(), view.tree(), view.active("r")
                    ))
                    .text(&name.value)
                    .push(" AND ");
                    test_on(statement, "l.value", test);
                },
            )?,
            Part::AccountLabel(name, test) => account_label_known(conn, name, test, view, errors)?,
            Part::Under(at) => {
                let (resources, suffix) = (view.resources(), view.suffix());
                let mut statement = Statement::default();
                statement
                    .push(&format!(
                        "SELECT CAST(1 AS BIGINT) AS n FROM {resources} t WHERE {} AND t.type = ",
                        view.active("t")
                    ))
                    .text(at.value.type_.as_str())
                    .push(" AND t.id = ")
                    .text(at.value.id.as_str());
                if !any(conn, statement)? {
                    let detail = format!("{} is not in the directory{suffix}", at.value);
                    errors.push(at.place.error(detail));
                    return Ok(());
                }
                let mut statement = Statement::default();
                statement
                    .push(&format!(
                        "SELECT CAST(1 AS BIGINT) AS n FROM {} c JOIN {resources} t ON t.key = c.parent_key WHERE {} AND t.type = ",
                        view.tree(),
                        view.active("c")
                    ))
                    .text(at.value.type_.as_str())
                    .push(" AND t.id = ")
                    .text(at.value.id.as_str())
                    .push(" LIMIT 1");
                if !any(conn, statement)? {
                    let detail = format!("no resource is part of {}{suffix}", at.value);
                    errors.push(at.place.error(detail));
                }
            }
            Part::Accounts(accounts) => {
                for account in accounts {
                    account_known(conn, account.value.as_str(), &account.place, view, errors)?;
                }
            }
            Part::All(parts) | Part::Any(parts) => {
                for part in parts {
                    part.known(conn, view, errors)?;
                }
            }
            // A misspelt exception would exclude nothing, so it is an error like any other.
            Part::Not(inner) => inner.value.known(conn, view, errors)?,
            Part::Created(_) | Part::Changed(_) => {}
        }
        Ok(())
    }
}

fn account_known(
    conn: &mut Conn,
    id: &str,
    place: &Place,
    view: View,
    errors: &mut Vec<FieldError>,
) -> Result<()> {
    if !account_exists(conn, id, view)? {
        let detail = format!("account '{id}' is not in the directory{}", view.suffix());
        errors.push(place.error(detail));
        return Ok(());
    }
    let mut statement = Statement::default();
    statement
        .push(&format!(
            "SELECT CAST(1 AS BIGINT) AS n FROM {} r JOIN accounts a ON a.key = r.account_key WHERE {} AND a.id = ",
            view.tree(),
            view.active("r")
        ))
        .text(id)
        .push(" LIMIT 1");
    if !any(conn, statement)? {
        let detail = format!("account '{id}' owns no resources{}", view.suffix());
        errors.push(place.error(detail));
    }
    Ok(())
}

/// Returns whether there is an active account with this ID.
pub(super) fn account_exists(conn: &mut Conn, id: &str, view: View) -> Result<bool> {
    let mut statement = Statement::default();
    statement
        .push(&format!(
            "SELECT CAST(1 AS BIGINT) AS n FROM {} a WHERE {} AND a.id = ",
            view.accounts(),
            view.active("a")
        ))
        .text(id);
    any(conn, statement)
}

/// Writes the test of a label of the account `a`. `expression` is from [`dialect::account_label`].
pub(super) fn account_label(to: &mut Statement, expression: &str, name: &Spot<String>, test: &Test) {
    // The name is a bound value of the expression and occurs in it once.
    let (before, after) = expression.split_once("{name}").unwrap_or((expression, ""));
    to.push(before).text(&name.value);
    test_on(to, after, test);
}

/// Adds an error if no account has the label, or for each value that no account has.
pub(super) fn account_label_known(
    conn: &mut Conn,
    name: &Spot<String>,
    test: &Test,
    view: View,
    errors: &mut Vec<FieldError>,
) -> Result<()> {
    labels_known(
        conn,
        name,
        test,
        ("account", view),
        errors,
        |conn, statement, test| {
            statement.push(&format!(
                "SELECT CAST(1 AS BIGINT) AS n FROM {} a WHERE {} AND ",
                view.accounts(),
                view.active("a")
            ));
            account_label(statement, &dialect::account_label(conn), name, test);
        },
    )
}

/// Adds an error if nothing has the label, or for each value that nothing has.
fn labels_known(
    conn: &mut Conn,
    name: &Spot<String>,
    test: &Test,
    (kind, view): (&str, View),
    errors: &mut Vec<FieldError>,
    find: impl Fn(&mut Conn, &mut Statement, &Test),
) -> Result<()> {
    let found = |conn: &mut Conn, test: &Test| {
        let mut statement = Statement::default();
        find(conn, &mut statement, test);
        statement.push(" LIMIT 1");
        any(conn, statement)
    };
    if !found(conn, &Test::Exists)? {
        let detail = format!("no {kind} has a label '{}'{}", name.value, view.suffix());
        errors.push(name.place.error(detail).code(Code::UnknownLabel));
        return Ok(());
    }
    let values: &[Spot<String>] = match test {
        Test::Is(value) => std::slice::from_ref(value),
        Test::In(values) => values,
        Test::Exists => &[],
    };
    for value in values {
        if !found(conn, &Test::Is(value.clone()))? {
            let shown: String = value.value.chars().take(80).collect();
            let detail = format!(
                "no {kind} has the label '{}' with the value '{shown}'{}",
                name.value,
                view.suffix()
            );
            errors.push(value.place.error(detail));
        }
    }
    Ok(())
}
