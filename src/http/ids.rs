//! IDs in the path of a request, which a handler gets parsed: `InPath(id): InPath<IncidentId>`.
//!
//! A text that cannot be an ID of Candor is answered with "not found", as an ID of nothing is. An ID that callers
//! choose is wrong input, because they may have meant to create something with it.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::problem::{Answer, Problem};
use crate::base::error::Error;
use crate::base::id::{
    AlertRuleId, AttestationId, BackupId, CheckId, ComparisonId, EmergencyId, EndpointId, ErasureId,
    ExternalId, FeedKeyId, HeartbeatId, IncidentId, IntegrationId, MuteId, NextStepId, NoticeId, OperatorId,
    PolicyId, PostId, RunId, SourceId, TimeStampId, TokenId,
};
use crate::directory::ResourceRef;
use crate::directory::contact::ContactKind;
use crate::notice::template::Phase;

/// Parses an ID of the caller in a path.
fn external(name: &str, text: &str) -> Answer<ExternalId> {
    ExternalId::parse(text).map_err(|detail| Problem::Domain(Error::invalid(format!("{{{name}}}"), detail)))
}

/// Parses an ID of Candor in a path. A text that cannot be an ID is answered with "not found".
pub(super) fn own<T, E>(what: &str, parsed: Result<T, E>) -> Answer<T> {
    parsed.map_err(|_| Problem::Domain(Error::NotFound(format!("{what} with this ID"))))
}

/// The parameters of the path, parsed in their order. A tuple takes several.
pub struct InPath<T>(pub T);

impl<T: FromPath> FromRequest for InPath<T> {
    type Error = Problem;
    type Future = std::future::Ready<Answer<Self>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let texts = web::Path::<Vec<String>>::from_request(req, payload).into_inner();
        let parsed = texts.map_err(|_| Problem::NoSuchPath).and_then(|texts| {
            let names = req.match_info().iter().map(|(name, _)| name);
            T::take(&mut Parameters(&mut names.zip(texts.into_inner())))
        });
        std::future::ready(parsed.map(InPath))
    }
}

/// The parameters of a path that are not taken yet, with their names.
pub struct Parameters<'a>(&'a mut dyn Iterator<Item = (&'a str, String)>);

impl<'a> Parameters<'a> {
    fn next(&mut self) -> Answer<(&'a str, String)> {
        let missing = || Error::internal("a handler takes more parameters than its path has").into();
        self.0.next().ok_or_else(missing)
    }
}

/// A type that is parsed from one or more parameters of a path.
pub trait FromPath: Sized {
    /// Takes as many parameters as the type needs.
    ///
    /// # Errors
    /// 404 for an ID of Candor that does not parse, 422 for one of the caller.
    fn take(parameters: &mut Parameters<'_>) -> Answer<Self>;
}

/// The types that identify something of Candor, each with what it identifies.
macro_rules! own_ids {
    ($($type:ty: $what:literal, $parse:expr;)*) => {$(
        impl FromPath for $type {
            fn take(parameters: &mut Parameters<'_>) -> Answer<Self> {
                own($what, $parse(&parameters.next()?.1))
            }
        }
    )*};
}

own_ids! {
    AlertRuleId: "rule", Self::parse;
    AttestationId: "attestation", Self::parse;
    BackupId: "backup", Self::parse;
    CheckId: "check", Self::parse;
    ComparisonId: "comparison", Self::parse;
    ContactKind: "contact", Self::parse;
    EmergencyId: "emergency notice", Self::parse;
    EndpointId: "endpoint", Self::parse;
    ErasureId: "erasure", Self::parse;
    FeedKeyId: "feed key", Self::parse;
    HeartbeatId: "heartbeat", Self::parse;
    IncidentId: "incident", incident;
    MaintenanceId: "planned maintenance", maintenance;
    IntegrationId: "integration", Self::parse;
    NextStepId: "next step", Self::parse;
    NoticeId: "notice", Self::parse;
    OperatorId: "operator", Self::parse;
    PolicyId: "policy", Self::parse;
    PostId: "post", Self::parse;
    RunId: "run", Self::parse;
    SourceId: "source", Self::parse;
    TimeStampId: "time stamp", Self::parse;
    TokenId: "token", Self::parse;
    Phase: "template", Self::parse;
    SilenceId: "silence", |text: &str| MuteId::parse(text).map(SilenceId);
    WindowId: "maintenance window", |text: &str| MuteId::parse(text).map(WindowId);
    DeliveryNumber: "delivery", |text: &str| text.parse().map(DeliveryNumber);
    RecipientNumber: "recipient", |text: &str| text.parse().map(RecipientNumber);
    FeedbackNumber: "feedback", |text: &str| text.parse().map(FeedbackNumber);
    BodyNumber: "body", |text: &str| text.parse().map(BodyNumber);
    SubscriberNumber: "subscriber", |text: &str| text.parse().map(SubscriberNumber);
    VersionNumber: "version", |text: &str| text.parse().map(VersionNumber);
}

/// The ID of an incident, or its number, as in the paths of pages.
#[derive(Clone)]
pub enum IncidentName {
    /// The ID of the incident.
    Id(IncidentId),
    /// The number of the incident, from 1.
    Number(i64),
}

impl FromPath for IncidentName {
    fn take(parameters: &mut Parameters<'_>) -> Answer<Self> {
        let (_, text) = parameters.next()?;
        match text.parse::<i64>() {
            // A planned maintenance has a negative number.
            Ok(number) if number > 0 => Ok(IncidentName::Number(number)),
            _ => own("incident", incident(&text)).map(IncidentName::Id),
        }
    }
}

/// Parses the ID of an incident. That of a planned maintenance is none.
fn incident(text: &str) -> Result<IncidentId, String> {
    let id = IncidentId::parse(text)?;
    match id.is_of_maintenance() {
        true => Err("the ID of a planned maintenance".to_owned()),
        false => Ok(id),
    }
}

/// Parses the ID of a planned maintenance.
fn maintenance(text: &str) -> Result<MaintenanceId, String> {
    let id = IncidentId::parse(text)?;
    match id.is_of_maintenance() {
        true => Ok(MaintenanceId(id)),
        false => Err("not the ID of a planned maintenance".to_owned()),
    }
}

/// The ID of a planned maintenance.
pub struct MaintenanceId(pub IncidentId);
/// The ID of a silence.
pub struct SilenceId(pub MuteId);
/// The ID of a maintenance window.
pub struct WindowId(pub MuteId);
/// The number of a delivery.
pub struct DeliveryNumber(pub i64);
/// The position of a recipient in the list of a notice.
pub struct RecipientNumber(pub i64);
/// The number of a report about an email.
pub struct FeedbackNumber(pub i64);
/// The number of a version of a template.
pub struct VersionNumber(pub i64);
/// The number of a subscriber of the status page.
pub struct SubscriberNumber(pub i64);
/// The number of a saved request of an integration.
pub struct BodyNumber(pub i64);

impl FromPath for ExternalId {
    fn take(parameters: &mut Parameters<'_>) -> Answer<Self> {
        let (name, text) = parameters.next()?;
        external(name, &text)
    }
}

impl FromPath for ResourceRef {
    fn take(parameters: &mut Parameters<'_>) -> Answer<Self> {
        let (type_, id) = FromPath::take(parameters)?;
        Ok(ResourceRef { type_, id })
    }
}

impl<A: FromPath, B: FromPath> FromPath for (A, B) {
    fn take(parameters: &mut Parameters<'_>) -> Answer<Self> {
        Ok((A::take(parameters)?, B::take(parameters)?))
    }
}
