//! An email with sample data and the stored brand, so that an admin sees what the brand does. It stores and sends nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::branding::FrozenBrand;
use super::sending::Sending;
use super::templates;
use crate::base::error::{Error, Result};
use crate::brand;
use crate::db::Conn;
use crate::notice::template::{MailContext, Phase, Rendered};

/// Renders the email of a detection with the current template and the current brand. The logo is inside the email, because the page that
/// shows it loads nothing.
///
/// # Errors
/// `Invalid` if the current template cannot be rendered.
pub fn brand_preview(conn: &mut Conn, sending: &Sending) -> Result<Rendered> {
    let template = templates::current(conn, Phase::Detection)?.compile()?;
    let brand = brand::read(conn)?;
    let frozen = FrozenBrand::of(&brand, &sending.public_url);
    let mut mail = frozen.as_ref().map(FrozenBrand::for_mail);
    if let (Some(mail), Some(logo)) = (&mut mail, &brand.logo)
        && mail.logo.is_some()
    {
        let (media, content) = brand::image(conn, &logo.sha256)?;
        mail.logo = Some(format!(
            "data:{};base64,{}",
            media.media_type(),
            STANDARD.encode(content)
        ));
    }
    let [sample, ..] = template.samples(Phase::Detection);
    template
        .render(&MailContext {
            sender: brand
                .settings
                .name
                .clone()
                .unwrap_or_else(|| sending.sender.clone()),
            support_url: brand
                .settings
                .support_url
                .clone()
                .or_else(|| sending.support_url.clone()),
            headline: Some("Some files cannot be opened".to_owned()),
            brand: mail,
            ..sample
        })
        .map_err(|error| match error {
            Error::Invalid { detail, .. } => Error::Conflict(format!(
                "the template of a detection cannot be rendered: {detail}"
            )),
            other => other,
        })
}
