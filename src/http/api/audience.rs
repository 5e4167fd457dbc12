//! The API for the audience of an incident: the people with their reasons, at different times, the difference
//! between two times, and the explanation for one person.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::audience::{
    self, Addressee, At, Changed, Counts, DifferenceCounts, Explained, Rule, Unreachable, Who,
};
use crate::base::error::Error;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::http::App;
use crate::http::extract::{Json, Params};
use crate::http::ids::{InPath, own};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident;
use crate::incident::affected::Unresolved;
use crate::incident::users_in_events::UnidentifiedInEvents;
use crate::notice::{self, Overview, Partition, Reached};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(get_audience)
        .service(explain_audience)
        .service(compare_audience);
}

/// A person of the audience, and whether the person was notified.
#[derive(Serialize, utoipa::ToSchema)]
struct AudienceItem {
    #[serde(flatten)]
    addressee: Addressee,
    /// Whether an email about this incident to the person was accepted or is being sent, since the incident
    /// was opened or reopened.
    told: bool,
}

/// The numbers of an audience, and how many people were not notified yet.
#[derive(Serialize, utoipa::ToSchema)]
struct IncidentAudienceCounts {
    #[serde(flatten)]
    counts: Counts,
    /// The number of people who can be reached and to whom nothing was delivered or is being sent. A person
    /// whose email was rejected counts. A person whose email bounced does not.
    not_told: usize,
    /// The number of people who were notified by mistake, got a correction, and are not affected now.
    corrected: usize,
    /// How many of `people` are in each state since the incident was opened or reopened. Each person counts
    /// once.
    partition: Partition,
}

/// The people that an incident affects.
#[derive(Serialize, utoipa::ToSchema)]
struct AudiencePage {
    /// The numbers for all pages together.
    counts: IncidentAudienceCounts,
    /// The people on this page.
    items: Vec<AudienceItem>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
    /// The people who cannot be reached, with the reasons.
    unreachable: Vec<Unreachable>,
    /// The unmatched IDs, which alerts contain and the directory does not.
    unresolved: Vec<Unresolved>,
    /// The errors with unknown users, by alert.
    unidentified: Vec<UnidentifiedInEvents>,
    /// The time at which the directory was read. Null if it is the current state.
    as_of: Option<Timestamp>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AudienceParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// The time at which the directory is read: `now`, `impact` (the start of the incident), or a time. The
    /// affected resources are always the current ones.
    as_of: Option<String>,
}

/// A time in a query.
enum Moment {
    Now,
    Impact,
    At(Timestamp),
}

impl Moment {
    fn parse(name: &str, text: Option<&str>, default: &str, now: Timestamp) -> Answer<Moment> {
        match text.unwrap_or(default) {
            "now" => Ok(Moment::Now),
            "impact" => Ok(Moment::Impact),
            text => match Timestamp::parse(text) {
                Ok(at) if at > now => {
                    let detail = format!("{at} is in the future; give now, impact or a time in the past");
                    Err(Error::invalid(name, detail).into())
                }
                Ok(at) => Ok(Moment::At(at)),
                Err(detail) => {
                    Err(Error::invalid(name, format!("is not now, impact or a time: {detail}")).into())
                }
            },
        }
    }

    /// Returns the time for an incident.
    fn at(&self, conn: &mut Conn, id: &IncidentId) -> Result<At, Error> {
        Ok(match self {
            Moment::Now => At::Now,
            Moment::Impact => At::Then(incident::get(conn, id)?.started_at),
            Moment::At(at) => At::Then(*at),
        })
    }
}

fn time_of(at: At) -> Option<Timestamp> {
    match at {
        At::Now => None,
        At::Then(at) => Some(at),
    }
}

/// Returns the people that an incident affects, each with all reasons.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(AudienceParams))]
#[get("/incidents/{id}/audience")]
async fn get_audience(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<AudienceParams>,
) -> Answer<Json<AudiencePage>> {
    let AudienceParams {
        limit,
        cursor: at,
        as_of,
    } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let moment = Moment::parse("?as_of", as_of.as_deref(), "now", app.db.clock().now())?;
    let (at, overview) = app
        .db
        .read(move |conn| {
            let at = moment.at(conn, &id)?;
            Ok((at, Overview::read(conn, &id, at)?))
        })
        .await?;
    let not_told = overview
        .audience
        .people
        .iter()
        .filter(|addressee| addressee.unreachable.is_none())
        .filter(|addressee| !overview.is_notified(&addressee.person.id) && !overview.bounced(addressee))
        .count();
    let partition = overview.partition();
    let corrected = overview.corrected();
    let Overview { audience, reached } = overview;
    let rows: Vec<Addressee> = audience
        .people
        .into_iter()
        .filter(|addressee| after.as_ref().is_none_or(|after| addressee.person.id > *after))
        .take(limit.probe() as usize)
        .collect();
    let Page { items, next_cursor } = page(rows, limit, |addressee| addressee.person.id.clone());
    let items = items
        .into_iter()
        .map(|addressee| AudienceItem {
            told: reached
                .get(&addressee.person.id)
                .is_some_and(Reached::is_notified),
            addressee,
        })
        .collect();
    Ok(Json(AudiencePage {
        counts: IncidentAudienceCounts {
            counts: audience.counts,
            not_told,
            corrected,
            partition,
        },
        items,
        next_cursor,
        unreachable: audience.unreachable,
        unresolved: audience.unresolved,
        unidentified: audience.unidentified,
        as_of: time_of(at),
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainParams {
    /// The ID in the directory of the person to explain.
    person: Option<String>,
    /// The address to explain instead. All people with this address are explained.
    address: Option<String>,
    /// Uses the audience rule of this notice of the incident. Without it, the default rule is used.
    notice: Option<String>,
}

/// The reasons why people are in an audience or not.
#[derive(Serialize, utoipa::ToSchema)]
struct Explanation {
    /// One explanation for each person with this ID or address.
    items: Vec<Explained>,
}

/// Explains why a person is in the audience, or why not: every role that the person has or had, and where the
/// path from it ends.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(ExplainParams))]
#[get("/incidents/{id}/audience/explain")]
async fn explain_audience(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ExplainParams>,
) -> Answer<Json<Explanation>> {
    let who = match (params.0.person, params.0.address) {
        (Some(person), None) => Who::Person(person),
        (None, Some(address)) => Who::Address(address),
        _ => return Err(Error::invalid("?person", "give either person or address").into()),
    };
    let notice = params
        .0
        .notice
        .map(|notice| own("notice", NoticeId::parse(&notice)))
        .transpose()?;
    let items = app
        .db
        .read(move |conn| {
            let rule = match notice {
                Some(notice) => {
                    let notice = notice::get(conn, &notice)?;
                    if notice.incident != id {
                        return Err(Error::NotFound(format!("notice {} of this incident", notice.id)));
                    }
                    notice.audience
                }
                None => Rule::default(),
            };
            audience::explain(conn, &id, &who, &rule)
        })
        .await?;
    Ok(Json(Explanation { items }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CompareParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// The first time: `now`, `impact`, or a time. The default is `impact`.
    from: Option<String>,
    /// The second time: `now`, `impact`, or a time. The default is `now`.
    to: Option<String>,
}

/// The difference between the audiences at two times.
#[derive(Serialize, utoipa::ToSchema)]
struct ComparisonPage {
    /// The first time. Null if it is the current state.
    from: Option<Timestamp>,
    /// The second time. Null if it is the current state.
    to: Option<Timestamp>,
    /// The numbers for all pages together.
    counts: DifferenceCounts,
    /// The people who were added or removed, or who have other reasons.
    items: Vec<Changed>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

/// Compares who owned the affected resources at two times. Both use the current affected resources.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(CompareParams))]
#[get("/incidents/{id}/audience/difference")]
async fn compare_audience(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<CompareParams>,
) -> Answer<Json<ComparisonPage>> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let now = app.db.clock().now();
    let from = Moment::parse("?from", p.from.as_deref(), "impact", now)?;
    let to = Moment::parse("?to", p.to.as_deref(), "now", now)?;
    let (from, to, difference) = app
        .db
        .read(move |conn| {
            let (from, to) = (from.at(conn, &id)?, to.at(conn, &id)?);
            let difference = audience::difference(conn, &id, &Rule::default(), from, to)?;
            Ok((from, to, difference))
        })
        .await?;
    let rows: Vec<Changed> = difference
        .people
        .into_iter()
        .filter(|one| after.as_ref().is_none_or(|after| one.person.id > *after))
        .take(p.limit.probe() as usize)
        .collect();
    let Page { items, next_cursor } = page(rows, p.limit, |one| one.person.id.clone());
    Ok(Json(ComparisonPage {
        from: time_of(from),
        to: time_of(to),
        counts: difference.counts,
        items,
        next_cursor,
    }))
}
