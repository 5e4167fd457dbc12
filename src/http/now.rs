//! The numbers that the pages and the API show about many incidents at once, from the cache of audiences.

use std::collections::HashMap;
use std::sync::Arc;

use super::App;
use super::audience_cache::AudienceCache;
use crate::audit::{self, Everywhere, TrailPosition};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::notice::{Notice, Sending};
use crate::now::{Approval, Numbers, People, Settings};

/// The numbers of this process, within one view of the database.
pub(super) struct CachedNumbers {
    cache: Arc<AudienceCache>,
    sending: Sending,
    now: Timestamp,
    /// How far the trail has come for all incidents. It is read once.
    everywhere: Option<Everywhere>,
    /// The same for each incident that was asked for.
    positions: HashMap<IncidentId, TrailPosition>,
}

impl CachedNumbers {
    /// Makes the numbers for one read. They must not be used for another one.
    pub(super) fn new(app: &App) -> CachedNumbers {
        CachedNumbers {
            cache: app.audience_cache.clone(),
            sending: app.sending.clone(),
            now: app.clock().now(),
            everywhere: None,
            positions: HashMap::new(),
        }
    }

    fn everywhere(&mut self, conn: &mut Conn) -> Result<Everywhere> {
        let everywhere = match self.everywhere {
            Some(everywhere) => everywhere,
            None => audit::everywhere(conn)?,
        };
        self.everywhere = Some(everywhere);
        Ok(everywhere)
    }

    fn cached<T: Send + Sync + 'static>(
        &mut self,
        conn: &mut Conn,
        incident: &IncidentId,
        name: &str,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Arc<T>> {
        let position = match self.positions.get(incident) {
            Some(position) => position.clone(),
            None => {
                let everywhere = self.everywhere(conn)?;
                let position = audit::position_in(conn, everywhere, incident)?;
                self.positions.insert(incident.clone(), position.clone());
                position
            }
        };
        let cached = self
            .cache
            .get_or_compute_at(conn, position, incident, name, self.now, compute)?;
        Ok(cached.value)
    }
}

impl Numbers for CachedNumbers {
    fn prepare(&mut self, conn: &mut Conn, incidents: &[&IncidentId]) -> Result<()> {
        let everywhere = self.everywhere(conn)?;
        self.positions
            .extend(audit::positions_in(conn, everywhere, incidents)?);
        Ok(())
    }

    fn people(&mut self, conn: &mut Conn, incident: &IncidentId) -> Result<Arc<People>> {
        self.cached(conn, incident, "people", |conn| People::of(conn, incident))
    }

    fn approval(&mut self, conn: &mut Conn, draft: &Notice) -> Result<Arc<Option<Approval>>> {
        let (sending, now) = (self.sending.clone(), self.now);
        let name = format!("approval of {}", draft.id);
        self.cached(conn, &draft.incident, &name, |conn| {
            Approval::of(conn, draft, &sending, now)
        })
    }
}

/// Returns what the parts of the page depend on beside the database.
pub(super) fn settings(app: &App) -> Settings {
    Settings {
        now: app.clock().now(),
        update_every: app.update_every,
        outbox: app.outbox,
        mail_servers: app
            .relays
            .as_ref()
            .map(|relays| {
                relays
                    .all()
                    .iter()
                    .map(|relay| relay.name().to_string())
                    .collect()
            })
            .unwrap_or_default(),
        trouble: app.stats.trouble(),
        backup_schedule: app
            .backup_settings
            .as_ref()
            .and_then(|settings| settings.schedule.clone()),
    }
}
