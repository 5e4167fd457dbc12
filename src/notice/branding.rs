//! What a notice freezes of the brand, and what its emails show of it. Neither does I/O.

use serde::{Deserialize, Serialize};

use super::template::MailBrand;
use crate::base::text::undirected;
use crate::brand::{Brand, Media};

/// What a notice froze of the brand. The name and the page for help stand in the content itself, because a notice without a brand has
/// them too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenBrand {
    /// The name of the sender, if the brand has one. It replaces the one of the settings in the header From.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address that replies go to, if it is not that of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    color: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postal_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    footer: Option<String>,
}

impl FrozenBrand {
    /// Returns what a notice freezes of a brand. `None` if it has nothing that an email shows.
    ///
    /// An email shows a logo only if it is a PNG, because most email programs show no SVG, and only with an https URL, because they load
    /// nothing else.
    pub fn of(brand: &Brand, public_url: &str) -> Option<FrozenBrand> {
        let settings = &brand.settings;
        let logo = brand
            .logo
            .as_ref()
            .filter(|logo| logo.media == Media::Png && public_url.starts_with("https://"));
        let frozen = FrozenBrand {
            name: settings.name.as_deref().map(|name| undirected(name).into_owned()),
            reply_to: settings.reply_to.clone(),
            color: settings.color.clone(),
            logo: logo.map(|logo| format!("{public_url}{}", logo.path)),
            postal_address: settings.postal_address.clone(),
            footer: settings.footer.clone(),
        };
        (frozen != FrozenBrand::default()).then_some(frozen)
    }

    /// Returns what an email shows.
    pub fn for_mail(&self) -> MailBrand {
        MailBrand {
            color: self.color.clone(),
            logo: self.logo.clone(),
            postal_address: lines(self.postal_address.as_deref()),
            footer: lines(self.footer.as_deref()),
        }
    }
}

fn lines(text: Option<&str>) -> Vec<String> {
    let lines = text.unwrap_or_default().lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(|line| undirected(line).into_owned())
        .collect()
}
