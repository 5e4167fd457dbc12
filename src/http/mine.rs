//! "My incidents": the page of one person, for the person.
//!
//! A link in an email, or a ticket of the product, leads to a page with one button, so that scanners and previews of links see nothing. The
//! button exchanges it for a cookie that is valid for an hour and only below `/mine`. No address of the page with the content contains a
//! secret. Only forms of the page change something, and they need the key of the session.

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, LOCATION, ORIGIN};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Declared;
use super::api::account_recovery::of_account;
use super::audience_cache::AudienceCache;
use super::error_page::for_browsers;
use super::extract::{Params, is_media, read_body};
use super::language::of_request;
use super::mine_view::{self, Shown};
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::customer::mine::{self, AccountRecovery, Mine};
use crate::customer::pass::{self, Named, Pass, Purpose, Visitor};
use crate::customer::preferences::{self, NewPreferences};
use crate::customer::reader;
use crate::db::Conn;
use crate::directory::choices;
use crate::http::App;
use crate::notice::Overview;

const COOKIE: &str = "candor_mine";
const PATH: &str = "/mine";
/// The largest size of a form, in bytes.
const MAX_FORM: usize = 8 * 1_024;
const FORM: &str = "application/x-www-form-urlencoded";

/// Refuses a link, a ticket or a session that is not valid. All of them get the same answer.
fn refused(app: &App, req: &HttpRequest) -> Problem {
    app.refusals
        .refuse(req, RefusalKind::Token, app.clock().now(), Problem::NoSuchLink)
}

/// Whose page a link or a ticket opens.
enum Opens {
    /// One person, with what proves it.
    One(Pass),
    /// Several people, who share a mailbox. They must choose.
    Several(Vec<Named>),
}

async fn by_link(app: &App, req: &HttpRequest, token: &str) -> Answer<Vec<Named>> {
    let delivery = app.links.mine_target(token).ok_or_else(|| refused(app, req))?;
    let now = app.clock().now();
    let people = app
        .db
        .read(move |conn| pass::people_of_link(conn, delivery, now))
        .await?;
    match people.is_empty() {
        true => Err(Problem::NoSuchLink),
        false => Ok(people),
    }
}

async fn by_ticket(app: &App, req: &HttpRequest, ticket: &str) -> Answer<Pass> {
    let pass = pass::read(&app.links, Purpose::Ticket, ticket, app.clock().now());
    let pass = pass.ok_or_else(|| refused(app, req))?;
    let asked = pass.clone();
    match app.db.read(move |conn| pass::visitor(conn, &asked)).await? {
        Some(_) => Ok(pass),
        None => Err(Problem::NoSuchLink),
    }
}

/// Returns the language in which a person reads.
async fn language(app: &App, person: &str) -> Answer<Language> {
    let person = person.to_owned();
    let applied = app.db.read(move |conn| match reader::active(conn, &person)? {
        Some(key) => Ok(choices::applied(conn, key)?.language),
        None => Ok(Language::En),
    });
    Ok(applied.await?)
}

/// Shows the page with the button behind the link in an email. It changes nothing and shows nothing of the person.
#[utoipa::path(tag = "Public", security(()),
    responses((status = 200, description = "A page", content_type = "text/html"), (status = 404)))]
#[get("/mine/link/{token}", wrap = "from_fn(for_browsers)")]
pub async fn show_link(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    let people = by_link(&app, &req, &token).await?;
    let first = people.first().map(|one| one.id.as_str()).unwrap_or_default();
    mine_view::button(
        &app,
        language(&app, first).await?,
        &format!("/mine/link/{}", *token),
        &[],
    )
}

/// Opens the page of the person of a mailbox. If several people share the mailbox, a page asks who it is.
#[utoipa::path(tag = "Public", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "`person` (only if several people share the mailbox)"),
    responses((status = 200, description = "A page that asks who it is", content_type = "text/html"), (status = 303), (status = 404),
        (status = 413), (status = 415)))]
#[post("/mine/link/{token}", wrap = "from_fn(for_browsers)")]
pub async fn open_link(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Answer<Declared> {
    let people = by_link(&app, &req, &token).await?;
    let fields = Fields::read(&req, payload).await?;
    let chosen = match people.as_slice() {
        [one] => Some(one),
        several => several.iter().find(|one| one.id == fields.get("person")),
    };
    let opens = match chosen {
        Some(one) => Opens::One(Pass {
            person: one.id.clone(),
            key: None,
            until: app.clock().now(),
        }),
        None => Opens::Several(people),
    };
    match opens {
        Opens::One(pass) => begin(&app, &pass).map(Declared),
        Opens::Several(people) => {
            let first = people.first().map(|one| one.id.as_str()).unwrap_or_default();
            mine_view::button(
                &app,
                language(&app, first).await?,
                &format!("/mine/link/{}", *token),
                &people,
            )
        }
    }
}

/// Shows the page with the button for a ticket of the product. It changes nothing and shows nothing of the person.
#[utoipa::path(tag = "Public", security(()),
    responses((status = 200, description = "A page", content_type = "text/html"), (status = 404)))]
#[get("/mine/open/{ticket}", wrap = "from_fn(for_browsers)")]
pub async fn show_ticket(
    app: web::Data<App>,
    req: HttpRequest,
    ticket: web::Path<String>,
) -> Answer<Declared> {
    let pass = by_ticket(&app, &req, &ticket).await?;
    mine_view::button(
        &app,
        language(&app, &pass.person).await?,
        &format!("/mine/open/{}", *ticket),
        &[],
    )
}

/// Opens the page of the person of a ticket.
#[utoipa::path(tag = "Public", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303), (status = 404)))]
#[post("/mine/open/{ticket}", wrap = "from_fn(for_browsers)")]
pub async fn open_ticket(
    app: web::Data<App>,
    req: HttpRequest,
    ticket: web::Path<String>,
) -> Answer<Declared> {
    let pass = by_ticket(&app, &req, &ticket).await?;
    begin(&app, &pass).map(Declared)
}

/// Opens the page of the person of a token of the product, which a form of the product sends.
#[utoipa::path(tag = "Public", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`token`"),
    responses((status = 303), (status = 401), (status = 403), (status = 413), (status = 415)))]
#[post("/mine", wrap = "from_fn(for_browsers)")]
pub async fn open_token(app: web::Data<App>, req: HttpRequest, payload: web::Payload) -> Answer<Declared> {
    let fields = Fields::read(&req, payload).await?;
    let (token, audience, now) = (
        fields.get("token").to_owned(),
        app.sending.public_url.clone(),
        app.clock().now(),
    );
    let reader = app
        .db
        .read(move |conn| reader::of_token(conn, &token, &audience, now))
        .await?;
    let Some(reader) = reader else {
        let why = Problem::Unauthorized("a valid token of the product is needed");
        return Err(app.refusals.refuse(&req, RefusalKind::Token, now, why));
    };
    let origin = req
        .headers()
        .get(ORIGIN)
        .map(|value| value.to_str().unwrap_or("?"));
    if origin.is_some_and(|origin| !reader.origins.iter().any(|one| one == origin)) {
        let why = "pages of this origin may not open this page; an admin adds origins to a feed key";
        return Err(Error::Forbidden(why.to_owned()).into());
    }
    let pass = Pass {
        person: reader.person,
        key: Some(reader.signed_by),
        until: now,
    };
    begin(&app, &pass).map(Declared)
}

/// Begins a session, and leads to the page.
fn begin(app: &App, pass: &Pass) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let (session, _) = pass::write(&app.links, Purpose::Session, &pass.person, pass.key.as_ref(), now)?;
    let seconds = i64::try_from(pass::SESSION.as_secs()).unwrap_or_default();
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, PATH))
        .cookie(cookie(app, session, seconds))
        .finish())
}

fn cookie(app: &App, value: String, seconds: i64) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path(PATH)
        .http_only(true)
        // The first page after the button of another page of Candor gets it. A page of the product does not.
        .same_site(SameSite::Lax)
        .secure(app.sending.public_url.starts_with("https://"))
        .max_age(time::Duration::seconds(seconds))
        .finish()
}

/// Returns the session of a request, and its person. `None` if there is none, or if it has ended.
async fn visitor(app: &App, req: &HttpRequest) -> Answer<Option<(String, Visitor)>> {
    let Some(cookie) = req.cookie(COOKIE) else {
        return Ok(None);
    };
    let session = cookie.value().to_owned();
    let Some(pass) = pass::read(&app.links, Purpose::Session, &session, app.clock().now()) else {
        return Ok(None);
    };
    let found = app.db.read(move |conn| pass::visitor(conn, &pass)).await?;
    Ok(found.map(|visitor| (session, visitor)))
}

/// Answers that the page is closed. A cookie that is not valid is counted as a refusal.
fn closed(app: &App, req: &HttpRequest) -> Answer<Declared> {
    if req.cookie(COOKIE).is_some()
        && let limited @ Problem::TooManyRefusals(_) = refused(app, req)
    {
        return Err(limited);
    }
    let mut answer = mine_view::closed(app, of_request(req, Language::En))?;
    if req.cookie(COOKIE).is_some() {
        let gone = cookie(app, String::new(), 0);
        answer.add_cookie(&gone).map_err(Error::internal)?;
    }
    Ok(Declared(answer))
}

/// Returns the keys of the resources through which a person is affected by an incident, from the same cache as the pages of operators.
fn own_resources(
    conn: &mut Conn,
    cache: &AudienceCache,
    person: &str,
    incident: &IncidentId,
    now: Timestamp,
) -> Result<Vec<i64>> {
    let overview = cache.get_or_compute_large(conn, incident, "overview", now, |conn| {
        Overview::read_with_emails(conn, incident)
    })?;
    let mut people = overview.value.0.audience.people.iter();
    let found = people.find(|one| one.person.id == person);
    Ok(found
        .map(|one| one.reasons.resource_keys().collect())
        .unwrap_or_default())
}

async fn everything(app: &App, visitor: &Visitor) -> Answer<Mine> {
    let (links, visitor, now) = (app.links.clone(), visitor.clone(), app.clock().now());
    let cache = app.audience_cache.clone();
    let mine = app.db.read(move |conn| {
        let own = |conn: &mut Conn, incident: &IncidentId| {
            own_resources(conn, &cache, &visitor.person, incident, now)
        };
        let mut mine = mine::of(conn, &visitor, &links, &own, now)?;
        for account in &mut mine.accounts {
            if !account.notices.iter().any(|notice| notice.open) {
                continue;
            }
            let recovering = of_account(conn, &cache, &account.id, now)?;
            for notice in account.notices.iter_mut().filter(|notice| notice.open) {
                let of = recovering.iter().find(|one| Some(one.number) == notice.incident);
                notice.recovery = of.map(|one| AccountRecovery {
                    affected: one.of.progress.affected,
                    recovered: one.of.progress.restored,
                });
            }
        }
        Ok(mine)
    });
    Ok(mine.await?)
}

/// Shows what affects the person of the session now, what the person was told, and what the person chose. It changes nothing.
#[utoipa::path(tag = "Public", security(()),
    responses((status = 200, description = "A page", content_type = "text/html"),
        (status = 401, description = "A page that says how to open it", content_type = "text/html")))]
#[get("/mine", wrap = "from_fn(for_browsers)")]
pub async fn show(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
    let Some((session, visitor)) = visitor(&app, &req).await? else {
        return closed(&app, &req);
    };
    let mine = everything(&app, &visitor).await?;
    let shown = Shown {
        saved: req.query_string() == "saved",
        ..Shown::default()
    };
    mine_view::page(&app, &mine, &session, &shown)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FromParam {
    /// The place of the first resource on the page, from 0. The default is 0.
    #[serde(default)]
    from: usize,
}

/// Lists all of the person's own resources in an open incident, 200 on each page. It changes nothing.
#[utoipa::path(tag = "Public", security(()), params(FromParam),
    responses((status = 200, description = "A page", content_type = "text/html"),
        (status = 401, description = "A page that says how to open it", content_type = "text/html"), (status = 404), (status = 422)))]
#[get("/mine/incidents/{number}", wrap = "from_fn(for_browsers)")]
pub async fn show_resources(
    app: web::Data<App>,
    req: HttpRequest,
    number: web::Path<String>,
    params: Params<FromParam>,
) -> Answer<Declared> {
    let Some((_, visitor)) = visitor(&app, &req).await? else {
        return closed(&app, &req);
    };
    let unknown = || Error::NotFound(format!("an open incident {} of yours", *number));
    let number: i64 = number.parse().map_err(|_| unknown())?;
    let (cache, now) = (app.audience_cache.clone(), app.clock().now());
    let (language, incident) = app
        .db
        .read(move |conn| {
            let own = |conn: &mut Conn, incident: &IncidentId| {
                own_resources(conn, &cache, &visitor.person, incident, now)
            };
            let language = choices::applied(conn, visitor.key)?.language;
            Ok((language, mine::incident(conn, &visitor, &own, number, language)?))
        })
        .await?;
    mine_view::resources(&app, language, &incident, params.0.from)
}

/// Returns everything on the page of the person of the session as a JSON file.
#[utoipa::path(tag = "Public", security(()),
    responses((status = 200, description = "A file", body = Mine),
        (status = 401, description = "A page that says how to open it", content_type = "text/html")))]
#[get("/mine/download", wrap = "from_fn(for_browsers)")]
pub async fn download(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
    let Some((_, visitor)) = visitor(&app, &req).await? else {
        return closed(&app, &req);
    };
    let mine = everything(&app, &visitor).await?;
    let text = serde_json::to_string_pretty(&mine).map_err(Error::from)?;
    Ok(Declared(
        HttpResponse::Ok()
            .content_type("application/json")
            .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"my-incidents.json\""))
            .body(text),
    ))
}

/// Stores what the person of the session chose.
#[utoipa::path(tag = "Public", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "`key` (of the form), `locale`, `time_zone`, `optional_emails` (`on` or left out), and, if the person has a phone number, `has_phone` (`on`) \
            and `phone` (`on`, or left out to delete the number)"),
    responses((status = 303), (status = 401, description = "A page that says how to open it", content_type = "text/html"),
        (status = 403), (status = 413), (status = 415), (status = 422, description = "The page with the error", content_type = "text/html")))]
#[post("/mine/preferences", wrap = "from_fn(for_browsers)")]
pub async fn save(app: web::Data<App>, req: HttpRequest, payload: web::Payload) -> Answer<Declared> {
    let Some((session, visitor)) = visitor(&app, &req).await? else {
        return closed(&app, &req);
    };
    let fields = Fields::read(&req, payload).await?;
    fields.check_key(&app, &session)?;
    let given = |name: &str| Some(fields.get(name).trim().to_owned()).filter(|text| !text.is_empty());
    let new = NewPreferences {
        locale: given("locale"),
        time_zone: given("time_zone"),
        optional_emails: fields.get("optional_emails") == "on",
        // A page that was opened before the number was stored has no such field, and must not delete the number.
        end_short_messages: fields.get("has_phone") == "on" && fields.get("phone") != "on",
    };
    let (asked, wanted) = (visitor.clone(), new.clone());
    let saved = app
        .db
        .write(&Actor::person(&visitor.way), move |tx| {
            preferences::replace(tx, &asked, &wanted)
        })
        .await;
    match saved {
        Ok(()) => Ok(Declared(
            HttpResponse::SeeOther()
                .insert_header((LOCATION, "/mine?saved"))
                .finish(),
        )),
        Err(Error::Invalid { .. }) => {
            let mine = everything(&app, &visitor).await?;
            let shown = Shown {
                saved: false,
                wrong: Some(new),
            };
            mine_view::page(&app, &mine, &session, &shown)
        }
        Err(other) => Err(other.into()),
    }
}

/// Ends the session of this browser.
#[utoipa::path(tag = "Public", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A page that says that it is closed", content_type = "text/html")))]
#[post("/mine/end", wrap = "from_fn(for_browsers)")]
pub async fn end(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
    let mut answer = mine_view::closed(&app, of_request(&req, Language::En))?;
    *answer.status_mut() = StatusCode::OK;
    let gone = cookie(&app, String::new(), 0);
    answer.add_cookie(&gone).map_err(Error::internal)?;
    Ok(Declared(answer))
}

/// The fields of a form.
struct Fields(Vec<(String, String)>);

impl Fields {
    async fn read(req: &HttpRequest, payload: web::Payload) -> Answer<Fields> {
        if !is_media(req, FORM) {
            return Err(Problem::UnsupportedMedia(FORM));
        }
        let mut payload: Payload = payload.into_inner();
        let body = read_body(req, &mut payload, MAX_FORM).await?;
        Ok(Fields(url::form_urlencoded::parse(&body).into_owned().collect()))
    }

    fn get(&self, wanted: &str) -> &str {
        self.0
            .iter()
            .find(|(name, _)| name == wanted)
            .map_or("", |(_, value)| value.as_str())
    }

    /// Checks that a page of this session sent the form.
    fn check_key(&self, app: &App, session: &str) -> Answer<()> {
        match app.links.is_form_key(session, self.get("key")) {
            true => Ok(()),
            false => {
                Err(Error::Forbidden("this form is not of this page; open the page again".to_owned()).into())
            }
        }
    }
}
