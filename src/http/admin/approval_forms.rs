//! The approval of a notice on its page: which limits it is above, who approved it, and the forms with which other people approve
//! it and with which an admin uses break glass.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::field::Field;
use super::filled::{Filled, back_to};
use super::form::{Form, Saved, Use};
use super::signed_in::SignedIn;
use super::view::{Frame, When};
use crate::auth::{Caller, Role};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice::{self, Approval, ApprovalKind, BreakGlass, Digest, Exceeded, LimitName, Notice, Preview};

pub(super) fn routes(pages: &mut Pages) {
    pages.send("/notices/{id}/approve", Role::Approver, approve).send(
        "/notices/{id}/break-glass",
        Role::Admin,
        break_glass,
    );
}

const GLASS: &[Field] = &[Field::long_text(
    "reason",
    "Why the notice cannot wait for an approval",
    "At least 10 characters. Operators, the timeline of the incident and the audit trail get this reason.",
)];

/// What the page says about the approval of a notice, from the same view of the database as the rest of the page.
pub(super) struct Approved {
    list: Vec<Approval>,
    /// What the caller wrote of the draft, so that the caller may not approve it.
    own_part: Option<&'static str>,
}

impl Approved {
    /// Reads the approvals of a notice, and whether the caller may approve it.
    pub(super) fn read(
        conn: &mut Conn,
        notice: &Notice,
        preview: Option<&Preview>,
        (caller, sending): (&Caller, &notice::Sending),
        now: Timestamp,
    ) -> Result<Self> {
        Ok(match preview {
            Some(preview) => Approved {
                list: notice::approvals_for(conn, &notice.id, &preview.digest, now)?,
                own_part: notice::own_part(conn, &notice.id, caller.id.as_str())?,
            },
            None => Approved {
                list: notice::list_approvals(conn, &notice.id, sending, now)?,
                own_part: None,
            },
        })
    }

    /// Returns the section of the page. Null if the notice needs no approval and has none.
    pub(super) fn section(&self, notice: &Notice, preview: Option<&Preview>, caller: &Caller) -> Value {
        let required = preview.is_some_and(|preview| preview.approval_required);
        if !required && self.list.is_empty() {
            return Value::Null;
        }
        let waits = preview.filter(|preview| preview.approval_required && !preview.approved);
        let has_approved = self
            .list
            .iter()
            .any(|one| one.valid && one.kind == ApprovalKind::Approval && one.token == caller.id.as_str());
        let is_approver = caller.role.covers(Role::Approver);
        let may_approve = is_approver && self.own_part.is_none() && !has_approved;
        let path = format!("/admin/notices/{}", notice.id);
        json!({
            "required": required,
            "approved": preview.map_or(notice.approved, |preview| preview.approved),
            "broken": preview.map_or(notice.break_glass, |preview| preview.break_glass),
            "draft": notice.state.is_draft(),
            "limits": preview.map(|preview| preview.limits.iter().map(limit_row).collect::<Vec<_>>()).unwrap_or_default(),
            "needed": preview.map_or(0, |preview| preview.approvals_needed),
            "given": preview.map_or(0, |preview| preview.approvals_given),
            "missing": waits.map_or(0, |preview| preview.approvals_needed.saturating_sub(preview.approvals_given)),
            "one_missing": waits.is_some_and(|preview| preview.approvals_needed == preview.approvals_given + 1),
            "list": self.list.iter().map(row).collect::<Vec<_>>(),
            "approve": waits.filter(|_| may_approve).map(|preview| json!({
                "action": format!("{path}/approve"), "digest": preview.digest,
            })),
            "why_not": waits.filter(|_| is_approver).and_then(|_| match (self.own_part, has_approved) {
                (Some(part), _) => Some(format!("You cannot approve this notice, because you {part}.")),
                (None, true) => Some("You have approved it. Another person must approve it too.".to_owned()),
                (None, false) => None,
            }),
            "glass": waits.filter(|_| caller.role.covers(Role::Admin)).map(|preview| {
                glass(Form::new(GLASS), &path, &preview.digest)
            }),
        })
    }
}

fn row(approval: &Approval) -> Value {
    json!({
        "person": approval.person,
        "name": (approval.name != approval.person).then_some(&approval.name),
        "broken": approval.kind == ApprovalKind::BreakGlass,
        "reason": approval.reason,
        "at": When::utc(approval.at),
        "expires": When::utc(approval.expires_at),
        "valid": approval.valid,
        "why_not": approval.why_not,
    })
}

fn limit_row(exceeded: &Exceeded) -> Value {
    let name = match exceeded.name {
        LimitName::Recipients => "Recipients of this notice",
        LimitName::RecipientsPerIncident => {
            "Recipients of this incident's notices that were sent without approval, and of this one"
        }
        LimitName::RecipientsPerHour => {
            "Recipients of all notices that were sent without approval in the last hour, and of this one"
        }
        LimitName::ShareOfDirectory => "Share of the people in the directory who have an address",
    };
    json!({"name": name, "limit": exceeded.limit.shown(), "value": exceeded.value.shown()})
}

/// The form for break glass. `page` is the path of the page of the notice.
fn glass(form: Form, page: &str, digest: &str) -> Value {
    let at = Use {
        action: format!("{page}/break-glass"),
        button: "Break glass",
        within: ("", page.to_owned()),
    };
    let mut shown = form.within("glass").shown(&at);
    shown["digest"] = json!(digest);
    shown
}

async fn approve(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let digest = Digest {
        digest: fields.take("digest"),
    };
    fields.finish()?;
    let (sending, path) = (app.sending.clone(), format!("/admin/notices/{id}"));
    app.db
        .write(&by.0.actor(), move |tx| {
            notice::approve(tx, &id, &digest, &sending)
        })
        .await?;
    Ok(back_to(&format!("{path}#approval")))
}

async fn break_glass(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let digest = fields.take("digest");
    let form = Form::read(GLASS, fields)?;
    let path = format!("/admin/notices/{id}");
    let (actor, sending, typed) = (by.0.actor(), app.sending.clone(), digest.clone());
    let store = async |said: Value| {
        let said = BreakGlass {
            digest: typed,
            reason: said["reason"].as_str().unwrap_or_default().to_owned(),
        };
        app.db
            .write(&actor, move |tx| notice::break_glass(tx, &id, &said, &sending))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(back_to(&format!("{path}#approval"))),
        Saved::Again(form) => wrong(&app, &by, form, &path, &digest),
    }
}

/// The page with the form for break glass alone, with its errors.
fn wrong(app: &App, by: &SignedIn, form: Form, path: &str, digest: &str) -> Answer<HttpResponse> {
    let data = json!({
        "page": Frame::with_forms(app, by, "Break glass", "Incidents"), "back": path, "glass": glass(form, path, digest),
    });
    app.pages
        .answer_with(StatusCode::UNPROCESSABLE_ENTITY, "admin/break-glass", &data)
}
