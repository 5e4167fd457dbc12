//! Takes the listing of a comparison from a URL, or from a query of the database of a source of the directory, instead of an
//! upload. The listing is stored as an upload is: while it arrives, and only if it arrives completely.
//!
//! A URL may contain a signature, and a query may contain values that nobody else should see. So neither is stored.

use std::time::Duration;

use super::side::Side;
use super::stored;
use super::upload::{Target, Upload, Uploaded};
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::db::foreign::Limit;
use crate::directory::source::query;
use crate::egress::client::{Client, DownloadBounds, Unanswered};
use crate::listing::{self, Encoding, Format, Layout, Manifest};

/// The limits of a download.
const BOUNDS: DownloadBounds = DownloadBounds {
    idle: Duration::from_secs(60),
    whole: Duration::from_secs(2 * 3600),
    bytes: 16 * 1024 * 1024 * 1024,
};

/// Which listing is taken.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The comparison that the listing is for.
    pub comparison: ComparisonId,
    /// Whether the listing says what is expected or what was observed.
    pub side: Side,
    /// When the listing was made. Without it, it is the time at which the reading begins.
    pub observed_at: Option<Timestamp>,
}

/// Downloads a listing. For an inventory with a manifest, the URL is that of its `manifest.json`, and the files are
/// downloaded one after the other from the places that follow from it.
///
/// # Errors
/// `Invalid` with the pointer `/url` if the URL is not allowed or the listing cannot be downloaded completely. The errors of
/// an upload. Nothing is stored then.
pub async fn from_url(db: &Db, by: &Actor, wanted: Wanted, client: &Client, url: &str) -> Result<Uploaded> {
    let layout = layout(db, &wanted).await?;
    let urls = match &layout.manifest {
        None => vec![url.to_owned()],
        Some(manifest) => {
            let files = manifest.files.iter();
            files
                .map(|file| Manifest::places(url, &file.key).swap_remove(0))
                .collect()
        }
    };
    let mut upload = None;
    for url in urls {
        let mut file = client.download(&url, BOUNDS).await.map_err(unanswered)?;
        let upload = match &mut upload {
            Some(upload) => upload,
            None => {
                let encoding = match layout.manifest {
                    // The sizes and checksums of the manifest are those of the files as they are stored.
                    Some(_) => Encoding::Identity,
                    None => Encoding::of_header(file.encoding.as_deref()).map_err(|_| {
                        at_url("the server sends an encoding that is not gzip, zstd or identity")
                    })?,
                };
                upload.insert(begin(db, by, &wanted, encoding).await?)
            }
        };
        while let Some(part) = file.body.next().await.map_err(at_url)? {
            upload.push(&part).await?;
        }
    }
    match upload {
        Some(upload) => upload.finish().await,
        None => Err(Error::internal("a manifest without files was accepted")),
    }
}

/// Reads a listing from a query of the database of a source. The format of the listing must be `ndjson`: its columns are
/// those of the query. `source` is the name of the source.
///
/// # Errors
/// `Invalid` with the pointer `/source`, `/sql` or `/key` if the query cannot be used or fails. The errors of an upload.
/// Nothing is stored then.
pub async fn from_source(
    db: &Db,
    by: &Actor,
    wanted: Wanted,
    (source, sql): (&str, &str),
    limit: Limit,
) -> Result<Uploaded> {
    let (id, side) = (wanted.comparison.clone(), wanted.side);
    let (source, sql) = (source.to_owned(), sql.to_owned());
    let query = db
        .read(move |conn| {
            let comparison = stored::get(conn, &id)?;
            let layout = comparison.definition().layout(side);
            if layout.format != Format::Ndjson {
                let detail = format!(
                    "gives rows as ndjson, but the format of the {side} listing is {}",
                    layout.format
                );
                return Err(Error::invalid("/sql", detail));
            }
            query::prepare(conn, &source, &sql, layout.name_of(&comparison.key))
        })
        .await?;
    let mut upload = begin(db, by, &wanted, Encoding::Identity).await?;
    let lines = query.lines(limit);
    let halt = lines.halt();
    let mut parts = listing::parts(lines)?;
    while let Some(part) = parts.recv().await {
        if let Err(error) = upload.push(&part?).await {
            // The statement that runs is not needed any more.
            halt.stop();
            return Err(error);
        }
    }
    upload.finish().await
}

async fn layout(db: &Db, wanted: &Wanted) -> Result<Layout> {
    let (id, side) = (wanted.comparison.clone(), wanted.side);
    db.read(move |conn| Ok(stored::get(conn, &id)?.definition().layout(side).clone()))
        .await
}

async fn begin(db: &Db, by: &Actor, wanted: &Wanted, encoding: Encoding) -> Result<Upload> {
    let target = Target {
        comparison: wanted.comparison.clone(),
        side: wanted.side,
        encoding,
        observed_at: wanted.observed_at,
    };
    Upload::begin(db, by, target).await
}

fn unanswered(reason: Unanswered) -> Error {
    match reason {
        Unanswered::Refused(reason) | Unanswered::Temporary(reason) | Unanswered::Lost(reason) => {
            at_url(reason)
        }
    }
}

fn at_url(reason: impl Into<String>) -> Error {
    Error::invalid("/url", reason)
}
