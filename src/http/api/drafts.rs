//! The API for a draft of a notice before it is sent: test it, ask for its approval, see what changed, discard it.

use actix_web::{delete, get, post, web};

use crate::base::id::NoticeId;
use crate::http::answer::{Declared, NoContent};
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::http::{App, test_notice};
use crate::notice::{self, Changes, Digest, Notice, approval_asked};
use crate::operators::test_mail::{TestNotice, TestedNotice};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(test)
        .service(ask)
        .service(changes)
        .service(discard);
}

/// Sends one email of a draft as a test, to an address of your own side: the contact of an operator, an address of `CANDOR_DRILL_TO`, or
/// the person of the token. It is marked as a test, its links do nothing, and nobody counts as notified.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/test")]
async fn test(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<TestNotice>,
) -> Answer<Json<TestedNotice>> {
    Ok(Json(test_notice::send(&app, &by.0, id, body.0).await?))
}

/// Asks other people to approve exactly the recipients and texts of the digest. Operators who want messages about drafts are notified.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/ask-for-approval")]
async fn ask(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<Digest>,
) -> Answer<Json<Notice>> {
    let sending = app.sending.clone();
    let notice = app
        .db
        .write(&by.0, move |tx| approval_asked::ask(tx, &id, &body.0, &sending))
        .await?;
    Ok(Json(notice))
}

/// Returns what changed in a notice since other people were first asked to approve it (or since it was drafted), and since somebody last
/// approved it.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])), responses((status = 200, body = Vec<Changes>)))]
#[get("/notices/{id}/changes")]
async fn changes(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<Declared> {
    let changes = app.db.read(move |conn| notice::changes(conn, &id)).await?;
    Ok(Declared(actix_web::HttpResponse::Ok().json(changes)))
}

/// Discards a draft. Its text, its values and its approvals are deleted; the audit trail keeps who wrote, approved and discarded it. A
/// notice that was sent cannot be discarded.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[delete("/notices/{id}")]
async fn discard(app: web::Data<App>, by: By, InPath(id): InPath<NoticeId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| notice::discard(tx, &id)).await?;
    Ok(NoContent)
}
