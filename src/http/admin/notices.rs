//! `/admin/notices/{id}`: who would get a draft and what they would read, or how far a notice is that is being sent or was sent.
//! [`super::check`] and [`super::sent`] make the two pages. [`super::sending`] and [`super::draft_actions`] do what their forms ask for.

use actix_web::{HttpResponse, web};

use super::notice_view::{Refused, ShowParams, email};
use super::params::Form;
use super::signed_in::SignedIn;
use super::{check, sent};
use crate::auth::Role;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, RecipientNumber};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::notice;

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/notices/{id}", Role::Viewer, show).does(&[
        "GET /api/v1/notices/{id}",
        "GET /api/v1/notices/{id}/preview",
        "GET /api/v1/notices/{id}/recipients",
        "GET /api/v1/notices/{id}/deliveries",
        "GET /api/v1/notices/{id}/approvals",
        "GET /api/v1/notices/{id}/changes",
        "GET /api/v1/notices/{id}/values",
    ]);
    pages.show("/notices/{id}/mail/{recipient}", Role::Viewer, mail);
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<NoticeId>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    page_of(&app, &by, id, params.0, None).await
}

/// Shows the page of a notice. `refused` is why a form of the page did nothing.
pub(super) async fn page_of(
    app: &App,
    by: &SignedIn,
    id: NoticeId,
    params: ShowParams,
    refused: Option<Refused>,
) -> Answer<HttpResponse> {
    let of = id.clone();
    let state = app.db.read(move |conn| notice::state_of(conn, &of)).await?;
    match state.is_draft() {
        true => check::page(app, by, id, params, refused).await,
        false => sent::page(app, by, id, params, refused).await,
    }
}

/// Shows the HTML of the email to one recipient, for a frame of the page.
async fn mail(
    app: web::Data<App>,
    InPath((id, recipient)): InPath<(NoticeId, RecipientNumber)>,
) -> Answer<HttpResponse> {
    Ok(mail_frame(email(&app, id, recipient.0).await?.html))
}
