//! The channels to the systems of customers that a process has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apprise::Apprise;
use super::calling::{Calling, EndpointChannel};
use super::channel::Channel;
use super::ntfy::Ntfy;
use super::slack::Slack;
use super::sms::Sms;
use super::sms_gateway::SmsGateway;
use super::teams::Teams;
use super::webhook::Webhook;
use crate::auth::Links;
use crate::base::error::Result;
use crate::base::time::Clock;
use crate::egress::Policy;
use crate::notice::SmsTerms;

/// How short messages are sent, by the settings.
#[derive(Clone, Debug)]
pub struct SmsSettings {
    /// The gateway that sends them.
    pub gateway: SmsGateway,
    /// How long they may be, and what they cost.
    pub terms: SmsTerms,
}

/// The channels to endpoints that this process has, by name.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<BTreeMap<&'static str, Arc<dyn EndpointChannel>>>);

impl Endpoints {
    /// Returns the channels that are part of Candor.
    ///
    /// # Errors
    /// `Internal` if a channel cannot be set up.
    pub fn builtin(policy: Policy, sms: Option<&SmsSettings>) -> Result<Endpoints> {
        let gateway = sms.map(|sms| sms.gateway.clone());
        let segments = sms.map_or(1, |sms| sms.terms.segments);
        Ok(Endpoints::default()
            .with(Arc::new(Webhook::new(policy)?))
            .with(Arc::new(Slack::new(policy)?))
            .with(Arc::new(Teams::new(policy)?))
            .with(Arc::new(Ntfy::new(policy)?))
            .with(Arc::new(Apprise::new(policy)?))
            .with(Arc::new(Sms::new(gateway, segments)?)))
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

    /// Returns the names of the channels to people, or of those to accounts.
    pub fn names(&self, for_people: bool) -> Vec<&'static str> {
        let all = self.0.iter();
        all.filter(|(_, channel)| channel.is_for_people() == for_people)
            .map(|(name, _)| *name)
            .collect()
    }

    /// Returns the channels in the form that the queue uses. `links` writes the links of messages to people.
    pub fn for_queue(&self, clock: &Clock, links: &Links) -> Vec<Arc<dyn Channel>> {
        self.0
            .values()
            .map(|channel| {
                Arc::new(Calling {
                    channel: channel.clone(),
                    clock: clock.clone(),
                    links: links.clone(),
                }) as Arc<dyn Channel>
            })
            .collect()
    }
}
