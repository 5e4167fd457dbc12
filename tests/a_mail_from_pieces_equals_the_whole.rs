//! Emails are built from pieces that were rendered and encoded once. Each email is equal, byte for byte, to
//! the one that is rendered and encoded as a whole, for all names, labels, texts and templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use candor::base::id::{IncidentId, NoticeId};
use candor::base::language::Language;
use candor::base::time::Timestamp;
use candor::brand::{Brand, BrandSettings};
use candor::delivery::email::Addressing;
use candor::delivery::email_template::Prepared;
use candor::maintenance::{Maintenance, MaintenanceState};
use candor::notice::branding::FrozenBrand;
use candor::notice::compose::{Content, CorrectedNotice, RecipientContext, TranslatedTexts};
use candor::notice::planned_mail::{Change, FrozenMaintenance};
use candor::notice::template::{
    MailAction, MailRecovery, MailReport, MailResource, MailSection, Phase, Source, Template,
};
use proptest::prelude::*;

/// Text as people and attackers write it: words, other scripts, markup, quotes, dots and spaces at the ends
/// of lines, long words.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-zA-Z]{1,12}",
        2 => Just(" ".to_owned()),
        1 => "[äößéñ漢字Кир😀]{1,6}",
        1 => prop::sample::select(vec![
            "=", ".", "..", "<b>", "&amp;", "\"", "'", ",", "\t", "  ", "-- ", "=\u{e9}", "{{name}}", "@", "(x)", ";",
        ])
        .prop_map(str::to_owned),
        1 => "[a-z]{70,90}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn lines() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(text(), 1..5),
        prop::sample::select(vec!["\n", "\r\n", "\n\n"]),
    )
        .prop_map(|(lines, end)| lines.join(end))
}

fn recipient() -> impl Strategy<Value = RecipientContext> {
    let empty_or_text = || prop_oneof![Just(String::new()), text()];
    let resource = (
        text(),
        text(),
        text(),
        empty_or_text(),
        empty_or_text(),
        any::<bool>(),
    )
        .prop_map(|(type_, id, label, account, finding, restored)| MailResource {
            type_,
            id,
            label,
            account,
            finding,
            restored,
        });
    // Without restored resources, an email has other words.
    let recovery = prop::option::of((0_usize..3, 0_usize..3)).prop_map(|figures| {
        figures.map(|(restored, left)| MailRecovery {
            restored: restored.to_string(),
            affected: (restored + left).to_string(),
            left: if left == 0 {
                String::new()
            } else {
                left.to_string()
            },
            summary: format!("{restored} of {} <files>.", restored + left),
        })
    });
    // Not every recipient has each value: a preview shows an empty text for it.
    let values = prop::collection::btree_map(
        prop::sample::select(vec!["code".to_owned(), "link".to_owned()]),
        text(),
        0..3,
    );
    (
        prop_oneof![Just(String::new()), text(), lines()],
        prop::sample::select(vec![None, Some("Africa/Nairobi"), Some("Europe/Berlin")]),
        prop::collection::vec(resource, 0..4),
        prop_oneof![Just(0_usize), 1..200_usize],
        text(),
        text(),
        (any::<bool>(), prop::option::of(text()), values, recovery),
        (language(), prop::option::of(language())),
    )
        .prop_map(
            |(
                name,
                zone,
                resources,
                more_resources,
                what,
                reason,
                (late, wrong_subject, values, recovery),
                (language, second_language),
            )| {
                RecipientContext {
                    people: vec!["p1".to_owned()],
                    name,
                    time_zone: zone.map(str::to_owned),
                    resources,
                    more_resources,
                    what,
                    reason,
                    late,
                    wrong_subject,
                    values,
                    recovery,
                    language,
                    second_language,
                }
            },
        )
}

fn language() -> impl Strategy<Value = Language> {
    prop::sample::select(Language::ALL.to_vec())
}

/// The texts of the operator in another language. Only one of them has a headline.
fn translated(language: Language) -> TranslatedTexts {
    TranslatedTexts {
        subject: None,
        headline: (language == Language::De).then(|| "Dateien <fehlen>".to_owned()),
        message: "Es geht um {{values.code}} & mehr.".to_owned(),
        action: None,
    }
}

fn corrected(phase: Phase) -> Option<CorrectedNotice> {
    let sent_at = Timestamp::parse("2024-03-14T06:56:00Z").unwrap();
    (phase == Phase::Correction).then(|| CorrectedNotice {
        notice: NoticeId::new(sent_at),
        sent_at,
    })
}

/// What a notice freezes of a brand with everything.
fn branded(there: bool) -> Option<FrozenBrand> {
    let settings = BrandSettings {
        name: Some("Quickbyte".to_owned()),
        color: Some("#0b5cad".to_owned()),
        postal_address: Some("1 High Street\nNairobi".to_owned()),
        footer: Some("A < B".to_owned()),
        ..BrandSettings::default()
    };
    let brand = Brand { settings, logo: None };
    FrozenBrand::of(&brand, "https://candor.example").filter(|_| there)
}

/// What a notice of a planned maintenance freezes of it.
fn planned(phase: Phase) -> Option<FrozenMaintenance> {
    let at = Timestamp::parse("2024-03-14T06:56:00Z").unwrap();
    let planned = Maintenance {
        id: IncidentId::of_maintenance(at),
        number: 1,
        title: "Move <of> the database".to_owned(),
        message: String::new(),
        starts_at: at,
        ends_at: at.plus(std::time::Duration::from_secs(3_600)),
        state: MaintenanceState::Scheduled,
        sequence: 0,
        components: Vec::new(),
        resources: 1,
        began_at: None,
        over_at: None,
        created_by: "Ann".to_owned(),
        created_at: at,
        updated_at: at,
    };
    let frozen = FrozenMaintenance::new(
        planned,
        Change::Announced,
        None,
        "candor.example",
        "https://candor.example",
    );
    (phase == Phase::Maintenance).then_some(frozen)
}

fn content(phase: Phase) -> impl Strategy<Value = Content> {
    (
        prop_oneof![Just(None), "[a-z <&]{1,250}[a-z]".prop_map(Some)],
        lines(),
        prop_oneof![
            Just(None),
            Just(Some(MailAction {
                required: false,
                text: String::new()
            })),
            text().prop_map(|text| Some(MailAction { required: true, text })),
        ],
        text(),
        any::<bool>(),
        prop_oneof![Just(None), "[a-z <&]{1,100}[a-z]".prop_map(Some)],
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            move |(subject, message, action, heading, drill, headline, (with_values, promises))| Content {
                phase,
                number: 7,
                severity: "major".to_owned(),
                subject,
                message: match with_values {
                    true => format!(
                        "{{{{values.code}}}} {message} <{{{{values.link}}}}> {{{{recovery.restored}}}}/{{{{recovery.left}}}} {{{{recovery.summary}}}}"
                    ),
                    false => message,
                },
                action,
                times: vec![(
                    "Started".to_owned(),
                    Timestamp::parse("2024-03-14T06:51:00Z").unwrap(),
                )],
                report: (phase == Phase::Report).then(|| MailReport {
                    title: "What happened".to_owned(),
                    sections: vec![MailSection {
                        heading,
                        paragraphs: vec!["So it went.".to_owned()],
                    }],
                }),
                sender: "Quickbyte".to_owned(),
                corrects: corrected(phase),
                drill,
                headline,
                update: (phase == Phase::Update).then_some(2),
                next_update: promises.then(|| Timestamp::parse("2024-03-14T08:30:00Z").unwrap()),
                support_url: promises.then(|| "https://support.example/?a=1&b=2".to_owned()),
                values: ["code", "link", "recovery.restored", "recovery.left", "recovery.summary"]
                    .map(str::to_owned)
                    .into(),
                acknowledges_impaired: phase == Phase::Resolution && promises,
                language: Language::En,
                translations: [Language::De, Language::Ja]
                    .map(|language| (language, translated(language)))
                    .into(),
                brand: branded(promises),
                maintenance: planned(phase),
            },
        )
}

/// Templates of operators. Some only show values, and some do more with them, so that their emails cannot be
/// built from pieces.
fn source(phase: Phase) -> impl Strategy<Value = Source> {
    let own = |subject: &str, text: &str, html: &str| {
        Source::new(subject.to_owned(), text.to_owned(), html.to_owned())
    };
    prop::sample::select(vec![
        Source::builtin(phase),
        Source::builtin(phase),
        own(
            "For {{recipient.name}} and all",
            "{{recipient.name}}{{recipient.name}}",
            "<p>{{what}}</p>{{reason}}",
        ),
        own(
            "Hi",
            "{{#each resources}}{{#if account}}{{account}}:{{/if}}{{label}}{{#unless @last}}, {{/unless}}{{/each}}.\r\n.{{what}}  \n",
            "{{#each resources}}{{this.id}} {{type}}{{/each}}\t\n{{unsubscribe_url}}",
        ),
        own(
            "Hi",
            "{{#if (eq recipient.name \"Ann\")}}Dear Ann{{else}}Hello{{/if}} {{what}}",
            "{{#with recipient}}{{name}}{{/with}}",
        ),
        own(
            "Hi",
            "{{#if answers}}{{answers.works}} {{answers.broken}}{{/if}} {{what}}",
            "{{#if answers}}<a href=\"{{answers.help}}\">{{what}}</a>{{/if}}",
        ),
        own(
            "Hi",
            "{{lookup recipient \"name\"}} {{len resources}}",
            "{{#each resources as |r|}}{{r.label}}{{/each}}",
        ),
        own(
            "{{values.code}} for you",
            "{{#if values.link}}{{values.link}}{{/if}}: {{values.code}}",
            "<p title=\"{{values.code}}\">{{values.link}}</p>{{> paragraphs.html}}",
        ),
        own(
            "{{#if recovery}}{{recovery.restored}}{{else}}-{{/if}} restored",
            "{{#if recovery}}{{recovery.summary}}{{#if recovery.left}} {{recovery.left}} of {{recovery.affected}}{{/if}}{{/if}}",
            "{{#each resources}}{{#if restored}}ok{{else}}{{finding}}{{/if}}{{/each}}{{#if recovery}}{{#if (gt recovery.restored \"1\")}}many{{/if}}{{/if}}",
        ),
        own(
            "Hi",
            "{{#each values}}{{@key}} {{this}}{{/each}}",
            "{{#with values}}{{@root.values.code}}{{/with}}",
        ),
        own(
            "{{len what}} letters",
            "{{#if (gt (len recipient.name) 3)}}long{{/if}}",
            "{{#each recipient}}{{this}}{{/each}}",
        ),
    ])
}

fn case() -> impl Strategy<Value = (Phase, Content, Source, Vec<RecipientContext>)> {
    prop::sample::select(Phase::ALL.to_vec()).prop_flat_map(|phase| {
        (
            Just(phase),
            content(phase),
            source(phase),
            prop::collection::vec(recipient(), 1..6),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_mail_is_the_same_either_way((phase, content, source, recipients) in case(), numbers in any::<[u16; 6]>()) {
        let template = Template::compile(phase, &source).expect("the template is sound");
        let prepared = Prepared::new(content, Arc::new(template));
        let from = "Quickbyte <help@quickbyte.example>".parse().unwrap();
        for (own, number) in recipients.iter().zip(numbers) {
            // A second email of the same shape is certainly built from pieces.
            let twin = RecipientContext {
                name: if own.name.is_empty() { String::new() } else { format!("{}x{number}", own.name) },
                values: own
                    .values
                    .iter()
                    .map(|(key, value)| (key.clone(), if value.is_empty() { String::new() } else { format!("{number}{value}") }))
                    .collect(),
                recovery: own.recovery.clone().map(|recovery| MailRecovery {
                    affected: format!("{}{number}", recovery.affected),
                    left: if recovery.left.is_empty() { String::new() } else { format!("{number}{}", recovery.left) },
                    ..recovery
                }),
                what: if own.what.is_empty() { String::new() } else { format!("{number} {}", own.what) },
                ..own.clone()
            };
            for own in [own, &twin] {
                let optional = number % 2 == 0;
                let (address, message_id) = (format!("a{number}@example.com"), format!("{number}.n@quickbyte.example"));
                let url = format!("https://candor.example/unsubscribe/{number}.abc");
                let answers = format!("https://candor.example/answers/{number}.def");
                let mine = format!("https://candor.example/mine/link/{number}.def");
                let audit = format!("candor.example {number} LrXl3B8pFD6EpSKnCLvbW6KLAzeIBzTbcF5FRP9Kw8U=");
                let languages = prepared.languages(own);
                let addressing = Addressing {
                    from: &from,
                    reply_to: None,
                    return_path: None,
                    name: &own.name,
                    address: &address,
                    message_id: &message_id,
                    thread: "incident.i@quickbyte.example",
                    unsubscribe_url: &url,
                    answers_url: &answers,
                    mine_url: &mine,
                    date: Timestamp::parse("2024-03-14T07:00:00Z").unwrap(),
                    languages: Some(&languages),
                    audit: &audit,
                };
                let whole = prepared.plain(own, optional, &addressing).expect("the mail is rendered");
                let pieces = prepared.write(own, optional, &addressing).expect("the mail is put together");
                prop_assert_eq!(&pieces.message, &whole.message);
                prop_assert_eq!(pieces, whole);
            }
        }
    }
}

/// Emails of the built-in templates are built from pieces. Without this test, nobody would notice if they
/// were not.
#[test]
fn the_built_in_mails_are_made_from_pieces() {
    for phase in Phase::ALL {
        let template = Template::compile(phase, &Source::builtin(phase)).unwrap();
        assert!(template.shows_only(), "{phase}");
        let own = RecipientContext {
            people: vec!["ann".to_owned()],
            name: "Ann".to_owned(),
            time_zone: None,
            resources: Vec::new(),
            more_resources: 0,
            what: "your files".to_owned(),
            reason: "You own them.".to_owned(),
            late: false,
            wrong_subject: None,
            values: [("code".to_owned(), "A-1".to_owned())].into(),
            recovery: Some(MailRecovery {
                restored: "12".to_owned(),
                affected: "40".to_owned(),
                left: "28".to_owned(),
                summary: "12 of your 40 affected files are restored so far.".to_owned(),
            }),
            language: Language::De,
            second_language: None,
        };
        let content = Content {
            phase,
            number: 1,
            severity: "major".to_owned(),
            subject: None,
            message: "We are on it. Your code is {{values.code}}.".to_owned(),
            action: None,
            times: Vec::new(),
            report: None,
            sender: "Quickbyte".to_owned(),
            corrects: corrected(phase),
            drill: false,
            headline: Some("Files fail".to_owned()),
            update: Some(1),
            next_update: None,
            support_url: None,
            values: vec!["code".to_owned()],
            acknowledges_impaired: false,
            language: Language::En,
            translations: BTreeMap::new(),
            brand: branded(true),
            maintenance: planned(phase),
        };
        let prepared = Prepared::new(content, Arc::new(template));
        let from = "help@quickbyte.example".parse().unwrap();
        let addressing = Addressing {
            from: &from,
            reply_to: None,
            return_path: None,
            name: "Ann",
            address: "ann@example.com",
            message_id: "1.n@quickbyte.example",
            thread: "incident.i@quickbyte.example",
            unsubscribe_url: "https://candor.example/unsubscribe/1.abc",
            answers_url: "https://candor.example/answers/1.def",
            mine_url: "https://candor.example/mine/link/1.def",
            date: Timestamp::parse("2024-03-14T07:00:00Z").unwrap(),
            languages: Some("en"),
            audit: "candor.example 1 LrXl3B8pFD6EpSKnCLvbW6KLAzeIBzTbcF5FRP9Kw8U=",
        };
        assert!(!prepared.is_ready(&own, false));
        prepared.write(&own, false, &addressing).unwrap();
        assert!(
            prepared.is_ready(&own, false),
            "{phase}: the mail did not come apart"
        );
    }
}
