//! `/admin/templates/{phase}/…`: the editor of a template with its preview, its versions, and the way back to an earlier one.
//!
//! A preview is shown in a frame that runs and loads nothing. Nothing is stored by it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use handlebars::html_escape;
use serde_json::{Value, json};

use super::choices;
use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::params;
use super::signed_in::SignedIn;
use super::templates::own_parts;
use super::view::{When, link};
use super::{translations, version};
use crate::auth::Role;
use crate::base::diff::{self, DiffLine};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::templates::{previewed, restored};
use crate::http::ids::{InPath, VersionNumber};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::notice::template::{self, NewTemplate, Phase, Source};
use crate::notice::template_preview::TemplateTrial;
use crate::notice::template_versions::{self, TemplateVersion};
use crate::notice::templates::{self, TemplateView};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/templates/{phase}/edit", Role::Admin, edit)
        .send("/templates/{phase}/edit", Role::Admin, save)
        .keeps_text("Save the template")
        .does(&["PUT /api/v1/templates/{phase}"])
        .send("/templates/{phase}/preview", Role::Admin, preview)
        .does(&["POST /api/v1/templates/{phase}/preview"])
        .send("/templates/{phase}/reset", Role::Admin, reset)
        .does(&["DELETE /api/v1/templates/{phase}"])
        .search("/templates/{phase}/versions", Role::Viewer, versions)
        .does(&["GET /api/v1/templates/{phase}/versions"])
        .show("/templates/{phase}/versions/{version}", Role::Viewer, version)
        .send(
            "/templates/{phase}/versions/{version}/restore",
            Role::Admin,
            restore,
        )
        .does(&["POST /api/v1/templates/{phase}/versions/{version}/restore"]);
}

const PART: &str = "Templates";
const ROWS: Limit = Limit(50);

/// The fields of the parts for the readers of one language.
macro_rules! in_language {
    ($code:literal, $name:literal) => {
        [
            Field::text(
                concat!("languages.", $code, ".subject"),
                concat!("Subject in ", $name),
                "If empty, it is the subject above.",
            )
            .optional(),
            Field::long_text(
                concat!("languages.", $code, ".text"),
                concat!("Text part in ", $name),
                "If empty, it is the text part above.",
            )
            .optional(),
            Field::long_text(
                concat!("languages.", $code, ".html"),
                concat!("HTML part in ", $name),
                "If empty, it is the HTML part above.",
            )
            .optional(),
        ]
    };
}

/// The prefix of the names of the fields for single languages.
const LANGUAGES: &str = "languages.";

const EN: [Field; 3] = in_language!("en", "English");
const DE: [Field; 3] = in_language!("de", "German");
const FR: [Field; 3] = in_language!("fr", "French");
const ES: [Field; 3] = in_language!("es", "Spanish");
const PT: [Field; 3] = in_language!("pt", "Portuguese");
const JA: [Field; 3] = in_language!("ja", "Japanese");
const SW: [Field; 3] = in_language!("sw", "Swahili");
const AR: [Field; 3] = in_language!("ar", "Arabic");

const TEMPLATE: &[Field] = {
    let [en1, en2, en3] = EN;
    let [de1, de2, de3] = DE;
    let [fr1, fr2, fr3] = FR;
    let [es1, es2, es3] = ES;
    let [pt1, pt2, pt3] = PT;
    let [ja1, ja2, ja3] = JA;
    let [sw1, sw2, sw3] = SW;
    let [ar1, ar2, ar3] = AR;
    &[
        Field::text("subject", "Subject", "One line."),
        Field::long_text("text", "Text part", "What a reader without HTML sees."),
        Field::long_text("html", "HTML part", ""),
        en1,
        en2,
        en3,
        de1,
        de2,
        de3,
        fr1,
        fr2,
        fr3,
        es1,
        es2,
        es3,
        pt1,
        pt2,
        pt3,
        ja1,
        ja2,
        ja3,
        sw1,
        sw2,
        sw3,
        ar1,
        ar2,
        ar3,
        OF,
        PART_SHOWN,
        LANGUAGE_SHOWN,
        version::FIELD,
    ]
};

/// What the preview is shown with, which part of the email, and in which language. They are no part of the template.
const OF: Field = Field::kept("of");
const PART_SHOWN: Field = Field::kept("part");
const LANGUAGE_SHOWN: Field = Field::kept("language");

/// The form with a stored template.
fn stored_form(stored: &TemplateView) -> Form {
    let mut form = Form::new(TEMPLATE)
        .with("subject", stored.subject.clone())
        .with("text", stored.text.clone())
        .with("html", stored.html.clone());
    for field in TEMPLATE {
        let Some((code, part)) = field
            .name
            .strip_prefix(LANGUAGES)
            .and_then(|names| names.split_once('.'))
        else {
            continue;
        };
        let texts = Language::parse(code)
            .ok()
            .and_then(|language| stored.languages.get(&language));
        let text = texts.and_then(|texts| match part {
            "subject" => texts.subject.clone(),
            "text" => texts.text.clone(),
            _ => texts.html.clone(),
        });
        form = form.with(field.name, text.unwrap_or_default());
    }
    form
}

/// What the preview is shown with: the value and its label.
const SAMPLES: [(&str, &str); 3] = [
    ("0", "Sample data: the usual email"),
    ("1", "Sample data: the longest email"),
    ("2", "Sample data: the shortest email"),
];

fn path_of(phase: Phase) -> String {
    format!("/admin/templates/{phase}")
}

async fn stored(app: &App, phase: Phase) -> Result<TemplateView> {
    app.db.read(move |conn| templates::current(conn, phase)).await
}

/// The variables that a template can show, each with its value in the usual sample.
fn variables(phase: Phase) -> Vec<Value> {
    fn walk(path: &str, value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(&path, value, found);
                }
            }
            Value::Array(items) if items.first().is_some_and(Value::is_object) => {
                if let Some(first) = items.first() {
                    walk(&format!("{path}[]"), first, found);
                }
            }
            value => {
                let example = match value {
                    Value::String(text) => text.clone(),
                    Value::Null => "(empty)".to_owned(),
                    other => other.to_string(),
                };
                found.push(json!({"name": path, "example": super::view::cut(&example, 80)}));
            }
        }
    }
    let mut found = Vec::new();
    let [usual, ..] = template::samples(phase);
    if let Ok(value) = serde_json::to_value(usual) {
        walk("", &value, &mut found);
    }
    found
}

async fn editor(app: &App, by: &SignedIn, phase: Phase, typed: Option<Form>) -> Answer<HttpResponse> {
    let (current, incidents) = app
        .db
        .read(move |conn| Ok((templates::current(conn, phase)?, choices::incidents(conn)?)))
        .await?;
    let status = typed.as_ref().map_or(StatusCode::OK, Form::status);
    let form = match typed {
        Some(typed) => typed.compared_with(&stored_form(&current)),
        None => stored_form(&current).versioned(),
    };
    let path = path_of(phase);
    let chosen = form.text(OF.name).to_owned();
    let spoken = Language::parse(form.text(LANGUAGE_SHOWN.name)).unwrap_or_default();
    let option =
        |value: &str, label: &str| json!({"value": value, "label": label, "selected": value == chosen});
    let mut with: Vec<Value> = SAMPLES
        .iter()
        .map(|(value, label)| option(value, label))
        .collect();
    with.extend(
        incidents
            .iter()
            .map(|(id, label)| option(id, &format!("People of {label}"))),
    );
    let at = Use {
        action: format!("{path}/edit"),
        button: "Save template",
        within: (PART, path.clone()),
    };
    let mut shown = form.shown(&at);
    let hint = "The built-in sentences are in the language of each reader anyway. Readers of a language get the parts that are written \
                for it here.";
    let languages = translations::sections(&mut shown, LANGUAGES, None, hint);
    app.pages.answer_with(
        status,
        "admin/template-editor",
        &json!({
            "page": Frame::new(app, by, &format!("Edit the {phase} template"), PART),
            "phase": phase,
            "path": path,
            "preview": format!("{path}/preview"),
            "builtin": current.builtin,
            "form": shown,
            "languages": languages,
            "with": with,
            "spoken": Language::ALL.map(|language| json!({
                "value": language, "label": language.english_name(), "selected": language == spoken,
            })),
            "variables": variables(phase),
            "partials": template::partials().collect::<Vec<_>>(),
        }),
    )
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(phase): InPath<Phase>) -> Answer<HttpResponse> {
    editor(&app, &by, phase, None).await
}

async fn save(app: web::Data<App>, sent: Filled, InPath(phase): InPath<Phase>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(TEMPLATE, sent.fields)?);
    let (actor, opened) = (by.0.actor(), form.seen());
    let store = async |new: NewTemplate| {
        let source = new.source(phase)?;
        let checked = web::block(move || templates::Checked::new(phase, source))
            .await
            .map_err(Error::internal)??;
        app.db
            .write(&actor, move |tx| {
                opened.check(&stored_form(&templates::current(tx.conn, phase)?), true)?;
                templates::save(tx, &checked)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &path_of(phase),
            "The template is saved. The next notices of this phase use it.",
        )),
        Saved::Again(form) => editor(&app, &by, phase, Some(form)).await,
    }
}

/// Shows one email in the frame of the editor.
async fn preview(app: web::Data<App>, sent: Filled, InPath(phase): InPath<Phase>) -> Answer<HttpResponse> {
    let mut form = Form::read(TEMPLATE, sent.fields)?;
    let incident = IncidentId::parse(form.text(OF.name)).ok();
    let index = form.text(OF.name).parse::<usize>().unwrap_or(0);
    let as_text = form.text(PART_SHOWN.name) == "text";
    let language = Language::parse(form.text(LANGUAGE_SHOWN.name)).unwrap_or_default();
    let typed: NewTemplate = form.input(app.clock().now())?.unwrap_or_default();
    let trial = TemplateTrial {
        subject: typed.subject,
        text: typed.text,
        html: typed.html,
        languages: typed.languages,
        language,
        incident,
    };
    let of_incident = trial.incident.is_some();
    let html = match previewed(&app, phase, trial).await {
        Ok(tried) => {
            let sample = tried
                .samples
                .get(if of_incident { 0 } else { index })
                .or(tried.samples.first());
            match sample {
                None => note("There is no email to show.", &[]),
                Some(sample) if as_text => note(&format!("Subject: {}", sample.subject), &[&sample.text]),
                Some(sample) => sample.html.clone(),
            }
        }
        Err(Error::Invalid { errors, detail }) => {
            let said: Vec<String> = errors
                .iter()
                .map(|error| match error.pointer.as_deref() {
                    None | Some("") => error.detail.clone(),
                    Some(pointer) => format!("{} {}", pointer.trim_start_matches('/'), error.detail),
                })
                .collect();
            let said: Vec<&str> = if said.is_empty() {
                vec![&detail]
            } else {
                said.iter().map(String::as_str).collect()
            };
            note("This template cannot be shown", &said)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(mail_frame(html))
}

/// A page of plain texts for the frame.
fn note(title: &str, texts: &[&str]) -> String {
    let texts: String = texts
        .iter()
        .map(|text| format!("<pre>{}</pre>", html_escape(text)))
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Preview</title><style>body{{font:15px/1.5 \
         system-ui,sans-serif;margin:16px;color:#1b2126;background:#fff}}pre{{white-space:pre-wrap;font:14px/1.5 \
         ui-monospace,monospace}}</style></head><body><p><strong>{}</strong></p>{texts}</body></html>",
        html_escape(title)
    )
}

async fn reset(app: web::Data<App>, sent: Filled, InPath(phase): InPath<Phase>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db
        .write(&actor, move |tx| templates::reset(tx, phase))
        .await?;
    Ok(done(
        &app,
        &path_of(phase),
        "The built-in template is used again.",
    ))
}

async fn versions(
    app: web::Data<App>,
    by: SignedIn,
    InPath(phase): InPath<Phase>,
    params: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| template_versions::list(conn, phase, before, ROWS.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |version| version.number);
    let path = format!("{}/versions", path_of(phase));
    app.pages.answer(
        "admin/template-versions",
        &json!({
            "page": Frame::new(&app, &by, &format!("Versions of the {phase} template"), PART),
            "phase": phase,
            "template": path_of(phase),
            "versions": items.iter().map(|version| row(version, phase)).collect::<Vec<_>>(),
            "first": at.is_some().then_some(&path),
            "next": next_cursor.map(|next| link(&path, &[("cursor", Some(&next))])),
        }),
    )
}

fn row(version: &TemplateVersion, phase: Phase) -> Value {
    json!({
        "number": version.number,
        "path": format!("{}/versions/{}", path_of(phase), version.number),
        "builtin": version.builtin,
        "current": version.current,
        "by": version.saved_by,
        "at": When::utc(version.saved_at),
        "subject": version.subject,
    })
}

/// The changed lines of one part, each with one line before and after it. None if the part did not change.
fn changes(label: &str, before: &str, after: &str) -> Option<Value> {
    let lines = diff::lines(before, after);
    let changed = |line: Option<&DiffLine<'_>>| line.is_some_and(|line| !matches!(line, DiffLine::Same(_)));
    if !lines.iter().any(|line| changed(Some(line))) {
        return None;
    }
    let mut shown = Vec::new();
    let mut gap = false;
    for (index, line) in lines.iter().enumerate() {
        let near = (index.saturating_sub(2)..=index + 2).any(|at| changed(lines.get(at)));
        if !near {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            shown.push(json!({"sign": "…", "class": "gap", "text": "", "word": "Lines that did not change"}));
        }
        shown.push(match line {
            DiffLine::Same(text) => json!({"sign": " ", "class": "same", "text": text, "word": null}),
            DiffLine::Removed(text) => {
                json!({"sign": "−", "class": "removed", "text": text, "word": "removed:"})
            }
            DiffLine::Added(text) => json!({"sign": "+", "class": "added", "text": text, "word": "added:"}),
        });
    }
    Some(json!({"label": label, "lines": shown}))
}

fn compared(label: &str, before: &Source, after: &Source) -> Value {
    let mut parts = vec![
        changes("Subject", &before.subject, &after.subject),
        changes("Text part", &before.text, &after.text),
        changes("HTML part", &before.html, &after.html),
    ];
    for language in Language::ALL {
        let [before, after] =
            [before, after].map(|source| source.languages.get(&language).cloned().unwrap_or_default());
        let name = language.english_name();
        for (part, before, after) in [
            ("Subject", before.subject, after.subject),
            ("Text part", before.text, after.text),
            ("HTML part", before.html, after.html),
        ] {
            let [before, after] = [before, after].map(Option::unwrap_or_default);
            parts.push(changes(&format!("{part} in {name}"), &before, &after));
        }
    }
    json!({"label": label, "parts": parts.into_iter().flatten().collect::<Vec<_>>()})
}

async fn version(
    app: web::Data<App>,
    by: SignedIn,
    InPath((phase, number)): InPath<(Phase, VersionNumber)>,
) -> Answer<HttpResponse> {
    let number = number.0;
    let (version, before) = app
        .db
        .read(move |conn| {
            let version = template_versions::get(conn, phase, number)?;
            let before = template_versions::list(conn, phase, Some(number), 1)?
                .into_iter()
                .next();
            Ok((version, before))
        })
        .await?;
    let now = stored(&app, phase).await?.source();
    let source = version.source();
    let earlier = before
        .as_ref()
        .map_or_else(|| Source::builtin(phase), TemplateVersion::source);
    let against = match &before {
        Some(before) => format!("Against version {}", before.number),
        None => "Against the built-in template".to_owned(),
    };
    let mut compared_with = vec![compared(&against, &earlier, &source)];
    if !version.current {
        compared_with.push(compared("What restoring it would change now", &now, &source));
    }
    let path = path_of(phase);
    let may_restore = by.0.role.covers(Role::Admin) && !version.current;
    app.pages.answer(
        "admin/template-version",
        &json!({
            "page": Frame::new(&app, &by, &format!("Version {number} of the {phase} template"), PART),
            "phase": phase,
            "template": path,
            "versions": format!("{path}/versions"),
            "version": row(&version, phase),
            "compared": compared_with,
            "source": {"subject": source.subject, "text": source.text, "html": source.html},
            "languages": own_parts(&source.languages),
            "restore": may_restore.then(|| json!({
                "label": "Restore this version", "button": format!("Restore version {number}"), "fields": [],
                "action": format!("{path}/versions/{number}/restore"),
                "text": "The next notices of this phase are sent with this template. It is saved as a new version.",
            })),
        }),
    )
}

async fn restore(
    app: web::Data<App>,
    sent: Filled,
    InPath((phase, number)): InPath<(Phase, VersionNumber)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let number = number.0;
    restored(&app, actor, phase, number).await?;
    Ok(done(
        &app,
        &path_of(phase),
        &format!("Version {number} is restored."),
    ))
}
