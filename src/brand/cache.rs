//! What the public pages show of the brand. It is read once and not for each page, because each public page shows it, the pages of errors
//! too.
//!
//! The process in which the brand changes shows the change at once. Another process shows it after the next reading.

use std::sync::PoisonError;
use std::sync::{Arc, RwLock};

use serde::Serialize;

use super::color::style;
use super::stored::{self, Brand};
use crate::base::error::Result;
use crate::db::Db;

/// What a public page shows of the brand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The name, if it is set.
    pub name: Option<String>,
    /// The path of the style with the colour, if it is set.
    pub style: Option<String>,
    /// The path of the logo, if there is one.
    pub logo: Option<String>,
    /// The page where customers get help, if it is set.
    pub support_url: Option<String>,
    /// The lines of the postal address.
    pub postal_address: Vec<String>,
    /// The lines of the footer.
    pub footer: Vec<String>,
}

impl Shown {
    /// Returns what a page shows of a brand.
    pub fn of(brand: &Brand) -> Shown {
        let lines = |text: &Option<String>| {
            let lines = text.as_deref().unwrap_or_default().lines().map(str::trim);
            lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let settings = &brand.settings;
        Shown {
            name: settings.name.clone(),
            style: settings.color().map(style),
            logo: brand.logo.as_ref().map(|logo| logo.path.clone()),
            support_url: settings.support_url.clone(),
            postal_address: lines(&settings.postal_address),
            footer: lines(&settings.footer),
        }
    }
}

/// The brand as the public pages of this process show it.
#[derive(Clone, Debug, Default)]
pub struct BrandCache(Arc<RwLock<Cached>>);

#[derive(Debug, Default)]
struct Cached {
    shown: Arc<Shown>,
    /// How often the brand was changed in this process. A reading that began before a change is not used.
    changes: u64,
}

impl BrandCache {
    /// Returns what a page shows.
    pub fn shown(&self) -> Arc<Shown> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .shown
            .clone()
    }

    /// Reads the brand again.
    ///
    /// # Errors
    /// An error of the database.
    pub async fn refresh(&self, db: &Db) -> Result<()> {
        let began = self.0.read().unwrap_or_else(PoisonError::into_inner).changes;
        let brand = db.read(stored::read).await?;
        let mut cached = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if cached.changes == began {
            cached.shown = Arc::new(Shown::of(&brand));
        }
        Ok(())
    }

    /// Reads the brand after it was changed in this process.
    ///
    /// # Errors
    /// An error of the database.
    pub async fn changed(&self, db: &Db) -> Result<()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).changes += 1;
        self.refresh(db).await
    }
}
