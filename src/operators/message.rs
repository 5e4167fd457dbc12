//! What a message says: the facts as they were, and the words made from them, the same for every way.
//!
//! Must never happen here: markup. Titles come from alerts, and each way escapes them as it must.

use serde::{Deserialize, Serialize};

use crate::base::enums::word_enum;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::incident::{Incident, Severity};
use crate::notice::DeliveryCounts;

word_enum! {
    /// What operators hear of.
    OperatorEvent, "an event" {
        /// An incident was opened or reopened.
        Opened = "opened",
        /// Customers were told of an unresolved incident, and have heard nothing for too long.
        Overdue = "overdue",
        /// A notice went out.
        Sent = "sent",
        /// People could not be reached.
        Unreached = "unreached",
        /// A policy drafted a notice that somebody has to send, or could not act.
        Drafted = "drafted",
        /// A sync of a source of the directory failed.
        SyncFailed = "sync_failed",
        /// A sync waits for somebody to confirm that it may archive much.
        SyncWaiting = "sync_waiting",
    }
}

impl OperatorEvent {
    /// All of them.
    pub const ALL: [OperatorEvent; 7] = [
        OperatorEvent::Opened,
        OperatorEvent::Overdue,
        OperatorEvent::Sent,
        OperatorEvent::Unreached,
        OperatorEvent::Drafted,
        OperatorEvent::SyncFailed,
        OperatorEvent::SyncWaiting,
    ];
}

/// Incidents that a message names; more are counted.
pub const NAMED: usize = 10;

/// An incident in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = MessageIncident)]
pub struct Headline {
    /// Its id.
    pub id: IncidentId,
    /// Its number.
    pub number: i64,
    /// What is wrong.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it was resolved before and was reopened.
    #[serde(default)]
    pub reopened: bool,
}

impl From<&Incident> for Headline {
    fn from(incident: &Incident) -> Self {
        Headline {
            id: incident.id.clone(),
            number: incident.number,
            title: incident.title.clone(),
            severity: incident.severity,
            reopened: false,
        }
    }
}

impl std::fmt::Display for Headline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "#{} {}: {}{}",
            self.number,
            self.severity,
            one_line(&self.title, 200),
            if self.reopened { " (reopened)" } else { "" }
        )
    }
}

/// The facts of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What happened.
    pub event: OperatorEvent,
    /// To which incident.
    pub incident: Headline,
    /// Incidents that opened within the same minute, the first ones.
    #[serde(default)]
    pub others: Vec<Headline>,
    /// How many more did.
    #[serde(default)]
    pub more: usize,
    /// The notice.
    #[serde(default)]
    pub notice: Option<NoticeId>,
    /// What the notice is about.
    #[serde(default)]
    pub phase: Option<String>,
    /// What became of its mails.
    #[serde(default)]
    pub told: Option<Told>,
    /// People who could not be reached.
    #[serde(default)]
    pub unreached: usize,
    /// When customers heard last.
    #[serde(default)]
    pub last_told_at: Option<Timestamp>,
    /// The policy that drafted the notice, or could not act.
    #[serde(default)]
    pub policy: Option<String>,
    /// Why the policy did not send.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What became of the mails of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Accepted.
    pub sent: i64,
    /// Refused, or given up.
    pub failed: i64,
    /// Came back.
    pub bounced: i64,
    /// Did not go out, as their recipients want none.
    pub suppressed: i64,
}

impl From<DeliveryCounts> for Told {
    fn from(counts: DeliveryCounts) -> Self {
        Told {
            sent: counts.sent,
            failed: counts.failed,
            bounced: counts.bounced,
            suppressed: counts.suppressed,
        }
    }
}

/// How much it matters: what ntfy calls a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Wakes somebody.
    Max,
    /// Rings.
    High,
    /// Is there.
    Usual,
}

/// A message in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// One line.
    pub title: String,
    /// More lines.
    pub lines: Vec<String>,
    /// The page of what it is about.
    pub link: String,
    /// What a button to it says.
    pub link_text: &'static str,
    /// How much it matters.
    pub urgency: Urgency,
}

impl Facts {
    /// Facts of an event about an incident, without more.
    pub fn new(event: OperatorEvent, incident: Headline) -> Facts {
        Facts {
            event,
            incident,
            others: Vec::new(),
            more: 0,
            notice: None,
            phase: None,
            told: None,
            unreached: 0,
            last_told_at: None,
            policy: None,
            reason: None,
        }
    }

    /// Takes another incident into a message about one that opened.
    pub fn fold(&mut self, other: Headline) {
        if self.others.len() + 1 < NAMED {
            self.others.push(other);
        } else {
            self.more += 1;
        }
    }

    /// The words; `base` is that of links.
    pub fn render(&self, base: &str) -> Rendered {
        let incident = &self.incident;
        let number = incident.number;
        let about = format!("Incident {incident}");
        let phase = self.phase.as_deref().unwrap_or("notice");
        let (title, lines) = match self.event {
            OperatorEvent::Opened => {
                let folded = self.others.len() + self.more;
                let title = match folded {
                    0 if incident.reopened => {
                        let plain = Headline {
                            reopened: false,
                            ..incident.clone()
                        };
                        format!("Incident reopened: {plain}")
                    }
                    0 => format!("Incident opened: {incident}"),
                    _ => format!("{} incidents opened, the first: {incident}", folded + 1),
                };
                let mut lines: Vec<String> = std::iter::once(incident)
                    .chain(&self.others)
                    .map(ToString::to_string)
                    .collect();
                if self.more > 0 {
                    lines.push(format!("and {} more", self.more));
                }
                (title, lines)
            }
            OperatorEvent::Overdue => {
                let last = self
                    .last_told_at
                    .map(|at| at.for_people(None))
                    .unwrap_or_default();
                (
                    format!("An update is overdue: {incident}"),
                    vec![
                        format!("Customers heard last at {last}, and the incident is not resolved."),
                        about,
                    ],
                )
            }
            OperatorEvent::Sent => {
                let told = self.told.unwrap_or(Told {
                    sent: 0,
                    failed: 0,
                    bounced: 0,
                    suppressed: 0,
                });
                let others: String = [
                    (told.failed, "failed"),
                    (told.bounced, "bounced"),
                    (told.suppressed, "opted out"),
                ]
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!(", {count} {what}"))
                .collect();
                (
                    format!("#{number}: {phase} sent to {}{others}", told.sent),
                    vec![about],
                )
            }
            OperatorEvent::Drafted => {
                let policy = self.policy.as_deref().unwrap_or_default();
                let reason = self.reason.as_deref();
                let (title, line) = match self.notice {
                    Some(_) => (
                        format!("#{number}: a {phase} notice is a draft and waits for you"),
                        format!("The policy “{policy}” drafted it. Nobody gets it until somebody sends it."),
                    ),
                    None => (
                        format!("#{number}: the policy “{policy}” could not act"),
                        "No notice was drafted or sent.".to_owned(),
                    ),
                };
                let mut lines = vec![line];
                lines.extend(reason.map(|reason| format!("The reason: {}.", one_line(reason, 300))));
                lines.push(about);
                (title, lines)
            }
            // Of these the facts are others, in `syncs`.
            OperatorEvent::SyncFailed | OperatorEvent::SyncWaiting => (about.clone(), Vec::new()),
            OperatorEvent::Unreached => {
                let people = match self.unreached {
                    1 => "1 person".to_owned(),
                    n => format!("{n} people"),
                };
                (
                    format!("#{number}: {people} could not be reached"),
                    vec![
                        "The page says who, why, and who else could be told.".to_owned(),
                        about,
                    ],
                )
            }
        };
        Rendered {
            title: one_line(&title, 250),
            lines,
            link: format!("{base}/admin/incidents/{number}"),
            link_text: "Open the incident",
            urgency: match (self.event, incident.severity) {
                (OperatorEvent::Opened, Severity::Critical) => Urgency::Max,
                (OperatorEvent::Opened, Severity::Major)
                | (OperatorEvent::Overdue | OperatorEvent::Unreached | OperatorEvent::Drafted, _) => {
                    Urgency::High
                }
                _ => Urgency::Usual,
            },
        }
    }
}
