//! The services of the status page: one keeps it fresh in memory, and one exports it.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::status_page::{ExportSettings, export};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::directory::source::cron;
use crate::status;
use crate::work::{Next, Service, Stop};

/// The service that reads the page again after a change, also after one of another process.
pub struct StatusUpdates {
    /// The state with the page.
    pub app: Arc<App>,
}

impl Service for StatusUpdates {
    const NAME: &'static str = "status_page";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        self.app.status.refresh(&self.app.db).await?;
        Ok(Next::Wait)
    }
}

/// The service that exports the status page after each change and by a schedule.
pub struct StatusExports {
    app: Arc<App>,
    settings: ExportSettings,
    exported: Option<(Timestamp, i64)>,
}

impl StatusExports {
    /// Creates the service. It exports when it starts.
    pub fn new(app: Arc<App>, settings: ExportSettings) -> StatusExports {
        StatusExports {
            app,
            settings,
            exported: None,
        }
    }
}

impl Service for StatusExports {
    const NAME: &'static str = "status_export";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        let (db, now) = (&self.app.db, self.app.db.clock().now());
        let change = db.read(status::last_change).await?;
        let due = match self.exported {
            None => true,
            Some((at, known)) => {
                known != change || cron::next(&self.settings.schedule, at).is_some_and(|next| next <= now)
            }
        };
        if !due {
            return Ok(Next::Wait);
        }
        export(db, self.app.status.site().clone(), self.settings.folder.clone()).await?;
        self.exported = Some((now, change));
        Ok(Next::Wait)
    }
}
