//! The endpoints of an account and of a person: create one, whose secret is shown once, test it, enable it again and delete it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::shown;
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::{EndpointId, ExternalId};
use crate::db::Conn;
use crate::directory::account::{self, Account};
use crate::directory::endpoint::{self, Endpoint, NewEndpoint, NewPersonEndpoint};
use crate::directory::person::{self, Person};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::frame::Frame;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{account_path, person_path};
use crate::http::admin_page::Pages;
use crate::http::api::endpoints::{Tested, created, created_of_person, tested};
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/accounts/{id}/endpoints", Role::Operator, new)
        .send("/directory/accounts/{id}/endpoints", Role::Operator, create)
        .does(&["POST /api/v1/accounts/{account}/endpoints"])
        .show("/directory/people/{id}/endpoints", Role::Operator, new_of_person)
        .send(
            "/directory/people/{id}/endpoints",
            Role::Operator,
            create_of_person,
        )
        .does(&["POST /api/v1/people/{person}/endpoints"])
        .show("/directory/endpoints/{id}", Role::Viewer, show)
        .does(&["GET /api/v1/endpoints/{id}"])
        .send("/directory/endpoints/{id}/test", Role::Operator, test)
        .does(&["POST /api/v1/endpoints/{id}/test"])
        .send("/directory/endpoints/{id}/enable", Role::Operator, enable)
        .does(&["POST /api/v1/endpoints/{id}/enable"])
        .send("/directory/endpoints/{id}/delete", Role::Operator, delete)
        .does(&["DELETE /api/v1/endpoints/{id}"]);
}

const PART: &str = "Accounts";

const ENDPOINT: &[Field] = &[
    Field::choice(
        "channel",
        "Channel",
        "What gets the notices. Slack, Teams, ntfy and Apprise show them as messages, in the language of the account.",
        &[
            ("webhook", "Webhook (signed JSON)"),
            ("slack", "Slack (incoming webhook)"),
            ("teams", "Microsoft Teams (Workflows)"),
            ("ntfy", "ntfy (topic)"),
            ("apprise", "Apprise (API server, /notify/KEY)"),
        ],
        "is not one of the channels",
    ),
    Field::text(
        "url",
        "URL",
        "Candor calls this HTTPS URL with each notice to the account. It must have a public address. The URL of Slack, Teams, ntfy and \
         Apprise is a secret: it is encrypted and never shown again.",
    ),
    Field::text(
        "secret",
        "Secret",
        "Only for a webhook. It signs the calls: whsec_ and 24 to 64 bytes in base64. If empty, Candor creates one.",
    )
    .optional(),
];

fn use_new(account: &Account) -> Use<'_> {
    let page = account_path(&account.id);
    Use {
        action: format!("{page}/endpoints"),
        button: "Create endpoint",
        within: (&account.name, page),
    }
}

const TEXT: &str = "A system or a chat of the account gets each notice, in addition to the emails to people.";

const PHONE: &[Field] = &[
    Field::text(
        "url",
        "Phone number",
        "With the country code, such as +254 700 123456. It is encrypted and never shown again.",
    ),
    Field::long_text(
        "consent",
        "How and when the person agreed",
        "Such as: asked on the phone on 1 December, ticket 4711. At most 500 characters.",
    ),
];

const PHONE_TEXT: &str = "The person gets a short message with each notice, in addition to the email. It is in the language of the person and has the link of the email. Only store a number whose owner agreed to it.";
const PHONE_TITLE: (&str, &str) = ("Store a phone number", "People");

fn use_new_phone(person: &Person) -> Use<'_> {
    let page = person_path(&person.id);
    Use {
        action: format!("{page}/endpoints"),
        button: "Store number",
        within: (&person.name, page),
    }
}

async fn person_of(app: &App, id: &ExternalId) -> Answer<Person> {
    let id = id.as_str().to_owned();
    Ok(app.db.read(move |conn| person::get(conn, &id)).await?)
}

async fn new_of_person(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<ExternalId>,
) -> Answer<HttpResponse> {
    let person = person_of(&app, &id).await?;
    Form::new(PHONE).page(&app, &by, PHONE_TITLE, PHONE_TEXT, &use_new_phone(&person))
}

async fn create_of_person(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<ExternalId>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(PHONE, sent.fields)?);
    let person = person_of(&app, &id).await?;
    let actor = by.0.actor();
    let store = async |new: NewPersonEndpoint| created_of_person(&app, &actor, id, new).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Done(made) => {
            let path = format!("/admin/directory/endpoints/{}", made.id);
            let text = "The number is stored. It is not shown again.";
            Ok(done(&app, &path, text))
        }
        Saved::Again(form) => form.page(&app, &by, PHONE_TITLE, PHONE_TEXT, &use_new_phone(&person)),
    }
}

async fn account_of(app: &App, id: &ExternalId) -> Answer<Account> {
    let id = id.as_str().to_owned();
    Ok(app.db.read(move |conn| account::get(conn, &id)).await?)
}

async fn new(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let account = account_of(&app, &id).await?;
    Form::new(ENDPOINT).page(&app, &by, ("Create an endpoint", PART), TEXT, &use_new(&account))
}

async fn create(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ENDPOINT, sent.fields)?);
    let account = account_of(&app, &id).await?;
    let actor = by.0.actor();
    let store = async |new: NewEndpoint| created(&app, &actor, id, new).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Done(made) => {
            // This answer is the only place that ever shows the secret, so it is no redirect.
            let Some(secret) = &made.secret else {
                let path = format!("/admin/directory/endpoints/{}", made.endpoint.id);
                return Ok(done(
                    &app,
                    &path,
                    "The endpoint is created. Its URL is not shown again.",
                ));
            };
            let secret = serde_json::to_value(secret).unwrap_or_default();
            let extra = json!({"secret": secret, "tested": null});
            let owner = Owner {
                path: account_path(&account.id),
                name: account.name,
                part: PART,
            };
            page(&app, &by, &made.endpoint, &owner, extra)
        }
        Saved::Again(form) => form.page(&app, &by, ("Create an endpoint", PART), TEXT, &use_new(&account)),
    }
}

/// Whom an endpoint belongs to, as its page shows it.
struct Owner {
    name: String,
    path: String,
    part: &'static str,
}

fn owner_of(conn: &mut Conn, endpoint: &Endpoint) -> Result<Owner> {
    if let Some(id) = &endpoint.person {
        return Ok(Owner {
            name: person::get(conn, id)?.name,
            path: person_path(id),
            part: "People",
        });
    }
    let account = account::get(conn, endpoint.account.as_deref().unwrap_or_default())?;
    Ok(Owner {
        path: account_path(&account.id),
        name: account.name,
        part: PART,
    })
}

fn page(app: &App, by: &SignedIn, endpoint: &Endpoint, owner: &Owner, extra: Value) -> Answer<HttpResponse> {
    let may_change = by.0.role.covers(Role::Operator) && endpoint.gone_at.is_none();
    let path = format!("/admin/directory/endpoints/{}", endpoint.id);
    let text = match endpoint.person {
        Some(_) => {
            "The person gets no short messages any more. Those that still wait are not sent. The number is deleted."
        }
        None => {
            "Candor sends nothing to this URL any more. Calls that still wait are not made. Its secret is lost."
        }
    };
    let title = match endpoint.person {
        Some(_) => "Phone",
        None => "Endpoint",
    };
    let data = json!({
        "page": Frame::new(app, by, title, owner.part), "title": title,
        "endpoint": shown::endpoint(endpoint), "gone": endpoint.gone_at.is_some(), "may_change": may_change,
        "consent": endpoint.consent,
        "owner": owner.name, "owner_path": owner.path, "part": owner.part,
        "part_path": match owner.part { PART => "/admin/directory/accounts", _ => "/admin/directory/people" },
        "path": path,
        "delete": {
            "label": format!("Delete {} …", title.to_lowercase()), "button": format!("Delete {}", title.to_lowercase()),
            "action": format!("{path}/delete"), "fields": [], "text": text,
        },
        "secret": extra["secret"], "tested": extra["tested"],
    });
    app.pages.answer_with(StatusCode::OK, "admin/endpoint", &data)
}

async fn found(app: &App, id: EndpointId) -> Answer<(Endpoint, Owner)> {
    Ok(app
        .db
        .read(move |conn| {
            let endpoint = endpoint::get(conn, &id)?;
            let owner = owner_of(conn, &endpoint)?;
            Ok((endpoint, owner))
        })
        .await?)
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<EndpointId>) -> Answer<HttpResponse> {
    let (endpoint, owner) = found(&app, id).await?;
    page(
        &app,
        &by,
        &endpoint,
        &owner,
        json!({"secret": null, "tested": null}),
    )
}

async fn test(app: web::Data<App>, sent: Filled, InPath(id): InPath<EndpointId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, fields } = sent;
    fields.finish()?;
    let Tested { outcome, reply } = tested(&app, &actor, id.clone()).await?;
    let (endpoint, owner) = found(&app, id).await?;
    let text = match outcome {
        "sent" => "The endpoint accepted the test.",
        "retry" => "The endpoint did not accept the test. A real call would be repeated later.",
        _ => "The endpoint refused the test. A real call would fail.",
    };
    let shown = json!({"good": outcome == "sent", "text": text, "reply": reply});
    page(
        &app,
        &by,
        &endpoint,
        &owner,
        json!({"secret": null, "tested": shown}),
    )
}

async fn enable(app: web::Data<App>, sent: Filled, InPath(id): InPath<EndpointId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let target = id.clone();
    app.db
        .write(&actor, move |tx| endpoint::enable(tx, &target))
        .await?;
    Ok(done(
        &app,
        &format!("/admin/directory/endpoints/{id}"),
        "The endpoint is enabled.",
    ))
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<EndpointId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let target = id.clone();
    let (_, owner) = found(&app, id).await?;
    app.db
        .write(&actor, move |tx| endpoint::delete(tx, &target))
        .await?;
    let path = format!("{}#endpoints", owner.path);
    Ok(done(&app, &path, "The endpoint is deleted."))
}
