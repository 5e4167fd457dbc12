//! The steps of the demo.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::teller::Teller;
use crate::app::Running;
use crate::base::time::{Clock, Timestamp};
use crate::demo::catcher::Catcher;

/// The email addresses of the people who must be notified, in alphabetical order.
const AFFECTED: [&str; 3] = [
    "amina@nyota-films.example",
    "baraka@sound-works.example",
    "wanjiru@nyota-films.example",
];

struct Play<'a> {
    tell: Teller,
    api: Client,
    catcher: &'a Catcher,
    clock: &'a Clock,
    hook: String,
    incident: String,
    /// How long the emails of one notice may take.
    patience: Duration,
    /// The number of emails that have arrived so far.
    arrived: usize,
    /// Whether every notice so far went to exactly the right people.
    complete: bool,
}

/// Runs all steps. Returns whether exactly the expected emails arrived.
pub(super) async fn play(
    running: &Running,
    catcher: &Catcher,
    clock: &Clock,
    token: &str,
    patience: Duration,
) -> Result<bool, String> {
    let tell = Teller::new();
    let api = Client::new(running.base_url(), token);
    tell.say("Candor answers four questions in the middle of the night: which customers does this incident hit, who exactly should hear of it, what have we told them, and can we prove it?");
    tell.say("");
    tell.say("This is the morning of 14 March 2024 at a small file service, as it really went, and as it goes with Candor. Times are those of Nairobi (EAT, UTC+3). The service, its database and its mails are real; the mails are caught on this machine and go nowhere.");
    let mut play = Play {
        tell,
        api,
        catcher,
        clock,
        hook: String::new(),
        incident: String::new(),
        patience,
        arrived: 0,
        complete: true,
    };
    play.prepare().await?;
    play.alert().await?;
    play.find_out().await?;
    play.detection().await?;
    play.repeats().await?;
    play.mend().await?;
    play.resolution().await?;
    play.report().await?;
    play.proof().await?;
    Ok(play.complete)
}

/// Prints where the user can look at the result.
pub(super) fn invite(running: &Running, token: &str) {
    let tell = Teller::new();
    let base = running.base_url();
    println!();
    tell.say("Look at it, while this goes on (Ctrl-C ends it and throws everything away):");
    println!("  the incident   {base}/admin     sign in with this token: {token}");
    println!("  the public     {base}/status");
    println!("  the API        {base}/docs/");
}

impl Play<'_> {
    fn at(&self, time: &str) -> Result<String, String> {
        self.clock
            .set(Timestamp::parse(&format!("2024-03-14T{time}:00+03:00"))?);
        Ok(time.to_owned())
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/incidents/{}{rest}", self.incident)
    }

    async fn prepare(&mut self) -> Result<(), String> {
        let time = self.at("09:51")?;
        self.tell.step(&time, "Before: Candor knows who owns what");
        let counts = self.api.import(include_str!("directory.ndjson")).await?;
        self.tell.fact(&format!(
            "The product has sent its directory: {} accounts, {} people, {} resources (projects, media, files).",
            counts["accounts"], counts["people"], counts["resources"]
        ));
        let integration = json!({
            "name": "Alertmanager",
            "source": "alertmanager",
            "resource_rules": [{
                "field": "annotations.description",
                "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)"
            }]
        });
        let made = self.api.post("/api/v1/integrations", &integration).await?;
        self.hook = text(&made["hook_url"]);
        self.tell.fact("Alertmanager has a secret URL to send alerts to. One rule says where in an error's text the ids of a project and of a media item are.");
        self.tell.aside("Unknown to everybody, a release has just taken the 's3' storage handler out. Two old files need it.");
        Ok(())
    }

    fn alert_body(status: &str) -> Value {
        json!({
            "version": "4", "groupKey": "{}:{alertname=\"ServerErrors\"}", "status": status, "receiver": "candor",
            "groupLabels": {"alertname": "ServerErrors"}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://alertmanager.quickbyte.example", "truncatedAlerts": 0,
            "alerts": [{
                "status": status,
                "labels": {"alertname": "ServerErrors", "severity": "critical", "service": "files"},
                "annotations": {
                    "summary": "Unknown storage provider 's3'",
                    "description": "GET /api/projects/savanna/media/interview answered 500: Error: Unknown storage provider 's3'"
                },
                "startsAt": "2024-03-14T09:51:00+03:00",
                "endsAt": if status == "resolved" { "2024-03-14T10:21:00+03:00" } else { "0001-01-01T00:00:00Z" },
                "generatorURL": "http://prometheus.quickbyte.example/graph",
                "fingerprint": "5ca1ab1e0ddba115"
            }]
        })
    }

    async fn alert(&mut self) -> Result<(), String> {
        let time = self.at("09:56")?;
        self.tell.step(&time, "The first alert arrives");
        let taken = self.api.hook(&self.hook, &Self::alert_body("firing")).await?;
        let incident = &taken["opened"][0];
        self.incident = text(&incident["id"]);
        self.tell.fact(&format!(
            "Incident #{} is open: {} ({}).",
            incident["number"],
            text(&incident["title"]),
            text(&incident["severity"])
        ));
        let affected = self.api.get(&self.path("/affected")).await?;
        let resource = &affected["items"][0];
        self.tell.fact(&format!(
            "The error's text named {} '{}', \"{}\": it is affected. No customer hears anything by itself.",
            text(&resource["resource"]["type"]),
            text(&resource["resource"]["id"]),
            text(&resource["name"])
        ));
        self.tell
            .aside("Then: six alert mails, and a search through the logs for who it was.");
        Ok(())
    }

    async fn find_out(&mut self) -> Result<(), String> {
        let time = self.at("09:58")?;
        self.tell.step(&time, "Who is affected?");
        let selector = json!({"selector": {"type": "file", "labels": {"provider": "s3"}}});
        let added = self.api.post(&self.path("/affected"), &selector).await?;
        self.tell.fact(&format!(
            "A selector finds every file stored with the provider s3: exactly {}, two versions of that media item.",
            added["added"]
        ));
        let audience = self.api.get(&self.path("/audience")).await?;
        self.tell.fact(&format!(
            "{} people of {} account, each with the reason:",
            audience["counts"]["people"], audience["counts"]["accounts"]
        ));
        for item in items(&audience) {
            let roles: BTreeSet<String> = item["reasons"]
                .as_array()
                .into_iter()
                .flatten()
                .map(reason)
                .collect();
            let roles: Vec<String> = roles.into_iter().collect();
            self.tell.fact(&format!(
                "  {:<15} {}",
                text(&item["person"]["name"]),
                roles.join(", ")
            ));
        }
        self.tell.aside("Then: a database console, file by file, media item, project, account, owner. Two collaborators were forgotten. Here the other members of the account, and the other customer, are left in peace.");
        Ok(())
    }

    async fn notify(&mut self, phase: &str, notice: Value, show: bool) -> Result<(), String> {
        let drafted = self.api.post(&self.path("/notices"), &notice).await?;
        let id = text(&drafted["id"]);
        let preview = self.api.get(&format!("/api/v1/notices/{id}/preview")).await?;
        self.tell.fact(&format!(
            "The preview: {} mails, rendered one by one. Sending needs its digest {}…, which covers every recipient and every word: had anything changed since, nothing would go out.",
            preview["recipients"],
            &text(&preview["digest"])[..12]
        ));
        self.api
            .post(
                &format!("/api/v1/notices/{id}/send"),
                &json!({"digest": preview["digest"]}),
            )
            .await?;
        let expected = self.arrived + AFFECTED.len();
        let mails = match self.catcher.wait_for(expected, self.patience).await {
            Ok(mails) => mails,
            Err(mails) => {
                self.tell.alarm(&format!(
                    "only {} of {} mails have arrived",
                    mails.len() - self.arrived,
                    AFFECTED.len()
                ));
                self.complete = false;
                mails
            }
        };
        let mut to: Vec<String> = mails[self.arrived.min(mails.len())..]
            .iter()
            .flat_map(|mail| mail.to.clone())
            .collect();
        to.sort();
        if to != AFFECTED {
            self.tell.alarm(&format!("the {phase} reached {}", to.join(", ")));
            self.complete = false;
        }
        self.arrived = mails.len();
        self.settle(&id).await?;
        self.tell
            .fact(&format!("Sent, all at the same moment: {}.", to.join(", ")));
        if show && let Some(sample) = preview["samples"].as_array().and_then(|samples| samples.first()) {
            self.tell.fact(&format!(
                "What {} reads (as text; there is an HTML part too):",
                text(&sample["to"])
            ));
            self.tell.quote(&format!(
                "Subject: {}\n\n{}",
                text(&sample["subject"]),
                text(&sample["text"])
            ));
        }
        Ok(())
    }

    /// Waits until the outcome of every email is stored.
    async fn settle(&self, id: &str) -> Result<(), String> {
        // This takes at most a minute. An outcome is recorded before the connection sends its next email.
        for _ in 0..600 {
            let notice = self.api.get(&format!("/api/v1/notices/{id}")).await?;
            if notice["state"] == "sent" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("a notice was not finished in time".to_owned())
    }

    async fn detection(&mut self) -> Result<(), String> {
        let time = self.at("10:00")?;
        self.tell.step(&time, "Tell them");
        let notice = json!({
            "phase": "detection",
            "message": "Our systems have detected failures when files of your project are opened. We are sorry for the trouble, and are working on it.\n\nYour files are safe. We will write to you again when the problem is solved."
        });
        self.notify("detection", notice, true).await?;
        self.tell.aside("Then: one mail, by hand, to the owner alone.");
        Ok(())
    }

    async fn repeats(&mut self) -> Result<(), String> {
        for time in ["10:01", "10:06", "10:11", "10:16"] {
            self.at(time)?;
            self.api.hook(&self.hook, &Self::alert_body("firing")).await?;
        }
        let time = self.at("10:17")?;
        self.tell.step(&time, "The same alert, again and again");
        let incident = self.api.get(&self.path("")).await?;
        self.tell.fact(&format!(
            "{} alerts have come in, all attached to incident #{}. No second incident, no second mail.",
            incident["alerts_received"], incident["number"]
        ));
        if self.catcher.accepted() != self.arrived {
            self.tell.alarm("a repeat has sent a mail");
            self.complete = false;
        }
        Ok(())
    }

    async fn mend(&mut self) -> Result<(), String> {
        let time = self.at("10:19")?;
        self.tell.step(&time, "The fix is deployed");
        let entry = json!({"kind": "mitigated", "text": "Deployment of the patch that registers s3 again is complete", "at": "2024-03-14T10:19:00+03:00"});
        self.api.post(&self.path("/timeline"), &entry).await?;
        self.tell.fact("On the timeline, with its own time and zone.");
        self.at("10:21")?;
        self.api.hook(&self.hook, &Self::alert_body("firing")).await?;
        let time = self.at("10:22")?;
        self.api.hook(&self.hook, &Self::alert_body("resolved")).await?;
        let incident = self.api.get(&self.path("")).await?;
        self.tell.step(&time, "The alert resolves");
        self.tell.fact(&format!(
            "{} alerts in all; the last one is over. The incident is {}: it never resolves by itself, and nobody is told by itself.",
            incident["alerts_received"],
            text(&incident["status"])
        ));
        Ok(())
    }

    async fn resolution(&mut self) -> Result<(), String> {
        let time = self.at("10:24")?;
        self.tell.step(&time, "Resolved: tell everybody who heard of it");
        let status = json!({"status": "resolved", "message": "No errors for five minutes"});
        self.api.post(&self.path("/status"), &status).await?;
        let notice = json!({
            "phase": "resolution",
            "message": "The failures that we wrote to you about are solved: your files can be opened again. We will send you a report of what happened.",
            "customer_action": {"required": false}
        });
        self.notify("resolution", notice, false).await?;
        self.tell.aside("Then: the owner at 10:24, the two collaborators at 10:37. They heard of the end, and had never heard of the beginning.");
        let metrics = self
            .api
            .get(&self.path("/metrics?time_zone=Africa/Nairobi"))
            .await?;
        let minutes = |value: &Value| format!("{} min", value.as_i64().unwrap_or(0) / 60);
        self.tell.fact(&format!(
            "From the timeline: told after {}, mitigated after {}, {} of impact. Detected {} = {}.",
            minutes(&metrics["time_to_notify"]),
            minutes(&metrics["time_to_mitigate"]),
            minutes(&metrics["impact"]),
            text(&metrics["times"]["detected_at"]),
            text(&metrics["local_times"]["detected_at"])
        ));
        Ok(())
    }

    async fn report(&mut self) -> Result<(), String> {
        let time = self.at("15:30")?;
        self.tell.step(&time, "One report, three audiences");
        let report = json!({
            "title": "Some files could not be opened on 14 March 2024",
            "sections": [
                {"heading": "What happened", "audience": "public",
                 "text": "From 9:51 to 10:19 (Nairobi time) files of one kind of storage could not be opened. It was noticed and mended before a customer wrote to us."},
                {"heading": "What it meant for you", "audience": "customer",
                 "text": "Two versions of one media item of your project gave an error when they were opened. They were safe at all times."},
                {"heading": "Root cause", "audience": "internal",
                 "text": "The s3 handler was not registered in the StorageProviderRegistry after the second S3 pull request, while two files in the database still had provider = s3."}
            ]
        });
        self.api.put(&self.path("/report"), &report).await?;
        for (audience, whom) in [
            ("internal", "we ourselves read"),
            ("customer", "customers read"),
            ("public", "everybody reads"),
        ] {
            let report = self
                .api
                .get(&self.path(&format!("/report?audience={audience}")))
                .await?;
            let headings: Vec<String> = report["sections"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| text(&s["heading"]))
                .collect();
            self.tell.fact(&format!("{whom:<18} {}", headings.join(" · ")));
        }
        let notice = json!({"phase": "report", "message": "This is the report of the incident that we wrote to you about this morning."});
        self.notify("report", notice, false).await?;
        self.api.post(&self.path("/report/publish"), &json!({})).await?;
        self.tell.fact("The public version is on the status page.");
        let step = json!({"text": "Move the s3 files to a production bucket", "owner": "Clément",
            "link": "https://issues.quickbyte.example/320", "due_on": "2024-04-30"});
        self.api.post(&self.path("/next-steps"), &step).await?;
        let open = self.api.get("/api/v1/next-steps?status=open").await?;
        for step in items(&open) {
            self.tell.fact(&format!(
                "Still to do, after the incident is closed: {} ({}, until {}).",
                text(&step["text"]),
                text(&step["owner"]),
                text(&step["due_on"])
            ));
        }
        Ok(())
    }

    async fn proof(&mut self) -> Result<(), String> {
        let time = self.at("15:31")?;
        self.tell.step(&time, "Can we prove it?");
        let verified = self.api.get("/api/v1/audit/verify").await?;
        if verified["ok"] == true {
            self.tell.fact(&format!(
                "{} events, from the import to the last mail's outcome, each with the hash of the one before: the chain holds.",
                verified["events"]
            ));
        } else {
            self.tell.alarm("the audit trail does not hold");
            self.complete = false;
        }
        let total = 3 * AFFECTED.len();
        if self.catcher.accepted() == total && self.complete {
            self.tell.fact(&format!(
                "{total} mails: 3 people, 3 notices each, nobody left out, nobody told twice."
            ));
        } else {
            self.tell.alarm(&format!(
                "{} mails arrived; {total} should have",
                self.catcher.accepted()
            ));
            self.complete = false;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

fn reason(reason: &Value) -> String {
    let role = text(&reason["role"]);
    let through = &reason["through"];
    if role == "owner" {
        format!("owner of {}", text(&reason["account_name"]))
    } else if through.is_null() {
        format!(
            "{role} on {} {}",
            text(&reason["resource"]["type"]),
            text(&reason["resource"]["id"])
        )
    } else {
        format!("{role} on {} {}", text(&through["type"]), text(&through["id"]))
    }
}
