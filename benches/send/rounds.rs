//! Measures all rows that are compared with smtp-source, in turns: A B C D, A B C D, …
//!
//! A ratio compares two measurements of the same round. Slow changes of the machine, such as its clock
//! frequency, its cache and other virtual machines, therefore affect both. Each measurement has a fresh copy
//! of its database and a fresh process.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use super::support::candor::{Database, Kind, Service};
use super::support::figures::{Goal, Line, Series, grouped};
use super::support::machine::Cpu;
use super::support::postgres::Server;
use super::support::sink::Sink;
use super::support::story::Shape;
use super::support::tools::Sample;
use super::support::{Context, Result};
use super::{Bench, Row, answers, status_page};

/// nodemailer sends the number of emails divided by this, because it is much slower than the others.
const PART: u64 = 5;

/// One kind of database, and its figures.
struct Lane<'a> {
    kind: Kind,
    own: Option<Database<'a>>,
    shared: Option<Database<'a>>,
    send: Series,
    send_ratio: Series,
    nodemailer_ratio: Series,
    one_project: Series,
    one_project_ratio: Series,
    refused: Series,
    refused_ratio: Series,
    expand: Series,
    expand_ratio: Series,
    beside_answers: Series,
    beside_answers_ratio: Series,
    answers: Series,
    beside_status: Series,
    beside_status_ratio: Series,
    status: Series,
    status_p99: Series,
}

/// Measures the wanted rows in the wanted number of rounds.
///
/// # Errors
/// The reason why a step failed, or that an email is missing.
pub async fn measure(bench: &Bench<'_>, servers: &[Option<&Server>]) -> Result<Vec<Line>> {
    let n = bench.args.messages;
    let mut lanes = Vec::new();
    for server in servers {
        let prepared = |wanted: bool, shape| {
            wanted
                .then(|| Database::prepared(bench.scratch, *server, shape, n))
                .transpose()
        };
        lanes.push(Lane {
            kind: if server.is_some() {
                Kind::Postgres
            } else {
                Kind::Sqlite
            },
            own: prepared(
                bench
                    .args
                    .want(&[Row::Send, Row::Refused, Row::Expand, Row::Answers, Row::Status]),
                Shape::Own,
            )?,
            shared: prepared(bench.args.wants(Row::Shared), Shape::Shared)?,
            send: Series::default(),
            send_ratio: Series::default(),
            nodemailer_ratio: Series::default(),
            one_project: Series::default(),
            one_project_ratio: Series::default(),
            refused: Series::default(),
            refused_ratio: Series::default(),
            expand: Series::default(),
            expand_ratio: Series::default(),
            beside_answers: Series::default(),
            beside_answers_ratio: Series::default(),
            answers: Series::default(),
            beside_status: Series::default(),
            beside_status_ratio: Series::default(),
            status: Series::default(),
            status_p99: Series::default(),
        });
    }
    let refusing = bench
        .args
        .wants(Row::Refused)
        .then(|| Sink::refusing(&bench.postfix, bench.scratch))
        .transpose()?;
    let (mut source, mut nodemailer) = (Series::default(), Series::default());
    for round in 1..=bench.args.rounds {
        let say = |who: &str, what: &str, rate: f64| {
            println!("round {round}   {who}{what}: {}/s", grouped(rate));
            rate
        };
        let reference = say("smtp-source", "", smtp_source(bench)?);
        source.push(reference);
        for lane in &mut lanes {
            let who = format!("Candor on {}", lane.kind.name());
            if bench
                .args
                .want(&[Row::Send, Row::Refused, Row::Answers, Row::Status])
                && let Some(database) = &lane.own
            {
                let rate = say(&who, "", send(bench, database, Shape::Own).await?);
                lane.send.push(rate);
                lane.send_ratio.push(rate / reference);
                if let Some(refusing) = &refusing {
                    let refused = say(&who, ", all refused", refuse(bench, database, refusing).await?);
                    lane.refused.push(refused);
                    lane.refused_ratio.push(refused / rate);
                }
                if bench.args.wants(Row::Answers) {
                    let both = answers::beside_a_notice(bench, database).await?;
                    lane.beside_answers
                        .push(say(&who, ", while customers answer", both.sent));
                    say(&who, ", the same without answers", both.alone);
                    lane.beside_answers_ratio.push(both.sent / both.alone);
                    lane.answers.push(say(&who, ", answers", both.answered));
                }
                if bench.args.wants(Row::Status) {
                    let both = status_page::beside_a_notice(bench, database).await?;
                    lane.beside_status
                        .push(say(&who, ", while the status page is read", both.sent));
                    lane.beside_status_ratio.push(both.sent / rate);
                    lane.status.push(say(&who, ", status page", both.answered));
                    lane.status_p99.push(both.p99);
                }
            }
            if let Some(database) = &lane.shared {
                let rate = say(&who, ", one project", send(bench, database, Shape::Shared).await?);
                lane.one_project.push(rate);
                lane.one_project_ratio.push(rate / reference);
            }
            if bench.args.wants(Row::Expand)
                && let Some(database) = &lane.own
            {
                let rate = say(&who, ", expansion", expand(bench, database).await?);
                lane.expand.push(rate);
                lane.expand_ratio.push(rate / reference);
            }
        }
        if let Some(theirs) = by_nodemailer(bench)? {
            say("nodemailer", "", theirs);
            nodemailer.push(theirs);
            for lane in &mut lanes {
                lane.nodemailer_ratio.push(lane.send.last() / theirs);
            }
        }
    }
    Ok(lines(bench, lanes, &source, &nodemailer))
}

fn lines(bench: &Bench<'_>, lanes: Vec<Lane<'_>>, source: &Series, nodemailer: &Series) -> Vec<Line> {
    let reference = "smtp-source";
    let mut lines = vec![Line::rate("smtp-source -s 32 -d", source)];
    if bench.nodemailer.is_some() {
        lines.push(Line::rate("nodemailer, pool of 32", nodemailer));
    }
    for lane in lanes {
        let kind = lane.kind.name();
        let goal = match lane.kind {
            Kind::Sqlite => Goal::ratio(0.70, 1.0),
            Kind::Postgres => Goal::ratio(0.65, 0.9),
        };
        if bench.args.wants(Row::Send) {
            let line = Line::rate(format!("{kind}: queued to recorded"), &lane.send);
            lines.push(line.against(reference, lane.send_ratio, Some(goal)));
            if bench.nodemailer.is_some() {
                let line = Line::rate(format!("{kind}: queued to recorded"), &lane.send);
                lines.push(line.against("nodemailer", lane.nodemailer_ratio, Some(Goal::ratio(6.0, 9.0))));
            }
        }
        if bench.args.wants(Row::Shared) {
            let line = Line::rate(
                format!("{kind}: queued to recorded, one project"),
                &lane.one_project,
            );
            lines.push(line.against(reference, lane.one_project_ratio, Some(goal)));
        }
        if bench.args.wants(Row::Refused) {
            let line = Line::rate(format!("{kind}: all refused"), &lane.refused);
            lines.push(line.against(
                "normal rate of Candor",
                lane.refused_ratio,
                Some(Goal::ratio(1.0, 1.4)),
            ));
        }
        if bench.args.wants(Row::Answers) {
            let line = Line::rate(
                format!("{kind}: queued to recorded, while customers answer"),
                &lane.beside_answers,
            );
            lines.push(line.against(
                "the same without answers",
                lane.beside_answers_ratio,
                Some(Goal::ratio(0.9, 1.0)),
            ));
            lines.push(Line::rate(
                format!("{kind}: answers, 64 connections"),
                &lane.answers,
            ));
        }
        if bench.args.wants(Row::Status) {
            let line = Line::rate(
                format!("{kind}: queued to recorded, while the status page is read"),
                &lane.beside_status,
            );
            lines.push(line.against("normal rate of Candor", lane.beside_status_ratio, None));
            lines.push(
                Line::rate(format!("{kind}: status page, 64 connections"), &lane.status).against(
                    "99 % answered in ms",
                    lane.status_p99,
                    Some(Goal::at_most(20.0, 10.0, " ms")),
                ),
            );
        }
        if bench.args.wants(Row::Expand) {
            let line = Line::rate(format!("{kind}: expansion, rows"), &lane.expand);
            lines.push(line.against(reference, lane.expand_ratio, Some(Goal::ratio(10.0, 15.0))));
        }
    }
    lines
}

/// Runs smtp-source and returns emails per second, measured from the start of the program to its end.
fn smtp_source(bench: &Bench<'_>) -> Result<f64> {
    let n = bench.args.messages;
    let before = bench.sink.taken()?;
    let (own, sink) = (Cpu::of(std::process::id()), Cpu::of(bench.sink.id()));
    let started = Instant::now();
    bench.postfix.send(bench.sink.port(), n, bench.mail.payload)?;
    let seconds = started.elapsed().as_secs_f64();
    counted("smtp-source", n, bench.sink.taken()? - before)?;
    println!(
        "          (processor time for each email, user+system: smtp-source {}, sink {})",
        // smtp-source is a child of this process and has ended, so its time is part of this value.
        Cpu::of(std::process::id()).each(own, n),
        Cpu::of(bench.sink.id()).each(sink, n)
    );
    Ok(n as f64 / seconds)
}

fn by_nodemailer(bench: &Bench<'_>) -> Result<Option<f64>> {
    let Some(nodemailer) = &bench.nodemailer else {
        return Ok(None);
    };
    let n = bench.args.messages / PART;
    let part = |name: &str| {
        bench.mail.sample[name]
            .as_str()
            .context("the preview has no email")
    };
    let sample = Sample {
        subject: part("subject")?,
        text: part("text")?,
        html: part("html")?,
    };
    let before = bench.sink.taken()?;
    let sent = nodemailer.send(bench.sink.port(), n, &sample)?;
    counted("nodemailer", n, bench.sink.taken()? - before)?;
    println!(
        "          (an email of nodemailer: {} bytes)",
        grouped(sent.bytes as f64)
    );
    Ok(Some(n as f64 / sent.seconds))
}

fn counted(who: &str, wanted: u64, taken: u64) -> Result<()> {
    if taken == wanted {
        Ok(())
    } else {
        Err(format!(
            "{who} had to send {wanted} emails, but the sink accepted {taken}"
        ))
    }
}

/// Sends a notice and returns emails per second, measured from the time when the notice is queued until its
/// end is in the audit trail.
async fn send(bench: &Bench<'_>, prepared: &Database<'_>, shape: Shape) -> Result<f64> {
    let database = prepared.copy(bench.scratch)?;
    let service = database.serve(bench.sink.port(), true)?;
    let ready = service.ready(shape, bench.args.messages).await?;
    let before = bench.sink.taken()?;
    let since = service.send(&ready).await?;
    let spent = Spent::by(&service, &bench.sink);
    let finished = service.finished(&ready, since, &bench.sink, before).await?;
    spent.until_now(&service, &bench.sink, prepared.kind(), ready.recipients);
    service.stop()?;
    database.verify()?;
    Ok(ready.recipients as f64 / finished.seconds)
}

/// The processor time that the processes had used at one moment.
struct Spent {
    candor: Cpu,
    postgres: Cpu,
    sink: Cpu,
}

impl Spent {
    fn by(service: &Service, sink: &Sink) -> Self {
        Self {
            candor: Cpu::of(service.id()),
            postgres: Cpu::of_all("postgres"),
            sink: Cpu::of(sink.id()),
        }
    }

    /// Prints the processor time since that moment, for each email. Other work of the machine hardly changes
    /// this value.
    fn until_now(&self, service: &Service, sink: &Sink, kind: Kind, mails: u64) {
        let now = Self::by(service, sink);
        let postgres = match kind {
            Kind::Sqlite => String::new(),
            Kind::Postgres => format!("postgres {}, ", now.postgres.each(self.postgres, mails)),
        };
        println!(
            "          (processor time for each email, user+system: candor {}, {postgres}sink {})",
            now.candor.each(self.candor, mails),
            now.sink.each(self.sink, mails)
        );
    }
}

/// Measures the same as [`send`], with a sink that refuses every recipient.
async fn refuse(bench: &Bench<'_>, prepared: &Database<'_>, refusing: &Sink) -> Result<f64> {
    let database = prepared.copy(bench.scratch)?;
    let service = database.serve(refusing.port(), true)?;
    let ready = service.ready(Shape::Own, bench.args.messages).await?;
    let since = service.send(&ready).await?;
    let finished = service.recorded(&ready, since).await?;
    if finished.counts["failed"] != ready.recipients {
        return Err(format!(
            "all {} recipients must be recorded as failed, but the audit trail counts: {}",
            ready.recipients, finished.counts
        ));
    }
    service.stop()?;
    database.verify()?;
    Ok(ready.recipients as f64 / finished.seconds)
}

/// Returns deliveries per second for the expansion. The mail server accepts connections but never sends a
/// reply, so that no email is sent at the same time.
async fn expand(bench: &Bench<'_>, prepared: &Database<'_>) -> Result<f64> {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a silent mail server")?;
    let port = silent.local_addr().context("a silent mail server")?.port();
    let database = prepared.copy(bench.scratch)?;
    let service = database.serve(port, true)?;
    let ready = service.ready(Shape::Own, bench.args.messages).await?;
    let since = service.send(&ready).await?;
    let seconds = service.expanded(&ready, since).await?;
    // Dropping the service kills its process. An orderly stop would wait for the silent mail server.
    Ok(ready.recipients as f64 / seconds)
}
