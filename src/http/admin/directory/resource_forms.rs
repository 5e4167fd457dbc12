//! The forms of a resource: create, change and delete it, and make people its collaborators. They do what the API does, with the same
//! role.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::account_forms::LABELS;
use super::entry_forms::{check, split};
use super::member_forms::{MEMBER, NewMember, ONLY_ROLE, unknown_person};
use super::shown;
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::ExternalId;
use crate::directory::ResourceRef;
use crate::directory::line::LineKind;
use crate::directory::member::{self, RoleInput};
use crate::directory::resource::{self, Resource, ResourceInput};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::{Filled, lines};
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{resource_path, segment};
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    const ONE: &str = "/directory/resources/{type}/{id}/edit";
    const MANY: &str = "/directory/resources/{type}/{id}/collaborators";
    const HELD: &str = "/directory/resources/{type}/{id}/collaborators/{person}";
    pages
        .show(NEW, Role::Operator, new)
        .send(NEW, Role::Operator, create)
        .does(&["PUT /api/v1/resources/{type}/{id}"])
        .show(ONE, Role::Operator, edit)
        .send(ONE, Role::Operator, change)
        .does(&["PUT /api/v1/resources/{type}/{id}"])
        .send("/directory/resources/{type}/{id}/delete", Role::Operator, delete)
        .does(&["DELETE /api/v1/resources/{type}/{id}"])
        .show(MANY, Role::Operator, new_collaborator)
        .send(MANY, Role::Operator, add_collaborator)
        .does(&["PUT /api/v1/resources/{type}/{id}/collaborators/{person}"])
        .show(HELD, Role::Operator, edit_role)
        .send(HELD, Role::Operator, change_role)
        .does(&["PUT /api/v1/resources/{type}/{id}/collaborators/{person}"])
        .send(
            "/directory/resources/{type}/{id}/collaborators/{person}/remove",
            Role::Operator,
            remove_collaborator,
        )
        .does(&["DELETE /api/v1/resources/{type}/{id}/collaborators/{person}"]);
}

const NEW: &str = "/directory/new-resource";
const PART: &str = "Resources";

const NAME: Field = Field::text("name", "Name", "Emails show it. It may be empty.").optional();
const ACCOUNT: Field = Field::text(
    "account",
    "Account",
    "The ID of the account that it belongs to. If empty, it belongs to the account of the resource that it is part of.",
)
.optional();
const PARENT: Field = Field::own(
    "parent",
    "Part of",
    "The resource that it is part of: a type and an ID, such as project savanna. It may be empty.",
    read_parent,
    write_parent,
);

const RESOURCE: &[Field] = &[NAME, ACCOUNT, PARENT, LABELS];
const NEW_RESOURCE: &[Field] = &[
    Field::text("type", "Type", "Such as project or file."),
    Field::text(
        "id",
        "ID",
        "The ID that your product uses. Type and ID cannot be changed later.",
    )
    .beside(),
    NAME,
    ACCOUNT,
    PARENT,
    LABELS,
];

fn read_parent(text: &str) -> std::result::Result<Value, Vec<String>> {
    let mut named = lines(text);
    let Some(line) = named.next() else {
        return Ok(Value::Null);
    };
    if named.next().is_some() {
        return Err(vec!["must be one resource".to_owned()]);
    }
    let (type_, id) = line
        .split_once(char::is_whitespace)
        .ok_or_else(|| vec!["must be a type and an ID, such as project savanna".to_owned()])?;
    let at = resource::at(type_, id.trim()).map_err(|detail| vec![detail])?;
    Ok(json!(at))
}

fn write_parent(stored: &Value) -> String {
    serde_json::from_value::<ResourceRef>(stored.clone()).map_or_else(|_| String::new(), |at| at.to_string())
}

fn use_new() -> Use<'static> {
    Use {
        action: format!("/admin{NEW}"),
        button: "Create resource",
        within: (PART, "/admin/directory/resources".to_owned()),
    }
}

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    Form::new(NEW_RESOURCE).page(&app, &by, ("Create a resource", PART), "", &use_new())
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW_RESOURCE, sent.fields)?);
    let actor = by.0.actor();
    let store = async |body: Value| {
        let ([type_, id], input) = split(body, ["type", "id"], ResourceInput::check)?;
        let at = ResourceRef { type_, id };
        let known = at.clone();
        let exists = app
            .db
            .read(move |conn| Ok(resource::get(conn, &known).is_ok()))
            .await?;
        if exists {
            return Err(Error::invalid(
                "/id",
                "is the ID of another resource of this type already",
            ));
        }
        app.db
            .write(&actor, move |tx| resource::put(tx, &at, &input))
            .await
    };
    let look = async |body: Value| split(body, ["type", "id"], ResourceInput::check).map(drop);
    match form.save_checked(app.clock().now(), store, look).await? {
        Saved::Done((one, _)) => {
            let text = format!("{} {} is created.", one.type_, one.id);
            Ok(done(&app, &resource_path(&one.type_, &one.id), &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Create a resource", PART), "", &use_new()),
    }
}

async fn found(app: &App, at: &ResourceRef) -> Answer<(Resource, Option<Value>)> {
    let at = at.clone();
    Ok(app
        .db
        .read(move |conn| {
            let one = resource::get(conn, &at)?;
            let origin = shown::origin(conn, LineKind::Resource, &[at.type_.as_str(), at.id.as_str()])?;
            Ok((one, origin))
        })
        .await?)
}

fn at_form<'a>(one: &Resource, label: &'a str, last: &str, button: &'a str) -> Use<'a> {
    let page = resource_path(&one.type_, &one.id);
    Use {
        action: format!("{page}/{last}"),
        button,
        within: (label, page),
    }
}

fn label(one: &Resource) -> String {
    format!("{} {}", one.type_, one.id)
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(at): InPath<ResourceRef>) -> Answer<HttpResponse> {
    let (one, origin) = found(&app, &at).await?;
    let labels: Vec<String> = one
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let form = Form::new(RESOURCE)
        .with("name", one.name.clone().unwrap_or_default())
        .with("account", one.account.clone().unwrap_or_default())
        .with(
            "parent",
            one.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        )
        .with("labels", labels.join("\n"));
    let (warning, label) = (shown::warning(origin.as_ref()), label(&one));
    form.page(
        &app,
        &by,
        ("Edit resource", PART),
        &warning,
        &at_form(&one, &label, "edit", "Save resource"),
    )
}

async fn change(app: web::Data<App>, sent: Filled, InPath(at): InPath<ResourceRef>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(RESOURCE, sent.fields)?);
    let (one, origin) = found(&app, &at).await?;
    let actor = by.0.actor();
    let store = async |input: ResourceInput| {
        app.db
            .write(&actor, move |tx| resource::put(tx, &at, &input))
            .await
    };
    let look = async |input: ResourceInput| check(&input, ResourceInput::check);
    match form.save_checked(app.clock().now(), store, look).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &resource_path(&one.type_, &one.id),
            "The resource is saved.",
        )),
        Saved::Again(form) => {
            let (warning, label) = (shown::warning(origin.as_ref()), label(&one));
            form.page(
                &app,
                &by,
                ("Edit resource", PART),
                &warning,
                &at_form(&one, &label, "edit", "Save resource"),
            )
        }
    }
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(at): InPath<ResourceRef>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let one = at.clone();
    app.db.write(&actor, move |tx| resource::delete(tx, &one)).await?;
    let text = "The resource is archived. Nobody is notified through it any more.";
    Ok(done(
        &app,
        &resource_path(at.type_.as_str(), at.id.as_str()),
        text,
    ))
}

const TEXT: &str = "A collaborator is notified when this resource, or one above it, is affected.";

async fn new_collaborator(
    app: web::Data<App>,
    by: SignedIn,
    InPath(at): InPath<ResourceRef>,
) -> Answer<HttpResponse> {
    let (one, _) = found(&app, &at).await?;
    let label = label(&one);
    let at = at_form(&one, &label, "collaborators", "Add collaborator");
    Form::new(MEMBER).page(&app, &by, ("Add a collaborator", PART), TEXT, &at)
}

async fn add_collaborator(
    app: web::Data<App>,
    sent: Filled,
    InPath(at): InPath<ResourceRef>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(MEMBER, sent.fields)?);
    let (one, _) = found(&app, &at).await?;
    let actor = by.0.actor();
    let store = async |new: NewMember| {
        app.db
            .write(&actor, move |tx| {
                let put = member::put_collaborator(tx, &at, new.person.as_str(), &new.role);
                put.map_err(unknown_person)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((held, _)) => {
            let text = format!("{} has the role {} on this resource now.", held.name, held.role);
            Ok(done(&app, &resource_path(&one.type_, &one.id), &text))
        }
        Saved::Again(form) => {
            let label = label(&one);
            let at = at_form(&one, &label, "collaborators", "Add collaborator");
            form.page(&app, &by, ("Add a collaborator", PART), TEXT, &at)
        }
    }
}

async fn edit_role(
    app: web::Data<App>,
    by: SignedIn,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
) -> Answer<HttpResponse> {
    let (one, _) = found(&app, &at).await?;
    let who = person.as_str().to_owned();
    let held = app
        .db
        .read(move |conn| member::collaborator(conn, &at, &who))
        .await?;
    let (title, label) = (format!("Role of {}", held.name), label(&one));
    let last = format!("collaborators/{}", segment(person.as_str()));
    let form = Form::new(ONLY_ROLE).with("role", held.role);
    form.page(
        &app,
        &by,
        (&title, PART),
        "",
        &at_form(&one, &label, &last, "Save role"),
    )
}

async fn change_role(
    app: web::Data<App>,
    sent: Filled,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ONLY_ROLE, sent.fields)?);
    let (one, _) = found(&app, &at).await?;
    let (actor, who) = (by.0.actor(), person.clone());
    let store = async |new: RoleInput| {
        app.db
            .write(&actor, move |tx| {
                member::put_collaborator(tx, &at, who.as_str(), &new.role)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((held, _)) => {
            let text = format!("{} has the role {} on this resource now.", held.name, held.role);
            Ok(done(&app, &resource_path(&one.type_, &one.id), &text))
        }
        Saved::Again(form) => {
            let label = label(&one);
            let last = format!("collaborators/{}", segment(person.as_str()));
            form.page(
                &app,
                &by,
                ("Change the role", PART),
                "",
                &at_form(&one, &label, &last, "Save role"),
            )
        }
    }
}

async fn remove_collaborator(
    app: web::Data<App>,
    sent: Filled,
    InPath((at, person)): InPath<(ResourceRef, ExternalId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let one = at.clone();
    app.db
        .write(&actor, move |tx| {
            member::delete_collaborator(tx, &one, person.as_str())
        })
        .await?;
    let path = resource_path(at.type_.as_str(), at.id.as_str());
    Ok(done(
        &app,
        &path,
        "The person is no collaborator on this resource any more.",
    ))
}
