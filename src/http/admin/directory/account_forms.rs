//! The forms of an account: create, change and delete it. They do what the API does, with the same role.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::entry_forms::{New, check, create as create_entry};
use super::shown;
use crate::auth::Role;
use crate::base::check::Labels;
use crate::base::id::ExternalId;
use crate::directory::account::{self, Account, AccountInput};
use crate::directory::line::LineKind;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::{Filled, lines};
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::version;
use crate::http::admin::view::account_path;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(NEW, Role::Operator, new)
        .send(NEW, Role::Operator, create)
        .keeps_text("Create the account")
        .does(&["PUT /api/v1/accounts/{account}"])
        .show("/directory/accounts/{id}/edit", Role::Operator, edit)
        .send("/directory/accounts/{id}/edit", Role::Operator, change)
        .keeps_text("Save the account")
        .does(&["PUT /api/v1/accounts/{account}"])
        .send("/directory/accounts/{id}/delete", Role::Operator, delete)
        .does(&["DELETE /api/v1/accounts/{account}"]);
}

const NEW: &str = "/directory/new-account";
const PART: &str = "Accounts";

/// The field with the labels of an entry: one on each line.
pub(super) const LABELS: Field = Field::own(
    "labels",
    "Labels",
    "One on each line, such as plan=pro. Selectors and policies use them.",
    read_labels,
    write_labels,
);

/// The field with the ID of an entry that is new.
pub(super) const ID: Field = Field::text(
    "id",
    "ID",
    "The ID that your product uses. It cannot be changed later.",
);

const NAME: Field = Field::text("name", "Name", "");
/// The field with the language of an entry.
pub(super) const LOCALE: Field = Field::text(
    "locale",
    "Language",
    "A language tag such as en or pt-BR. It may be empty.",
)
.optional();
/// The field with the time zone of an entry.
pub(super) const TIME_ZONE: Field = Field::text(
    "time_zone",
    "Time zone",
    "Such as Africa/Nairobi. Emails show times in it. It may be empty.",
)
.optional()
.beside();

const ACCOUNT: &[Field] = &[NAME, LOCALE, TIME_ZONE, LABELS, version::ARCHIVED, version::FIELD];
const NEW_ACCOUNT: &[Field] = &[ID, NAME, LOCALE, TIME_ZONE, LABELS];

fn read_labels(text: &str) -> std::result::Result<Value, Vec<String>> {
    let (mut labels, mut wrong) = (serde_json::Map::new(), Vec::new());
    for line in lines(text) {
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
                if labels.insert(name.clone(), json!(value)).is_some() {
                    wrong.push(format!("the label \u{201c}{name}\u{201d} is given twice"));
                }
            }
            _ => wrong.push(format!(
                "\u{201c}{}\u{201d} must be a name and a value, such as plan=pro",
                crate::http::admin::view::cut(line, 80)
            )),
        }
    }
    if wrong.is_empty() {
        Ok(Value::Object(labels))
    } else {
        Err(wrong)
    }
}

fn write_labels(stored: &Value) -> String {
    let labels: Labels = serde_json::from_value(stored.clone()).unwrap_or_default();
    let lines: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.join("\n")
}

fn use_new() -> Use<'static> {
    Use {
        action: format!("/admin{NEW}"),
        button: "Create account",
        within: (PART, "/admin/directory/accounts".to_owned()),
    }
}

const NEW_TEXT: &str = "Customers are not notified by this. Afterwards, add the people of the account.";

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    Form::new(NEW_ACCOUNT).page(&app, &by, ("Create an account", PART), NEW_TEXT, &use_new())
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW_ACCOUNT, sent.fields)?);
    let new = New {
        word: "account",
        check: AccountInput::check,
        exists: |conn, id| account::get(conn, id).is_ok(),
        put: account::put,
    };
    match create_entry(&app, by.0.actor(), form, new).await? {
        Saved::Done(account) => {
            let text = format!("The account {} is created.", account.name);
            Ok(done(&app, &account_path(&account.id), &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Create an account", PART), NEW_TEXT, &use_new()),
    }
}

/// Where a form of an account is.
pub(super) fn at<'a>(account: &'a Account, last: &str, button: &'a str) -> Use<'a> {
    let page = account_path(&account.id);
    Use {
        action: format!("{page}/{last}"),
        button,
        within: (&account.name, page),
    }
}

/// Returns an account, and the source that brought it.
pub(super) async fn found(app: &App, id: &ExternalId) -> Answer<(Account, Option<Value>)> {
    let id = id.as_str().to_owned();
    Ok(app
        .db
        .read(move |conn| {
            let account = account::get(conn, &id)?;
            let origin = shown::origin(conn, LineKind::Account, &[&id])?;
            Ok((account, origin))
        })
        .await?)
}

/// The form with what is stored. An account that was deleted is restored by saving it.
fn stored(account: &Account) -> Form {
    Form::new(ACCOUNT)
        .with("name", account.name.clone())
        .with("locale", account.locale.clone().unwrap_or_default())
        .with("time_zone", account.time_zone.clone().unwrap_or_default())
        .with("labels", write_labels(&json!(account.labels)))
        .with(version::ARCHIVED.name, version::archived(account.gone_at))
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (account, origin) = found(&app, &id).await?;
    let form = stored(&account).versioned();
    let warning = shown::warning(origin.as_ref());
    form.page(
        &app,
        &by,
        ("Edit account", PART),
        &warning,
        &at(&account, "edit", "Save account"),
    )
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ACCOUNT, sent.fields)?);
    let (account, origin) = found(&app, &id).await?;
    let (actor, opened, at_id) = (by.0.actor(), form.seen(), id.clone());
    let store = async |input: AccountInput| {
        app.db
            .write(&actor, move |tx| {
                opened.check(&stored(&account::get(tx.conn, at_id.as_str())?), true)?;
                account::put(tx, &at_id, &input)
            })
            .await
    };
    let look = async |input: AccountInput| check(&input, AccountInput::check);
    match form.save_checked(app.clock().now(), store, look).await? {
        Saved::Done(_) => Ok(done(&app, &account_path(&account.id), "The account is saved.")),
        Saved::Again(form) => {
            let (account, _) = found(&app, &id).await?;
            let warning = shown::warning(origin.as_ref());
            form.compared_with(&stored(&account)).page(
                &app,
                &by,
                ("Edit account", PART),
                &warning,
                &at(&account, "edit", "Save account"),
            )
        }
    }
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let at = id.clone();
    app.db
        .write(&actor, move |tx| account::delete(tx, at.as_str()))
        .await?;
    let text = "The account is archived. Nobody is notified because of it any more.";
    Ok(done(&app, &account_path(id.as_str()), text))
}
