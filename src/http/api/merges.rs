//! The API that merges incidents, undoes merges, and splits incidents.

use actix_web::{get, post, web};

use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::answer::Created;
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::page::Page;
use crate::http::problem::Answer;
use crate::incident::Incident;
use crate::incident::merge::{
    self, Alike, Merge, MergeSeveral, Merged, MergedHere, MergedSeveral, Split, Unmerged,
};

/// These paths come before those with the ID of an incident in the same place.
pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(list_alike)
        .service(merge_several)
        .service(merge_one)
        .service(unmerge)
        .service(split)
        .service(list_merged);
}

/// Returns the open incidents that are probably one problem: they were opened within 30 minutes of each other, and share an affected
/// resource, an account, or labels of their alerts. The newest 60 open incidents are compared.
#[utoipa::path(tag = "Merges", security(("token" = ["viewer"])))]
#[get("/incidents/alike")]
async fn list_alike(app: web::Data<App>) -> Answer<Json<Page<Alike>>> {
    let items = app.db.read(merge::alike).await?;
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}

/// Merges many incidents into another one: all of them, or none.
#[utoipa::path(tag = "Merges", security(("token" = ["operator"])))]
#[post("/incidents/merge")]
async fn merge_several(app: web::Data<App>, by: By, body: Json<MergeSeveral>) -> Answer<Json<MergedSeveral>> {
    let request = body.0;
    let merged = match request.dry_run {
        true => {
            app.db
                .read(move |conn| merge::preview_several(conn, &request))
                .await?
        }
        false => {
            app.db
                .write(&by.0, move |tx| merge::merge_several(tx, &request))
                .await?
        }
    };
    Ok(Json(merged))
}

/// Merges an incident into another one. Its alerts, affected resources, people, timeline, next steps and comparisons belong to the
/// other one from then on, and whoever was notified of it counts as notified of the other one. It can be undone. Customers are not
/// notified by this.
#[utoipa::path(tag = "Merges", security(("token" = ["operator"])))]
#[post("/incidents/{id}/merge")]
async fn merge_one(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<Merge>,
) -> Answer<Json<Merged>> {
    let Merge {
        into,
        reason,
        dry_run,
    } = body.0;
    let merged = match dry_run {
        true => app.db.read(move |conn| merge::preview(conn, &id, &into)).await?,
        false => {
            app.db
                .write(&by.0, move |tx| merge::merge(tx, &id, &into, reason.as_deref()))
                .await?
        }
    };
    Ok(Json(merged))
}

/// Undoes the merge of an incident. It gets back what was its own, and what came since stays with the other one.
#[utoipa::path(tag = "Merges", security(("token" = ["operator"])))]
#[post("/incidents/{id}/unmerge")]
async fn unmerge(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Json<Unmerged>> {
    let unmerged = app.db.write(&by.0, move |tx| merge::unmerge(tx, &id)).await?;
    Ok(Json(unmerged))
}

/// Splits alerts and affected resources out of an incident into a new one. Later messages of these alerts go to the new one.
#[utoipa::path(tag = "Merges", security(("token" = ["operator"])))]
#[post("/incidents/{id}/split")]
async fn split(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<Split>,
) -> Answer<Created<Incident>> {
    let new = app
        .db
        .write(&by.0, move |tx| merge::split(tx, &id, &body.0))
        .await?;
    Ok(Created(new))
}

/// Returns the incidents that are merged directly into this one, the last one that was merged first.
#[utoipa::path(tag = "Merges", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/merged")]
async fn list_merged(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Json<Page<MergedHere>>> {
    let items = app
        .db
        .read(move |conn| {
            crate::incident::standing(conn, &id)?;
            merge::into_this(conn, &id)
        })
        .await?;
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}
