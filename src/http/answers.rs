//! The public page on which a customer answers: "Works for me", "Still broken" or "I need help".
//!
//! Opening the page changes nothing, because scanners and email programs follow links. Only the button of the page records an
//! answer. Unknown query parameters are ignored, because programs that forward links add their own.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, get, post, web};
use serde_json::{Value, json};

use super::answer::Declared;
use super::customer_page::{self, Spoken};
use super::error_page::for_browsers;
use super::extract::{is_media, read_body};
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use crate::answers::link::{self, Asking, Previous};
use crate::answers::queue::ByLink;
use crate::answers::{Choice, MAX_TEXT, record};
use crate::base::error::Error;
use crate::http::App;
use crate::words::{self, Words};

/// The largest size of the form, in bytes: the text with each character percent-encoded, and the other field.
const MAX_FORM: usize = MAX_TEXT * 12 + 1_024;

/// What is shown besides the question.
#[derive(Default)]
struct Shown<'a> {
    chosen: Option<Choice>,
    text: &'a str,
    wrong: Option<String>,
    previous: Option<Previous>,
    recorded: bool,
}

fn target(app: &App, req: &HttpRequest, token: &str) -> Result<i64, Problem> {
    app.links.answers_target(token).ok_or_else(|| {
        app.refusals
            .refuse(req, RefusalKind::Token, app.clock().now(), Problem::NoSuchLink)
    })
}

async fn asking(app: &App, delivery: i64) -> Result<(Asking, Option<Previous>), Problem> {
    match app.db.read(move |conn| link::of(conn, delivery)).await {
        Err(Error::NotFound(_)) => Err(Problem::NoSuchLink),
        other => Ok(other?),
    }
}

/// Returns the choice as the page shows it.
fn label(words: Words, choice: Choice) -> Result<&'static str, Problem> {
    Ok(words.text(&format!("answer_{choice}"))?)
}

fn page(app: &App, token: &str, spoken: Spoken, asking: &Asking, shown: &Shown<'_>) -> Answer<Declared> {
    let words = spoken.words()?;
    let title = words.text(match shown.recorded {
        true => "answer_recorded",
        false => "answer_title",
    })?;
    let mut choices: Vec<Value> = Vec::new();
    for choice in Choice::ALL {
        let chosen = shown.chosen == Some(choice);
        choices.push(json!({"value": choice, "label": label(words, choice)?, "chosen": chosen}));
    }
    let previous = match &shown.previous {
        Some(previous) => json!({
            "label": label(words, previous.choice)?, "at": words::moment(spoken.language, previous.at, None),
        }),
        None => Value::Null,
    };
    let status = match shown.wrong {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let chosen = shown.chosen.map(|choice| label(words, choice)).transpose()?;
    let rest = json!({
        "recorded": shown.recorded, "what": asking.what,
        "choices": choices, "chosen": chosen, "text": shown.text, "wrong": shown.wrong,
        "previous": previous, "most": MAX_TEXT, "again": spoken.path(&format!("/answers/{token}")),
    });
    let number = asking.number.to_string();
    let data = customer_page::data(app, spoken.language, title, &[("number", &number)], rest)?;
    app.pages
        .answer_with(status, "public/answers", &data)
        .map(Declared)
}

/// Returns the answer that a link chooses. A link without one, or with another word, chooses nothing.
fn chosen(query: &str) -> Option<Choice> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "answer")
        .and_then(|(_, word)| Choice::parse(&word).ok())
}

/// Shows the page behind the links for answers in an email. It changes nothing. The query parameter `answer` (works, broken or help)
/// says which answer is chosen on the page.
#[utoipa::path(tag = "Public", security(()),
    responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/answers/{token}", wrap = "from_fn(for_browsers)")]
pub async fn show(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    let delivery = target(&app, &req, &token)?;
    let (asking, previous) = asking(&app, delivery).await?;
    let shown = Shown {
        chosen: chosen(req.query_string()).or(previous.as_ref().map(|previous| previous.choice)),
        previous,
        ..Shown::default()
    };
    let spoken = Spoken::of_person(&app, &req, Some(asking.language));
    page(&app, &token, spoken, &asking, &shown)
}

/// Records the answer of a customer. A later answer by the same link replaces it, and all answers are kept.
#[utoipa::path(
    tag = "Public", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "`answer` (works, broken or help) and `text` (optional, at most 4,000 characters)"),
    responses((status = 200, description = "A page", content_type = "text/html"),
        (status = 408), (status = 409), (status = 413), (status = 415),
        (status = 422, description = "The page with the error", content_type = "text/html"))
)]
#[post("/answers/{token}", wrap = "from_fn(for_browsers)")]
pub async fn answer(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Answer<Declared> {
    let delivery = target(&app, &req, &token)?;
    if !is_media(&req, "application/x-www-form-urlencoded") {
        return Err(Problem::UnsupportedMedia("application/x-www-form-urlencoded"));
    }
    let mut payload: Payload = payload.into_inner();
    let body = read_body(&req, &mut payload, MAX_FORM).await?;
    let field = |wanted: &str| {
        url::form_urlencoded::parse(&body)
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let given = field("text");
    let choice = Choice::parse(&field("answer")).ok();
    let text = record::checked_text(&given);
    let (choice, text) = match (choice, text) {
        (Some(choice), Ok(text)) => (choice, text),
        (choice, text) => {
            let (asking, previous) = asking(&app, delivery).await?;
            let spoken = Spoken::of_person(&app, &req, Some(asking.language));
            let wrong = match text {
                Err(Error::Invalid { errors, .. }) if spoken.language.is_english() => {
                    errors.first().map(|error| format!("Your text {}.", error.detail))
                }
                Err(_) => {
                    let most = spoken.language.number(MAX_TEXT);
                    Some(spoken.words()?.with("answer_text_wrong", &[("most", &most)])?)
                }
                Ok(_) => Some(spoken.words()?.text("answer_choose")?.to_owned()),
            };
            // A control character must not get into a page.
            let given = given.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t'), " ");
            let shown = Shown {
                chosen: choice,
                text: &given,
                wrong,
                previous,
                recorded: false,
            };
            return page(&app, &token, spoken, &asking, &shown);
        }
    };
    let answer = ByLink {
        delivery,
        choice,
        text: text.clone(),
    };
    // What the page says comes from the transaction that stored the answer, so that an answer costs no reads of its own.
    let asking = match app.answers.record(answer).await {
        Err(Error::NotFound(_)) => return Err(Problem::NoSuchLink),
        other => other?,
    };
    let spoken = Spoken::of_person(&app, &req, Some(asking.language));
    let shown = Shown {
        chosen: Some(choice),
        text: &text,
        recorded: true,
        ..Shown::default()
    };
    page(&app, &token, spoken, &asking, &shown)
}
