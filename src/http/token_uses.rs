//! The service that stores when tokens were last used. It runs in every process that takes requests.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use crate::auth::uses;
use crate::base::error::Result;
use crate::work::{Next, Service, Stop};

/// Stores the last uses of tokens, at most once per minute and at the end.
pub struct StoredUses {
    /// The state that knows the uses.
    pub app: Arc<App>,
}

impl StoredUses {
    async fn store(&self) -> Result<()> {
        let taken = self.app.token_uses.take();
        if taken.is_empty() {
            return Ok(());
        }
        let kept = taken.clone();
        let stored = self
            .app
            .db
            .transaction(move |conn| uses::store(conn, &taken))
            .await;
        if stored.is_err() {
            self.app.token_uses.put_back(kept);
        }
        stored
    }
}

impl Service for StoredUses {
    const NAME: &'static str = "token_uses";
    const POLL: Duration = Duration::from_secs(60);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        self.store().await?;
        Ok(Next::Wait)
    }

    async fn finish(&mut self) {
        if let Err(error) = self.store().await {
            tracing::warn!(
                error = error.chain(),
                "the last uses of tokens could not be stored"
            );
        }
    }
}
