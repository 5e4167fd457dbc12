//! What the API and the pages do alike to send a test of a notice: the change, and then the email.

use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::operators::test_mail::{self, TestNotice, TestedNotice};

/// Sends a test of a draft.
///
/// # Errors
/// The errors of [`test_mail::begin`] and [`test_mail::send`]. `NotFound` if the list has no recipient at this position.
pub async fn send(app: &App, by: &Actor, id: NoticeId, test: TestNotice) -> Result<TestedNotice> {
    let (plans, sending, now) = (app.plans.clone(), app.sending.clone(), app.clock().now());
    let (of, ordinal) = (id.clone(), test.recipient.unwrap_or(1));
    let email = app
        .db
        .read(move |conn| {
            plans
                .get(conn, &of, &sending, now, false)?
                .sample(ordinal, &sending)
        })
        .await?;
    let sending = app.sending.clone();
    let to = app
        .db
        .write(by, move |tx| test_mail::begin(tx, &id, &test, &sending))
        .await?;
    test_mail::send(&app.mailer, &to, email, now).await
}
