//! The components of the status page: parts of the product that customers know.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::schema::status_components as c;
use crate::db::{Conn, Statement};
use crate::directory::selector::{Json, Selector, SelectorSchema};

/// The longest ID of a component, in characters.
const MAX_ID: usize = 100;
/// The longest name of a component or a group, in characters.
const MAX_NAME: usize = 120;
/// The largest position of a component in its group.
const MAX_POSITION: i64 = 1_000_000;
/// The largest number of components, so that the page stays small.
pub const MOST: usize = 100;

/// A component as it is given.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ComponentInput)]
pub struct Input {
    /// The name that customers read.
    pub name: String,
    /// The name of the group in which the page shows it. Components without a group come first.
    #[serde(default)]
    pub group: Option<String>,
    /// The position in its group, from the lowest. The default is 0. Components with the same position are ordered by name.
    #[serde(default)]
    pub position: i64,
    /// The resources that belong to the component, as an object or as text. The form of a new post suggests the components to which
    /// affected resources belong.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
}

/// A component of the status page: a part of the product that customers know.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Component {
    /// The ID that the caller chose.
    pub id: String,
    /// The name that customers read.
    pub name: String,
    /// The name of its group.
    pub group: Option<String>,
    /// The position in its group.
    pub position: i64,
    /// The resources that belong to the component.
    #[schema(value_type = Option<Object>)]
    pub selector: Option<Value>,
    /// When the component was created.
    pub created_at: Timestamp,
    /// When the component was last written.
    pub updated_at: Timestamp,
}

#[derive(Queryable)]
struct Row {
    id: String,
    name: String,
    group_name: Option<String>,
    position: i64,
    selector: Option<String>,
    _gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn view(self) -> Result<Component> {
        Ok(Component {
            id: self.id,
            name: self.name,
            group: self.group_name,
            position: self.position,
            selector: self.selector.as_deref().map(serde_json::from_str).transpose()?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

impl Component {
    /// Returns the text form of its selector.
    ///
    /// # Errors
    /// `Internal` if the stored selector cannot be read.
    pub fn selector_text(&self) -> Result<Option<String>> {
        Ok(self.selector()?.map(|selector| selector.to_string()))
    }

    fn selector(&self) -> Result<Option<Selector>> {
        let Some(stored) = &self.selector else {
            return Ok(None);
        };
        let json: Json = serde_json::from_value(stored.clone())?;
        Selector::parse("/selector", &json).map(Some)
    }

    fn said(&self) -> Value {
        json!({"name": self.name, "group": self.group, "position": self.position, "selector": self.selector})
    }
}

/// Checks an ID of a component. It stands in addresses and in forms.
fn check_id(id: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.len() > MAX_ID || !id.chars().all(fits) || id.chars().all(|c| c == '.') {
        return Err(Error::invalid(
            "{id}",
            format!("must be up to {MAX_ID} letters from a to z, digits, '-', '_' or '.'"),
        ));
    }
    Ok(())
}

fn check_name(check: &mut Check, pointer: &str, name: &str) {
    check.name(pointer, name);
    if name.chars().count() > MAX_NAME {
        let detail = format!("is longer than {MAX_NAME} characters");
        check.errors.push(FieldError::at(pointer, detail));
    }
}

/// Creates or replaces a component. Returns it, and whether it is new. A component that was deleted becomes visible again.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are too many components.
pub fn put(tx: &mut Tx<'_>, id: &ExternalId, input: &Input) -> Result<(Component, bool)> {
    check_id(id.as_str())?;
    let mut check = Check::default();
    check_name(&mut check, "/name", &input.name);
    if let Some(group) = &input.group {
        check_name(&mut check, "/group", group);
    }
    if !(0..=MAX_POSITION).contains(&input.position) {
        let detail = format!("must be a number from 0 to {MAX_POSITION}");
        check.errors.push(FieldError::at("/position", detail));
    }
    check.finish()?;
    let selector = match &input.selector {
        Some(given) => {
            let selector = Selector::parse("/selector", given)?;
            selector.count(tx.conn)?;
            Some(selector.to_json().to_string())
        }
        None => None,
    };
    let before = find(tx.conn, id.as_str())?;
    if before.is_none() && all(tx.conn)?.len() >= MOST {
        return Err(Error::Conflict(format!(
            "there are {MOST} components, which is the largest number; delete one first"
        )));
    }
    let (name, group) = (input.name.trim(), input.group.as_deref().map(str::trim));
    let changed = (
        c::name.eq(name),
        c::group_name.eq(group),
        c::position.eq(input.position),
        c::selector.eq(selector.as_deref()),
        c::gone_at.eq(None::<Timestamp>),
        c::updated_at.eq(tx.now),
    );
    // Two requests can create the same component at the same time. The later one replaces the other.
    on_backend!(&mut *tx.conn, conn => diesel::insert_into(c::table)
        .values((c::id.eq(id.as_str()), changed, c::created_at.eq(tx.now)))
        .on_conflict(c::id)
        .do_update()
        .set(changed)
        .execute(conn))?;
    let component = get(tx.conn, id.as_str())?;
    let event = Event::new(Action::ComponentPut, "component", id.as_str()).after(component.said());
    let is_new = before.is_none();
    tx.record(match before {
        Some(before) => event.before(before.said()),
        None => event,
    });
    Ok((component, is_new))
}

/// Deletes a component. The page shows it no more, and its posts stay. Another component can get its ID later.
///
/// # Errors
/// `NotFound` if there is no such component.
pub fn delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    let before = get(tx.conn, id)?;
    let changed = diesel::update(c::table.find(id).filter(c::gone_at.is_null()))
        .set((c::gone_at.eq(Some(tx.now)), c::updated_at.eq(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("component '{id}'")));
    }
    tx.record(Event::new(Action::ComponentDeleted, "component", id).before(before.said()));
    Ok(())
}

fn find(conn: &mut Conn, id: &str) -> Result<Option<Component>> {
    let row: Option<Row> = c::table
        .find(id)
        .filter(c::gone_at.is_null())
        .first(conn)
        .optional()?;
    row.map(Row::view).transpose()
}

/// Returns the component with this ID.
///
/// # Errors
/// `NotFound` if there is no such component, or if it was deleted.
pub fn get(conn: &mut Conn, id: &str) -> Result<Component> {
    find(conn, id)?.ok_or_else(|| Error::NotFound(format!("component '{id}'")))
}

/// Returns the components after the given ID, ordered by ID.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Component>> {
    let rows: Vec<Row> = c::table
        .filter(c::gone_at.is_null())
        .filter(c::id.gt(after.unwrap_or("")))
        .order(c::id)
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(Row::view).collect()
}

/// Returns all components in the order of the page: those without a group, then the groups by name. In a group they are ordered by
/// position, then by name.
///
/// # Errors
/// An error of the database.
pub fn all(conn: &mut Conn) -> Result<Vec<Component>> {
    let rows: Vec<Row> = c::table.filter(c::gone_at.is_null()).load(conn)?;
    let mut all = rows.into_iter().map(Row::view).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| (&a.group, a.position, &a.name, &a.id).cmp(&(&b.group, b.position, &b.name, &b.id)));
    Ok(all)
}

/// Returns the IDs and the names of all components, also of deleted ones.
pub(super) fn names(conn: &mut Conn) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = c::table.select((c::id, c::name)).load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Returns the components to which affected resources of an incident belong, by their selectors.
///
/// # Errors
/// An error of the database.
pub fn affected_by(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Component>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let mut affected = Vec::new();
    for component in all(conn)? {
        let Some(selector) = component.selector()? else {
            continue;
        };
        let mut statement = Statement::default();
        statement.push(
            "SELECT COUNT(*) AS n FROM incident_resources i WHERE i.removed_at IS NULL AND i.incident_id = ",
        );
        statement
            .text(incident.as_str())
            .push(" AND i.resource_key IN (SELECT found.key FROM (");
        selector.keys(conn, &mut statement);
        statement.push(") found)");
        let found: Found = statement.finish().get_result(conn)?;
        if found.n > 0 {
            affected.push(component);
        }
    }
    Ok(affected)
}

/// Returns what is wrong with the ID of no component. `known` are all components.
pub(super) fn unknown(known: &[Component]) -> String {
    if known.is_empty() {
        return "is not a component; there are none yet".to_owned();
    }
    let ids: Vec<&str> = known.iter().map(|one| one.id.as_str()).take(20).collect();
    format!("is not a component; there are {}", ids.join(", "))
}

/// Checks that each of these is the ID of a component, in the field `components` of a request. Those in `before` may have been deleted.
///
/// # Errors
/// `Invalid` with each unknown one.
pub fn check_ids(conn: &mut Conn, ids: &[String], before: &[String]) -> Result<()> {
    let known = all(conn)?;
    let ids = ids.iter().enumerate();
    let unknown: Vec<FieldError> = ids
        .filter(|(_, id)| !before.contains(id) && known.iter().all(|one| one.id != **id))
        .map(|(index, _)| FieldError::at(format!("/components/{index}"), unknown(&known)))
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Error::fields(unknown)),
    }
}
