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

/// The files that should be readable, with their sizes.
const CATALOGUE: &str = "id,size\ninterview-v1,642111856\ninterview-v2,655360000\nopening-v1,120400128\n";

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
    tell.say(
        "Candor answers four questions during an incident: which customers are affected, who exactly must be \
    notified, what did we tell them, and can we prove it?",
    );
    tell.say("");
    tell.say("This is the morning of 14 March 2024 at a small file service, first as it really happened, then as \
    it happens with Candor. Times are those of Nairobi (EAT, UTC+3). The server, its database and its emails are real. The emails stay on this machine.");
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
    play.recovery().await?;
    play.resolution().await?;
    play.answers().await?;
    play.report().await?;
    play.proof().await?;
    Ok(play.complete)
}

/// Prints where the user can look at the result.
pub(super) fn invite(running: &Running, token: &str) {
    let tell = Teller::new();
    let base = running.base_url();
    println!();
    tell.say("You can look at the pages while the demo runs (Ctrl-C ends the demo and deletes its data):");
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
        self.tell.step(&time, "Preparation: Candor knows who owns what");
        let counts = self.api.import(include_str!("directory.ndjson")).await?;
        self.tell.fact(&format!(
            "The product has imported its directory: {} accounts, {} people, {} resources (projects, media, files).",
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
        self.tell.fact(
            "Alertmanager has a secret URL to send alerts to. One resource rule says where the text of \
        an error contains the IDs of a project and of a media item.",
        );
        self.tell.aside(
            "A release has just removed the 's3' storage handler, and nobody has noticed. Two old \
        files need it.",
        );
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
                    "description": "GET /api/projects/savanna/media/interview answered 500: Error: Unknown \
                    storage provider 's3'"
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
            "The text of the error contains the ID of {} '{}', \"{}\", so this resource is affected. No customer \
            is notified yet, because no policy is set up.",
            text(&resource["resource"]["type"]),
            text(&resource["resource"]["id"]),
            text(&resource["name"])
        ));
        self.tell.aside(
            "Without Candor: six alert emails, and a search through the logs for the affected customer.",
        );
        Ok(())
    }

    async fn find_out(&mut self) -> Result<(), String> {
        let time = self.at("09:58")?;
        self.tell.step(&time, "Who is affected?");
        let selector = json!({"selector": {"type": "file", "labels": {"provider": "s3"}}});
        let added = self.api.post(&self.path("/affected"), &selector).await?;
        self.tell.fact(&format!(
            "A selector finds every file that is stored with the provider s3: {} files, which are two versions of \
            this media item.",
            added["added"]
        ));
        let audience = self.api.get(&self.path("/audience")).await?;
        self.tell.fact(&format!(
            "{} people of {} account are affected, each with the reason:",
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
        self.tell.aside("Without Candor: a search in the database, from each file to the media item, the project, \
        the account and its owner. Two collaborators were forgotten. Candor finds them, and it does not notify the other members of the account or the other customer.");
        Ok(())
    }

    async fn notify(&mut self, phase: &str, notice: Value, show: bool) -> Result<(), String> {
        let drafted = self.api.post(&self.path("/notices"), &notice).await?;
        let id = text(&drafted["id"]);
        let preview = self.api.get(&format!("/api/v1/notices/{id}/preview")).await?;
        self.tell.fact(&format!(
            "The preview shows {} emails. Sending needs the digest of the preview, {}…, which covers every \
            recipient and every text. If one of them had changed since the preview, Candor would send nothing.",
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
                    "only {} of {} emails have arrived",
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
        self.tell.fact(&format!(
            "Sent to all of them at the same time: {}.",
            to.join(", ")
        ));
        if show && let Some(sample) = preview["samples"].as_array().and_then(|samples| samples.first()) {
            self.tell.fact(&format!(
                "The email to {} (its text part; it has an HTML part too):",
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
        self.tell.step(&time, "Notify the people");
        let notice = json!({
            "phase": "detection",
            "message": "Our systems have detected failures when files of your project are opened. We are sorry \
            for the trouble, and are working on it.\n\nYour files are safe. We will write to you again when the problem is solved."
        });
        self.notify("detection", notice, true).await?;
        self.tell
            .aside("Without Candor: one email, written by hand, and only to the owner.");
        Ok(())
    }

    async fn repeats(&mut self) -> Result<(), String> {
        for time in ["10:01", "10:06", "10:11", "10:16"] {
            self.at(time)?;
            self.api.hook(&self.hook, &Self::alert_body("firing")).await?;
        }
        let time = self.at("10:17")?;
        self.tell.step(&time, "The same alert repeats");
        let incident = self.api.get(&self.path("")).await?;
        self.tell.fact(&format!(
            "{} alerts have arrived, and all are attached to incident #{}. There is no second incident and no second email.",
            incident["alerts_received"], incident["number"]
        ));
        if self.catcher.accepted() != self.arrived {
            self.tell.alarm("a repeated alert has sent an email");
            self.complete = false;
        }
        Ok(())
    }

    async fn mend(&mut self) -> Result<(), String> {
        let time = self.at("10:19")?;
        self.tell.step(&time, "The fix is deployed");
        let entry = json!({"kind": "mitigated", "text": "Deployment of the patch that registers s3 again is \
        complete", "at": "2024-03-14T10:19:00+03:00"});
        self.api.post(&self.path("/timeline"), &entry).await?;
        self.tell
            .fact("The timeline has this entry, with its own time and time zone.");
        self.at("10:21")?;
        self.api.hook(&self.hook, &Self::alert_body("firing")).await?;
        let time = self.at("10:22")?;
        self.api.hook(&self.hook, &Self::alert_body("resolved")).await?;
        let incident = self.api.get(&self.path("")).await?;
        self.tell.step(&time, "The alert resolves");
        self.tell.fact(&format!(
            "{} alerts in total, and the last one is resolved. The incident is now {}. Only a person can resolve \
            it, and nobody is notified automatically.",
            incident["alerts_received"],
            text(&incident["status"])
        ));
        Ok(())
    }

    /// A listing of what is stored is compared with the catalogue, and a newer one is the evidence that everything is back.
    async fn recovery(&mut self) -> Result<(), String> {
        let time = self.at("10:23")?;
        self.tell.step(&time, "Are the files restored?");
        let comparison = json!({
            "name": "Readable files against the catalogue", "resource": {"type": "file"}, "key": "id", "compare": ["size"],
            "expected": {"format": "csv"}, "observed": {"format": "csv"}
        });
        let made = self.api.post(&self.path("/comparisons"), &comparison).await?;
        let path = format!("/api/v1/comparisons/{}", text(&made["id"]));
        self.api.upload(&format!("{path}/expected"), CATALOGUE).await?;
        let before = format!("{path}/observed?observed_at=2024-03-14T10:17:00%2B03:00");
        self.api
            .upload(&before, "id,size\nopening-v1,120400128\n")
            .await?;
        let compared = self.api.post(&format!("{path}/run"), &json!({})).await?;
        self.api
            .post(&format!("{path}/apply"), &json!({"kinds": ["missing"]}))
            .await?;
        // The alert named the media item. What can be measured are its files.
        let item = json!({"resources": [{"type": "media", "id": "interview"}]});
        self.api.post(&self.path("/affected/remove"), &item).await?;
        self.tell.fact(&format!(
            "The listing of readable files from 10:17, compared with the catalogue: {} files are missing, the two that were affected. \
            They are impaired until evidence shows otherwise.",
            compared["counts"]["missing"]
        ));
        self.api.upload(&format!("{path}/observed"), CATALOGUE).await?;
        self.api.post(&format!("{path}/run"), &json!({})).await?;
        let progress = self.api.get(&self.path("/recovery")).await?;
        let counts = &progress["counts"];
        self.tell.fact(&format!(
            "A new listing is the evidence: {} files are recovered, {} are impaired. So these people can be told that theirs is restored, \
            and nobody else would be.",
            counts["recovered"], counts["impaired"]
        ));
        if counts["recovered"] != 2 || counts["impaired"] != 0 {
            self.tell.alarm("the evidence did not count");
            self.complete = false;
        }
        let notice = json!({
            "phase": "recovery",
            "message": "Your files can be opened again. We have checked each of them against our catalogue.",
            "customer_action": {"required": false}
        });
        self.notify("recovery", notice, false).await?;
        self.tell
            .aside("Without Candor: \u{201c}it should work again\u{201d}, and nobody had looked.");
        Ok(())
    }

    async fn resolution(&mut self) -> Result<(), String> {
        let time = self.at("10:24")?;
        self.tell
            .step(&time, "Resolved: notify everybody who got the detection");
        let status = json!({"status": "resolved", "message": "No errors for five minutes"});
        self.api.post(&self.path("/status"), &status).await?;
        let notice = json!({
            "phase": "resolution",
            "message": "The failures that we wrote to you about are solved: your files can be opened again. We \
            will send you a report of what happened.",
            "customer_action": {"required": false}
        });
        self.notify("resolution", notice, false).await?;
        self.tell.aside(
            "Without Candor: the owner was notified at 10:24 and the two collaborators at 10:37. The \
        collaborators got only the resolution, because they had not got the detection.",
        );
        let metrics = self
            .api
            .get(&self.path("/metrics?time_zone=Africa/Nairobi"))
            .await?;
        let minutes = |value: &Value| format!("{} min", value.as_i64().unwrap_or(0) / 60);
        self.tell.fact(&format!(
            "From the timeline: notified after {}, mitigated after {}, impact {}. Detected {} = {}.",
            minutes(&metrics["time_to_notify"]),
            minutes(&metrics["time_to_mitigate"]),
            minutes(&metrics["impact"]),
            text(&metrics["times"]["detected_at"]),
            text(&metrics["local_times"]["detected_at"])
        ));
        Ok(())
    }

    /// Two customers press a button in the email of the resolution, as a browser does it.
    async fn answers(&mut self) -> Result<(), String> {
        let time = self.at("10:41")?;
        let answers = [
            (AFFECTED[0], "works", ""),
            (
                AFFECTED[1],
                "broken",
                "The second version of the interview still gives an error.",
            ),
        ];
        for (address, answer, text) in answers {
            let mails = self.catcher.mails();
            let mail = mails.iter().rfind(|mail| mail.to.iter().any(|to| to == address));
            // An email that did not arrive was reported by the step before.
            let Some(link) = mail.and_then(|mail| link(&mail.data, answer)) else {
                return Ok(());
            };
            self.api
                .form(&link, &[("answer", answer), ("text", text)])
                .await?;
        }
        self.tell.step(&time, "Does it work for them?");
        let answered = self.api.get(&self.path("/answers")).await?;
        let counts = &answered["counts"];
        self.tell.fact(&format!(
            "Each email has three links: Works for me, Still broken, I need help. Of {} people, {} answered that it works, {} that it is \
            still broken, and {} not at all.",
            counts["asked"], counts["works"], counts["broken"], counts["none"]
        ));
        let broken = self.api.get(&self.path("/answers?answer=broken")).await?;
        for answer in items(&broken) {
            self.tell.fact(&format!(
                "  {:<15} \u{201c}{}\u{201d}",
                text(&answer["name"]),
                text(&answer["text"])
            ));
        }
        self.tell.aside("Without Candor: nobody asked.");
        Ok(())
    }

    async fn report(&mut self) -> Result<(), String> {
        let time = self.at("15:30")?;
        self.tell.step(&time, "One report, three audiences");
        let report = json!({
            "title": "Some files could not be opened on 14 March 2024",
            "sections": [
                {"heading": "What happened", "audience": "public",
                 "text": "From 9:51 to 10:19 (Nairobi time) files of one kind of storage could not be opened. It \
                 was noticed and mended before a customer wrote to us."},
                {"heading": "What it meant for you", "audience": "customer",
                 "text": "Two versions of one media item of your project gave an error when they were opened. \
                 They were safe at all times."},
                {"heading": "Root cause", "audience": "internal",
                 "text": "The s3 handler was not registered in the StorageProviderRegistry after the second S3 \
                 pull request, while two files in the database still had provider = s3."}
            ]
        });
        self.api.put(&self.path("/report"), &report).await?;
        for (audience, whom) in [
            ("internal", "for our own team"),
            ("customer", "for customers"),
            ("public", "public"),
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
        let notice = json!({"phase": "report", "message": "This is the report of the incident that we wrote to \
        you about this morning."});
        self.notify("report", notice, false).await?;
        self.api.post(&self.path("/report/publish"), &json!({})).await?;
        self.tell.fact("The status page shows the public version.");
        let step = json!({"text": "Move the s3 files to a production bucket", "owner": "Clément",
            "link": "https://issues.quickbyte.example/320", "due_on": "2024-04-30"});
        self.api.post(&self.path("/next-steps"), &step).await?;
        let open = self.api.get("/api/v1/next-steps?status=open").await?;
        for step in items(&open) {
            self.tell.fact(&format!(
                "Next step, which stays open after the incident: {} ({}, due {}).",
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
                "{} events, from the import to the outcome of the last email. Each contains the hash of the \
                previous event, and the chain is intact.",
                verified["events"]
            ));
        } else {
            self.tell.alarm("the audit trail is not intact");
            self.complete = false;
        }
        let total = 4 * AFFECTED.len();
        if self.catcher.accepted() == total && self.complete {
            self.tell.fact(&format!(
                "{total} emails: 3 people got 4 notices each. Nobody was left out, and nobody got a notice twice."
            ));
        } else {
            self.tell.alarm(&format!(
                "{} emails arrived, but {total} were expected",
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

/// Returns the link of an email for this answer.
fn link(mail: &[u8], answer: &str) -> Option<String> {
    let message = mail_parser::MessageParser::default().parse(mail)?;
    let body = message.body_text(0)?;
    let ending = format!("?answer={answer}");
    let mut words = body.split_whitespace();
    words
        .find(|word| word.contains("/answers/") && word.ends_with(&ending))
        .map(str::to_owned)
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
