//! `/admin/directory`: how many customers there are, where they come from, and what to do first if there are none. Candor also finds an entry by its exact ID or
//! address here, for links from other systems.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::sources;
use crate::auth::Role;
use crate::base::error::Error;
use crate::delivery::opt_out;
use crate::directory::numbers::{self, MOST};
use crate::directory::source::status;
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{account_path, grouped, link, person_path, resource_path};
use crate::http::admin_page::Pages;
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory", Role::Viewer, home)
        .does(&["GET /api/v1/directory/status"])
        .search("/directory/find", Role::Viewer, find);
}

async fn home(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let (known, sources, suppressed) = app
        .db
        .read(move |conn| {
            Ok((
                numbers::read(conn)?,
                status::directory(conn, now)?.sources,
                opt_out::list(conn, None, None, 101)?.len(),
            ))
        })
        .await?;
    let number = |n: i64| match n >= MOST {
        true => format!("{} or more", grouped(n)),
        false => grouped(n),
    };
    app.pages.answer(
        "admin/directory",
        &json!({
            // While a source is read, the page shows the progress.
            "page": Frame::new(&app, &by, "Customers", "Customers").live(sources::is_active(&sources).then_some(3)),
            "may_change": by.0.role.covers(Role::Operator), "may_connect": by.0.role.covers(Role::Admin),
            "empty": known.accounts + known.people + known.resources == 0,
            "accounts": number(known.accounts), "people": number(known.people), "resources": number(known.resources),
            "suppressed": if suppressed > 100 { "100 or more".to_owned() } else { suppressed.to_string() },
            "sources": sources.iter().map(sources::row).collect::<Vec<_>>(),
        }),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Account,
    Person,
    Resource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindParams {
    kind: Kind,
    #[serde(rename = "type")]
    type_: Option<String>,
    id: Option<String>,
    email: Option<String>,
}

/// Redirects to the entry with this ID, or to the people with this address.
async fn find(params: Form<FindParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let missing =
        |name: &str| Problem::Domain(Error::invalid(name, "must not be empty; enter the complete ID"));
    let path = match (&p.kind, &p.email, &p.id) {
        (Kind::Person, Some(email), None) => link("/admin/directory/people", &[("email", Some(email))]),
        (_, Some(_), _) => {
            return Err(Error::invalid(
                "?email",
                "is only for a search for a person by address; leave out the ID, the type and other kinds",
            )
            .into());
        }
        (_, None, None) => return Err(missing("?id")),
        (Kind::Account, None, Some(id)) => account_path(id),
        (Kind::Person, None, Some(id)) => person_path(id),
        (Kind::Resource, None, Some(id)) => {
            resource_path(p.type_.as_deref().ok_or_else(|| missing("?type"))?, id)
        }
    };
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, path)).finish())
}
