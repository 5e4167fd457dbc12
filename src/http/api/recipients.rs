//! The API for the recipients of a notice, each with the reason.

use actix_web::{get, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::notice::{self, Listed};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(list);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecipientParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only recipients whose address, name or ID contains this text. Upper and lower case make no difference.
    q: Option<String>,
}

/// Returns the recipients of the emails of a notice, each with the reason. For a draft, these are the people who would get it if it
/// were sent now.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])), params(RecipientParams))]
#[get("/notices/{id}/recipients")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<NoticeId>,
    params: Params<RecipientParams>,
) -> Answer<Json<Page<Listed>>> {
    let RecipientParams { limit, cursor: at, q } = params.0;
    let after: i64 = cursor(at.as_deref())?.unwrap_or_default();
    let (plans, sending, now) = (app.plans.clone(), app.sending.clone(), app.clock().now());
    let rows = app
        .db
        .read(move |conn| {
            let (q, at) = (q.as_deref(), (after, limit.probe()));
            match notice::state_of(conn, &id)?.is_draft() {
                // The pages of one list need one plan.
                true => plans.get(conn, &id, &sending, now, false)?.recipients(q, at),
                false => notice::recipients(conn, &id, &sending, q, at),
            }
        })
        .await?;
    Ok(Json(page(rows, limit, |one: &Listed| one.ordinal)))
}
