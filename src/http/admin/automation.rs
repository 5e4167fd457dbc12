//! `/admin/automation`: the policies and what they did.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::choices::{self, Choices};
use super::frame::Frame;
use super::policy_fields::audience_words;
use super::signed_in::SignedIn;
use super::view::{When, cut, duration};
use crate::auth::Role;
use crate::automation::policy::{self, Policy, PolicyAction, PolicyPhase};
use crate::automation::run::Run;
use crate::automation::runs;
use crate::base::count::counted;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::incident::{self, Incident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/automation", Role::Viewer, show)
        .does(&["GET /api/v1/automation/policies", "GET /api/v1/automation/runs"]);
}

/// The number of the last runs that are listed.
const RUNS: i64 = 20;
/// The number of characters of a policy's text that are shown.
const WORDS: usize = 2_000;

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let (policies, runs, integrations) = app
        .db
        .read(move |conn| {
            let runs = runs::list(conn, None, RUNS)?;
            let ids: Vec<_> = runs.iter().map(|run| &run.incident).collect();
            let incidents = incident::of_ids(conn, &ids)?;
            let runs: Vec<Value> = runs
                .iter()
                .filter_map(|run| Some(run_row(incidents.get(&run.incident)?, run)))
                .collect();
            Ok((policy::list(conn)?, runs, choices::integrations(conn)?))
        })
        .await?;
    app.pages.answer(
        "admin/automation",
        &json!({
            "page": Frame::new(&app, &by, "Policies", "Policies"),
            "may_change": by.0.role.covers(Role::Admin),
            "policies": policies.iter().map(|one| policy_view(one, &integrations)).collect::<Vec<_>>(),
            "runs": runs,
        }),
    )
}

/// A policy for the partial `admin/policy-facts`.
pub(super) fn policy_view(policy: &Policy, integrations: &Choices) -> Value {
    let says = &policy.says;
    let words = |severities: &[incident::Severity]| {
        severities
            .iter()
            .map(|severity| severity.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut limits = Vec::new();
    if let Some(held) = says.limits.as_ref().filter(|_| says.action == PolicyAction::Send) {
        limits.push(format!(
            "at most {}",
            counted(held.audience_at_most, "person", "people")
        ));
        // This limit is only for detections.
        let per_account = match held.per_account_per_hour {
            Some(1) => "at most 1 notice to an account in an hour".to_owned(),
            Some(n) => format!("at most {n} notices to an account in an hour"),
            None => "any number of notices to an account".to_owned(),
        };
        if says.phase == PolicyPhase::Detection {
            limits.push(per_account);
        }
        if let Some(hours) = &held.hours {
            limits.push(format!("only from {hours}"));
        }
    }
    json!({
        "id": policy.id,
        "path": format!("/admin/automation/{}", policy.id),
        "position": policy.position,
        "name": says.name,
        "recovery": says.phase == PolicyPhase::Recovery,
        "every": says.every_minutes.map(|minutes| duration(i64::from(minutes) * 60)),
        "enabled": says.enabled,
        "action": match says.action {
            PolicyAction::Nothing => "does nothing",
            PolicyAction::Draft => "drafts",
            PolicyAction::Send => "sends",
        },
        "sends": says.action == PolicyAction::Send,
        "severities": says.severities.as_deref().map(words),
        "integrations": says.integrations.as_ref().map(|ids| ids.iter().map(|id| json!({
            "id": id, "path": format!("/admin/integrations/{id}"),
            "name": integrations.iter().find(|(of, _)| of.as_str() == id.as_str()).map(|(_, name)| name),
        })).collect::<Vec<_>>()),
        "wait": (says.wait_seconds > 0).then(|| duration(i64::from(says.wait_seconds))),
        "limits": limits,
        "subject": says.subject,
        "message": says.message.as_deref().map(|message| cut(message, WORDS)),
        "audience": says.audience.as_ref().map(audience_words),
    })
}

fn run_row(incident: &Incident, run: &Run) -> Value {
    json!({
        "number": incident.number,
        "title": cut(&incident.title, 120),
        "path": format!("/admin/incidents/{}", incident.number),
        "policy": run.policy_name,
        "recovery": run.phase == PolicyPhase::Recovery,
        "outcome": match (run.outcome, &run.held_by) {
            (Some(outcome), _) => outcome.as_str(),
            (None, Some(_)) => "held",
            (None, None) => "waiting",
        },
        "held_by": run.held_by,
        "reason": run.reason,
        "notice": run.notice.as_ref().map(|id| format!("/admin/notices/{id}")),
        "at": When::utc(run.decided_at.unwrap_or(run.due_at)),
    })
}
