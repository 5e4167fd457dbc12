//! The API for the brand: under which name, with which logo and in which colour customers hear from the operator.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, delete, get, put, web};

use crate::audit::Actor;
use crate::base::error::Error;
use crate::brand::{self, Brand, BrandSettings, Image, MAX_SIZE};
use crate::http::App;
use crate::http::answer::NoContent;
use crate::http::auth::By;
use crate::http::extract::{Json, is_media, read_body};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(read)
        .service(replace)
        .service(put_logo)
        .service(remove_logo);
}

/// Returns the brand.
#[utoipa::path(tag = "Brand", security(("token" = ["viewer"])))]
#[get("/brand")]
async fn read(app: web::Data<App>) -> Answer<Json<Brand>> {
    Ok(Json(app.db.read(brand::read).await?))
}

/// Replaces all fields of the brand. A field that is left out becomes empty. The logo stays. Notices that are sent from now on, and the
/// public pages, show it.
#[utoipa::path(tag = "Brand", security(("token" = ["admin"])))]
#[put("/brand")]
async fn replace(app: web::Data<App>, by: By, body: Json<BrandSettings>) -> Answer<Json<Brand>> {
    Ok(Json(store(&app, &by.0, body.0).await?))
}

/// Stores the fields of the brand, and shows them on the public pages.
///
/// # Errors
/// `Invalid` with each wrong field.
pub(in crate::http) async fn store(app: &App, by: &Actor, new: BrandSettings) -> Result<Brand, Error> {
    let brand = app.db.write(by, move |tx| brand::replace(tx, &new)).await?;
    app.pages.brand.changed(&app.db).await?;
    Ok(brand)
}

/// Replaces the logo with a PNG or an SVG of at most 256 KiB, whose sides have 16 to 2,048 pixels. An SVG may only draw: a script, an
/// event handler, or a reference to anything outside is refused.
#[utoipa::path(tag = "Brand", security(("token" = ["admin"])), request_body(content = Vec<u8>, content_type = "image/png"))]
#[put("/brand/logo")]
async fn put_logo(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    payload: web::Payload,
) -> Answer<Json<Brand>> {
    if !is_media(&req, "image/png") && !is_media(&req, "image/svg+xml") {
        return Err(Problem::UnsupportedMedia("image/png or image/svg+xml"));
    }
    let mut payload: Payload = payload.into_inner();
    let bytes = read_body(&req, &mut payload, MAX_SIZE).await?;
    let brand = store_logo(&app, &by.0, bytes).await?;
    Ok(Json(brand))
}

/// Checks and stores a logo, and shows it on the public pages.
///
/// # Errors
/// `Invalid` with the reason why the file cannot be a logo.
pub(in crate::http) async fn store_logo(app: &App, by: &Actor, bytes: Vec<u8>) -> Result<Brand, Error> {
    let image = Image::parse(bytes).map_err(|detail| Error::invalid("", format!("the file {detail}")))?;
    let brand = app.db.write(by, move |tx| brand::put_logo(tx, &image)).await?;
    app.pages.brand.changed(&app.db).await?;
    Ok(brand)
}

/// Removes the logo. Emails that were sent with it still show it.
#[utoipa::path(tag = "Brand", security(("token" = ["admin"])))]
#[delete("/brand/logo")]
async fn remove_logo(app: web::Data<App>, by: By) -> Answer<NoContent> {
    without_logo(&app, &by.0).await?;
    Ok(NoContent)
}

/// Removes the logo, also from the public pages.
///
/// # Errors
/// `NotFound` if there is no logo.
pub(in crate::http) async fn without_logo(app: &App, by: &Actor) -> Result<(), Error> {
    app.db.write(by, brand::remove_logo).await?;
    app.pages.brand.changed(&app.db).await
}
