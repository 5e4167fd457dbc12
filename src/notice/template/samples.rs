//! Emails with invented data, which show every case that can occur. A template is rendered with them before it is saved, and pages show
//! them.

use std::collections::BTreeMap;

use super::mail::{
    MailAction, MailAnswers, MailBrand, MailContext, MailCorrects, MailIncident, MailLate, MailMaintenance,
    MailRecipient, MailRecovery, MailReport, MailResource, MailSection, MailTime,
};
use super::phase::Phase;
use super::sentences::Voice;
use crate::base::language::Language;

/// Returns a sample as the readers of a language get it. What an operator or the directory would say stays in English.
pub(super) fn spoken(mut sample: MailContext, language: Language) -> MailContext {
    sample.language = language;
    sample.direction = language.direction();
    sample.rtl = language.direction() == "rtl";
    sample.message_language = (!language.is_english()).then_some(Language::En);
    sample.fill_sentences(&Voice::current());
    sample
}

/// Returns a large email. A template whose output grows too much fails with it when it is saved.
pub(super) fn largest(phase: Phase) -> MailContext {
    let [_, mut mail, _] = samples(phase);
    mail.paragraphs = (1..=500).map(|n| format!("Paragraph {n}.")).collect();
    if let Some(report) = &mut mail.report {
        report.sections = (1..=20)
            .map(|n| MailSection {
                heading: format!("Section {n}"),
                paragraphs: vec!["A paragraph.".to_owned(); 20],
            })
            .collect();
    }
    mail
}

/// Returns one email of every kind that can occur. A template that renders all of them does not fail when it
/// is sent.
pub fn samples(phase: Phase) -> [MailContext; 3] {
    let resource = |n: usize| MailResource {
        type_: "media".to_owned(),
        id: format!("m{n}"),
        label: format!("Launch film {n} (media m{n})"),
        account: if n.is_multiple_of(2) {
            "Acme".to_owned()
        } else {
            String::new()
        },
        // In a recovery, everything is restored.
        finding: match phase != Phase::Recovery && n.is_multiple_of(3) {
            true => "The stored file is empty.".to_owned(),
            false => String::new(),
        },
        restored: phase == Phase::Recovery || n.is_multiple_of(5),
    };
    let recovery = |restored: usize, affected: usize| MailRecovery {
        restored: restored.to_string(),
        affected: affected.to_string(),
        left: match affected - restored {
            0 => String::new(),
            left => left.to_string(),
        },
        summary: match affected - restored {
            0 => format!("All of your {affected} affected files are restored."),
            _ => format!("{restored} of your {affected} affected files are restored so far."),
        },
    };
    let maintenance = |change: &'static str| {
        let was = |text: &str| (change == "moved").then(|| text.to_owned());
        (phase == Phase::Maintenance).then(|| MailMaintenance {
            change,
            title: "Maintenance of the database".to_owned(),
            starts: "21 March 2024, 01:00 (Africa/Nairobi), 20 March 2024, 22:00 UTC".to_owned(),
            ends: "21 March 2024, 03:00 (Africa/Nairobi), 00:00 UTC".to_owned(),
            was_starts: was("20 March 2024, 01:00 (Africa/Nairobi), 19 March 2024, 22:00 UTC"),
            was_ends: was("20 March 2024, 03:00 (Africa/Nairobi), 00:00 UTC"),
            components: vec!["uploads".to_owned()],
        })
    };
    let base = MailContext {
        phase,
        incident: MailIncident {
            number: 1,
            severity: "major".to_owned(),
        },
        subject: None,
        what: "Launch film".to_owned(),
        headline: None,
        update: (phase == Phase::Update).then_some(1),
        next_update: None,
        support_url: None,
        values: BTreeMap::new(),
        recipient: MailRecipient {
            name: "Ann".to_owned(),
        },
        paragraphs: vec![
            "We are looking into it.".to_owned(),
            "A second paragraph\nof two lines.".to_owned(),
        ],
        action: Some(MailAction {
            required: false,
            text: String::new(),
        }),
        resources: vec![resource(1)],
        more_resources: 0,
        times: vec![MailTime {
            label: "Started".to_owned(),
            text: "14 March 2024, 09:51 EAT (06:51 UTC)".to_owned(),
        }],
        report: (phase == Phase::Report).then(|| MailReport {
            title: "What happened on 14 March".to_owned(),
            sections: vec![MailSection {
                heading: "Cause".to_owned(),
                paragraphs: vec!["A handler was missing.".to_owned()],
            }],
        }),
        sender: "Quickbyte".to_owned(),
        reason: "You receive this because you own Acme, to which the affected resources belong.".to_owned(),
        optional: phase.optional(),
        unsubscribe_url: "https://candor.example.com/unsubscribe/sample".to_owned(),
        mine_url: "https://candor.example.com/mine/link/sample".to_owned(),
        answers: phase
            .asks()
            .then(|| MailAnswers::at("https://candor.example.com/answers/sample")),
        late: None,
        corrects: (phase == Phase::Correction).then(|| MailCorrects {
            subject: "We are working on a problem with Launch film".to_owned(),
            sent_at: "14 March 2024, 09:56 EAT (06:56 UTC)".to_owned(),
        }),
        recovery: match phase {
            Phase::Recovery => Some(recovery(1, 1)),
            _ => None,
        },
        drill: false,
        language: Language::En,
        direction: Language::En.direction(),
        rtl: false,
        message_language: None,
        t: BTreeMap::new(),
        brand: None,
        maintenance: maintenance("announced"),
    };
    let many = MailContext {
        subject: Some("A subject of the operator's own".to_owned()),
        headline: Some("Some files cannot be opened".to_owned()),
        next_update: matches!(phase, Phase::Detection | Phase::Update)
            .then(|| "14 March 2024, 12:30 EAT (09:30 UTC)".to_owned()),
        support_url: Some("https://support.example.com".to_owned()),
        action: Some(MailAction {
            required: true,
            text: "Please accept the invitation.".to_owned(),
        }),
        resources: (1..=25).map(resource).collect(),
        more_resources: 131,
        recovery: match phase {
            Phase::Recovery => Some(recovery(156, 156)),
            Phase::Correction | Phase::Maintenance => None,
            _ => Some(recovery(12, 156)),
        },
        times: Vec::new(),
        optional: !phase.optional(),
        late: matches!(phase, Phase::Detection | Phase::Update | Phase::Recovery).then(|| MailLate {
            began: "14 March 2024, 09:51 EAT (06:51 UTC)".to_owned(),
        }),
        brand: Some(MailBrand {
            color: Some("#0b5cad".to_owned()),
            logo: Some("https://candor.example.com/brand/logo/sample".to_owned()),
            postal_address: vec!["1 High Street".to_owned(), "Nairobi".to_owned()],
            footer: vec!["Quickbyte Ltd, registered in Kenya".to_owned()],
        }),
        maintenance: maintenance("moved"),
        ..base.clone()
    };
    let bare = MailContext {
        action: None,
        resources: Vec::new(),
        paragraphs: Vec::new(),
        report: None,
        recovery: None,
        maintenance: maintenance("cancelled"),
        corrects: base.corrects.clone().map(|corrects| MailCorrects {
            subject: String::new(),
            ..corrects
        }),
        ..base.clone()
    };
    let voice = Voice::current();
    [base, many, bare].map(|mut mail| {
        mail.fill_sentences(&voice);
        mail
    })
}
