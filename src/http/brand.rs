//! The public files of the brand: its logos, and the style with its colour. The address of a file changes with its content, so a
//! browser keeps it. And the service that reads what the public pages show.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get, web};

use super::App;
use super::answer::Declared;
use super::problem::Answer;
use crate::base::error::{Error, Result};
use crate::brand::{self, Color, Media};
use crate::work::{Next, Service, Stop};

/// How long a browser keeps a file.
const KEEP: &str = "public, max-age=31536000, immutable";
/// The policy of an SVG that somebody opens as a page: it may have a style of its own, and nothing else.
const SVG_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// Answers with a file that never changes, or with 304 if the caller has it.
fn fixed(
    req: &HttpRequest,
    etag: &str,
    media: &str,
    policy: Option<&str>,
    body: impl FnOnce() -> Vec<u8>,
) -> HttpResponse {
    let tag = format!("\"{etag}\"");
    let known = req.headers().get_all(IF_NONE_MATCH).any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.trim() == "*"
            || value
                .split(',')
                .any(|one| one.trim().trim_start_matches("W/") == tag)
    });
    let mut response = match known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((CACHE_CONTROL, KEEP))
        .insert_header((ETAG, tag));
    if let Some(policy) = policy {
        response.insert_header((CONTENT_SECURITY_POLICY, policy));
    }
    match known {
        true => response.finish(),
        false => response.content_type(media).body(body()),
    }
}

/// Returns the file of a logo of now or earlier. Emails that were sent show the logo of their time.
#[utoipa::path(tag = "Public", security(()), responses((status = 200, description = "The image", content_type = "image/png")))]
#[get("/brand/logo/{sha256}")]
pub async fn logo(app: web::Data<App>, req: HttpRequest, sha256: web::Path<String>) -> Answer<Declared> {
    let sha256 = sha256.into_inner();
    let wanted = sha256.clone();
    let (media, content) = app.db.read(move |conn| brand::image(conn, &wanted)).await?;
    let policy = (media == Media::Svg).then_some(SVG_POLICY);
    Ok(Declared(fixed(&req, &sha256, media.media_type(), policy, || {
        content
    })))
}

/// Returns the style with a colour, for the public pages.
#[utoipa::path(tag = "Public", security(()), responses((status = 200, description = "The style", content_type = "text/css")))]
#[get("/brand/color/{file}")]
pub async fn color(req: HttpRequest, file: web::Path<String>) -> Answer<Declared> {
    let color = file
        .strip_suffix(".css")
        .and_then(|digits| Color::parse(&format!("#{digits}")).ok())
        .ok_or_else(|| Error::NotFound("a style with this color".to_owned()))?;
    let style = brand::style_sheet(color);
    let etag = color.to_string();
    Ok(Declared(fixed(
        &req,
        etag.trim_start_matches('#'),
        "text/css; charset=utf-8",
        None,
        || style.into_bytes(),
    )))
}

/// Reads what the public pages show of the brand, because another process may have changed it.
pub struct BrandReadings {
    /// The state with the pages.
    pub app: Arc<App>,
}

impl Service for BrandReadings {
    const NAME: &'static str = "brand";
    const POLL: Duration = Duration::from_secs(15);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        self.app.pages.brand.refresh(&self.app.db).await?;
        Ok(Next::Wait)
    }
}
