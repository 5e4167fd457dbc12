//! `/admin/templates`: the email templates, each with rendered samples.
//!
//! A saved template that does not render any more never breaks the page. It is shown with the reason, because
//! somebody must correct it before the next notice.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::frame::Frame;
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::language::Language;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, VersionNumber};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::notice::template::{Phase, Rendered, TemplateTexts};
use crate::notice::templates::{self, TemplateView};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/templates", Role::Viewer, list)
        .does(&["GET /api/v1/templates"])
        .show("/templates/{phase}", Role::Viewer, show)
        .does(&["GET /api/v1/templates/{phase}"])
        .show("/templates/{phase}/mail/{number}", Role::Viewer, mail);
}

/// The titles of the samples of a template, in their order.
const SAMPLES: [&str; 3] = ["The usual email", "The longest email", "The shortest email"];

async fn list(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let templates = app
        .db
        .read(|conn| {
            Phase::ALL
                .into_iter()
                .map(|phase| Ok(view(&templates::current(conn, phase)?, 1)))
                .collect::<Result<Vec<Value>, crate::base::error::Error>>()
        })
        .await?;
    app.pages.answer(
        "admin/templates",
        &json!({"page": Frame::new(&app, &by, "Templates", "Templates"), "templates": templates}),
    )
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(phase): InPath<Phase>) -> Answer<HttpResponse> {
    let template = app
        .db
        .read(move |conn| Ok(view(&templates::current(conn, phase)?, SAMPLES.len())))
        .await?;
    let path = format!("/admin/templates/{phase}");
    let may_change = by.0.role.covers(Role::Admin);
    app.pages.answer(
        "admin/template",
        &json!({
            "page": Frame::new(&app, &by, &format!("Template of the {phase} notice"), "Templates"),
            "template": template,
            "versions": format!("{path}/versions"),
            "edit": may_change.then(|| format!("{path}/edit")),
            "reset": may_change.then(|| json!({
                "label": "Use the built-in template", "button": "Use the built-in template", "action": format!("{path}/reset"), "fields": [],
                "text": "The next notices of this phase are sent with the built-in template. The present one stays among the versions.",
            })),
        }),
    )
}

fn view(template: &TemplateView, most: usize) -> Value {
    let (rendered, broken) = match render(template, most) {
        Ok(rendered) => (rendered, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    json!({
        "phase": template.phase,
        "path": format!("/admin/templates/{}", template.phase),
        "optional": template.phase.optional(),
        "builtin": template.builtin,
        "id": template.id,
        "subject": template.subject,
        "text": template.text,
        "html": template.html,
        "broken": broken,
        "warnings": templates::warnings(template).unwrap_or_default(),
        "languages": own_parts(&template.languages),
        "samples": rendered.into_iter().enumerate().map(|(index, (label, mail))| json!({
            "label": label, "to": null, "subject": mail.subject, "text": mail.text,
            "frame": format!("/admin/templates/{}/mail/{index}", template.phase), "open": index == 0 && (most > 1 || template.phase == Phase::Detection),
        })).collect::<Vec<_>>(),
    })
}

/// Shows one sample of the present template in a frame of its page.
async fn mail(
    app: web::Data<App>,
    InPath((phase, number)): InPath<(Phase, VersionNumber)>,
) -> Answer<HttpResponse> {
    let template = app.db.read(move |conn| templates::current(conn, phase)).await?;
    let rendered = render(&template, SAMPLES.len()).unwrap_or_default();
    let mail = usize::try_from(number.0)
        .ok()
        .and_then(|index| rendered.into_iter().nth(index))
        .map(|(_, mail)| mail);
    let mail = mail.ok_or_else(|| Error::NotFound("a sample with this number".to_owned()))?;
    Ok(mail_frame(mail.html))
}

/// Renders the first samples, and, if all of them are shown, the usual one in each language with parts of its own. Each has its title.
fn render(template: &TemplateView, most: usize) -> Result<Vec<(String, Rendered)>, String> {
    let compiled = template.compile().map_err(|error| error.to_string())?;
    let titles = SAMPLES.map(str::to_owned);
    let mut samples: Vec<_> = titles
        .into_iter()
        .zip(compiled.samples(template.phase))
        .take(most)
        .collect();
    let own = template.languages.keys().filter(|_| most == SAMPLES.len());
    for language in own {
        let [usual, ..] = compiled.samples_in(template.phase, *language);
        samples.push((format!("The usual email in {}", language.english_name()), usual));
    }
    samples
        .into_iter()
        .map(|(title, context)| match compiled.render(&context) {
            Ok(rendered) => Ok((title, rendered)),
            Err(error) => Err(error.to_string()),
        })
        .collect()
}

/// The parts for the readers of single languages, as the pages of a template show them.
pub(super) fn own_parts(languages: &BTreeMap<Language, TemplateTexts>) -> Vec<Value> {
    languages
        .iter()
        .map(|(language, texts)| {
            json!({
                "name": language.english_name(), "code": language, "subject": texts.subject, "text": texts.text, "html": texts.html,
            })
        })
        .collect()
}
