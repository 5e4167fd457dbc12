//! The API for the directory: accounts, people, resources, members, collaborators, and the import.

use std::io::{BufReader, Seek, SeekFrom, Write};

use actix_web::{HttpRequest, delete, get, post, put, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::ExternalId;
use crate::directory::account::{self, Account, AccountInput};
use crate::directory::import::{self, Counts};
use crate::directory::member::{self, Membership, RoleInput};
use crate::directory::person::{self, Person, PersonInput};
use crate::directory::resource::{self, Resource, ResourceInput};
use crate::directory::source::table::{self, Columns, Format};
use crate::directory::{Archived, ResourceRef};
use crate::http::App;
use crate::http::answer::{NoContent, Put};
use crate::http::auth::By;
use crate::http::extract::{Json, MAX_IMPORT, Pace, Params, is_media, uncompressed};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(put_account)
        .service(get_account)
        .service(delete_account)
        .service(list_accounts)
        .service(put_person)
        .service(get_person)
        .service(delete_person)
        .service(list_people)
        .service(put_resource)
        .service(get_resource)
        .service(delete_resource)
        .service(list_resources)
        .service(put_member)
        .service(get_member)
        .service(delete_member)
        .service(list_members)
        .service(put_collaborator)
        .service(get_collaborator)
        .service(delete_collaborator)
        .service(list_collaborators)
        .service(import_directory);
}

fn gone(include: Option<bool>) -> Archived {
    if include == Some(true) {
        Archived::Shown
    } else {
        Archived::Hidden
    }
}

/// Creates or changes an account.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/accounts/{account}")]
async fn put_account(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ExternalId>,
    body: Json<AccountInput>,
) -> Answer<Put<Account>> {
    Ok(Put::from(
        app.db
            .write(&by.0, move |tx| account::put(tx, &id, &body.0))
            .await?,
    ))
}

/// Returns an account, even if it is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/accounts/{account}")]
async fn get_account(app: web::Data<App>, InPath(id): InPath<ExternalId>) -> Answer<Json<Account>> {
    Ok(Json(
        app.db.read(move |conn| account::get(conn, id.as_str())).await?,
    ))
}

/// Archives an account. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/accounts/{account}")]
async fn delete_account(app: web::Data<App>, by: By, InPath(id): InPath<ExternalId>) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| account::delete(tx, id.as_str()))
        .await?;
    Ok(NoContent)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Also returns archived accounts.
    gone: Option<bool>,
}

/// Returns the accounts, ordered by ID.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(AccountParams))]
#[get("/accounts")]
async fn list_accounts(app: web::Data<App>, params: Params<AccountParams>) -> Answer<Json<Page<Account>>> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let rows = app
        .db
        .read(move |conn| account::list(conn, gone(p.gone), after.as_deref(), p.limit.probe()))
        .await?;
    Ok(Json(page(rows, p.limit, |account| account.id.clone())))
}

/// Creates or changes a person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/people/{person}")]
async fn put_person(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ExternalId>,
    body: Json<PersonInput>,
) -> Answer<Put<Person>> {
    Ok(Put::from(
        app.db
            .write(&by.0, move |tx| person::put(tx, &id, &body.0))
            .await?,
    ))
}

/// Returns a person, even if the person is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/people/{person}")]
async fn get_person(app: web::Data<App>, InPath(id): InPath<ExternalId>) -> Answer<Json<Person>> {
    Ok(Json(
        app.db.read(move |conn| person::get(conn, id.as_str())).await?,
    ))
}

/// Archives a person. The history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/people/{person}")]
async fn delete_person(app: web::Data<App>, by: By, InPath(id): InPath<ExternalId>) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| person::delete(tx, id.as_str()))
        .await?;
    Ok(NoContent)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeopleParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Also returns archived people.
    gone: Option<bool>,
    /// Only people with this address.
    email: Option<String>,
}

/// Returns the people, ordered by ID.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(PeopleParams))]
#[get("/people")]
async fn list_people(app: web::Data<App>, params: Params<PeopleParams>) -> Answer<Json<Page<Person>>> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| {
            person::list(
                conn,
                gone(p.gone),
                p.email.as_deref(),
                after.as_deref(),
                limit.probe(),
            )
        })
        .await?;
    Ok(Json(page(rows, limit, |person| person.id.clone())))
}

/// Creates or changes a resource.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/resources/{type}/{id}")]
async fn put_resource(
    app: web::Data<App>,
    by: By,
    InPath(at): InPath<ResourceRef>,
    body: Json<ResourceInput>,
) -> Answer<Put<Resource>> {
    Ok(Put::from(
        app.db
            .write(&by.0, move |tx| resource::put(tx, &at, &body.0))
            .await?,
    ))
}

/// Returns a resource, even if it is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/resources/{type}/{id}")]
async fn get_resource(app: web::Data<App>, InPath(at): InPath<ResourceRef>) -> Answer<Json<Resource>> {
    Ok(Json(app.db.read(move |conn| resource::get(conn, &at)).await?))
}

/// Archives a resource. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/resources/{type}/{id}")]
async fn delete_resource(app: web::Data<App>, by: By, InPath(at): InPath<ResourceRef>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| resource::delete(tx, &at)).await?;
    Ok(NoContent)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ResourceParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Also returns archived resources.
    gone: Option<bool>,
    /// Only resources of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    type_: Option<String>,
    /// Only resources for which this account is set.
    account: Option<String>,
    /// Only resources with this parent, as `type/id`.
    parent: Option<String>,
    /// Only resources with this label, as `name=value`.
    label: Option<String>,
}

/// Returns the resources, ordered by type and ID.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(ResourceParams))]
#[get("/resources")]
async fn list_resources(app: web::Data<App>, params: Params<ResourceParams>) -> Answer<Json<Page<Resource>>> {
    let p = params.0;
    let after: Option<(String, String)> = cursor(p.cursor.as_deref())?;
    let wrong = |name: &str, form: &str| Problem::Domain(Error::invalid(name, format!("must be {form}")));
    let parent = match p.parent.as_deref() {
        None => None,
        Some(text) => {
            let (type_, id) = text.split_once('/').ok_or_else(|| wrong("?parent", "type/id"))?;
            Some(resource::at(type_, id).map_err(|_| wrong("?parent", "type/id"))?)
        }
    };
    let label = match p.label.as_deref() {
        None => None,
        Some(text) => {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| wrong("?label", "name=value"))?;
            Some((name.to_owned(), value.to_owned()))
        }
    };
    let filter = resource::Filter {
        type_: p.type_,
        account: p.account,
        parent,
        label,
    };
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| resource::list(conn, &filter, gone(p.gone), after.as_ref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |resource| {
        (resource.type_.clone(), resource.id.clone())
    })))
}

/// Makes a person a member of an account, or changes the role of the person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/accounts/{account}/members/{person}")]
async fn put_member(
    app: web::Data<App>,
    by: By,
    InPath((account, person)): InPath<(ExternalId, ExternalId)>,
    body: Json<RoleInput>,
) -> Answer<Put<Membership>> {
    let put = app
        .db
        .write(&by.0, move |tx| {
            member::put_member(tx, account.as_str(), person.as_str(), &body.0.role)
        })
        .await?;
    Ok(Put::from(put))
}

/// Returns a member of an account, even if the membership has ended.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/accounts/{account}/members/{person}")]
async fn get_member(
    app: web::Data<App>,
    InPath((account, person)): InPath<(ExternalId, ExternalId)>,
) -> Answer<Json<Membership>> {
    let member = app
        .db
        .read(move |conn| member::member(conn, account.as_str(), person.as_str()))
        .await?;
    Ok(Json(member))
}

/// Ends a membership. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/accounts/{account}/members/{person}")]
async fn delete_member(
    app: web::Data<App>,
    by: By,
    InPath((account, person)): InPath<(ExternalId, ExternalId)>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| {
            member::delete_member(tx, account.as_str(), person.as_str())
        })
        .await?;
    Ok(NoContent)
}

/// Returns the members of an account, ordered by person.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(Paging))]
#[get("/accounts/{account}/members")]
async fn list_members(
    app: web::Data<App>,
    InPath(account): InPath<ExternalId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Membership>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| member::members(conn, account.as_str(), after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |member| member.person.clone())))
}

/// Makes a person a collaborator on a resource, or changes the role of the person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[put("/resources/{type}/{id}/collaborators/{person}")]
async fn put_collaborator(
    app: web::Data<App>,
    by: By,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
    body: Json<RoleInput>,
) -> Answer<Put<Membership>> {
    let put = app
        .db
        .write(&by.0, move |tx| {
            member::put_collaborator(tx, &at, person.as_str(), &body.0.role)
        })
        .await?;
    Ok(Put::from(put))
}

/// Returns a collaborator on a resource, even if the collaboration has ended.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])))]
#[get("/resources/{type}/{id}/collaborators/{person}")]
async fn get_collaborator(
    app: web::Data<App>,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
) -> Answer<Json<Membership>> {
    let found = app
        .db
        .read(move |conn| member::collaborator(conn, &at, person.as_str()))
        .await?;
    Ok(Json(found))
}

/// Ends a collaboration. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[delete("/resources/{type}/{id}/collaborators/{person}")]
async fn delete_collaborator(
    app: web::Data<App>,
    by: By,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| {
            member::delete_collaborator(tx, &at, person.as_str())
        })
        .await?;
    Ok(NoContent)
}

/// Returns the collaborators on a resource, ordered by person.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(Paging))]
#[get("/resources/{type}/{id}/collaborators")]
async fn list_collaborators(
    app: web::Data<App>,
    InPath(at): InPath<ResourceRef>,
    params: Params<Paging>,
) -> Answer<Json<Page<Membership>>> {
    let Paging { limit, cursor: start } = params.0;
    let after: Option<String> = cursor(start.as_deref())?;
    let rows = app
        .db
        .read(move |conn| member::collaborators(conn, &at, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |collaborator| {
        collaborator.person.clone()
    })))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportParams {
    /// The kind of all rows of a table: account, person, resource, member or collaborator. It is required for
    /// a table and not allowed otherwise.
    kind: Option<String>,
    /// The columns of a table: `FIELD:COLUMN` or `FIELD:=VALUE`, separated by commas, for example
    /// `type:=file,id:file_id,account:owner`. Columns that are not named are ignored. Without this parameter,
    /// the columns have the names of the fields.
    columns: Option<String>,
}

/// Imports a directory, completely or not at all: lines of JSON, or a table in CSV or TSV whose first row
/// contains the names of the columns.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), params(ImportParams),
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"), (String = "text/tab-separated-values"))))]
#[post("/directory/import")]
async fn import_directory(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    params: Params<ImportParams>,
    mut payload: web::Payload,
) -> Answer<Json<Counts>> {
    let ImportParams { kind, columns } = params.0;
    let table = if is_media(&req, "application/x-ndjson") {
        if let Some(name) = kind.map(|_| "?kind").or(columns.map(|_| "?columns")) {
            return Err(
                Error::invalid(name, "is only for tables; in NDJSON, each line has its own kind").into(),
            );
        }
        None
    } else {
        let format = if is_media(&req, "text/csv") {
            Format::Csv
        } else if is_media(&req, "text/tab-separated-values") {
            Format::Tsv
        } else {
            return Err(Problem::UnsupportedMedia(
                "application/x-ndjson, text/csv or text/tab-separated-values",
            ));
        };
        Some((format, Columns::parse(kind.as_deref(), columns.as_deref())?))
    };
    // The body is written to a file first, so that a slow sender does not hold the transaction and a large
    // body does not fill the memory.
    let mut file = std::io::BufWriter::new(tempfile::tempfile().map_err(Error::internal)?);
    let mut size = 0_u64;
    uncompressed(req.headers())?;
    let mut pace = Pace::begin(&req);
    while let Some(chunk) = pace.next(&mut payload).await? {
        size += chunk.len() as u64;
        if size > MAX_IMPORT {
            return Err(Problem::TooLarge(MAX_IMPORT as usize));
        }
        file.write_all(&chunk).map_err(Error::internal)?;
    }
    let mut file = file
        .into_inner()
        .map_err(|error| Error::internal(error.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    let counts = app
        .db
        .write(&by.0, move |tx| match &table {
            None => import::import(tx, BufReader::new(file)),
            Some((format, columns)) => table::import(tx, file, *format, columns),
        })
        .await?;
    Ok(Json(counts))
}
