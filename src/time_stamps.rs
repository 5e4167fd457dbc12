//! Asks authorities for time stamps (RFC 3161) of checkpoints of the audit trail, and stores their answers.
//!
//! A checkpoint is stored first, in a transaction of its own. No transaction is open while an authority is asked. An answer is
//! stored only if it is of this checkpoint, repeats the random number of the request and has a right signature.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::audit::anchors::{self, StampView, StoredCheckpoint};
use crate::audit::note::SigningKey;
use crate::audit::time_stamp::{self, MAX, MEDIA, Nonce, Token, Trust};
use crate::audit::{Actor, tiles};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::egress::client::{Bounds, Client, Unanswered};

/// The largest answer of an authority, and how long it may take.
const BOUNDS: Bounds = Bounds {
    patience: Duration::from_secs(20),
    body: MAX,
};

/// The authorities of the settings, and what is needed to ask them.
#[derive(Clone)]
pub struct Authorities {
    /// The HTTP client that sends the requests to the authorities.
    pub client: Arc<Client>,
    /// The URLs of the authorities. Without any, checkpoints are stored and not stamped.
    pub urls: Vec<String>,
    /// The certificate authorities that answers are verified with.
    pub trust: Option<Trust>,
    /// The key that signs checkpoints.
    pub key: SigningKey,
}

/// The result of asking all authorities.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Stamped {
    /// The number of events in the checkpoint.
    pub size: i64,
    /// When the checkpoint was stored.
    pub at: Timestamp,
    /// The time stamps that were stored.
    pub stamps: Vec<StampView>,
    /// The authorities that gave none.
    pub failed: Vec<FailedStamp>,
}

/// An authority that gave no time stamp.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FailedStamp {
    /// The URL of the authority.
    pub authority: String,
    /// Why there is none.
    pub reason: String,
}

/// Stores a checkpoint of the trail as it is now, and asks all authorities for a time stamp of it.
///
/// # Errors
/// `Conflict` if the settings name no authority, `Unavailable` if none of them gave a time stamp, an error of the database.
pub async fn stamp_now(db: &Db, authorities: &Authorities, actor: &Actor) -> Result<Stamped> {
    let stamped = ask_now(db, authorities, actor).await?;
    if stamped.stamps.is_empty() {
        let reasons: Vec<String> = stamped.failed.iter().map(reason).collect();
        return Err(Error::Unavailable(format!(
            "no time stamp was made: {}",
            reasons.join("; ")
        )));
    }
    Ok(stamped)
}

/// As [`stamp_now`], but the result says which authorities gave no time stamp, also if none of them gave one.
///
/// # Errors
/// `Conflict` if the settings name no authority, an error of the database.
pub async fn ask_now(db: &Db, authorities: &Authorities, actor: &Actor) -> Result<Stamped> {
    if authorities.urls.is_empty() {
        return Err(Error::Conflict(
            "no authority for time stamps is set; CANDOR_AUDIT_TIMESTAMP_URLS names them".to_owned(),
        ));
    }
    let key = authorities.key.clone();
    let checkpoint = db.write(actor, move |tx| anchors::store(tx, &key)).await?;
    stamp(db, authorities, actor, &checkpoint).await
}

/// Does the work of each hour: stores a checkpoint if an event waits for one, and asks the authorities.
///
/// # Errors
/// `Unavailable` if an authority gave no time stamp, an error of the database.
pub async fn hourly(db: &Db, authorities: &Authorities) -> Result<()> {
    tiles::catch_up(db).await?;
    let actor = Actor::system("audit");
    let key = authorities.key.clone();
    let Some(checkpoint) = db
        .write(&actor, move |tx| anchors::store_if_due(tx, &key))
        .await?
    else {
        return Ok(());
    };
    let stamped = stamp(db, authorities, &actor, &checkpoint).await?;
    if stamped.failed.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> = stamped.failed.iter().map(reason).collect();
    Err(Error::Unavailable(format!(
        "an authority gave no time stamp: {}",
        reasons.join("; ")
    )))
}

fn reason(failed: &FailedStamp) -> String {
    format!("{}: {}", failed.authority, failed.reason)
}

/// Asks all authorities for a time stamp of a stored checkpoint.
async fn stamp(
    db: &Db,
    authorities: &Authorities,
    actor: &Actor,
    checkpoint: &StoredCheckpoint,
) -> Result<Stamped> {
    let mut stamped = Stamped {
        size: checkpoint.size,
        at: checkpoint.at,
        stamps: Vec::new(),
        failed: Vec::new(),
    };
    let answers = authorities
        .urls
        .iter()
        .map(|url| async move { (url, ask(authorities, url, checkpoint).await) });
    for (url, answer) in futures_util::future::join_all(answers).await {
        match answer {
            Ok((token, response)) => {
                let (of, from) = (checkpoint.clone(), url.clone());
                let stored = db
                    .write(actor, move |tx| {
                        anchors::store_stamp(tx, &of, (&from, &token, response))
                    })
                    .await?;
                stamped.stamps.push(stored.into());
            }
            Err(reason) => stamped.failed.push(FailedStamp {
                authority: url.clone(),
                reason,
            }),
        }
    }
    Ok(stamped)
}

/// Asks one authority, and verifies its answer.
///
/// # Errors
/// Why there is no time stamp.
async fn ask(
    authorities: &Authorities,
    url: &str,
    checkpoint: &StoredCheckpoint,
) -> std::result::Result<(Token, Vec<u8>), String> {
    let nonce = Nonce::fresh().map_err(|error| error.to_string())?;
    let imprint = time_stamp::imprint(checkpoint.note.as_bytes());
    let request = time_stamp::request(&imprint, nonce);
    let headers = [("content-type", MEDIA), ("accept", "application/timestamp-reply")];
    let answer = authorities
        .client
        .ask(url, &headers, request, BOUNDS)
        .await
        .map_err(|unanswered| match unanswered {
            Unanswered::Refused(reason) | Unanswered::Temporary(reason) | Unanswered::Lost(reason) => reason,
        })?;
    if !answer.status.is_success() {
        return Err(format!("the authority answered with {}", answer.status));
    }
    let token = Token::read(&answer.body)?;
    if !token.answers(nonce) {
        return Err("the answer does not repeat the random number of the request".to_owned());
    }
    match token.verify(&imprint, authorities.trust.as_ref())? {
        Some(false) => {
            Err("its certificate is not from an authority of CANDOR_AUDIT_TIMESTAMP_CA_FILE".to_owned())
        }
        Some(true) | None => Ok((token, answer.body)),
    }
}
