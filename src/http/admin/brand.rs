//! `/admin/brand`: the fields of the brand, its logo, and how an email and a public page look with it.

use std::io::Read as _;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderValue, X_FRAME_OPTIONS};
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::signed_in::SignedIn;
use super::upload::Upload;
use crate::auth::Role;
use crate::base::error::Error;
use crate::brand::{self, Brand, BrandSettings, MAX_SIZE, Media};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::brand::{store, store_logo, without_logo};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::notice::brand_preview::brand_preview;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/brand", Role::Admin, show)
        .does(&["GET /api/v1/brand"])
        .send("/brand", Role::Admin, replace)
        .does(&["PUT /api/v1/brand"])
        .send("/brand/logo", Role::Admin, put_logo)
        .does(&["PUT /api/v1/brand/logo"])
        .send("/brand/logo/delete", Role::Admin, remove_logo)
        .does(&["DELETE /api/v1/brand/logo"])
        .show("/brand/mail", Role::Admin, mail)
        .show("/brand/page", Role::Admin, public_page);
}

const PATH: &str = "/admin/brand";
const PART: &str = "Brand";

const BRAND: &[Field] = &[
    Field::text(
        "name",
        "Name",
        "The name that customers know. It is the sender of emails. If empty, it is the name in CANDOR_MAIL_FROM.",
    )
    .optional(),
    Field::text(
        "color",
        "Color",
        "Such as #0b5cad. Text in this color on white, and white text on it, must have a contrast of at least 4.5:1.",
    )
    .optional()
    .beside(),
    Field::text(
        "reply_to",
        "Replies go to",
        "An email address. If empty, it is CANDOR_REPLY_TO, or else the sender.",
    )
    .optional(),
    Field::text(
        "support_url",
        "Page for help",
        "Such as https://support.example.com. If empty, it is CANDOR_SUPPORT_URL.",
    )
    .optional()
    .beside(),
    Field::long_text(
        "postal_address",
        "Postal address",
        "Some countries require it in emails. At most 8 lines.",
    )
    .optional(),
    Field::long_text(
        "footer",
        "Footer",
        "It stands below each email and each public page.",
    )
    .optional(),
];

fn at() -> Use<'static> {
    Use {
        action: PATH.to_owned(),
        button: "Save brand",
        within: (PART, PATH.to_owned()),
    }
}

async fn page(
    app: &App,
    by: &SignedIn,
    typed: Option<Form>,
    wrong_logo: Option<String>,
    status: StatusCode,
) -> Answer<HttpResponse> {
    let brand: Brand = app.db.read(brand::read).await?;
    let form = typed.or_else(|| Form::of(BRAND, &json!(brand.settings), app.clock().now()));
    let mut form = form.unwrap_or_else(|| Form::new(BRAND)).shown(&at());
    form["back"] = json!(null);
    let https = app.sending.public_url.starts_with("https://");
    let logo = brand.logo.as_ref().map(|logo| {
        json!({
            "path": logo.path, "width": logo.width, "height": logo.height, "media": logo.media.as_str().to_uppercase(),
            "not_in_emails": match (logo.media, https) {
                (Media::Svg, _) => Some("Emails show the name instead of the logo, because most email programs show no SVG. Use a PNG to have it in emails."),
                (Media::Png, false) => Some("Emails show the name instead of the logo, because CANDOR_PUBLIC_URL does not begin with https."),
                (Media::Png, true) => None,
            },
            "remove": {
                "label": "Remove the logo", "button": "Remove logo", "fields": [], "action": format!("{PATH}/logo/delete"),
                "text": "Notices that are sent from now on, and the public pages, show the name instead. Emails that were sent still show the logo.",
            },
        })
    });
    let data = json!({
        "page": Frame::new(app, by, PART, PART),
        "form": form,
        "logo": logo,
        "wrong_logo": wrong_logo,
        "from": brand.settings.name.clone().unwrap_or_else(|| app.sending.sender.clone()),
        "most": MAX_SIZE / 1024,
    });
    app.pages.answer_with(status, "admin/brand", &data)
}

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, None, None, StatusCode::OK).await
}

async fn replace(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(BRAND, sent.fields)?);
    let actor = by.0.actor();
    let save = async |new: BrandSettings| store(&app, &actor, new).await;
    match form.save(app.clock().now(), save).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The brand is saved.")),
        Saved::Again(form) => page(&app, &by, Some(form), None, StatusCode::UNPROCESSABLE_ENTITY).await,
    }
}

async fn put_logo(app: web::Data<App>, sent: Upload) -> Answer<HttpResponse> {
    let (by, content) = sent.content("file")?;
    let mut bytes = Vec::new();
    content
        .take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::internal)?;
    match store_logo(&app, &by.0.actor(), bytes).await {
        Ok(_) => Ok(done(&app, PATH, "The logo is saved.")),
        Err(Error::Invalid { errors, .. }) => {
            let said: Vec<String> = errors.into_iter().map(|error| error.detail).collect();
            page(
                &app,
                &by,
                None,
                Some(said.join("; ")),
                StatusCode::UNPROCESSABLE_ENTITY,
            )
            .await
        }
        Err(other) => Err(other.into()),
    }
}

async fn remove_logo(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    without_logo(&app, &actor).await?;
    Ok(done(&app, PATH, "The logo is removed."))
}

/// The email of the preview, for a frame.
async fn mail(app: web::Data<App>, _: SignedIn) -> Answer<HttpResponse> {
    let sending = app.sending.clone();
    let mail = app.db.read(move |conn| brand_preview(conn, &sending)).await?;
    Ok(mail_frame(mail.html))
}

/// A public page, for a frame. Nothing in it leads anywhere.
async fn public_page(app: web::Data<App>, _: SignedIn) -> Answer<HttpResponse> {
    let company = app.company();
    let data = json!({"company": company, "title": format!("{company}: a public page")});
    let mut response = app.pages.answer("public/brand-sample", &data)?;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
        ),
    );
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    Ok(response)
}
