//! The people whom an incident affects: who they are, why, and whether they were notified. They can be searched, and one person can
//! be checked.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Reader;
use crate::auth::Role;
use crate::directory::source::status::{self, SourceAge};
use crate::http::App;
use crate::http::admin::audience::{self, Chosen};
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count};
use crate::http::admin::why;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::cursor;
use crate::http::problem::Answer;
use crate::incident::affected_people;
use crate::notice::{Overview, Restorations};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/incidents/{id}/people", Role::Viewer, show).does(&[
        "GET /api/v1/incidents/{id}/audience",
        "GET /api/v1/incidents/{id}/audience/explain",
        "GET /api/v1/incidents/{id}/audience/difference",
    ]);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    people: Option<Chosen>,
    people_after: Option<String>,
    /// A part of the name, the ID or the address.
    q: Option<String>,
    /// The ID or the address of the person to explain.
    who: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let p = params.0;
    let after: Option<String> = cursor(p.people_after.as_deref())?;
    let (mut reader, now) = (Reader::new(&app), app.clock().now());
    let (audience_cache, outbox) = (app.audience_cache.clone(), app.outbox);
    let (who, q) = (p.who.clone(), p.q.clone());
    let (head, (listed, as_of), explained, named, ages) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let base = format!("{}/people", head.base());
            let (q, after) = (q.as_deref(), after.as_deref());
            // One overview serves every page and every search.
            let overview = audience_cache.get_or_compute_large(conn, &id, "overview", now, |conn| {
                Overview::read_with_emails(conn, &id)
            })?;
            let (whole, _) = &*overview.value;
            let restorations = Restorations::read(conn, &id, whole)?;
            let listed = audience::section((whole, &restorations), (p.people, q), after, &base, outbox);
            let as_of = overview.as_of;
            let explained = match &who {
                Some(who) => why::explained(conn, &id, who)?,
                None => Vec::new(),
            };
            let named = affected_people::count(conn, &id, None)?;
            Ok((head, (listed, as_of), explained, named, status::ages(conn, now)?))
        })
        .await?;
    let whole = &head.whole;
    let base = format!("{}/people", head.base());
    let data = json!({
        "people": listed,
        "people_as_of": When::maybe(as_of, head.local(&by).as_ref()),
        "q": p.q,
        "base": base,
        "identified": (whole.counts.identified > 0)
            .then(|| count(whole.counts.identified, "person hit the error", "people hit the error")),
        "corrected": (whole.corrected > 0)
            .then(|| count(whole.corrected, "person was notified", "people were notified")),
        "archived": (whole.archived > 0).then(|| count(whole.archived, "person is", "people are")),
        "named": count(usize::try_from(named).unwrap_or_default(), "person is added manually", "people are added manually"),
        "named_path": format!("{}/named", head.base()),
        "since": whole.since,
        "ages": ages.iter().map(age_row).collect::<Vec<_>>(),
        "why": why::section(p.who.as_deref(), &explained, &base),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/people", "People"),
        StatusCode::OK,
        data,
    )
}

/// Returns how old the data of a source is.
fn age_row(age: &SourceAge) -> Value {
    json!({
        "name": age.name,
        "read": age.kind.engine().is_some(),
        "age": age.age_seconds.map(status::how_long),
        "stale": age.stale,
    })
}
