//! The page of a file, `index.html`: for a reader who opens one file and wants to know what happened. It stands alone, has no script, and
//! prints well. All times are in UTC and, if the incident has a time zone, also in this zone.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::facts::title;
use super::notices::Sent;
use super::scope::{Scope, Whose};
use super::summary::{Shortened, Summary, Told};
use crate::base::time::Timestamp;

const STYLE: &str = include_str!("summary_page.css");

/// A page that is being written.
struct Page {
    html: String,
    zone: Option<TimeZone>,
}

/// Returns the page. `sent` are the notices of the file.
pub(super) fn page(scope: &Scope, sent: &[&Sent], summary: &Summary, now: Timestamp) -> String {
    let zone = scope.incident.time_zone.as_deref();
    let mut page = Page {
        html: String::new(),
        zone: zone.and_then(|name| crate::base::time::time_zone(name).ok()),
    };
    let heading = format!("#{} {}", scope.incident.number, title(scope, &scope.incident));
    page.html.push_str(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    );
    let _ = writeln!(
        page.html,
        "<title>Evidence: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>",
        escaped(&heading)
    );
    page.element("h1", &heading);
    page.about(scope, now);
    page.times(scope);
    page.timeline(summary);
    page.html.push_str("<h2>Who was notified</h2>\n");
    if sent.is_empty() {
        page.element(
            "p",
            "This file contains no notice: nothing was sent to whom it is about.",
        );
    }
    for one in sent {
        page.notice(one, summary.told.get(&one.notice.id));
    }
    page.answers(summary);
    page.recovery(summary);
    page.verify();
    page.html.push_str("</body>\n</html>\n");
    page.html
}

impl Page {
    fn element(&mut self, tag: &str, text: &str) {
        let _ = writeln!(self.html, "<{tag} dir=\"auto\">{}</{tag}>", escaped(text));
    }

    fn time(&self, at: Timestamp) -> String {
        let utc = at.short(&TimeZone::UTC);
        match &self.zone {
            Some(zone) => format!("{utc} ({})", at.rfc3339_in(zone)),
            None => utc,
        }
    }

    fn maybe(&self, at: Option<Timestamp>) -> String {
        at.map(|at| self.time(at)).unwrap_or_default()
    }

    fn about(&mut self, scope: &Scope, now: Timestamp) {
        let whom = match &scope.whose {
            Whose::Everybody => "This file is about the whole incident.".to_owned(),
            Whose::Person { id, name } => {
                format!("This file is about {name} (ID {id}) and contains nothing about anybody else.")
            }
            Whose::Account(account) => format!(
                "This file is about the account {} (ID {}) and its members. It contains nothing about other customers.",
                account.name, account.id
            ),
        };
        self.element("p", &whom);
        let made = format!("Made by Candor at {}.", self.time(now));
        self.element("p", &made);
    }

    fn times(&mut self, scope: &Scope) {
        let incident = &scope.incident;
        let rows = [
            ("Severity", incident.severity.to_string()),
            ("Status", incident.status.to_string()),
            ("Customers were affected from", self.time(incident.started_at)),
            ("Detected", self.time(incident.detected_at)),
            (
                "Resolved",
                match incident.resolved_at {
                    Some(at) => self.time(at),
                    None => "not yet".to_owned(),
                },
            ),
        ];
        self.html.push_str("<h2>Incident</h2>\n<table>\n");
        for (label, value) in rows {
            let _ = writeln!(
                self.html,
                "<tr><th scope=\"row\">{label}</th><td>{}</td></tr>",
                escaped(&value)
            );
        }
        self.html.push_str("</table>\n");
    }

    fn table(&mut self, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.html.push_str("<table>\n<thead><tr>");
        for column in columns {
            let _ = write!(self.html, "<th scope=\"col\">{column}</th>");
        }
        self.html.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.html.push_str("<tr>");
            for cell in row {
                let _ = write!(self.html, "<td dir=\"auto\">{}</td>", escaped(&cell));
            }
            self.html.push_str("</tr>\n");
        }
        self.html.push_str("</tbody>\n</table>\n");
    }

    /// Says that a list is shortened.
    fn rest<T>(&mut self, list: &Shortened<T>, file: &str) {
        let shown = list.rows.len();
        if list.all > shown {
            let text = format!(
                "The first {shown} of {} rows are shown. {file} has all of them.",
                list.all
            );
            self.element("p", &text);
        }
    }

    fn timeline(&mut self, summary: &Summary) {
        if summary.timeline.is_empty() {
            return;
        }
        self.html.push_str("<h2>Timeline</h2>\n");
        let rows: Vec<Vec<String>> = summary
            .timeline
            .iter()
            .map(|entry| {
                vec![
                    self.time(entry.at),
                    entry.kind.clone(),
                    entry.text.clone(),
                    entry.by.clone(),
                ]
            })
            .collect();
        self.table(&["Time", "Kind", "Text", "By"], rows.into_iter());
    }

    fn notice(&mut self, sent: &Sent, told: Option<&Shortened<Told>>) {
        let notice = &sent.notice;
        let heading = format!("{} notice, queued {}", notice.phase, self.maybe(notice.queued_at));
        self.element("h3", &heading);
        if let Some(wrong) = &notice.corrects {
            self.element("p", &format!("This notice corrects the notice {wrong}."));
        }
        let by = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
        let mut who = format!(
            "Written by {}, sent by {}.",
            by(&sent.drafted_by),
            by(&sent.sent_by)
        );
        for approval in sent.approvals.iter().filter(|one| one.counted) {
            let how = if approval.kind == "approval" {
                "Approved"
            } else {
                "Sent without approval (break glass)"
            };
            let _ = write!(
                who,
                " {how} by {} ({}) at {}.",
                approval.name,
                approval.role,
                self.time(approval.at)
            );
        }
        self.element("p", &who);
        for paragraph in crate::notice::compose::paragraphs(&sent.content.message) {
            self.element("blockquote", &paragraph);
        }
        let Some(told) = told else { return };
        let rows: Vec<Vec<String>> = told.rows.iter().map(|row| self.told(row)).collect();
        self.table(
            &["To", "Why", "State", "Accepted", "Answer of the server", "Email"],
            rows.into_iter(),
        );
        self.rest(told, "data/deliveries.csv");
    }

    fn told(&self, row: &Told) -> Vec<String> {
        let to = match row.name.is_empty() {
            true => row.address.clone(),
            false => format!("{} <{}>", row.name, row.address),
        };
        let state = match row.bounced_at {
            Some(at) => format!("{} ({}), {}", row.state, row.channel, self.time(at)),
            None => format!("{} ({})", row.state, row.channel),
        };
        let email = match (&row.email, row.withheld) {
            (Some(name), _) => name.clone(),
            (None, true) => "withheld, because it also names somebody else".to_owned(),
            (None, false) => String::new(),
        };
        vec![
            to,
            row.reason.clone(),
            state,
            self.maybe(row.sent_at),
            row.reply.clone(),
            email,
        ]
    }

    fn answers(&mut self, summary: &Summary) {
        if summary.answers.all == 0 {
            return;
        }
        self.html.push_str("<h2>Answers</h2>\n");
        let rows: Vec<Vec<String>> = summary
            .answers
            .rows
            .iter()
            .map(|row| {
                let answer = row.answer.clone().unwrap_or_else(|| "reply".to_owned());
                vec![self.time(row.at), row.person.clone(), answer, row.text.clone()]
            })
            .collect();
        self.table(&["Time", "Person", "Answer", "Text"], rows.into_iter());
        self.rest(&summary.answers, "data/answers.csv");
    }

    fn recovery(&mut self, summary: &Summary) {
        self.html.push_str("<h2>Affected resources and recovery</h2>\n");
        let text = format!("Affected: {} (data/affected.csv).", summary.affected);
        self.element("p", &text);
        if summary.recovery.all == 0 {
            return;
        }
        let rows: Vec<Vec<String>> = summary
            .recovery
            .rows
            .iter()
            .map(|row| {
                vec![
                    self.time(row.at),
                    row.resource.clone(),
                    row.state.clone(),
                    row.source.clone(),
                ]
            })
            .collect();
        self.table(&["Time", "Resource", "State", "What says so"], rows.into_iter());
        self.rest(&summary.recovery, "data/recovery.csv");
    }

    fn verify(&mut self) {
        self.html.push_str(
            "<h2>How to verify this file</h2>\n\
             <p>The audit trail of Candor is a Merkle tree, and its checkpoints are signed. This file contains the audit events exactly as \
             they were hashed, and the proofs that they are in the tree. Nothing here needs trust in this page: VERIFY.md explains each \
             step, and these commands do all of them.</p>\n\
             <pre>candor audit verify --evidence FILE --key VERIFIER_KEY\npython3 verify_evidence.py FILE --key VERIFIER_KEY</pre>\n\
             <p>Get the verifier key from the sender by another way than this file. Every email of a notice has a checkpoint in its header \
             Candor-Audit. The file proves that these checkpoints are earlier states of the same trail.</p>\n",
        );
    }
}

/// Returns text for HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
