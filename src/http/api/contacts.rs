//! The API for the contacts of accounts: a shared mailbox, and mailboxes for operations, security and billing.

use actix_web::{delete, get, put, web};
use serde::Serialize;

use crate::base::id::ExternalId;
use crate::directory::contact::{self, AccountContact, ContactInput, ContactKind};
use crate::http::App;
use crate::http::answer::{NoContent, Put};
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(put_contact)
        .service(list_contacts)
        .service(delete_contact);
}

/// The contacts of an account.
#[derive(Serialize, utoipa::ToSchema)]
struct AccountContacts {
    /// The contacts, by kind. Several members of the account may be a contact of one kind.
    items: Vec<AccountContact>,
}

/// Names the contact of an account for `shared`, `operations`, `security` or `billing`, or changes it.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/accounts/{account}/contacts/{kind}")]
async fn put_contact(
    app: web::Data<App>,
    by: By,
    InPath((account, kind)): InPath<(ExternalId, ContactKind)>,
    body: Json<ContactInput>,
) -> Answer<Put<AccountContact>> {
    let put = app
        .db
        .write(&by.0, move |tx| contact::put(tx, &account, kind, &body.0))
        .await?;
    Ok(Put::from(put))
}

/// Returns the contacts of an account.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/accounts/{account}/contacts")]
async fn list_contacts(
    app: web::Data<App>,
    InPath(account): InPath<ExternalId>,
) -> Answer<Json<AccountContacts>> {
    let items = app
        .db
        .read(move |conn| contact::list(conn, account.as_str()))
        .await?;
    Ok(Json(AccountContacts { items }))
}

/// Removes a contact of an account. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/accounts/{account}/contacts/{kind}")]
async fn delete_contact(
    app: web::Data<App>,
    by: By,
    InPath((account, kind)): InPath<(ExternalId, ContactKind)>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| contact::delete(tx, account.as_str(), kind))
        .await?;
    Ok(NoContent)
}
