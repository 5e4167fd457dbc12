//! What the forms of accounts, people and resources have in common. Every wrong field is named at once, also the ID of a new entry,
//! which is not in the body of the API.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::audit::{Actor, Tx};
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result, misfit};
use crate::base::id::ExternalId;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin::form::{Form, Saved};

/// Checks the fields of an entry.
pub(super) type Checks<T> = fn(&T, &mut Check);

/// Checks the input of the API.
///
/// # Errors
/// `Invalid` with every wrong field.
pub(super) fn check<T>(input: &T, of: Checks<T>) -> Result<()> {
    let mut check = Check::default();
    of(input, &mut check);
    check.finish()
}

/// Splits what the form of a new entry sends into the parts of its ID and the input of the API, and checks both.
///
/// # Errors
/// `Invalid` with every wrong field.
pub(super) fn split<T: DeserializeOwned, const N: usize>(
    mut body: Value,
    parts: [&str; N],
    of: Checks<T>,
) -> Result<([ExternalId; N], T)> {
    let mut checked = Check::default();
    let ids = parts.map(|part| {
        let text = body.as_object_mut().and_then(|body| body.remove(part));
        let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
        ExternalId::parse(text).map_err(|detail| {
            checked.errors.push(FieldError::at(format!("/{part}"), detail));
        })
    });
    let input: T = serde_path_to_error::deserialize(body).map_err(|error| misfit(&error))?;
    of(&input, &mut checked);
    checked.finish()?;
    let mut read = Vec::with_capacity(N);
    for id in ids {
        read.push(id.map_err(|()| Error::internal("a wrong ID was accepted"))?);
    }
    let ids = <[ExternalId; N]>::try_from(read).map_err(|_| Error::internal("an ID is missing"))?;
    Ok((ids, input))
}

/// An account or a person that is created with a form.
pub(super) struct New<T, R> {
    /// The word for it.
    pub word: &'static str,
    /// Checks the fields of the input, and adds an error for each wrong one.
    pub check: Checks<T>,
    /// Returns whether there is one with this ID.
    pub exists: fn(&mut Conn, &str) -> bool,
    /// Stores the account or the person under this ID. Returns what was stored, and whether it is new.
    pub put: fn(&mut Tx<'_>, &ExternalId, &T) -> Result<(R, bool)>,
}

/// Creates an account or a person. An ID that is there already is an error of its field.
///
/// # Errors
/// An error that is not about the input.
pub(super) async fn create<T, R>(app: &App, actor: Actor, form: Form, new: New<T, R>) -> Result<Saved<R>>
where
    T: DeserializeOwned + Send + 'static,
    R: Send + 'static,
{
    let New {
        word,
        check,
        exists,
        put,
    } = new;
    let store = async |body: Value| {
        let ([id], input) = split(body, ["id"], check)?;
        let known = id.clone();
        if app.db.read(move |conn| Ok(exists(conn, known.as_str()))).await? {
            return Err(Error::invalid(
                "/id",
                format!("is the ID of another {word} already"),
            ));
        }
        let (stored, _) = app.db.write(&actor, move |tx| put(tx, &id, &input)).await?;
        Ok(stored)
    };
    let look = async |body: Value| split(body, ["id"], check).map(|([_], _)| ());
    form.save_checked(app.clock().now(), store, look).await
}
