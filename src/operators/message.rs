//! The content of a message to operators: the facts when it was created, and the text that is made from them.
//! The text is the same for every channel.
//!
//! The text contains no markup. Titles come from alerts, and each channel escapes them in its own way.

use serde::{Deserialize, Serialize};

use crate::answers::Choices;
use crate::base::count::counted;
use crate::base::enums::word_enum;
use crate::base::id::{IncidentId, NoticeId, SourceId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::incident::{Incident, Severity};
use crate::notice::DeliveryCounts;

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum About {
    /// A test of the channels of an operator.
    Test(TestFacts),
    /// A sync of a source of the directory.
    Sync(SyncFacts),
    /// An event of an incident.
    Incident(Box<Facts>),
}

impl About {
    /// Returns the event that the message is about.
    pub fn event(&self) -> OperatorEvent {
        match self {
            About::Test(facts) => facts.event,
            About::Sync(facts) => facts.event,
            About::Incident(facts) => facts.event,
        }
    }

    /// Returns the incident, if the message is about one.
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            About::Test(_) | About::Sync(_) => None,
            About::Incident(facts) => Some(&facts.incident.id),
        }
    }

    /// Makes the text. `base` is the base of links.
    pub fn render(&self, base: &str) -> Rendered {
        match self {
            About::Test(facts) => facts.render(base),
            About::Sync(facts) => facts.render(base),
            About::Incident(facts) => facts.render(base),
        }
    }
}

/// The facts of a sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncFacts {
    /// The event: `sync_failed` or `sync_waiting`.
    pub event: OperatorEvent,
    /// The ID of the source.
    pub source: SourceId,
    /// The name of the source.
    pub name: String,
}

impl SyncFacts {
    /// Makes the text. `base` is the base of links.
    pub fn render(&self, base: &str) -> Rendered {
        let name = one_line(&self.name, 100);
        let (title, line) = match self.event {
            OperatorEvent::SyncWaiting => (
                format!("A sync of the source “{name}” waits for confirmation"),
                "It would archive more entries than its source allows, so it stored nothing. Check what it would \
                archive. Then confirm it or correct the source.",
            ),
            _ => (
                format!("A sync of the source “{name}” failed"),
                "It stored nothing, so the directory still has the data of the last successful sync. The page of \
                the source shows the reason.",
            ),
        };
        Rendered {
            title: one_line(&title, 250),
            lines: vec![line.to_owned()],
            // The page of the source leads to the newest run. A run can be replaced by the next one before somebody reads this.
            link: format!("{base}/admin/directory/sources/{}", self.source),
            link_text: "Open the source",
            urgency: Urgency::High,
        }
    }
}

/// The facts of a test message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFacts {
    /// The event, which is always `test`.
    pub event: OperatorEvent,
    /// The name of the caller who asked for the test.
    pub tested_by: String,
}

impl TestFacts {
    /// Makes the text. `base` is the base of links.
    pub fn render(&self, base: &str) -> Rendered {
        let name = one_line(&self.tested_by, 100);
        Rendered {
            title: "Test message from Candor".to_owned(),
            lines: vec![format!(
                "{name} sent this message to check that you are reached. Nothing has happened, and you need not do anything."
            )],
            link: format!("{base}/admin/operators"),
            link_text: "Open the operators",
            urgency: Urgency::Usual,
        }
    }
}

word_enum! {
    /// The events that operators are notified of.
    OperatorEvent, "an event" {
        /// An incident was opened or reopened.
        Opened = "opened",
        /// An update is overdue: customers were notified of an incident that is not resolved, and not again
        /// for too long.
        Overdue = "overdue",
        /// A notice was sent.
        Sent = "sent",
        /// Some people could not be reached.
        Unreached = "unreached",
        /// A notice waits for a person: a policy drafted it, it needs an approval, or its next wave is held. Or a policy could not act.
        Drafted = "drafted",
        /// A sync of a source of the directory failed.
        SyncFailed = "sync_failed",
        /// A sync waits for a confirmation, because it would archive many entries.
        SyncWaiting = "sync_waiting",
        /// Customers answered that it is still broken or that they need help.
        Answered = "answered",
        /// An admin used break glass, so that a notice can be sent without approval.
        BreakGlass = "break_glass",
        /// Resources that were recovered are impaired again.
        Relapsed = "relapsed",
        /// An admin tests the channels of the operator. It is always sent, so it cannot be chosen.
        Test = "test",
    }
}

impl OperatorEvent {
    /// All events of which operators can be notified.
    pub const ALL: [OperatorEvent; 10] = [
        OperatorEvent::Opened,
        OperatorEvent::Overdue,
        OperatorEvent::Sent,
        OperatorEvent::Unreached,
        OperatorEvent::Drafted,
        OperatorEvent::SyncFailed,
        OperatorEvent::SyncWaiting,
        OperatorEvent::Answered,
        OperatorEvent::BreakGlass,
        OperatorEvent::Relapsed,
    ];
}

/// The mark of a drill.
const DRILL: &str = "[DRILL]";

/// The number of incidents that a message names. Further ones are only counted.
pub const NAMED: usize = 10;

/// An incident in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = MessageIncident)]
pub struct Headline {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
    /// The severity of the incident.
    pub severity: Severity,
    /// Whether the incident was resolved before and was reopened.
    #[serde(default)]
    pub reopened: bool,
    /// Whether the incident is a drill.
    #[serde(default)]
    pub drill: bool,
}

impl From<&Incident> for Headline {
    fn from(incident: &Incident) -> Self {
        Headline {
            id: incident.id.clone(),
            number: incident.number,
            title: incident.title.clone(),
            severity: incident.severity,
            reopened: false,
            drill: incident.drill,
        }
    }
}

impl Headline {
    /// Returns the same without the mark of a reopened incident, for a text that says so itself.
    fn plain(&self) -> Headline {
        Headline {
            reopened: false,
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Headline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "#{} {}: {}{}{}",
            self.number,
            self.severity,
            if self.drill { "[DRILL] " } else { "" },
            one_line(&self.title, 200),
            if self.reopened { " (reopened)" } else { "" }
        )
    }
}

/// The facts of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The event that the operator is notified of.
    pub event: OperatorEvent,
    /// The incident that the event is about. If the message is about several incidents, it is the first of them.
    pub incident: Headline,
    /// The first of the other incidents that were opened, or reopened, within the same minute.
    #[serde(default)]
    pub others: Vec<Headline>,
    /// The number of further incidents that were opened, or reopened, within the same minute.
    #[serde(default)]
    pub more: usize,
    /// The ID of the notice that the event is about. `None` if it is about no notice.
    #[serde(default)]
    pub notice: Option<NoticeId>,
    /// The phase of the notice.
    #[serde(default)]
    pub phase: Option<String>,
    /// The number of emails of the notice, by state.
    #[serde(default)]
    pub told: Option<EmailCounts>,
    /// The number of people who could not be reached.
    #[serde(default)]
    pub unreached: usize,
    /// The number of people with each answer.
    #[serde(default)]
    pub answers: Option<Answers>,
    /// When customers were last notified.
    #[serde(default)]
    pub last_told_at: Option<Timestamp>,
    /// The time until which customers were promised an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised_at: Option<Timestamp>,
    /// Whether the promised time has passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
    /// The policy that drafted the notice, or that could not act.
    #[serde(default)]
    pub policy: Option<String>,
    /// Why the policy did not send, or why break glass was used.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who used break glass.
    #[serde(default)]
    pub by: Option<String>,
    /// Why the next wave of the notice does not begin by itself.
    #[serde(default)]
    pub held_because: Option<String>,
    /// Who asked for an approval of the notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_asked_by: Option<String>,
    /// The number of recovered resources that are impaired again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relapsed: Option<i64>,
    /// The number of emails that are to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<i64>,
}

/// The number of emails of a notice, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailCounts {
    /// Emails that were delivered to the mail server.
    pub sent: i64,
    /// Emails that were rejected or given up.
    pub failed: i64,
    /// Emails that the mail server accepted and that bounced later.
    pub bounced: i64,
    /// Emails that were not sent because their recipients want none.
    pub suppressed: i64,
}

impl From<DeliveryCounts> for EmailCounts {
    fn from(counts: DeliveryCounts) -> Self {
        EmailCounts {
            sent: counts.sent,
            failed: counts.failed,
            bounced: counts.bounced,
            suppressed: counts.suppressed,
        }
    }
}

/// The number of people with each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// People for whom it works.
    pub works: i64,
    /// People for whom it is still broken.
    pub broken: i64,
    /// People who need help.
    pub help: i64,
}

impl From<Choices> for Answers {
    fn from(choices: Choices) -> Self {
        Answers {
            works: choices.works,
            broken: choices.broken,
            help: choices.help,
        }
    }
}

impl Answers {
    /// Returns the title and the first line of a message.
    fn say(self, number: i64) -> (String, String) {
        let people = |count: i64, one: &str, many: &str| {
            let who = counted(count, "person", "people");
            format!("{who} {}", if count == 1 { one } else { many })
        };
        let broken = people(
            self.broken,
            "answered that it is still broken",
            "answered that it is still broken",
        );
        let help = people(self.help, "needs help", "need help");
        let title = match (self.broken, self.help) {
            (0, _) => format!("#{number}: {help}"),
            (_, 0) => format!("#{number}: {broken}"),
            _ => format!("#{number}: {broken}, and {help}"),
        };
        let works = people(self.works, "answered that it works", "answered that it works");
        (
            title,
            format!("{works}. The page of the incident shows all answers and their texts."),
        )
    }
}

/// How urgent a message is. ntfy calls this the priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The message must wake somebody.
    Max,
    /// The message makes a sound.
    High,
    /// The message is only shown.
    Usual,
}

/// A message as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The title, on one line.
    pub title: String,
    /// The lines below the title, without markup.
    pub lines: Vec<String>,
    /// The link to the page about the incident or source.
    pub link: String,
    /// The label of the button for the link.
    pub link_text: &'static str,
    /// How urgent the message is.
    pub urgency: Urgency,
}

impl Facts {
    /// Creates the facts of an event about an incident, with all other values empty.
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
            answers: None,
            last_told_at: None,
            promised_at: None,
            missed: false,
            policy: None,
            reason: None,
            by: None,
            held_because: None,
            approval_asked_by: None,
            relapsed: None,
            recipients: None,
        }
    }

    /// Returns the beginning of the title and the first line of a message about a promised update.
    fn promise(&self) -> (&'static str, String) {
        let at = self.promised_at.map(|at| at.for_people(None)).unwrap_or_default();
        match self.missed {
            true => (
                "A promised update was missed",
                format!(
                    "Customers were promised an update by {at}, and no notice was sent until then. Write to them now."
                ),
            ),
            false => (
                "A promised update is due soon",
                format!("Customers were promised an update by {at}, even if there is no news."),
            ),
        }
    }

    /// Adds another opened incident to a message.
    pub fn fold(&mut self, other: Headline) {
        if self.others.len() + 1 < NAMED {
            self.others.push(other);
        } else {
            self.more += 1;
        }
    }

    /// Makes the text. `base` is the base of links.
    pub fn render(&self, base: &str) -> Rendered {
        // A title about drills alone begins with the mark. Otherwise only the lines of the drills have it.
        let all_drills = self.incident.drill && self.more == 0 && self.others.iter().all(|other| other.drill);
        let incident = &Headline {
            drill: self.incident.drill && !all_drills,
            ..self.incident.clone()
        };
        let number = incident.number;
        let about = format!("Incident {}", self.incident);
        let phase = self.phase.as_deref().unwrap_or("notice");
        let (title, lines) = match self.event {
            OperatorEvent::Opened => {
                let folded = self.others.len() + self.more;
                let title = match folded {
                    0 if incident.reopened => format!("Incident reopened: {}", incident.plain()),
                    0 => format!("Incident opened: {incident}"),
                    _ => {
                        let what = if incident.reopened { "reopened" } else { "opened" };
                        format!("{} incidents {what}, the first: {}", folded + 1, incident.plain())
                    }
                };
                let mut lines: Vec<String> = std::iter::once(&self.incident)
                    .chain(&self.others)
                    .map(ToString::to_string)
                    .collect();
                if self.more > 0 {
                    lines.push(format!("and {} more", self.more));
                }
                (title, lines)
            }
            OperatorEvent::Overdue if self.promised_at.is_some() => {
                let (title, line) = self.promise();
                (format!("{title}: {incident}"), vec![line, about])
            }
            OperatorEvent::Overdue => {
                let last = self
                    .last_told_at
                    .map(|at| at.for_people(None))
                    .unwrap_or_default();
                (
                    format!("An update is overdue: {incident}"),
                    vec![
                        format!(
                            "The last notice to customers was sent at {last}, and the incident is not resolved."
                        ),
                        about,
                    ],
                )
            }
            OperatorEvent::Sent => {
                let counts = self.told.unwrap_or(EmailCounts {
                    sent: 0,
                    failed: 0,
                    bounced: 0,
                    suppressed: 0,
                });
                let others: String = [
                    (counts.failed, "failed"),
                    (counts.bounced, "bounced"),
                    (counts.suppressed, "opted out"),
                ]
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!(", {count} {what}"))
                .collect();
                (
                    format!("#{number}: {phase} sent to {}{others}", counts.sent),
                    vec![about],
                )
            }
            OperatorEvent::Drafted if self.held_because.is_some() => {
                let because = self.held_because.as_deref().unwrap_or_default();
                (
                    format!("#{number}: the {phase} notice is held and waits for your decision"),
                    vec![
                        format!("{}.", one_line(because, 300)),
                        "The next wave begins only when a person continues.".to_owned(),
                        about,
                    ],
                )
            }
            OperatorEvent::Drafted if self.approval_asked_by.is_some() => {
                let by = one_line(self.approval_asked_by.as_deref().unwrap_or_default(), 100);
                let emails = counted(self.recipients.unwrap_or_default(), "email", "emails");
                (
                    format!("#{number}: the {phase} notice waits for your approval"),
                    vec![
                        format!(
                            "{by} asks for an approval of {emails}. Nothing is sent until another person approves the list and the text."
                        ),
                        about,
                    ],
                )
            }
            OperatorEvent::Drafted => {
                let policy = self.policy.as_deref().unwrap_or_default();
                let reason = self.reason.as_deref();
                let (title, line) = match self.notice {
                    Some(_) => (
                        format!("#{number}: a draft of a {phase} notice waits for your decision"),
                        format!(
                            "The policy “{policy}” created the draft. It is not sent until a person sends it."
                        ),
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
            OperatorEvent::Answered => {
                let answers = self.answers.unwrap_or(Answers {
                    works: 0,
                    broken: 0,
                    help: 0,
                });
                let (title, line) = answers.say(number);
                (title, vec![line, about])
            }
            OperatorEvent::BreakGlass => {
                let by = one_line(self.by.as_deref().unwrap_or_default(), 100);
                let mut lines =
                    vec!["The notice can be sent without the approvals that it needs. Check that this is intended.".to_owned()];
                let reason = self.reason.as_deref();
                lines.extend(reason.map(|reason| format!("The reason: {}", one_line(reason, 300))));
                lines.push(about);
                (
                    format!("#{number}: break glass by {by} for the {phase} notice"),
                    lines,
                )
            }
            OperatorEvent::Relapsed => {
                let resources = match self.relapsed.unwrap_or_default() {
                    1 => "1 recovered resource is".to_owned(),
                    n => format!("{n} recovered resources are"),
                };
                let mut lines = vec!["Customers may have been notified that these are restored.".to_owned()];
                let source = self.reason.as_deref();
                lines.extend(source.map(|source| format!("Found by: {}", one_line(source, 300))));
                lines.push(about);
                (format!("#{number}: {resources} impaired again"), lines)
            }
            // These events have other facts: SyncFacts and TestFacts.
            OperatorEvent::SyncFailed | OperatorEvent::SyncWaiting | OperatorEvent::Test => {
                (about.clone(), Vec::new())
            }
            OperatorEvent::Unreached => {
                let people = counted(self.unreached, "person", "people");
                (
                    format!("#{number}: {people} could not be reached"),
                    vec![
                        "The page of the incident shows who, why, and who could be notified instead."
                            .to_owned(),
                        about,
                    ],
                )
            }
        };
        let title = match all_drills {
            true => format!("{DRILL} {title}"),
            false => title,
        };
        Rendered {
            title: one_line(&title, 250),
            lines,
            link: format!("{base}/admin/incidents/{number}"),
            link_text: "Open the incident",
            urgency: match (self.event, incident.severity) {
                (OperatorEvent::Opened, Severity::Critical) => Urgency::Max,
                (OperatorEvent::Opened, Severity::Major)
                | (
                    OperatorEvent::Overdue
                    | OperatorEvent::Unreached
                    | OperatorEvent::Drafted
                    | OperatorEvent::Answered
                    | OperatorEvent::BreakGlass
                    | OperatorEvent::Relapsed,
                    _,
                ) => Urgency::High,
                _ => Urgency::Usual,
            },
        }
    }
}
