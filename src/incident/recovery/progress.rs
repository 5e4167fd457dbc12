//! How far the recovery of an incident is: the numbers of all affected resources, and those of each account.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde::Serialize;

use super::owned::with_owned;
use super::standing::in_use;
use super::state::State;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::{Conn, FixedText, Statement};
use crate::incident::stored::get;

/// The numbers of resources in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryCounts)]
pub struct Counts {
    /// The number of impaired resources. Affected resources without a state are among them.
    pub impaired: i64,
    /// The number of resources that somebody is recovering.
    pub recovering: i64,
    /// The number of recovered resources.
    pub recovered: i64,
    /// How many of the recovered ones two people attested, because nothing can be measured.
    pub attested: i64,
}

impl Counts {
    /// Returns the number of resources.
    pub fn total(&self) -> i64 {
        self.impaired + self.recovering + self.recovered
    }

    fn add(&mut self, state: Option<&str>, attested: bool, n: i64) -> Result<()> {
        match state.map(State::parse).transpose().map_err(Error::internal)? {
            None | Some(State::Impaired) => self.impaired += n,
            Some(State::Recovering) => self.recovering += n,
            Some(State::Recovered) => {
                self.recovered += n;
                if attested {
                    self.attested += n;
                }
            }
        }
        Ok(())
    }
}

/// How far the recovery of an incident is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryProgress)]
pub struct Progress {
    /// Whether the incident has recovery states. If not, every affected resource counts as impaired.
    pub in_use: bool,
    /// The numbers of all affected resources.
    pub counts: Counts,
    /// The numbers of those that belong to no account.
    pub without_account: Counts,
}

/// The numbers of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryAccount)]
pub struct AccountProgress {
    /// The ID of the account.
    pub account: String,
    /// The name of the account.
    pub name: String,
    /// The numbers of its affected resources.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Returns the numbers of all affected resources of an incident.
///
/// # Errors
/// An error of the database.
pub fn totals(conn: &mut Conn, incident: &IncidentId) -> Result<Counts> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        state: Option<String>,
        #[diesel(sql_type = Bool)]
        attested: bool,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT s.state, COALESCE(s.attested, FALSE) AS attested, COUNT(*) AS n FROM incident_resources ir \
         LEFT JOIN recovery_states s ON s.incident_id = ir.incident_id AND s.resource_key = ir.resource_key \
         WHERE ir.incident_id = $1 AND ir.removed_at IS NULL GROUP BY s.state, COALESCE(s.attested, FALSE)",
    )
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?;
    let mut counts = Counts::default();
    for row in rows {
        counts.add(row.state.as_deref(), row.attested, row.n)?;
    }
    Ok(counts)
}

/// Returns how far the recovery of an incident is.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn progress(conn: &mut Conn, incident: &IncidentId) -> Result<Progress> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        state: Option<String>,
        #[diesel(sql_type = Bool)]
        attested: bool,
        #[diesel(sql_type = Bool)]
        owned: bool,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    get(conn, incident)?;
    let mut statement = Statement::default();
    with_owned(&mut statement, incident, None);
    statement
        .push(
            "SELECT s.state, COALESCE(s.attested, FALSE) AS attested, o.account_key IS NOT NULL AS owned, COUNT(*) AS n \
             FROM owned o LEFT JOIN recovery_states s ON s.resource_key = o.key AND s.incident_id = ",
        )
        .text(incident.as_str())
        .push(" GROUP BY s.state, COALESCE(s.attested, FALSE), o.account_key IS NOT NULL");
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let mut progress = Progress {
        in_use: in_use(conn, incident)?,
        ..Progress::default()
    };
    for row in rows {
        progress.counts.add(row.state.as_deref(), row.attested, row.n)?;
        if !row.owned {
            progress
                .without_account
                .add(row.state.as_deref(), row.attested, row.n)?;
        }
    }
    Ok(progress)
}

/// Returns the numbers of the accounts after the given ID, ordered by ID.
///
/// # Errors
/// An error of the database.
pub fn accounts(
    conn: &mut Conn,
    incident: &IncidentId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<AccountProgress>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = BigInt)]
        total: i64,
        #[diesel(sql_type = BigInt)]
        recovering: i64,
        #[diesel(sql_type = BigInt)]
        recovered: i64,
        #[diesel(sql_type = BigInt)]
        attested: i64,
    }
    let sum = |condition: &str| format!("CAST(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS BIGINT)");
    let mut statement = Statement::default();
    with_owned(&mut statement, incident, None);
    statement
        .push(&format!(
            "SELECT a.id, a.name, COUNT(*) AS total, {} AS recovering, {} AS recovered, {} AS attested \
             FROM owned o JOIN accounts a ON a.key = o.account_key \
             LEFT JOIN recovery_states s ON s.resource_key = o.key AND s.incident_id = ",
            sum("s.state = 'recovering'"),
            sum("s.state = 'recovered'"),
            sum("s.state = 'recovered' AND s.attested")
        ))
        .text(incident.as_str());
    if let Some(after) = after {
        statement.push(" WHERE a.id > ").text(after);
    }
    statement.push(&format!(" GROUP BY a.id, a.name ORDER BY a.id LIMIT {limit}"));
    let rows: Vec<Row> = statement.finish().load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| AccountProgress {
            account: row.id,
            name: row.name,
            counts: Counts {
                impaired: row.total - row.recovering - row.recovered,
                recovering: row.recovering,
                recovered: row.recovered,
                attested: row.attested,
            },
        })
        .collect())
}
