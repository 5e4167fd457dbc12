//! `/admin/incidents/merge`: merges many open incidents into one, for example those of a storm of alerts.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::words::{moves, named, reasons};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::frame::Frame;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count};
use crate::http::problem::Answer;
use crate::incident::merge::{self, MergeSeveral, MergedSeveral};
use crate::incident::{self, Filter, Incident};

pub(super) const PATH: &str = "/incidents/merge";
/// The number of open incidents that the page lists, the newest first.
const ROWS: i64 = 200;
/// What the names of the check boxes begin with. The number of the incident follows.
const BOX: &str = "from.";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    /// The number of the incident that the others are merged into.
    into: Option<i64>,
}

/// What the form contains: the number of the incident to merge into, the reason, and the incidents to merge.
#[derive(Default)]
struct Chosen {
    into: String,
    reason: String,
    /// The numbers of the incidents.
    from: Vec<String>,
}

/// What the page says about the choice.
#[derive(Default)]
struct Said {
    wrong: Vec<String>,
    plan: Option<(MergedSeveral, i64)>,
}

pub(super) async fn show(app: web::Data<App>, by: SignedIn, given: Form<Given>) -> Answer<HttpResponse> {
    let into = given.0.into;
    let from = match into {
        None => Vec::new(),
        Some(number) => {
            let alike = app
                .db
                .read(move |conn| {
                    let incident = incident::by_number(conn, number)?;
                    merge::alike_to(conn, &incident.id)
                })
                .await?;
            alike.iter().map(|one| one.number.to_string()).collect()
        }
    };
    let chosen = Chosen {
        into: into.map(|number| number.to_string()).unwrap_or_default(),
        reason: String::new(),
        from,
    };
    page(&app, &by, chosen, Said::default()).await
}

async fn page(app: &App, by: &SignedIn, chosen: Chosen, said: Said) -> Answer<HttpResponse> {
    let into: Option<i64> = chosen.into.parse().ok();
    let (open, shares) = app
        .db
        .read(move |conn| {
            let filter = Filter {
                open: Some(true),
                ..Filter::default()
            };
            let open = incident::list(conn, &filter, None, ROWS)?;
            let mut shares: HashMap<IncidentId, String> = HashMap::new();
            if let Some(into) = open.iter().find(|one| Some(one.number) == into) {
                for one in merge::alike_to(conn, &into.id)? {
                    shares.insert(one.id, one.shares.join(", "));
                }
            }
            Ok((open, shares))
        })
        .await?;
    let is_chosen = |incident: &Incident| chosen.from.contains(&incident.number.to_string());
    let rows: Vec<Value> = open
        .iter()
        .map(|one| {
            json!({
                "number": one.number, "title": one.title, "severity": one.severity, "status": one.status,
                "drill": one.drill, "path": format!("/admin/incidents/{}", one.number),
                "opened": When::utc(one.created_at), "alerts": one.alerts,
                "box": format!("{BOX}{}", one.number), "checked": is_chosen(one), "shares": shares.get(&one.id),
            })
        })
        .collect();
    let plan = said.plan.as_ref().map(|(plan, into)| {
        let button = format!(
            "Merge {} into #{into}",
            count(plan.merged.len(), "incident", "incidents")
        );
        let mut fields = vec![
            json!({"name": "into", "value": chosen.into}),
            json!({"name": "reason", "value": chosen.reason}),
            json!({"name": "step", "value": "merge"}),
        ];
        fields.extend(
            chosen
                .from
                .iter()
                .map(|number| json!({"name": format!("{BOX}{number}"), "value": "true"})),
        );
        json!({"moves": moves(&plan.moved), "button": button, "fields": fields, "into": into})
    });
    let status = match said.wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    app.pages.answer_with(
        status,
        "admin/merge",
        &json!({
            "page": Frame::new(app, by, "Merge incidents", "Incidents"),
            "action": format!("/admin{PATH}"),
            "incidents": rows,
            "into": chosen.into,
            "reason": chosen.reason,
            "wrong": said.wrong,
            "plan": plan,
        }),
    )
}

/// Turns what was chosen into the request of the API.
fn request(conn: &mut Conn, chosen: &Chosen, dry_run: bool) -> Result<(MergeSeveral, Incident)> {
    let into = named(conn, "into", &chosen.into)?;
    if chosen.from.is_empty() {
        return Err(Error::invalid("/from", "choose at least one incident"));
    }
    let mut from = Vec::with_capacity(chosen.from.len());
    for number in &chosen.from {
        let one = named(conn, "from", number)?;
        // The box of the incident that the others are merged into may be checked too.
        if one.id != into.id {
            from.push(one.id);
        }
    }
    let request = MergeSeveral {
        from,
        into: into.id.clone(),
        reason: Some(chosen.reason.clone()).filter(|reason| !reason.is_empty()),
        dry_run,
    };
    Ok((request, into))
}

pub(super) async fn send(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let chosen = Chosen {
        into: fields.take("into"),
        reason: fields.take("reason"),
        from: fields.take_below(BOX),
    };
    let merges = fields.take("step") == "merge";
    fields.finish()?;
    let asked = Chosen {
        into: chosen.into.clone(),
        reason: chosen.reason.clone(),
        from: chosen.from.clone(),
    };
    let result = match merges {
        true => {
            app.db
                .write(&actor, move |tx| {
                    let (request, into) = request(tx.conn, &asked, false)?;
                    Ok((merge::merge_several(tx, &request)?, into))
                })
                .await
        }
        false => {
            app.db
                .read(move |conn| {
                    let (request, into) = request(conn, &asked, true)?;
                    Ok((merge::preview_several(conn, &request)?, into))
                })
                .await
        }
    };
    match result {
        Ok((merged, into)) if merges => {
            let text = format!(
                "{} merged into this one. Customers were not notified by this.",
                count(merged.merged.len(), "incident is", "incidents are")
            );
            Ok(done(&app, &format!("/admin/incidents/{}", into.number), &text))
        }
        Ok((plan, into)) => {
            let said = Said {
                wrong: Vec::new(),
                plan: Some((plan, into.number)),
            };
            page(&app, &by, chosen, said).await
        }
        Err(error) => {
            let said = Said {
                wrong: reasons(error)?,
                plan: None,
            };
            page(&app, &by, chosen, said).await
        }
    }
}
