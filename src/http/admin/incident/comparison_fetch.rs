//! Takes a listing of a comparison from a URL, or from the database of a source of the directory.

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use crate::auth::Role;
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::comparison::{Side, Uploaded, fetch};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::incident_forms::find;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::count;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(
            "/incidents/{id}/comparisons/{comparison}/fetch",
            Role::Operator,
            show_fetch,
        )
        .send(
            "/incidents/{id}/comparisons/{comparison}/fetch",
            Role::Operator,
            send_fetch,
        )
        .does(&[
            "POST /api/v1/comparisons/{id}/expected/fetch",
            "POST /api/v1/comparisons/{id}/observed/fetch",
        ])
        .show(
            "/incidents/{id}/comparisons/{comparison}/query",
            Role::Admin,
            show_query,
        )
        .send(
            "/incidents/{id}/comparisons/{comparison}/query",
            Role::Admin,
            send_query,
        )
        .does(&[
            "POST /api/v1/comparisons/{id}/expected/query",
            "POST /api/v1/comparisons/{id}/observed/query",
        ]);
}

const SIDES: &[(&str, &str)] = &[
    ("expected", "Expected: what should be there"),
    ("observed", "Observed: what is there"),
];
const NO_SIDE: &str = "must be one of the two listings";
const MADE: &str = "If it is empty, it is now.";

const URL: &[Field] = &[
    Field::choice("side", "Listing", "", SIDES, NO_SIDE),
    Field::text(
        "url",
        "URL",
        "Candor downloads it now. It is not stored. For an S3 Inventory with a manifest, it is the URL of manifest.json.",
    ),
    Field::clock("observed_at", "When the listing was made", MADE),
    Field::zone(),
];
const QUERY: &[Field] = &[
    Field::choice(
        "side",
        "Listing",
        "Its format must be lines of JSON (NDJSON).",
        SIDES,
        NO_SIDE,
    ),
    Field::text("source", "Source", "The name of a source of the directory."),
    Field::long_text(
        "sql",
        "Query",
        "Each row needs another value of the key. The query cannot change anything, and it is not stored.",
    ),
    Field::clock("observed_at", "When the listing was made", MADE),
    Field::zone(),
];

#[derive(Deserialize)]
struct FromUrl {
    side: Side,
    url: String,
    observed_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct FromQuery {
    side: Side,
    source: String,
    sql: String,
    observed_at: Option<Timestamp>,
}

type At = InPath<(IncidentName, ComparisonId)>;

/// Returns the path of the page of a comparison.
async fn page_of(app: &App, name: IncidentName, id: &ComparisonId) -> Answer<String> {
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    Ok(format!("/admin/incidents/{}/comparisons/{id}", incident.number))
}

/// Shows one of the two forms.
fn answer(app: &App, by: &SignedIn, form: Form, page: String, is_query: bool) -> Answer<HttpResponse> {
    let (last, title, button) = match is_query {
        true => ("query", "Read a listing from a database", "Read listing"),
        false => ("fetch", "Download a listing", "Download listing"),
    };
    let at = Use {
        action: format!("{page}/{last}"),
        button,
        within: ("Comparison", page),
    };
    form.page(app, by, (title, "Incidents"), "", &at)
}

fn empty(by: &SignedIn, fields: &'static [Field]) -> Form {
    Form::new(fields).zoned(by, None)
}

async fn show_fetch(app: web::Data<App>, by: SignedIn, InPath((name, id)): At) -> Answer<HttpResponse> {
    let page = page_of(&app, name, &id).await?;
    answer(&app, &by, empty(&by, URL), page, false)
}

async fn show_query(app: web::Data<App>, by: SignedIn, InPath((name, id)): At) -> Answer<HttpResponse> {
    let page = page_of(&app, name, &id).await?;
    answer(&app, &by, empty(&by, QUERY), page, true)
}

async fn send_fetch(app: web::Data<App>, sent: Filled, InPath((name, id)): At) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let (by, form) = (sent.by, Form::read(URL, sent.fields)?);
    let page = page_of(&app, name, &id).await?;
    let take = async |from: FromUrl| {
        let wanted = fetch::Wanted {
            comparison: id,
            side: from.side,
            observed_at: from.observed_at,
        };
        fetch::from_url(&app.db, &actor, wanted, &app.listings, &from.url).await
    };
    let saved = form.save(app.clock().now(), take).await?;
    ended(&app, &by, saved, page, false)
}

async fn send_query(app: web::Data<App>, sent: Filled, InPath((name, id)): At) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let (by, form) = (sent.by, Form::read(QUERY, sent.fields)?);
    let page = page_of(&app, name, &id).await?;
    let take = async |from: FromQuery| {
        let wanted = fetch::Wanted {
            comparison: id,
            side: from.side,
            observed_at: from.observed_at,
        };
        let what = (from.source.as_str(), from.sql.as_str());
        fetch::from_source(&app.db, &actor, wanted, what, app.listing_limit).await
    };
    let saved = form.save(app.clock().now(), take).await?;
    ended(&app, &by, saved, page, true)
}

fn ended(
    app: &App,
    by: &SignedIn,
    saved: Saved<Uploaded>,
    page: String,
    is_query: bool,
) -> Answer<HttpResponse> {
    app.comparisons.notify_one();
    match saved {
        Saved::Done(uploaded) => {
            let number = |n: i64| usize::try_from(n).unwrap_or_default();
            let mut text = format!(
                "The listing is stored: {}.",
                count(number(uploaded.rows), "row", "rows")
            );
            if uploaded.rejected > 0 {
                let lines = count(number(uploaded.rejected), "line was", "lines were");
                text.push_str(&format!(" {lines} not read."));
            }
            Ok(done(app, &page, &text))
        }
        Saved::Again(form) => answer(app, by, form, page, is_query),
    }
}
