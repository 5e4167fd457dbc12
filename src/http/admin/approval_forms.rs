//! The approval of a notice on its page: which limits it is above, who approved it, and the forms with which other people approve
//! it and with which an admin uses break glass. [`super::approving`] does what they ask for.

use serde_json::{Value, json};

use super::field::Field;
use super::form::{Form, Use};
use super::view::When;
use crate::auth::{Caller, Role};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::notice::{self, Approval, ApprovalAsked, ApprovalKind, Exceeded, LimitName, Notice, Preview};

pub(super) const GLASS: &[Field] = &[Field::long_text(
    "reason",
    "Why the notice cannot wait for an approval",
    "At least 10 characters. Operators, the timeline of the incident and the audit trail get this reason.",
)];

/// What the page says about the approval of a notice, from the same view of the database as the rest of the page.
pub(super) struct Approved {
    list: Vec<Approval>,
    /// What the caller wrote of the draft, so that the caller may not approve it.
    own_part: Option<&'static str>,
    /// When other people were last asked to approve it.
    pub(super) asked: Option<ApprovalAsked>,
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
                asked: None,
            },
            None => Approved {
                list: notice::list_approvals(conn, &notice.id, sending, now)?,
                own_part: None,
                asked: None,
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
        // An approval of what cannot be sent would be for nothing.
        let ready =
            preview.is_some_and(|preview| !preview.has_placeholders && preview.missing_values.is_empty());
        let may_approve = ready && is_approver && self.own_part.is_none() && !has_approved;
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
            "asked": self.asked.as_ref().filter(|_| waits.is_some()).map(|asked| json!({
                "by": asked.by, "at": When::utc(asked.at),
                "old": preview.is_some_and(|preview| preview.digest != asked.digest),
            })),
            "ask": waits
                .filter(|_| ready && !may_approve && caller.role.covers(Role::Operator))
                .filter(|preview| self.asked.as_ref().is_none_or(|asked| asked.digest != preview.digest))
                .map(|preview| json!({"action": format!("{path}/ask-for-approval"), "digest": preview.digest})),
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
        LimitName::SmsPrice => "Price of the short messages of this notice",
        LimitName::ShareOfDirectory => "Share of the people in the directory who have an address",
    };
    json!({"name": name, "limit": exceeded.limit.shown(), "value": exceeded.value.shown()})
}

/// The form for break glass. `page` is the path of the page of the notice.
pub(super) fn glass(form: Form, page: &str, digest: &str) -> Value {
    let at = Use {
        action: format!("{page}/break-glass"),
        button: "Break glass",
        within: ("", page.to_owned()),
    };
    let mut shown = form.within("glass").shown(&at);
    shown["digest"] = json!(digest);
    shown
}
