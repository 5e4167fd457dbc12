//! The forms of the contacts of an account: name one, change it and remove it. They do what the API does, with the same role.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account_forms::{LOCALE, TIME_ZONE, at, found};
use crate::auth::Role;
use crate::base::id::ExternalId;
use crate::directory::contact::{self, AccountContact, ContactInput, ContactKind};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{account_path, person_path};
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/accounts/{id}/contacts", Role::Operator, new)
        .send("/directory/accounts/{id}/contacts", Role::Operator, save)
        .does(&["PUT /api/v1/accounts/{account}/contacts/{kind}"])
        .send(
            "/directory/accounts/{id}/contacts/{kind}/remove",
            Role::Operator,
            remove,
        )
        .does(&["DELETE /api/v1/accounts/{account}/contacts/{kind}"]);
}

const PART: &str = "Accounts";
const TITLE: (&str, &str) = ("Name a contact", PART);
const TEXT: &str = "If the account has named a contact of this kind already, this changes it. A notice goes to the shared mailbox and to \
                    the contact for operations, unless its audience says otherwise.";

const CONTACT: &[Field] = &[
    Field::choice(
        "kind",
        "Kind",
        "",
        &[
            ("operations", "Operations"),
            ("shared", "Shared mailbox"),
            ("security", "Security"),
            ("billing", "Billing"),
        ],
        "is not a kind of contact",
    ),
    Field::text("email", "Email address", ""),
    Field::text("name", "Name", "If empty, the name of the account with the kind.").optional(),
    LOCALE,
    TIME_ZONE,
];

/// A contact, as the form sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    kind: ContactKind,
    email: String,
    name: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
}

async fn new(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (account, _) = found(&app, &id).await?;
    Form::new(CONTACT).page(&app, &by, TITLE, TEXT, &at(&account, "contacts", "Save contact"))
}

async fn save(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CONTACT, sent.fields)?);
    let (account, _) = found(&app, &id).await?;
    let actor = by.0.actor();
    let store = async |new: Sent| {
        let input = ContactInput {
            email: new.email,
            name: new.name,
            locale: new.locale,
            time_zone: new.time_zone,
        };
        app.db
            .write(&actor, move |tx| contact::put(tx, &id, new.kind, &input))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((contact, _)) => {
            let path = format!("{}#contacts", account_path(&account.id));
            let text = format!("{} is the {} now.", contact.name, contact.kind.role());
            Ok(done(&app, &path, &text))
        }
        Saved::Again(form) => form.page(&app, &by, TITLE, TEXT, &at(&account, "contacts", "Save contact")),
    }
}

async fn remove(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, kind)): InPath<(ExternalId, ContactKind)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let account = id.clone();
    app.db
        .write(&actor, move |tx| contact::delete(tx, account.as_str(), kind))
        .await?;
    let path = format!("{}#contacts", account_path(id.as_str()));
    Ok(done(&app, &path, "The contact is removed."))
}

/// Returns a contact for the page of its account.
pub(super) fn shown(contact: &AccountContact, within: &str) -> Value {
    json!({
        "kind": contact.kind.role(), "name": contact.name, "path": person_path(&contact.person), "email": contact.email,
        "remove": contact.named.then(|| json!({
            "label": "Remove", "button": "Remove",
            "text": format!("{} gets no notices as {} any more. The history stays.", contact.name, contact.kind.role()),
            "action": format!("{within}/contacts/{}/remove", contact.kind), "fields": [],
        })),
    })
}
