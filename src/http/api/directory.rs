//! The API for the directory: accounts, people, resources, members, collaborators, and the import.

use std::io::{BufReader, Seek, SeekFrom, Write};

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::directory::account::{self, Account, AccountInput};
use crate::directory::import::{self, Counts};
use crate::directory::member::{self, Membership, RoleInput};
use crate::directory::person::{self, Person, PersonInput};
use crate::directory::resource::{self, Resource, ResourceInput};
use crate::directory::source::table::{self, Columns, Format};
use crate::directory::{Archived, ResourceRef};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, MAX_IMPORT, Pace, Params, is_media, uncompressed};
use crate::http::ids::external;
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem, ProblemDocument};

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

/// Returns 201 with a created entry, or 200 with a changed one.
fn put_answer<T: Serialize>((value, new): (T, bool)) -> HttpResponse {
    if new {
        HttpResponse::Created().json(value)
    } else {
        HttpResponse::Ok().json(value)
    }
}

fn gone(include: Option<bool>) -> Archived {
    if include == Some(true) {
        Archived::Shown
    } else {
        Archived::Hidden
    }
}

/// Creates or changes an account.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), request_body = AccountInput,
    responses((status = 200, body = Account), (status = 201, body = Account), (status = 422, body = ProblemDocument)))]
#[put("/accounts/{account}")]
async fn put_account(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<AccountInput>,
) -> Answer<HttpResponse> {
    let id = external("account", &id)?;
    Ok(put_answer(
        app.db
            .write(&by.0, move |tx| account::put(tx, &id, &body.0))
            .await?,
    ))
}

/// Returns an account, even if it is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), responses((status = 200, body = Account), (status = 404, body = ProblemDocument)))]
#[get("/accounts/{account}")]
async fn get_account(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = external("account", &id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| account::get(conn, id.as_str())).await?))
}

/// Archives an account. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/accounts/{account}")]
async fn delete_account(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = external("account", &id)?;
    app.db
        .write(&by.0, move |tx| account::delete(tx, id.as_str()))
        .await?;
    Ok(HttpResponse::NoContent().finish())
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
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(AccountParams), responses((status = 200, body = Page<Account>)))]
#[get("/accounts")]
async fn list_accounts(app: web::Data<App>, params: Params<AccountParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let rows = app
        .db
        .read(move |conn| account::list(conn, gone(p.gone), after.as_deref(), p.limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, p.limit, |account| account.id.clone())))
}

/// Creates or changes a person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), request_body = PersonInput,
    responses((status = 200, body = Person), (status = 201, body = Person), (status = 422, body = ProblemDocument)))]
#[put("/people/{person}")]
async fn put_person(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<PersonInput>,
) -> Answer<HttpResponse> {
    let id = external("person", &id)?;
    Ok(put_answer(
        app.db
            .write(&by.0, move |tx| person::put(tx, &id, &body.0))
            .await?,
    ))
}

/// Returns a person, even if the person is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), responses((status = 200, body = Person), (status = 404, body = ProblemDocument)))]
#[get("/people/{person}")]
async fn get_person(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = external("person", &id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| person::get(conn, id.as_str())).await?))
}

/// Archives a person. The history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/people/{person}")]
async fn delete_person(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = external("person", &id)?;
    app.db
        .write(&by.0, move |tx| person::delete(tx, id.as_str()))
        .await?;
    Ok(HttpResponse::NoContent().finish())
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
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(PeopleParams), responses((status = 200, body = Page<Person>)))]
#[get("/people")]
async fn list_people(app: web::Data<App>, params: Params<PeopleParams>) -> Answer<HttpResponse> {
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
    Ok(HttpResponse::Ok().json(page(rows, limit, |person| person.id.clone())))
}

fn resource_at(path: (String, String)) -> Answer<ResourceRef> {
    Ok(ResourceRef {
        type_: external("type", &path.0)?,
        id: external("id", &path.1)?,
    })
}

/// Creates or changes a resource.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), request_body = ResourceInput,
    responses((status = 200, body = Resource), (status = 201, body = Resource), (status = 422, body = ProblemDocument)))]
#[put("/resources/{type}/{id}")]
async fn put_resource(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String)>,
    body: Body<ResourceInput>,
) -> Answer<HttpResponse> {
    let at = resource_at(path.into_inner())?;
    Ok(put_answer(
        app.db
            .write(&by.0, move |tx| resource::put(tx, &at, &body.0))
            .await?,
    ))
}

/// Returns a resource, even if it is archived.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), responses((status = 200, body = Resource), (status = 404, body = ProblemDocument)))]
#[get("/resources/{type}/{id}")]
async fn get_resource(app: web::Data<App>, path: web::Path<(String, String)>) -> Answer<HttpResponse> {
    let at = resource_at(path.into_inner())?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| resource::get(conn, &at)).await?))
}

/// Archives a resource. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/resources/{type}/{id}")]
async fn delete_resource(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String)>,
) -> Answer<HttpResponse> {
    let at = resource_at(path.into_inner())?;
    app.db.write(&by.0, move |tx| resource::delete(tx, &at)).await?;
    Ok(HttpResponse::NoContent().finish())
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
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(ResourceParams),
    responses((status = 200, body = Page<Resource>), (status = 422, body = ProblemDocument)))]
#[get("/resources")]
async fn list_resources(app: web::Data<App>, params: Params<ResourceParams>) -> Answer<HttpResponse> {
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
    Ok(HttpResponse::Ok().json(page(rows, limit, |resource| {
        (resource.type_.clone(), resource.id.clone())
    })))
}

/// Makes a person a member of an account, or changes the role of the person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), request_body = RoleInput,
    responses((status = 200, body = Membership), (status = 201, body = Membership), (status = 404, body = ProblemDocument)))]
#[put("/accounts/{account}/members/{person}")]
async fn put_member(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String)>,
    body: Body<RoleInput>,
) -> Answer<HttpResponse> {
    let (account, person) = (external("account", &path.0)?, external("person", &path.1)?);
    let put = app
        .db
        .write(&by.0, move |tx| {
            member::put_member(tx, account.as_str(), person.as_str(), &body.0.role)
        })
        .await?;
    Ok(put_answer(put))
}

/// Returns a member of an account, even if the membership has ended.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), responses((status = 200, body = Membership), (status = 404, body = ProblemDocument)))]
#[get("/accounts/{account}/members/{person}")]
async fn get_member(app: web::Data<App>, path: web::Path<(String, String)>) -> Answer<HttpResponse> {
    let (account, person) = (external("account", &path.0)?, external("person", &path.1)?);
    let member = app
        .db
        .read(move |conn| member::member(conn, account.as_str(), person.as_str()))
        .await?;
    Ok(HttpResponse::Ok().json(member))
}

/// Ends a membership. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/accounts/{account}/members/{person}")]
async fn delete_member(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String)>,
) -> Answer<HttpResponse> {
    let (account, person) = (external("account", &path.0)?, external("person", &path.1)?);
    app.db
        .write(&by.0, move |tx| {
            member::delete_member(tx, account.as_str(), person.as_str())
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Returns the members of an account, ordered by person.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = Page<Membership>), (status = 404, body = ProblemDocument)))]
#[get("/accounts/{account}/members")]
async fn list_members(
    app: web::Data<App>,
    account: web::Path<String>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    let account = external("account", &account)?;
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| member::members(conn, account.as_str(), after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |member| member.person.clone())))
}

/// Makes a person a collaborator on a resource, or changes the role of the person.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), request_body = RoleInput,
    responses((status = 200, body = Membership), (status = 201, body = Membership), (status = 404, body = ProblemDocument)))]
#[put("/resources/{type}/{id}/collaborators/{person}")]
async fn put_collaborator(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String, String)>,
    body: Body<RoleInput>,
) -> Answer<HttpResponse> {
    let (type_, id, person) = path.into_inner();
    let (at, person) = (resource_at((type_, id))?, external("person", &person)?);
    let put = app
        .db
        .write(&by.0, move |tx| {
            member::put_collaborator(tx, &at, person.as_str(), &body.0.role)
        })
        .await?;
    Ok(put_answer(put))
}

/// Returns a collaborator on a resource, even if the collaboration has ended.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), responses((status = 200, body = Membership), (status = 404, body = ProblemDocument)))]
#[get("/resources/{type}/{id}/collaborators/{person}")]
async fn get_collaborator(
    app: web::Data<App>,
    path: web::Path<(String, String, String)>,
) -> Answer<HttpResponse> {
    let (type_, id, person) = path.into_inner();
    let (at, person) = (resource_at((type_, id))?, external("person", &person)?);
    let found = app
        .db
        .read(move |conn| member::collaborator(conn, &at, person.as_str()))
        .await?;
    Ok(HttpResponse::Ok().json(found))
}

/// Ends a collaboration. Its history is kept.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/resources/{type}/{id}/collaborators/{person}")]
async fn delete_collaborator(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String, String)>,
) -> Answer<HttpResponse> {
    let (type_, id, person) = path.into_inner();
    let (at, person) = (resource_at((type_, id))?, external("person", &person)?);
    app.db
        .write(&by.0, move |tx| {
            member::delete_collaborator(tx, &at, person.as_str())
        })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Returns the collaborators on a resource, ordered by person.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = Page<Membership>), (status = 404, body = ProblemDocument)))]
#[get("/resources/{type}/{id}/collaborators")]
async fn list_collaborators(
    app: web::Data<App>,
    path: web::Path<(String, String)>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    let at = resource_at(path.into_inner())?;
    let Paging { limit, cursor: start } = params.0;
    let after: Option<String> = cursor(start.as_deref())?;
    let rows = app
        .db
        .read(move |conn| member::collaborators(conn, &at, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |collaborator| collaborator.person.clone())))
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
#[utoipa::path(
    tag = "Directory", security(("token" = ["operator"])),
    params(ImportParams),
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"), (String = "text/tab-separated-values"))),
    responses((status = 200, body = Counts), (status = 413, body = ProblemDocument), (status = 415, body = ProblemDocument),
        (status = 422, body = ProblemDocument))
)]
#[post("/directory/import")]
async fn import_directory(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    params: Params<ImportParams>,
    mut payload: web::Payload,
) -> Answer<HttpResponse> {
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
    Ok(HttpResponse::Ok().json(counts))
}
