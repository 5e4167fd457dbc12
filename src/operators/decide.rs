//! What an operator has to decide after a message, and the page on which they do it.

use super::message::{About, OperatorEvent, Rendered};

/// Returns what is to be decided. `None` if the message only informs.
pub(super) fn decision(about: &About) -> Option<&'static str> {
    let facts = match about {
        About::Sync(facts) => {
            return Some(match facts.event {
                OperatorEvent::SyncWaiting => "Confirm the sync, or correct the source.",
                _ => "Correct the source, or read it again.",
            });
        }
        About::Test(_) => return None,
        About::Incident(facts) => facts,
    };
    match facts.event {
        OperatorEvent::Opened => {
            Some("Decide whether customers must be notified. If they must, write the detection.")
        }
        OperatorEvent::Overdue => Some("Write an update to customers, even if there is no news."),
        OperatorEvent::Drafted if facts.held_because.is_some() => {
            Some("Decide whether the next wave is sent, or whether sending is stopped.")
        }
        OperatorEvent::Drafted if facts.approval_asked_by.is_some() => {
            Some("Approve it, or say what must change.")
        }
        OperatorEvent::Drafted if facts.notice.is_some() => Some("Check the draft, and send or discard it."),
        OperatorEvent::Drafted => Some("Decide whether you write to customers yourself."),
        OperatorEvent::Answered => Some("Read the answers, and decide whether the incident is over."),
        OperatorEvent::Unreached => Some("Correct the addresses, or notify somebody else."),
        OperatorEvent::Relapsed => {
            Some("Find out why they are impaired again, and whether customers must be notified of it.")
        }
        OperatorEvent::BreakGlass => {
            Some("Check that this is intended. If it is not, discard the draft or stop it.")
        }
        _ => None,
    }
}

/// Returns the text of a message, with the link to the page on which it is decided. `base` is the base of links.
pub(super) fn render(about: &About, base: &str) -> Rendered {
    let mut rendered = about.render(base);
    if let About::Incident(facts) = about
        && facts.event == OperatorEvent::Relapsed
    {
        rendered.link = format!(
            "{base}/admin/incidents/{}/recovery?state=impaired",
            facts.incident.number
        );
        rendered.link_text = "Open the recovery";
    }
    if let About::Incident(facts) = about
        && let Some(notice) = &facts.notice
        && matches!(facts.event, OperatorEvent::Drafted | OperatorEvent::BreakGlass)
    {
        rendered.link = format!("{base}/admin/notices/{notice}");
        rendered.link_text = "Open the notice";
    }
    rendered
}
