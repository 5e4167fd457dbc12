//! The resources: the list with its search and filters, and the page of one resource.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{delete, shown};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::directory::line::LineKind;
use crate::directory::member;
use crate::directory::partial::{self, Kind};
use crate::directory::resource::{self, Filter, Resource};
use crate::directory::{Archived, ResourceRef, dependants};
use crate::http::App;
use crate::http::admin::filled::Wrong;
use crate::http::admin::frame::Frame;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, link, resource_path};
use crate::http::admin_page::Pages;
use crate::http::page::{Page, cursor, encode, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/resources", Role::Viewer, list)
        .does(&["GET /api/v1/resources"])
        .search("/directory/resources/{type}/{id}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/resources/{type}/{id}",
            "GET /api/v1/resources/{type}/{id}/collaborators",
            "GET /api/v1/resources/{type}/{id}/collaborators/{person}",
        ]);
}

/// The largest number of ancestors of a resource that are shown. In a deeper tree, only the lowest ones are
/// shown.
const DEEPEST: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    q: Option<String>,
    #[serde(rename = "type")]
    type_: Option<String>,
    label: Option<String>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let after: Option<(String, String)> = cursor(p.cursor.as_deref())?;
    match found(&app, &p, after).await {
        Ok((rows, next)) => listed(&app, &by, &p, (&rows, next), Wrong::default()),
        // The filter is shown again, so that it can be corrected.
        Err(error) => listed(&app, &by, &p, (&[], None), Wrong::of(error)?),
    }
}

/// Reads the resources that match, and the cursor of the next ones.
async fn found(
    app: &App,
    p: &ListParams,
    after: Option<(String, String)>,
) -> Result<(Vec<Resource>, Option<String>)> {
    if p.q.is_some() && (p.type_.is_some() || p.label.is_some()) {
        let detail = "cannot be combined with a type or a label; leave one of them empty";
        return Err(Error::invalid("?q", detail));
    }
    let label = match &p.label {
        None => None,
        Some(label) => Some(
            label
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .ok_or_else(|| Error::invalid("?label", "must be name=value"))?,
        ),
    };
    let filter = Filter {
        type_: p.type_.clone(),
        label,
        ..Filter::default()
    };
    match p.q.clone() {
        Some(part) => {
            let (rows, upto) = app
                .db
                .read(move |conn| search(conn, &part, after.as_ref()))
                .await?;
            Ok((rows, upto.map(|place| encode(&place))))
        }
        None => {
            let rows = app
                .db
                .read(move |conn| {
                    resource::list(conn, &filter, Archived::Shown, after.as_ref(), ROWS.probe())
                })
                .await?;
            let Page { items, next_cursor } = page(rows, ROWS, |one| (one.type_.clone(), one.id.clone()));
            Ok((items, next_cursor))
        }
    }
}

/// The page with the searches. Its status is 422 if they are wrong.
fn listed(
    app: &App,
    by: &SignedIn,
    p: &ListParams,
    (rows, next): (&[Resource], Option<String>),
    mut wrong: Wrong,
) -> Answer<HttpResponse> {
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let path = |cursor: Option<&str>| {
        let parameters = [
            ("q", p.q.as_deref()),
            ("type", p.type_.as_deref()),
            ("label", p.label.as_deref()),
            ("cursor", cursor),
        ];
        link("/admin/directory/resources", &parameters)
    };
    app.pages.answer_with(
        status,
        "admin/resources",
        &json!({
            "page": Frame::new(app, by, "Resources", "Resources"),
            "may_change": by.0.role.covers(Role::Operator),
            "given": {"q": p.q, "type": p.type_, "label": p.label},
            "failed": !wrong.is_empty(),
            "wrong": {"q": wrong.at("?q"), "type": wrong.at("?type"), "label": wrong.at("?label")},
            "others": wrong.rest(),
            "filtered": p.q.is_some() || p.type_.is_some() || p.label.is_some(),
            "resources": rows.iter().map(shown::resource).collect::<Vec<_>>(),
            "first": p.cursor.is_some().then(|| path(None)),
            "next": next.map(|next| path(Some(&next))),
        }),
    )
}

type Searched = (Vec<Resource>, Option<(String, String)>);

fn search(conn: &mut Conn, part: &str, after: Option<&(String, String)>) -> Result<Searched> {
    let found = partial::find(conn, Kind::Resource, part, after, ROWS.0 as usize)?;
    let refs: Vec<ResourceRef> = found
        .ids
        .iter()
        .filter_map(|(type_, id)| resource::at(type_, id).ok())
        .collect();
    let refs: Vec<&ResourceRef> = refs.iter().collect();
    Ok((resource::some(conn, &refs)?, found.upto))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    collaborators: Option<String>,
    children: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    path: web::Path<(String, String)>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let (type_, id) = path.into_inner();
    let at = crate::http::ids::own(&type_, resource::at(&type_, &id))?;
    let p = params.0;
    let collaborators_after: Option<String> = cursor(p.collaborators.as_deref())?;
    let children_after: Option<(String, String)> = cursor(p.children.as_deref())?;
    let (one, origin, depends, above, collaborators, children) = app
        .db
        .read(move |conn| {
            let one = resource::get(conn, &at)?;
            let origin = shown::origin(conn, LineKind::Resource, &[at.type_.as_str(), at.id.as_str()])?;
            let depends = dependants::of_resource(conn, &at)?;
            let above = ancestors(conn, &one)?;
            // An archived resource has neither collaborators nor parts.
            if one.gone_at.is_some() {
                return Ok((one, origin, depends, above, Vec::new(), Vec::new()));
            }
            let collaborators =
                member::collaborators(conn, &at, collaborators_after.as_deref(), ROWS.probe())?;
            let filter = Filter {
                parent: Some(at),
                ..Filter::default()
            };
            let children = resource::list(
                conn,
                &filter,
                Archived::Hidden,
                children_after.as_ref(),
                ROWS.probe(),
            )?;
            Ok((one, origin, depends, above, collaborators, children))
        })
        .await?;
    let collaborators = page(collaborators, ROWS, |one| one.person.clone());
    let children = page(children, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let path = resource_path(&one.type_, &one.id);
    let may_change = by.0.role.covers(Role::Operator);
    let text = format!(
        "Nobody is notified through this resource any more. It has {} and {}. Resources that are part of it no longer belong to an account \
         through it. The history stays.",
        delete::number(depends.members, "collaborator", "collaborators"),
        delete::number(depends.resources, "part", "parts"),
    );
    app.pages.answer(
        "admin/resource",
        &json!({
            "page": Frame::new(&app, &by, &format!("{} {}", one.type_, one.id), "Resources"),
            "resource": shown::resource(&one),
            "origin": origin,
            "may_change": may_change && one.gone_at.is_none(),
            "may_restore": may_change && one.gone_at.is_some(),
            "delete": delete::ask("Delete resource", &text, &path),
            "above": above.iter().map(shown::resource).collect::<Vec<_>>(),
            "collaborators": collaborators.items.iter().map(|one| shown::role(one, &path, "collaborators", "on this resource")).collect::<Vec<_>>(),
            "collaborators_next": collaborators.next_cursor.map(|next| link(&path, &[("collaborators", Some(&next))])),
            "collaborators_first": p.collaborators.is_some().then_some(&path),
            "children": children.items.iter().map(shown::resource).collect::<Vec<_>>(),
            "children_next": children.next_cursor.map(|next| link(&path, &[("children", Some(&next))])),
            "children_first": p.children.is_some().then_some(&path),
        }),
    )
}

/// Returns the ancestors of a resource, the highest first.
fn ancestors(conn: &mut Conn, of: &Resource) -> Result<Vec<Resource>> {
    let mut above: Vec<Resource> = Vec::new();
    let mut next = of.parent.clone();
    while let Some(at) = next.filter(|_| above.len() < DEEPEST) {
        let one = resource::get(conn, &at)?;
        next = one.parent.clone();
        above.push(one);
    }
    above.reverse();
    Ok(above)
}
