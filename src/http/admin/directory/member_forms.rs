//! The forms of the members of an account: give a person a role, change it and end it. They do what the API does, with the same role.

use actix_web::{HttpResponse, web};

use super::account_forms::{at, found};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::ExternalId;
use crate::directory::member::{self, RoleInput};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::account_path;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/accounts/{id}/members", Role::Operator, new_member)
        .send("/directory/accounts/{id}/members", Role::Operator, add_member)
        .does(&["PUT /api/v1/accounts/{account}/members/{person}"])
        .show(
            "/directory/accounts/{id}/members/{person}",
            Role::Operator,
            edit_role,
        )
        .send(
            "/directory/accounts/{id}/members/{person}",
            Role::Operator,
            change_role,
        )
        .does(&["PUT /api/v1/accounts/{account}/members/{person}"])
        .send(
            "/directory/accounts/{id}/members/{person}/remove",
            Role::Operator,
            remove_member,
        )
        .does(&["DELETE /api/v1/accounts/{account}/members/{person}"]);
}

const PART: &str = "Accounts";

/// The field with the name of a role.
const ROLE: Field = Field::text(
    "role",
    "Role",
    "An owner is notified of everything about the account. All other names are your own, such as member or billing.",
);

/// The fields of a person with a role.
pub(super) const MEMBER: &[Field] = &[
    Field::text("person", "Person", "The ID of a person in the directory."),
    ROLE,
];
/// The field of the form that changes the role of a member.
pub(super) const ONLY_ROLE: &[Field] = &[ROLE];

const MEMBER_TEXT: &str = "If the person has a role already, this changes it.";

async fn new_member(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<ExternalId>,
) -> Answer<HttpResponse> {
    let (account, _) = found(&app, &id).await?;
    let form = Form::new(MEMBER).with("role", "owner");
    form.page(
        &app,
        &by,
        ("Add a member", PART),
        MEMBER_TEXT,
        &at(&account, "members", "Add member"),
    )
}

async fn add_member(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<ExternalId>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(MEMBER, sent.fields)?);
    let (account, _) = found(&app, &id).await?;
    let actor = by.0.actor();
    let store = async |new: NewMember| {
        app.db
            .write(&actor, move |tx| {
                let put = member::put_member(tx, id.as_str(), new.person.as_str(), &new.role);
                put.map_err(unknown_person)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((member, _)) => {
            let text = format!("{} has the role {} now.", member.name, member.role);
            Ok(done(
                &app,
                &format!("{}#members", account_path(&account.id)),
                &text,
            ))
        }
        Saved::Again(form) => form.page(
            &app,
            &by,
            ("Add a member", PART),
            MEMBER_TEXT,
            &at(&account, "members", "Add member"),
        ),
    }
}

/// A person and a role, as the forms send them.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    pub person: ExternalId,
    pub role: ExternalId,
}

/// Makes an unknown person an error of the field.
pub(super) fn unknown_person(error: Error) -> Error {
    match error {
        Error::NotFound(what) if what.starts_with("person ") => {
            Error::invalid("/person", format!("{what} is not in the directory"))
        }
        other => other,
    }
}

async fn edit_role(
    app: web::Data<App>,
    by: SignedIn,
    InPath((id, person)): InPath<(ExternalId, ExternalId)>,
) -> Answer<HttpResponse> {
    let (account, _) = found(&app, &id).await?;
    let who = person.as_str().to_owned();
    let held = app
        .db
        .read(move |conn| member::member(conn, id.as_str(), &who))
        .await?;
    let last = format!("members/{}", crate::http::admin::view::segment(person.as_str()));
    let title = format!("Role of {}", held.name);
    let form = Form::new(ONLY_ROLE).with("role", held.role);
    form.page(&app, &by, (&title, PART), "", &at(&account, &last, "Save role"))
}

async fn change_role(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, person)): InPath<(ExternalId, ExternalId)>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ONLY_ROLE, sent.fields)?);
    let (account, _) = found(&app, &id).await?;
    let actor = by.0.actor();
    let who = person.clone();
    let store = async |new: RoleInput| {
        app.db
            .write(&actor, move |tx| {
                member::put_member(tx, id.as_str(), who.as_str(), &new.role)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((member, _)) => {
            let text = format!("{} has the role {} now.", member.name, member.role);
            Ok(done(
                &app,
                &format!("{}#members", account_path(&account.id)),
                &text,
            ))
        }
        Saved::Again(form) => {
            let last = format!("members/{}", crate::http::admin::view::segment(person.as_str()));
            form.page(
                &app,
                &by,
                ("Change the role", PART),
                "",
                &at(&account, &last, "Save role"),
            )
        }
    }
}

async fn remove_member(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, person)): InPath<(ExternalId, ExternalId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let account = id.clone();
    app.db
        .write(&actor, move |tx| {
            member::delete_member(tx, account.as_str(), person.as_str())
        })
        .await?;
    let path = format!("{}#members", account_path(id.as_str()));
    Ok(done(&app, &path, "The person is removed from the account."))
}
