//! Sends a notice with two mail servers, and kills the first one in the middle.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Bench;
use super::support::candor::{CONNECTIONS, Database};
use super::support::figures::{Goal, Line, Series, grouped};
use super::support::sink::Sink;
use super::support::story::Shape;
use super::support::{Context, Result};

/// The number of emails.
pub const EMAILS: u64 = 20_000;

/// Kills the mail server when it has accepted half of the emails. All emails must be sent in the end, each delivery must name the mail
/// server that accepted it, and no more emails may be sent twice than connections were open.
///
/// # Errors
/// The reason why a step failed, or that an email is missing.
pub async fn measure(bench: &Bench<'_>, prepared: &Database<'_>) -> Result<Vec<Line>> {
    let emails = EMAILS.min(bench.args.messages);
    let database = prepared.copy(bench.scratch)?;
    let first = Sink::start(&bench.postfix, bench.scratch)?;
    let (port, before) = (first.port(), bench.sink.taken()?);
    let service = database.serve_through(&[port, bench.sink.port()])?;
    let ready = service.ready(Shape::Own, emails).await?;
    let since = service.send(&ready).await?;
    while first.taken()? < emails / 2 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let by_first = first.kill()?;
    let killed = Instant::now();
    let finished = service.recorded(&ready, since).await?;
    let after = killed.elapsed().as_secs_f64();
    if finished.counts["sent"] != emails {
        return Err(format!(
            "{emails} people, but the audit trail counts: {}",
            finished.counts
        ));
    }
    let by_second = bench.sink.taken()? - before;
    let repeats = (by_first + by_second)
        .checked_sub(emails)
        .context("an email is missing at the mail servers")?;
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for relay in service.relays(&ready).await? {
        *named.entry(relay).or_default() += 1;
    }
    let of = |port: u16| {
        named
            .iter()
            .filter(|(relay, _)| relay.ends_with(&format!(":{port}")))
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let (first_named, second_named) = (of(port), of(bench.sink.port()));
    if first_named + second_named != emails {
        return Err(format!("not every delivery names its mail server: {named:?}"));
    }
    service.stop()?;
    database.verify()?;
    let kind = prepared.kind().name();
    let mut series = Series::default();
    series.push(repeats as f64);
    Ok(vec![
        Line::figure(
            format!("{kind}: the first of two mail servers is killed"),
            format!(
                "{} emails; {} and {} accepted; all sent {after:.1} s after the kill",
                grouped(emails as f64),
                grouped(first_named as f64),
                grouped(second_named as f64)
            ),
        ),
        Line::figure(
            format!("{kind}: emails that were sent twice"),
            grouped(repeats as f64),
        )
        .against(
            "open connections",
            series,
            Some(Goal::at_most(CONNECTIONS as f64, 0.0, "")),
        ),
    ])
}
