//! What the smaller forms on the page of a draft do: send a test, ask for an approval, discard the draft. They do what the API does, with
//! the same role.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::done::done;
use super::filled::Filled;
use super::notice_view::{Refused, ShowParams};
use super::{notices, sending};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::http::{App, test_notice};
use crate::incident;
use crate::notice::{self, Digest, NoticePatch, approval_asked};
use crate::operators::test_mail::TestNotice;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/notices/{id}/test", Role::Operator, test)
        .does(&["POST /api/v1/notices/{id}/test"]);
    pages
        .send("/notices/{id}/ask-for-approval", Role::Operator, ask)
        .does(&["POST /api/v1/notices/{id}/ask-for-approval"]);
    pages
        .send("/notices/{id}/acknowledge", Role::Operator, acknowledge)
        .does(&["PATCH /api/v1/notices/{id}"]);
    pages
        .send("/notices/{id}/discard", Role::Operator, discard)
        .does(&["DELETE /api/v1/notices/{id}"]);
}

async fn test(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let (to, recipient) = (fields.take("to"), fields.take("recipient"));
    fields.finish()?;
    let recipient = recipient
        .parse()
        .map_err(|_| Error::invalid("/recipient", "must be the position of a recipient"))?;
    let test = TestNotice {
        to,
        recipient: Some(recipient),
    };
    let shown = ShowParams {
        recipient: Some(recipient),
        ..ShowParams::default()
    };
    let refused = match test_notice::send(&app, &by.0.actor(), id.clone(), test).await {
        Ok(tested) if tested.accepted => {
            let page = format!("/admin/notices/{id}?recipient={recipient}#test");
            let said = "The test was sent. It is marked as a test, and its links do nothing.";
            return Ok(done(&app, &page, said));
        }
        Ok(tested) => Refused {
            status: StatusCode::OK,
            text: format!("The mail server did not accept the test: {}", tested.reply),
            digest: None,
        },
        Err(error) => sending::refused(error, None)?,
    };
    notices::page_of(&app, &by, id, shown, Some(refused)).await
}

async fn ask(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let digest = fields.take("digest");
    fields.finish()?;
    let (target, sending, said) = (id.clone(), app.sending.clone(), digest.clone());
    let asked: Result<_> = app
        .db
        .write(&by.0.actor(), move |tx| {
            approval_asked::ask(tx, &target, &Digest { digest: said }, &sending)
        })
        .await;
    let said =
        "Operators are asked to approve this notice. You can send it when enough people have approved it.";
    sending::answer(&app, &by, id, asked.map(|_| ()), (said, Some(digest))).await
}

/// Says in the draft of a resolution whether it may go to people whose affected resources are not all restored.
async fn acknowledge(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let acknowledged = !fields.take("acknowledge_impaired").is_empty();
    fields.finish()?;
    let patch = NoticePatch {
        acknowledge_impaired: Some(acknowledged),
        ..NoticePatch::default()
    };
    let target = id.clone();
    let changed = app
        .db
        .write(&by.0.actor(), move |tx| notice::change(tx, &target, &patch))
        .await;
    let said = match acknowledged {
        true => "The emails to people whose affected resources are not all restored say so now. Check them.",
        false => "The resolution is not sent to people whose affected resources are not all restored.",
    };
    sending::answer(&app, &by, id, changed.map(|_| ()), (said, None)).await
}

async fn discard(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    sent.fields.finish()?;
    let (target, by) = (id.clone(), sent.by);
    let discarded = app
        .db
        .write(&by.0.actor(), move |tx| {
            let incident = notice::get(tx.conn, &target)?.incident;
            let incident = incident::get(tx.conn, &incident)?;
            notice::discard(tx, &target)?;
            Ok(incident.number)
        })
        .await;
    match discarded {
        Ok(number) => Ok(done(
            &app,
            &format!("/admin/incidents/{number}"),
            "The draft is discarded. Nothing was sent.",
        )),
        Err(error) => {
            let refused = sending::refused(error, None)?;
            notices::page_of(&app, &by, id, ShowParams::default(), Some(refused)).await
        }
    }
}
