//! The forms of a person: create, change and delete. They do what the API does, with the same role.

use actix_web::{HttpResponse, web};
use serde_json::Value;

use super::account_forms::{ID, LOCALE};
use super::entry_forms::{New, check, create as create_entry};
use super::shown;
use crate::auth::Role;
use crate::base::id::ExternalId;
use crate::directory::line::LineKind;
use crate::directory::person::{self, Person, PersonInput};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::version;
use crate::http::admin::view::person_path;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(NEW, Role::Operator, new)
        .send(NEW, Role::Operator, create)
        .keeps_text("Create the person")
        .does(&["PUT /api/v1/people/{person}"])
        .show("/directory/people/{id}/edit", Role::Operator, edit)
        .send("/directory/people/{id}/edit", Role::Operator, change)
        .keeps_text("Save the person")
        .does(&["PUT /api/v1/people/{person}"])
        .send("/directory/people/{id}/delete", Role::Operator, delete)
        .does(&["DELETE /api/v1/people/{person}"]);
}

const NEW: &str = "/directory/new-person";
const PART: &str = "People";

const NAME: Field = Field::text("name", "Name", "");
const EMAIL: Field = Field::text(
    "email",
    "Email address",
    "One address such as ann@example.com. Without one, the person cannot be reached.",
);
const TIME_ZONE: Field = Field::text(
    "time_zone",
    "Time zone",
    "Such as Africa/Nairobi. It stands before the time zone of the account. It may be empty.",
)
.optional()
.beside();

const PERSON: &[Field] = &[NAME, EMAIL, LOCALE, TIME_ZONE, version::ARCHIVED, version::FIELD];
const NEW_PERSON: &[Field] = &[ID, NAME, EMAIL, LOCALE, TIME_ZONE];

fn use_new() -> Use<'static> {
    Use {
        action: format!("/admin{NEW}"),
        button: "Create person",
        within: (PART, "/admin/directory/people".to_owned()),
    }
}

const NEW_TEXT: &str = "The person is not notified by this. Afterwards, add the person to an account, or as a collaborator to a resource.";

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    Form::new(NEW_PERSON).page(&app, &by, ("Create a person", PART), NEW_TEXT, &use_new())
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW_PERSON, sent.fields)?);
    let new = New {
        word: "person",
        check: PersonInput::check,
        exists: |conn, id| person::get(conn, id).is_ok(),
        put: person::put,
    };
    match create_entry(&app, by.0.actor(), form, new).await? {
        Saved::Done(person) => {
            let text = format!("{} is created.", person.name);
            Ok(done(&app, &person_path(&person.id), &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Create a person", PART), NEW_TEXT, &use_new()),
    }
}

async fn found(app: &App, id: &ExternalId) -> Answer<(Person, Option<Value>)> {
    let id = id.as_str().to_owned();
    Ok(app
        .db
        .read(move |conn| {
            let person = person::get(conn, &id)?;
            let origin = shown::origin(conn, LineKind::Person, &[&id])?;
            Ok((person, origin))
        })
        .await?)
}

fn at(person: &Person) -> Use<'_> {
    let page = person_path(&person.id);
    Use {
        action: format!("{page}/edit"),
        button: "Save person",
        within: (&person.name, page),
    }
}

/// The form with what is stored.
fn stored(person: &Person) -> Form {
    Form::new(PERSON)
        .with("name", person.name.clone())
        .with("email", person.email.clone())
        .with("locale", person.locale.clone().unwrap_or_default())
        .with("time_zone", person.time_zone.clone().unwrap_or_default())
        .with(version::ARCHIVED.name, version::archived(person.gone_at))
}

/// What the page says above the form.
fn explained(person: &Person, origin: Option<&Value>) -> String {
    let archived = match person.gone_at {
        Some(_) => "This person is archived. If you save, Candor notifies the person again. ",
        None => "",
    };
    format!("{archived}{}", shown::warning(origin))
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (person, origin) = found(&app, &id).await?;
    stored(&person).versioned().page(
        &app,
        &by,
        ("Edit person", PART),
        &explained(&person, origin.as_ref()),
        &at(&person),
    )
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(PERSON, sent.fields)?);
    let (person, origin) = found(&app, &id).await?;
    let (actor, opened, at_id) = (by.0.actor(), form.seen(), id.clone());
    let store = async |input: PersonInput| {
        app.db
            .write(&actor, move |tx| {
                opened.check(&stored(&person::get(tx.conn, at_id.as_str())?), true)?;
                person::put(tx, &at_id, &input)
            })
            .await
    };
    let look = async |input: PersonInput| check(&input, PersonInput::check);
    match form.save_checked(app.clock().now(), store, look).await? {
        Saved::Done(_) => Ok(done(&app, &person_path(&person.id), "The person is saved.")),
        Saved::Again(form) => {
            let (person, _) = found(&app, &id).await?;
            form.compared_with(&stored(&person)).page(
                &app,
                &by,
                ("Edit person", PART),
                &explained(&person, origin.as_ref()),
                &at(&person),
            )
        }
    }
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let at = id.clone();
    app.db
        .write(&actor, move |tx| person::delete(tx, at.as_str()))
        .await?;
    let text = "The person is archived. Candor does not notify this person any more.";
    Ok(done(&app, &person_path(id.as_str()), text))
}
