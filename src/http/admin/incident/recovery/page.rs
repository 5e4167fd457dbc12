//! The page itself.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::head::Reader;
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::selector::{Json, Selector};
use crate::http::App;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Wrong;
use crate::http::admin::form::{Form, Use};
use crate::http::admin::incident_forms::find;
use crate::http::admin::params;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, account_path, count, cut, grouped, link, resource, segment};
use crate::http::api::recovery::{ImpactOf, as_csv, drawn, notified};
use crate::http::audience_cache::AudienceCache;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::recovery::{
    self, AccountProgress, Attestation, AttestationState, Change, Counts, Point, Recovery, State, Taken,
    Wanted,
};
use crate::incident::{affected, affected_people};
use crate::watch::check;

/// The number of rows of each list.
const ROWS: Limit = Limit(20);
/// The number of rows of the table beside the chart.
const TABLE: usize = 8;
/// The number of refused lines of evidence that the page shows.
const REFUSED: usize = 100;

/// The number of checks that can be chosen.
const CHECKS: i64 = 500;

const HINT: &str =
    "One on each line: a type, a space and an ID, such as file 42. If one line is wrong, nothing is changed.";

/// The form for a batch of listed resources.
pub(super) const BATCH: &[Field] = &[
    Field::resources("Resources", HINT),
    Field::choice(
        "state",
        "What happens",
        "",
        &[
            ("recovering", "Their recovery begins"),
            ("impaired", "Their recovery failed"),
        ],
        "must be one of the two",
    ),
    Field::text(
        "name",
        "Name of the batch",
        "For the timeline. Customers do not see it.",
    )
    .optional()
    .beside(),
];

/// The form for a check as the evidence for listed resources.
pub(super) const CHECK: &[Field] = &[
    Field::one_of(
        "check",
        "Check",
        "It must be up, and be about these resources or what they are part of.",
        "must be one of the checks",
    ),
    Field::resources("Resources", HINT),
];

/// The form for an attestation of listed resources.
pub(super) const ATTEST: &[Field] = &[
    Field::resources("Resources", HINT),
    Field::long_text(
        "reason",
        "Reason",
        "How you know that they are recovered. Another person reads it before they confirm. Customers do not see it.",
    ),
];

/// What the page is asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowParams {
    /// Only resources in this state.
    pub state: Option<State>,
    /// Only resources of this account.
    pub account: Option<String>,
    /// A part of the type, the ID or the name.
    pub q: Option<String>,
    pub cursor: Option<String>,
    /// Where the list of accounts goes on.
    pub accounts_after: Option<String>,
    /// The selector to count.
    pub selector: Option<String>,
    /// The time as of which the selector is evaluated.
    pub as_of: Option<String>,
}

/// What became of a form.
#[derive(Default)]
pub(super) struct Outcome {
    /// The form for a batch, if it was refused.
    pub batch: Option<Form>,
    /// The form for a check, if it was refused.
    pub check: Option<Form>,
    /// The form for an attestation, if it was refused.
    pub attest: Option<Form>,
    /// Why nothing was changed.
    pub wrong: Vec<String>,
    /// What lines of evidence changed.
    pub taken: Option<Taken>,
    /// The lines of evidence that were pasted, if some of them were refused.
    pub pasted: String,
}

pub(super) async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    given: params::Form<ShowParams>,
) -> Answer<HttpResponse> {
    answer(&app, &by, name, given.0, Outcome::default()).await
}

/// What the database says for the page.
struct Read {
    in_use: bool,
    counts: Counts,
    points: Vec<Point>,
    accounts: Vec<AccountProgress>,
    notified: std::collections::HashMap<String, i64>,
    attestations: Vec<Attestation>,
    rows: Vec<Recovery>,
    found: Option<std::result::Result<i64, Vec<String>>>,
    /// The ID and the name of each check.
    checks: Vec<(String, String)>,
    /// The number of people who are named directly.
    named: i64,
}

fn read(
    conn: &mut Conn,
    (cache, now): (&AudienceCache, Timestamp),
    id: &IncidentId,
    given: &ShowParams,
) -> Result<Read> {
    let after: Option<i64> = cursor(given.cursor.as_deref())?;
    let accounts_after: Option<String> = cursor(given.accounts_after.as_deref())?;
    let wanted = Wanted {
        state: given.state,
        account: given.account.clone(),
        text: given.q.clone(),
    };
    let accounts = recovery::accounts(conn, id, accounts_after.as_deref(), ROWS.probe())?;
    let mut attestations = recovery::attestations(conn, id)?;
    attestations.retain(|one| one.state == AttestationState::Open);
    let found = match &given.selector {
        None => None,
        Some(text) => {
            let counted = Selector::parse("/selector", &Json::Text(text.clone()))
                .and_then(|selector| selector.at(conn, params::as_of(given.as_of.as_deref())?, now))
                .and_then(|selector| affected::count_selected(conn, id, &selector));
            Some(match counted {
                Ok(n) => Ok(n),
                Err(error) => {
                    let mut wrong = Wrong::of(error)?;
                    let mut reasons = wrong.at("/selector");
                    reasons.extend(wrong.at("/as_of"));
                    reasons.extend(wrong.rest());
                    Err(reasons)
                }
            })
        }
    };
    Ok(Read {
        in_use: recovery::in_use(conn, id)?,
        named: affected_people::count(conn, id, None)?,
        counts: recovery::totals(conn, id)?,
        points: recovery::series(conn, id)?,
        notified: notified(conn, cache, id, &accounts, now)?,
        accounts,
        attestations,
        rows: recovery::list(conn, id, &wanted, after, ROWS.probe())?,
        found,
        checks: check::list(conn, None, CHECKS)?
            .into_iter()
            .map(|one| (one.id.to_string(), one.given.name))
            .collect(),
    })
}

/// Answers with the recovery page. `outcome` contains each form that was refused, and why nothing was changed.
pub(super) async fn answer(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    given: ShowParams,
    outcome: Outcome,
) -> Answer<HttpResponse> {
    let mut reader = Reader::new(app);
    let asked = given.clone();
    let (cache, now) = (app.audience_cache.clone(), app.clock().now());
    let (head, read) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let read = read(conn, (&cache, now), &head.incident.id, &asked)?;
            Ok((head, read))
        })
        .await?;
    let base = format!("{}/recovery", head.base());
    let may = by.0.role.covers(Role::Operator);
    let local = head.local(by);
    let local = local.as_ref();
    let failed = !outcome.wrong.is_empty()
        || outcome.batch.as_ref().is_some_and(Form::is_wrong)
        || outcome.check.as_ref().is_some_and(Form::is_wrong)
        || outcome.attest.as_ref().is_some_and(Form::is_wrong);
    let status = match failed {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::OK,
    };
    let checks = read.checks;
    let form =
        |form: Option<Form>, fields: &'static [Field], within: &'static str, path: &str, button: &str| {
            let open = form.is_some();
            let form = form.unwrap_or_else(|| Form::new(fields).within(within));
            let form = match within {
                "check" => form.options("check", checks.clone()),
                _ => form,
            };
            let mut shown = form.shown(&Use {
                action: format!("{base}{path}"),
                button,
                within: ("", String::new()),
            });
            shown["back"] = Value::Null;
            json!({"form": shown, "open": open})
        };
    let state = given.state.map(State::as_str);
    let path = |state: Option<&str>, at: Option<&str>| {
        let fields = [
            ("state", state),
            ("account", given.account.as_deref()),
            ("q", given.q.as_deref()),
            ("cursor", at),
        ];
        format!("{}#resources", link(&base, &fields))
    };
    let total = read.counts.total();
    let rows = page(read.rows, ROWS, |one| one.key);
    let Page { items, next_cursor } = page(read.accounts, ROWS, |one| one.account.clone());
    let accounts_path = |at: Option<&str>| format!("{}#accounts", link(&base, &[("accounts_after", at)]));
    let tabs = [
        (None, "All", total),
        (Some("impaired"), "Impaired", read.counts.impaired),
        (Some("recovering"), "Recovering", read.counts.recovering),
        (Some("recovered"), "Recovered", read.counts.recovered),
    ];
    let tabs = tabs.map(|(word, label, n)| {
        json!({
            "label": label, "count": grouped(n), "path": path(word, None), "current": word == state,
        })
    });
    let data = json!({
        "base": base,
        "in_use": read.in_use,
        "any": total > 0,
        "named": (read.named > 0).then(|| count(number(read.named), "person is", "people are")),
        "people": format!("{}/named", head.base()),
        "total": grouped(total),
        "recovered": grouped(read.counts.recovered), "recovered_path": path(Some("recovered"), None),
        "recovering": grouped(read.counts.recovering), "recovering_path": path(Some("recovering"), None),
        "impaired": grouped(read.counts.impaired), "impaired_path": path(Some("impaired"), None),
        "is_impaired": read.counts.impaired > 0,
        "attested": (read.counts.attested > 0).then(|| grouped(read.counts.attested)),
        "chart": format!("{}/recovery.svg", head.base()),
        "points": last_points(&read.points).map(point).collect::<Vec<_>>(),
        "impact_resources": format!("{base}/impact.csv"),
        "impact_accounts": format!("{base}/impact.csv?by=account"),
        "attestations": read.attestations.iter().map(|one| attestation(one, may, &base, local)).collect::<Vec<_>>(),
        "may_change": may,
        "selector": given.selector,
        "as_of": given.as_of,
        "found": read.found.map(|found| found_view(&found, &given, &base)),
        "batch": form(outcome.batch, BATCH, "batch", "", "Save for these resources"),
        "any_check": !checks.is_empty(),
        "check": form(outcome.check, CHECK, "check", "/check", "Take the check as evidence"),
        "attest": form(outcome.attest, ATTEST, "attest", "/attest", "Ask another person to confirm"),
        "wrong": outcome.wrong,
        "taken": outcome.taken.as_ref().map(taken),
        "pasted": outcome.pasted,
        "accounts": {
            "rows": items.iter().map(|one| account(one, read.notified.get(&one.account).copied().unwrap_or(0), &base)).collect::<Vec<_>>(),
            "first": given.accounts_after.is_some().then(|| accounts_path(None)),
            "next": next_cursor.as_deref().map(|next| accounts_path(Some(next))),
            "label": "More accounts",
        },
        "tabs": tabs,
        "q": given.q,
        "state": state,
        "account": given.account,
        "all_path": format!("{base}#resources"),
        "rows": rows.items.iter().map(|one| row(one, &base, local)).collect::<Vec<_>>(),
        "first": given.cursor.is_some().then(|| path(state, None)),
        "next": rows.next_cursor.as_deref().map(|next| path(state, Some(next))),
    });
    head.page(app, by, ("admin/incident/recovery", "Recovery"), status, data)
}

/// Returns the last points, or points of the whole time at equal distances if there are more.
fn last_points(points: &[Point]) -> impl Iterator<Item = &Point> {
    let step = points.len().div_ceil(TABLE).max(1);
    let last = points.len().saturating_sub(1);
    points
        .iter()
        .enumerate()
        .filter(move |(index, _)| (last - index).is_multiple_of(step))
        .map(|(_, point)| point)
}

fn point(point: &Point) -> Value {
    json!({
        "at": When::utc(point.at), "recovered": grouped(point.recovered), "recovering": grouped(point.recovering),
        "impaired": grouped(point.impaired),
    })
}

fn number(n: i64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

fn attestation(one: &Attestation, may: bool, base: &str, local: Option<&TimeZone>) -> Value {
    let resources = count(number(one.resources), "resource is", "resources are");
    let at = format!("{base}/attestations/{}", one.id);
    json!({
        "resources": resources,
        "by": one.asked_by,
        "at": When::new(one.asked_at, local),
        "reason": one.reason,
        "confirm": may.then(|| json!({
            "label": "Confirm", "action": format!("{at}/confirm"), "button": format!("Confirm that {resources} recovered"),
            "text": format!("{resources} recovered then, by the word of {} and you. Confirm only what you know yourself.", one.asked_by),
            "fields": [],
        })),
        "withdraw": may.then(|| json!({
            "label": "Withdraw", "action": format!("{at}/withdraw"), "button": "Withdraw the attestation",
            "text": "Nothing becomes recovered by it.", "fields": [],
        })),
    })
}

fn found_view(found: &std::result::Result<i64, Vec<String>>, given: &ShowParams, base: &str) -> Value {
    match found {
        Err(reasons) => json!({"wrong": reasons}),
        Ok(0) => json!({"wrong": ["It finds no affected resource."]}),
        Ok(n) => {
            let resources = count(number(*n), "resource", "resources");
            json!({
                "wrong": null,
                "resources": resources,
                "action": format!("{base}/selector"),
                "selector": given.selector,
                "as_of": given.as_of,
                "begin": format!("Begin the recovery of {resources}"),
                "failed": format!("Recovery of {resources} failed"),
                "attest": format!("Attest that {} recovered", count(number(*n), "resource is", "resources are")),
            })
        }
    }
}

fn taken(taken: &Taken) -> Value {
    let mut text = count(
        number(taken.recovered),
        "resource is recovered.",
        "resources are recovered.",
    );
    if taken.unchanged > 0 {
        text.push_str(&format!(
            " {} about what was recovered before.",
            count(number(taken.unchanged), "line is", "lines are")
        ));
    }
    if taken.relapsed > 0 {
        text.push_str(&format!(
            " {} impaired again.",
            count(
                number(taken.relapsed),
                "recovered resource is",
                "recovered resources are"
            )
        ));
    }
    json!({
        "text": text,
        "refused": (taken.refused_lines > 0)
            .then(|| count(number(taken.refused_lines), "line was refused", "lines were refused")),
        "lines": taken.refused.iter().take(REFUSED).map(|one| json!({
            "line": one.line, "detail": cut(&one.detail, 300),
        })).collect::<Vec<_>>(),
        "more": taken.refused_lines > REFUSED as i64,
    })
}

fn account(one: &AccountProgress, notified: i64, base: &str) -> Value {
    let total = one.counts.total();
    json!({
        "name": if one.name.is_empty() { &one.account } else { &one.name },
        "path": account_path(&one.account),
        "recovered": grouped(one.counts.recovered),
        "recovering": grouped(one.counts.recovering),
        "impaired": grouped(one.counts.impaired),
        "total": grouped(total),
        "done": one.counts.recovered == total,
        "notified": grouped(notified),
        "resources": format!("{}#resources", link(base, &[("account", Some(&one.account))])),
    })
}

/// Returns JSON values in one line: `size 642111856, sha256 …`.
fn values(value: Option<&Value>) -> Option<String> {
    let Some(Value::Object(fields)) = value else {
        return None;
    };
    let texts: Vec<String> = fields
        .iter()
        .filter(|(_, value)| value.is_string() || value.is_number())
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name} {}", cut(&value, 80))
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// Returns the class of the badge of a state.
pub(super) fn badge(state: State) -> &'static str {
    match state {
        State::Impaired => "bad",
        State::Recovering => "warn",
        State::Recovered => "good",
    }
}

/// Returns a change of the state of a resource.
pub(super) fn change(change: &Change, local: Option<&TimeZone>) -> Value {
    json!({
        "state": change.state,
        "badge": badge(change.state),
        "happened": When::new(change.happened_at, local),
        "recorded": When::new(change.recorded_at, local),
        "source": cut(&change.source, 200),
        "observed": values(change.observed.as_ref()),
        "by": change.by,
    })
}

fn row(one: &Recovery, base: &str, local: Option<&TimeZone>) -> Value {
    json!({
        "resource": resource(&one.resource, one.name.as_deref()),
        "history": format!(
            "{base}/resources/{}/{}", segment(one.resource.type_.as_str()), segment(one.resource.id.as_str())
        ),
        "has_history": one.evidence.is_some(),
        "gone": one.gone_at.is_some(),
        "account": one.account.as_deref().map(|id| json!({"id": id, "path": account_path(id)})),
        "state": one.state,
        "badge": badge(one.state),
        "attested": one.attested,
        "expected": values(one.expected.as_ref()),
        "evidence": one.evidence.as_ref().map(|evidence| change(evidence, local)),
    })
}

async fn id_of(app: &App, name: IncidentName) -> Answer<IncidentId> {
    Ok(app.db.read(move |conn| find(conn, &name)).await?.id)
}

pub(super) async fn image(
    app: web::Data<App>,
    _: SignedIn,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let id = id_of(&app, name).await?;
    drawn(&app, id).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImpactParams {
    by: Option<ImpactOf>,
}

pub(super) async fn impact(
    app: web::Data<App>,
    _: SignedIn,
    InPath(name): InPath<IncidentName>,
    given: params::Form<ImpactParams>,
) -> Answer<HttpResponse> {
    let id = id_of(&app, name).await?;
    as_csv(&app, id, given.0.by.unwrap_or_default()).await
}
