//! An incident as the public reads it.

use super::post::{Post, States};
use super::state::{ComponentState, Indicator, PostStatus};
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::base::time::Timestamp;

/// An incident with posts, as the public reads it. The posts of the incidents that are merged into it belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicIncident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// Its posts, oldest first. There is at least one.
    pub posts: Vec<Post>,
}

impl PublicIncident {
    /// Returns the state of the work: that of the newest post.
    pub fn status(&self) -> PostStatus {
        self.posts
            .last()
            .map_or(PostStatus::Investigating, |post| post.status)
    }

    /// Returns whether the incident is open for the public.
    pub fn is_open(&self) -> bool {
        self.status() != PostStatus::Resolved
    }

    /// Returns the time of the first post.
    pub fn began_at(&self) -> Timestamp {
        self.posts
            .first()
            .map_or(Timestamp::from_micros(0), |post| post.at)
    }

    /// Returns the time of the newest post.
    pub fn last_at(&self) -> Timestamp {
        self.posts
            .last()
            .map_or(Timestamp::from_micros(0), |post| post.at)
    }

    /// Returns when the posts of the incident were last changed.
    pub fn updated_at(&self) -> Timestamp {
        let changed = self.posts.iter().map(|post| post.updated_at.max(post.at));
        changed.max().unwrap_or(Timestamp::from_micros(0))
    }

    /// Returns when the incident was resolved, if it is.
    pub fn resolved_at(&self) -> Option<Timestamp> {
        (!self.is_open()).then(|| self.last_at())
    }

    /// Returns the states of all components after each post. A resolved incident affects none.
    fn states(&self) -> Vec<(Timestamp, States)> {
        let mut states = States::new();
        self.posts
            .iter()
            .map(|post| {
                states.extend(post.components.iter().map(|(id, state)| (id.clone(), *state)));
                if post.status == PostStatus::Resolved {
                    states.clear();
                }
                (post.at, states.clone())
            })
            .collect()
    }

    /// Returns the states of the components that the incident affects now.
    pub fn affects(&self) -> States {
        self.states().pop().map(|(_, states)| states).unwrap_or_default()
    }

    /// Returns the states of a component after each post.
    pub fn states_of(&self, component: &str) -> Vec<(Timestamp, ComponentState)> {
        let of = |states: States| states.get(component).copied();
        self.states()
            .into_iter()
            .map(|(at, states)| (at, of(states).unwrap_or(ComponentState::Operational)))
            .collect()
    }

    /// Returns the worst state of each component that a post ever named.
    pub fn worst(&self) -> States {
        let mut worst = States::new();
        for (id, state) in self.posts.iter().flat_map(|post| &post.components) {
            let known = worst.entry(id.clone()).or_insert(*state);
            *known = (*known).max(*state);
        }
        worst
    }

    /// Returns how bad the incident was at its worst.
    pub fn impact(&self) -> Indicator {
        let worst = self.worst().into_values().max();
        worst.map_or(Indicator::None, Indicator::from)
    }

    /// Returns the newest title in a language, or else the newest one in the language in which the operators write. None if no post
    /// has a title.
    pub fn title(&self, language: Language) -> Option<&str> {
        self.posts.iter().rev().find_map(|post| {
            let translated = post
                .translations
                .get(&language)
                .and_then(|said| said.title.as_deref());
            translated.or(post.title.as_deref())
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::id::PostId;

    pub fn post(at: &str, status: &str, components: &[(&str, ComponentState)]) -> Post {
        let at = Timestamp::parse(at).unwrap();
        Post {
            id: PostId::new(at),
            incident: IncidentId::new(at),
            status: PostStatus::parse(status).unwrap(),
            title: None,
            message: "Uploads fail.".to_owned(),
            components: components
                .iter()
                .map(|(id, state)| ((*id).to_owned(), *state))
                .collect(),
            translations: BTreeMap::new(),
            at,
            created_at: at,
            updated_at: at,
        }
    }

    pub fn incident(number: i64, posts: Vec<Post>) -> PublicIncident {
        let id = posts[0].incident.clone();
        PublicIncident { id, number, posts }
    }
}
