//! `/admin/status-page`: the components of the status page, and the forms that create, change and delete them.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::ExternalId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::status::component::{self, Component, Input};
use crate::status::{ComponentState, Indicator};
use crate::subscription::subscriber;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/status-page", Role::Viewer, list)
        .does(&["GET /api/v1/components"])
        .show("/status-page/components/new", Role::Admin, new)
        .send("/status-page/components", Role::Admin, create)
        .keeps_text("Create the component")
        .does(&["PUT /api/v1/components/{id}"])
        .show("/status-page/components/{id}", Role::Admin, show)
        .does(&["GET /api/v1/components/{id}"])
        .send("/status-page/components/{id}", Role::Admin, change)
        .keeps_text("Save the component")
        .does(&["PUT /api/v1/components/{id}"])
        .send("/status-page/components/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/components/{id}"]);
}

const PATH: &str = "/admin/status-page";
const PART: &str = "Status page";

const ID: Field = Field::text(
    "id",
    "ID",
    "Posts name the component by it, such as uploads. Letters from a to z, digits, '-', '_' and '.'. It cannot be changed later.",
);
const NAME: Field = Field::text("name", "Name", "Customers read it, such as Uploads.");
const GROUP: Field = Field::text(
    "group",
    "Group",
    "The page shows the components of a group together. It may be empty.",
)
.optional()
.beside();
const POSITION: Field = Field::number(
    "position",
    "Position in the group",
    "From the lowest. If empty, it is 0.",
    (0, 1_000_000, 1),
    "must be a whole number from 0 to 1000000",
);
const SELECTOR: Field = Field::text(
    "selector",
    "Resources",
    "A selector such as type:upload provider:s3. A new post suggests the components to which affected resources belong. It may be empty.",
)
.optional()
.beside();

const NEW: &[Field] = &[ID, NAME, GROUP, POSITION, SELECTOR];
const CHANGED: &[Field] = &[NAME, GROUP, POSITION, SELECTOR];

fn tone(state: ComponentState) -> &'static str {
    match Indicator::from(state) {
        Indicator::None => "good",
        Indicator::Maintenance => "info",
        Indicator::Minor => "warn",
        Indicator::Major | Indicator::Critical => "bad",
    }
}

/// Returns the words of a state for the people who work with Candor.
pub(super) fn words(state: ComponentState) -> String {
    state.as_str().replace('_', " ")
}

async fn list(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let may_change = by.0.role.covers(Role::Admin);
    let snapshot = app.status.current(&app.db).await?;
    let readers = app.db.read(subscriber::counts).await?.get_posts;
    let page = snapshot.page();
    let rows = page.components.iter().map(|one| {
        let state = page.state(&one.id);
        Ok(json!({
            "id": one.id, "name": one.name, "group": one.group, "position": one.position,
            "selector": one.selector_text()?, "word": words(state), "tone": tone(state),
            "path": may_change.then(|| format!("{PATH}/components/{}", one.id)),
        }))
    });
    let rows = rows.collect::<Result<Vec<Value>>>()?;
    let open = page.open().map(|one| {
        json!({
            "number": one.number, "path": format!("/admin/incidents/{}/posts", one.number),
            "status": one.status(), "title": one.title(crate::base::language::Language::En),
        })
    });
    app.pages.answer(
        "admin/status-page",
        &json!({
            "page": Frame::new(&app, &by, PART, PART), "components": rows, "open": open.collect::<Vec<_>>(),
            "may_change": may_change, "subscribers": counted(readers, "subscriber", "subscribers"),
        }),
    )
}

fn at(action: String, button: &str) -> Use<'_> {
    Use {
        action,
        button,
        within: (PART, PATH.to_owned()),
    }
}

fn new_page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let at = at(format!("{PATH}/components"), "Create component");
    let explained = "A component is a part of your product that customers know. Its state follows from the posts about open incidents.";
    form.page(app, by, ("New component", PART), explained, &at)
}

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    new_page(&app, &by, Form::new(NEW))
}

/// Takes the ID out of the body of the form.
fn with_id(mut body: Value) -> Result<(ExternalId, Input)> {
    let id = body
        .as_object_mut()
        .and_then(|fields| fields.remove("id"))
        .unwrap_or_default();
    let id = ExternalId::parse(id.as_str().unwrap_or_default()).map_err(|why| Error::invalid("/id", why))?;
    let input: Input =
        serde_path_to_error::deserialize(body).map_err(|error| crate::base::error::misfit(&error))?;
    Ok((id, input))
}

/// The form of a component has its ID as a field, and the API has it in the path.
fn at_field(error: Error) -> Error {
    match error {
        Error::Invalid { mut errors, .. } => {
            for one in &mut errors {
                if one.pointer.as_deref() == Some("{id}") {
                    one.pointer = Some("/id".to_owned());
                }
            }
            Error::fields(errors)
        }
        other => other,
    }
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW, sent.fields)?);
    let actor = by.0.actor();
    let store = async |body: Value| {
        let (id, input) = with_id(body)?;
        app.db
            .write(&actor, move |tx| {
                // A form that creates something never replaces what somebody else has created.
                if component::get(tx.conn, id.as_str()).is_ok() {
                    return Err(Error::invalid("/id", "is the ID of another component"));
                }
                component::put(tx, &id, &input)
            })
            .await
            .map_err(at_field)
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The component is created.")),
        Saved::Again(form) => new_page(&app, &by, form),
    }
}

async fn find(app: &App, id: ExternalId) -> Answer<Component> {
    Ok(app.db.read(move |conn| component::get(conn, id.as_str())).await?)
}

fn edit_page(app: &App, by: &SignedIn, one: &Component, form: Form) -> Answer<HttpResponse> {
    let status = form.status();
    let path = format!("{PATH}/components/{}", one.id);
    let title = format!("Component {}", one.name);
    let delete = json!({
        "label": "Delete this component", "action": format!("{path}/delete"), "button": "Delete 1 component",
        "text": format!("The status page shows “{}” no more. Posts that name it stay.", one.name), "fields": [],
    });
    app.pages.answer_with(
        status,
        "admin/edit-more",
        &json!({
            "page": Frame::new(app, by, &title, PART), "title": title, "within": PART,
            "form": form.shown(&at(path, "Save component")), "delete": delete,
        }),
    )
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let one = find(&app, id).await?;
    let form = Form::new(CHANGED)
        .with("name", one.name.clone())
        .with("group", one.group.clone().unwrap_or_default())
        .with("position", one.position.to_string())
        .with("selector", one.selector_text()?.unwrap_or_default());
    edit_page(&app, &by, &one, form)
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CHANGED, sent.fields)?);
    let one = find(&app, id.clone()).await?;
    let actor = by.0.actor();
    let store = async |input: Input| {
        app.db
            .write(&actor, move |tx| component::put(tx, &id, &input))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The component is saved.")),
        Saved::Again(form) => edit_page(&app, &by, &one, form),
    }
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db
        .write(&actor, move |tx| component::delete(tx, id.as_str()))
        .await?;
    Ok(done(&app, PATH, "The component is deleted."))
}
