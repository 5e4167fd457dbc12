//! The channels to the systems of customers that a process has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apprise::Apprise;
use super::calling::{Calling, EndpointChannel};
use super::channel::Channel;
use super::ntfy::Ntfy;
use super::slack::Slack;
use super::teams::Teams;
use super::webhook::Webhook;
use crate::base::error::Result;
use crate::base::time::Clock;
use crate::egress::Policy;

/// The channels to endpoints that this process has, by name.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<BTreeMap<&'static str, Arc<dyn EndpointChannel>>>);

impl Endpoints {
    /// Returns the channels that are part of Candor.
    ///
    /// # Errors
    /// `Internal` if a channel cannot be set up.
    pub fn builtin(policy: Policy) -> Result<Endpoints> {
        Ok(Endpoints::default()
            .with(Arc::new(Webhook::new(policy)?))
            .with(Arc::new(Slack::new(policy)?))
            .with(Arc::new(Teams::new(policy)?))
            .with(Arc::new(Ntfy::new(policy)?))
            .with(Arc::new(Apprise::new(policy)?)))
    }

    /// Returns a copy with one more channel.
    pub fn with(&self, channel: Arc<dyn EndpointChannel>) -> Endpoints {
        let mut all = BTreeMap::clone(&self.0);
        all.insert(channel.name(), channel);
        Endpoints(Arc::new(all))
    }

    /// Returns the channel with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn EndpointChannel>> {
        self.0.get(name)
    }

    /// Returns the names of all channels.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    /// Returns the channels in the form that the queue uses.
    pub fn for_queue(&self, clock: &Clock) -> Vec<Arc<dyn Channel>> {
        self.0
            .values()
            .map(|channel| {
                Arc::new(Calling {
                    channel: channel.clone(),
                    clock: clock.clone(),
                }) as Arc<dyn Channel>
            })
            .collect()
    }
}
