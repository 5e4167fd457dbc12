//! The suppressed addresses: which they are, why and since when, and how one is lifted. And the form for an email that came back.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::auth::Role;
use crate::base::error::Error;
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::directory::check_address;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::frame::Frame;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, When, link};
use crate::http::admin_page::Pages;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/suppressions", Role::Viewer, list)
        .does(&["GET /api/v1/suppressions"])
        .send("/directory/suppressions/lift", Role::Operator, lift)
        .does(&["DELETE /api/v1/suppressions/{address}"]);
}

const PATH: &str = "/admin/directory/suppressions";

/// Says why an address is suppressed.
pub(super) fn why(reason: SuppressionReason) -> &'static str {
    match reason {
        SuppressionReason::OptedOut => "The person unsubscribed from updates.",
        SuppressionReason::Bounced => "An email to it bounced permanently.",
        SuppressionReason::Complained => "The person reported an email as spam.",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    address: Option<String>,
    reason: Option<SuppressionReason>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let ListParams {
        address,
        reason,
        cursor: at,
    } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let wanted = address.clone();
    let rows = app
        .db
        .read(move |conn| match wanted {
            Some(wanted) => Ok(opt_out::of(conn, &wanted)?.into_iter().collect()),
            None => opt_out::list(conn, reason, after.as_deref(), ROWS.probe()),
        })
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |one| one.address.clone());
    let path = |reason: Option<SuppressionReason>, cursor: Option<&str>| {
        link(
            PATH,
            &[
                ("reason", reason.map(SuppressionReason::as_str)),
                ("cursor", cursor),
            ],
        )
    };
    let tabs = [
        (None, "All"),
        (Some(SuppressionReason::Bounced), "Bounced"),
        (Some(SuppressionReason::OptedOut), "Unsubscribed"),
        (Some(SuppressionReason::Complained), "Reported as spam"),
    ];
    let may_lift = by.0.role.covers(Role::Operator);
    let row = |one: &opt_out::Suppression| {
        let text = match one.reason {
            SuppressionReason::Bounced => {
                "The address gets updates again. If it still does not exist, the next email bounces too."
            }
            _ => {
                "The address gets updates again, although the person did not want them. Do this only if the person asked you."
            }
        };
        json!({
            "address": one.address, "why": why(one.reason), "at": When::utc(one.at),
            "people": link("/admin/directory/people", &[("email", Some(&one.address))]),
            "lift": may_lift.then(|| json!({
                "label": "Lift …", "button": "Lift suppression", "text": text, "action": format!("{PATH}/lift"),
                "fields": [{"name": "address", "value": one.address}],
            })),
        })
    };
    app.pages.answer(
        "admin/suppressions",
        &json!({
            "page": Frame::new(&app, &by, "Suppressions", "Suppressions"),
            "tabs": tabs.iter().map(|(one, label)| json!({
                "label": label, "path": path(*one, None), "current": address.is_none() && *one == reason, "count": null,
            })).collect::<Vec<_>>(),
            "address": address, "filtered": address.is_some() || reason.is_some(), "may_lift": may_lift,
            "rows": items.iter().map(row).collect::<Vec<_>>(),
            "first": at.is_some().then(|| path(reason, None)),
            "next": next_cursor.map(|next| path(reason, Some(&next))),
        }),
    )
}

async fn lift(app: web::Data<App>, mut sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let address = sent.fields.take("address");
    sent.fields.finish()?;
    check_address(&address).map_err(|detail| Error::invalid("/address", detail))?;
    let lifted = address.clone();
    app.db.write(&actor, move |tx| opt_out::lift(tx, &lifted)).await?;
    Ok(done(&app, PATH, &format!("{address} gets updates again.")))
}
