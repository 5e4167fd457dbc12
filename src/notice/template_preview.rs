//! Shows the emails that a template would produce before it is saved: with sample data, or for the people whom an incident affects.
//!
//! Nothing is stored and nothing is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::branding::FrozenBrand;
use super::compose::{self, Content, DETECTED, RESOLVED, RecipientContext, STARTED};
use super::sending::Sending;
use super::templates::{self, TemplateView};
use crate::audience::{self, At, Rule};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::brand;
use crate::db::Conn;
use crate::incident;
use crate::incident::metrics;
use crate::notice::template::{MailContext, NewTemplate, Phase, Template, TemplateTexts, Voice};

/// The number of people whose emails are shown.
const PEOPLE: usize = 3;

/// A template that is to be shown.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateTrial {
    /// The subject, which is one line. Without it, that of the built-in template is shown.
    #[serde(default)]
    pub subject: Option<String>,
    /// The template of the plain text body: at most 65,536 bytes, and not empty. Without it, that of the built-in template is shown.
    #[serde(default)]
    pub text: Option<String>,
    /// The template of the HTML body: at most 65,536 bytes, and not empty. Without it, that of the built-in template is shown.
    #[serde(default)]
    pub html: Option<String>,
    /// What the readers of single languages get instead, by language.
    #[serde(default)]
    pub languages: BTreeMap<Language, TemplateTexts>,
    /// The language in which the sample data is shown. The people of an incident are shown their emails in their own languages.
    #[serde(default)]
    pub language: Language,
    /// The incident whose people and times are shown. Without it, sample data is shown.
    #[serde(default)]
    pub incident: Option<IncidentId>,
}

/// An email as a template would produce it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TemplateSample {
    /// What the email shows: the kind of sample data, or the address of the person.
    pub label: String,
    /// The subject as the recipient would see it.
    pub subject: String,
    /// The plain text body.
    pub text: String,
    /// The HTML body as the recipient would see it.
    pub html: String,
}

/// What a template would produce.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TemplateTried {
    /// The emails that the template makes, one for each case.
    pub samples: Vec<TemplateSample>,
    /// What is wrong with the emails of the template, as after saving it.
    pub warnings: Vec<String>,
}

/// What a preview shows of an incident. It is read in a transaction; the emails are rendered outside of it.
pub struct OfIncident {
    content: Content,
    people: Vec<(String, RecipientContext)>,
}

/// Reads what a preview shows of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if it affects nobody.
pub fn of_incident(
    conn: &mut Conn,
    phase: Phase,
    incident: &IncidentId,
    sending: &Sending,
) -> Result<OfIncident> {
    let found = incident::get(conn, incident)?;
    let times = metrics::metrics(conn, incident, None)?.times;
    let mut shown = vec![
        (STARTED.to_owned(), times.started_at),
        (DETECTED.to_owned(), times.detected_at),
    ];
    if matches!(phase, Phase::Resolution | Phase::Report) {
        shown.extend(times.resolved_at.map(|at| (RESOLVED.to_owned(), at)));
    }
    let audience = audience::resolve_by(conn, incident, &Rule::default(), At::Now)?;
    let people: Vec<(String, RecipientContext)> = audience
        .people
        .iter()
        .filter(|one| one.unreachable.is_none())
        .take(PEOPLE)
        .map(|one| {
            let reasons: Vec<audience::Reason> = one.reasons.iter().collect();
            let (id, name) = (one.person.id.clone(), one.person.name.clone());
            let context = RecipientContext::new(
                vec![id],
                name,
                one.time_zone.clone(),
                one.languages.spoken(sending.language),
                &reasons,
            );
            (one.person.email.clone(), context)
        })
        .collect();
    if people.is_empty() {
        let detail = "affects nobody with an address; choose another incident";
        return Err(Error::invalid("/incident", detail));
    }
    let brand = brand::read(conn)?;
    let frozen = FrozenBrand::of(&brand, &sending.public_url);
    let name = frozen.as_ref().and_then(|brand| brand.name.clone());
    Ok(OfIncident {
        content: Content {
            phase,
            number: found.number,
            severity: found.severity.as_str().to_owned(),
            subject: None,
            message: String::new(),
            action: None,
            times: shown,
            report: None,
            sender: name.unwrap_or_else(|| sending.sender.clone()),
            corrects: None,
            drill: found.drill,
            headline: found.headline,
            update: None,
            next_update: None,
            support_url: brand
                .settings
                .support_url
                .clone()
                .or_else(|| sending.support_url.clone()),
            values: Vec::new(),
            acknowledges_impaired: false,
            language: sending.language,
            translations: BTreeMap::new(),
            brand: frozen,
            maintenance: None,
        },
        people,
    })
}

/// Renders a template. This needs much processor time, so call it outside of transactions.
///
/// # Errors
/// `Invalid` if the template cannot be parsed, contains something that is not allowed, or cannot render these emails.
pub fn render(
    phase: Phase,
    trial: &TemplateTrial,
    shown: Option<&OfIncident>,
    sending: &Sending,
) -> Result<TemplateTried> {
    let source = NewTemplate {
        subject: trial.subject.clone(),
        text: trial.text.clone(),
        html: trial.html.clone(),
        languages: trial.languages.clone(),
    }
    .source(phase)?;
    let template = Template::compile(phase, &source)?;
    let samples = template.samples_in(phase, trial.language);
    let contexts: Vec<(String, MailContext)> = match (shown, &samples) {
        (None, [usual, longest, shortest]) => [
            ("The usual email", usual),
            ("The longest email", longest),
            ("The shortest email", shortest),
        ]
        .map(|(label, sample)| (label.to_owned(), sample.clone()))
        .into(),
        (Some(shown), [usual, ..]) => shown
            .people
            .iter()
            .map(|(address, person)| (address.clone(), mixed(shown, person, usual, sending)))
            .collect(),
    };
    let samples = contexts
        .into_iter()
        .map(|(label, context)| {
            let mail = template.render(&context)?;
            Ok(TemplateSample {
                label,
                subject: mail.subject,
                text: mail.text,
                html: mail.html,
            })
        })
        .collect::<Result<_>>()?;
    let view = TemplateView::new(phase, source.id(phase), false, source);
    Ok(TemplateTried {
        samples,
        warnings: templates::warnings(&view)?,
    })
}

/// The email to a person of the incident. What an operator writes is taken from the sample, because nobody has written it yet.
fn mixed(
    shown: &OfIncident,
    person: &RecipientContext,
    sample: &MailContext,
    sending: &Sending,
) -> MailContext {
    let urls = compose::Urls::without_token(&sending.public_url);
    let voice = Voice::current();
    let real = compose::context(
        &shown.content,
        person,
        shown.content.phase.optional(),
        urls,
        &voice,
    );
    let mut mixed = MailContext {
        paragraphs: sample.paragraphs.clone(),
        action: sample.action.clone(),
        report: sample.report.clone(),
        corrects: sample.corrects.clone(),
        update: sample.update,
        next_update: sample.next_update.clone(),
        values: sample.values.clone(),
        maintenance: sample.maintenance.clone(),
        ..real
    };
    mixed.fill_sentences(&voice);
    mixed
}
