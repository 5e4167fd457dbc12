//! The stored brand. The fields are one document, and the current logo is another one, so that a change of one never takes back a change
//! of the other. The files of logos are kept, because emails that were sent show them.

use diesel::prelude::*;
use diesel::upsert::excluded;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::color::{style, style_sheet};
use super::image::{Image, Media};
use super::settings::BrandSettings;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::dialect::{lock_limits, on_backend};
use crate::db::schema::{brand_logos as l, settings as s};

/// The names of the documents among the stored settings.
const SETTINGS: &str = "brand";
const LOGO: &str = "brand_logo";

/// The brand: the name, the colour and the other settings that customers see, with the logo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Brand {
    /// The settings of the brand. Each is null if nobody set it.
    #[serde(flatten)]
    pub settings: BrandSettings,
    /// The logo. Null if there is none.
    pub logo: Option<Logo>,
}

/// The logo of the brand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Logo {
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The kind of image. Emails show only a PNG, because most email programs do not show an SVG.
    pub media: Media,
    /// The width, in pixels.
    pub width: u32,
    /// The height, in pixels.
    pub height: u32,
    /// The public path of the file. It changes with the file.
    pub path: String,
}

fn document<T: serde::de::DeserializeOwned>(conn: &mut Conn, name: &str) -> Result<Option<T>> {
    let found: Option<String> = s::table.find(name).select(s::value).first(conn).optional()?;
    Ok(found.as_deref().map(serde_json::from_str).transpose()?)
}

fn keep(tx: &mut Tx<'_>, name: &str, value: &impl Serialize) -> Result<()> {
    let document = serde_json::to_string(value)?;
    on_backend!(&mut *tx.conn, c => diesel::insert_into(s::table)
        .values((s::name.eq(name), s::value.eq(&document)))
        .on_conflict(s::name)
        .do_update()
        .set(s::value.eq(excluded(s::value)))
        .execute(c))?;
    Ok(())
}

/// Returns the brand. Without one, every field is empty.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn) -> Result<Brand> {
    Ok(Brand {
        settings: document(conn, SETTINGS)?.unwrap_or_default(),
        logo: document(conn, LOGO)?,
    })
}

/// Replaces all fields. The logo stays. If nothing changes, no event is written.
///
/// # Errors
/// `Invalid` with each wrong field.
pub fn replace(tx: &mut Tx<'_>, new: &BrandSettings) -> Result<Brand> {
    let new = new.checked()?;
    lock_limits(tx.conn)?;
    let before = read(tx.conn)?;
    if before.settings != new {
        keep(tx, SETTINGS, &new)?;
        tx.record(
            Event::new(Action::BrandChanged, "brand", "brand")
                .before(json!(before.settings))
                .after(json!(new)),
        );
    }
    Ok(Brand {
        settings: new,
        logo: before.logo,
    })
}

/// Makes an image the logo. The same image again changes nothing.
///
/// # Errors
/// An error of the database.
pub fn put_logo(tx: &mut Tx<'_>, image: &Image) -> Result<Brand> {
    lock_limits(tx.conn)?;
    let before = read(tx.conn)?;
    let sha256 = hex(&Sha256::digest(&image.bytes));
    let logo = Logo {
        path: format!("/brand/logo/{sha256}"),
        sha256,
        media: image.media,
        width: image.width,
        height: image.height,
    };
    if before.logo.as_ref() == Some(&logo) {
        return Ok(before);
    }
    let known: i64 = l::table.find(&logo.sha256).count().get_result(tx.conn)?;
    if known == 0 {
        diesel::insert_into(l::table)
            .values((
                l::sha256.eq(&logo.sha256),
                l::media.eq(logo.media.as_str()),
                l::content.eq(&image.bytes),
                l::created_at.eq(tx.now),
            ))
            .execute(tx.conn)?;
    }
    keep(tx, LOGO, &logo)?;
    tx.record(
        Event::new(Action::BrandLogoChanged, "brand", "logo")
            .before(json!({"sha256": before.logo.map(|logo| logo.sha256)}))
            .after(json!({"sha256": logo.sha256, "media": logo.media, "width": logo.width, "height": logo.height})),
    );
    Ok(Brand {
        settings: before.settings,
        logo: Some(logo),
    })
}

/// Removes the logo from what is sent and shown from now on. Its file is kept for the emails that show it.
///
/// # Errors
/// `NotFound` if there is no logo.
pub fn remove_logo(tx: &mut Tx<'_>) -> Result<()> {
    lock_limits(tx.conn)?;
    let Some(logo) = read(tx.conn)?.logo else {
        return Err(Error::NotFound("a logo".to_owned()));
    };
    diesel::delete(s::table.find(LOGO)).execute(tx.conn)?;
    tx.record(Event::new(Action::BrandLogoRemoved, "brand", "logo").before(json!({"sha256": logo.sha256})));
    Ok(())
}

/// Returns the files that public pages load with this brand, by their paths.
///
/// # Errors
/// An error of the database.
pub fn public_files(conn: &mut Conn, brand: &Brand) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    if let Some(color) = brand.settings.color() {
        files.push((style(color), style_sheet(color).into_bytes()));
    }
    if let Some(logo) = &brand.logo {
        files.push((logo.path.clone(), image(conn, &logo.sha256)?.1));
    }
    Ok(files)
}

/// Returns the file of a logo of now or earlier.
///
/// # Errors
/// `NotFound` if no logo had this SHA-256.
pub fn image(conn: &mut Conn, sha256: &str) -> Result<(Media, Vec<u8>)> {
    let found: Option<(String, Vec<u8>)> = l::table
        .find(sha256)
        .select((l::media, l::content))
        .first(conn)
        .optional()?;
    let (media, content) = found.ok_or_else(|| Error::NotFound("a logo with this SHA-256".to_owned()))?;
    Ok((Media::parse(&media).map_err(Error::internal)?, content))
}
