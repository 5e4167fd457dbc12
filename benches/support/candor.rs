//! Candor as anybody runs it: the release binary, its settings, its API.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::figures::Series;
use super::machine::{self, MemoryWatch};
use super::postgres::{self, Server};
use super::process::{Guarded, run};
use super::sink::Sink;
use super::story::Shape;
use super::{Context, Result};

/// Open connections to the sink: what `CANDOR_SEND_CONCURRENCY` is by default, and what the others are given.
pub const CONNECTIONS: usize = 32;
/// How long a request may take. Previews of a million people are asked for.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often the service is asked whether it is done, when that is expected soon. A look-up in an index.
const SOON: Duration = Duration::from_millis(5);
/// The same, when it can take seconds.
const LATER: Duration = Duration::from_millis(25);
/// How often the sink's counters are read; that costs neither side anything.
const LOOK: Duration = Duration::from_millis(10);
/// How often a page is asked for, to take the median; fewer times where it is slow.
const VIEWS: usize = 30;
const ADMIN: &str = "candor-admin-token-of-the-benches";

/// Where the data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Embedded; `synchronous=FULL` is the service's own setting.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// As in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
        }
    }
}

/// A database of its own, which is deleted with this.
pub struct Database<'a> {
    directory: tempfile::TempDir,
    server: Option<&'a Server>,
    postgres: Option<postgres::Database<'a>>,
}

impl<'a> Database<'a> {
    /// One that holds a directory of this many people, imported by `candor import`. Prints how long that took.
    ///
    /// # Errors
    /// Where something does not work.
    pub fn prepared(scratch: &Path, server: Option<&'a Server>, shape: Shape, people: u64) -> Result<Self> {
        let new = Self::empty(scratch, server)?;
        let lines = new.directory.path().join("directory.ndjson");
        shape.write(people, &lines)?;
        let imported = new.import(&lines)?;
        println!(
            "prepared  {}: {}, in {:.1} s",
            new.kind().name(),
            imported.said,
            imported.seconds
        );
        fs::remove_file(&lines).context(lines.display())?;
        Ok(new)
    }

    /// One without anything in it, not even tables.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn empty(scratch: &Path, server: Option<&'a Server>) -> Result<Self> {
        let mut new = Self::in_folder(scratch, server)?;
        new.postgres = server.map(|server| server.create(None)).transpose()?;
        Ok(new)
    }

    /// Runs `candor import` on a file, and what PostgreSQL would do by itself a minute later.
    ///
    /// # Errors
    /// Where something does not work.
    pub fn import(&self, lines: &Path) -> Result<Imported> {
        self.migrate()?;
        let started = Instant::now();
        let mut process = Guarded::spawn(
            self.command()?
                .arg("import")
                .arg(lines)
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let watch = MemoryWatch::start(process.id());
        let mut said = String::new();
        if let Some(mut output) = process.child().stdout.take() {
            output.read_to_string(&mut said).context("its output")?;
        }
        process.ended().context("candor import")?;
        let seconds = started.elapsed().as_secs_f64();
        // Too short a run has nothing to show.
        let memory = watch.end().unwrap_or_default();
        if let Some(postgres) = &self.postgres {
            postgres.tidy()?;
        }
        Ok(Imported {
            said: said.trim().to_owned(),
            seconds,
            peak: memory.iter().copied().fold(0.0, f64::max),
            memory,
        })
    }

    /// Runs `candor migrate`.
    ///
    /// # Errors
    /// Where it fails.
    pub fn migrate(&self) -> Result<()> {
        run(self.command()?.arg("migrate")).map(|_| ())
    }

    /// For [`candor::db::Db::open`].
    ///
    /// # Errors
    /// Where it is no URL that Candor takes.
    pub fn url(&self) -> Result<candor::db::DatabaseUrl> {
        let url = match &self.postgres {
            Some(postgres) => postgres.url()?,
            None => format!("sqlite://{}", self.file().display()),
        };
        candor::db::DatabaseUrl::parse(&url)
    }

    /// PostgreSQL's own.
    ///
    /// # Errors
    /// Where it is SQLite's.
    pub fn postgres_url(&self) -> Result<String> {
        self.postgres.as_ref().context("not PostgreSQL")?.url()
    }

    fn in_folder(scratch: &Path, server: Option<&'a Server>) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("candor-")
            .tempdir_in(scratch)
            .context(scratch.display())?;
        Ok(Self {
            directory,
            server,
            postgres: None,
        })
    }

    /// Another one with the same content. Nobody may be using this one.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn copy(&self, scratch: &Path) -> Result<Self> {
        let mut new = Self::in_folder(scratch, self.server)?;
        match (self.server, &self.postgres) {
            (Some(server), Some(postgres)) => new.postgres = Some(server.create(Some(postgres))?),
            _ => {
                fs::copy(self.file(), new.file()).context("copying the database")?;
                // Written out now, not while we measure.
                File::open(new.file())
                    .and_then(|file| file.sync_all())
                    .context("copying the database")?;
            }
        }
        Ok(new)
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        if self.server.is_some() {
            Kind::Postgres
        } else {
            Kind::Sqlite
        }
    }

    /// SQLite's file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("candor.db")
    }

    /// The program, with this database and nothing else set.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor"));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"CANDOR_") {
                command.env_remove(name);
            }
        }
        let url = match &self.postgres {
            Some(postgres) => postgres.url()?,
            None => format!("sqlite://{}", self.file().display()),
        };
        command
            .env("CANDOR_DATABASE_URL", url)
            .current_dir(self.directory.path());
        Ok(command)
    }

    /// Starts the service on it: `serve`, or `serve --no-workers`. Mails go to that port of this machine.
    ///
    /// # Errors
    /// Where it does not start; with its log.
    pub fn serve(&self, smtp: u16, workers: bool) -> Result<Service> {
        let log = self.directory.path().join("candor.log");
        let errors = File::create(&log).context(log.display())?;
        let mut command = self.command()?;
        command
            .env("CANDOR_LISTEN", "127.0.0.1:0")
            .env("CANDOR_ADMIN_TOKEN", ADMIN)
            .env("CANDOR_SMTP_URL", format!("smtp://127.0.0.1:{smtp}"))
            .env("CANDOR_MAIL_FROM", "Candor <candor@sender.example>")
            .env("CANDOR_PUBLIC_URL", "https://candor.sender.example")
            .env("CANDOR_SEND_CONCURRENCY", CONNECTIONS.to_string())
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(errors);
        if !workers {
            command.arg("--no-workers");
        }
        let mut process = Guarded::spawn(&mut command)?;
        let output = process.child().stdout.take().context("its output")?;
        let url = BufReader::new(output)
            .lines()
            .map_while(std::result::Result::ok)
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let Some(base) = url else {
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("candor does not start: {log}"));
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .context("an HTTP client")?;
        Ok(Service {
            process,
            client,
            base,
        })
    }

    /// Walks the audit chain; it must hold.
    ///
    /// # Errors
    /// Where it does not.
    pub fn verify(&self) -> Result<()> {
        run(self.command()?.args(["audit", "verify"])).map(|_| ())
    }
}

/// What an import took.
pub struct Imported {
    /// What the program printed.
    pub said: String,
    /// Seconds, its start included.
    pub seconds: f64,
    /// MiB at most.
    pub peak: f64,
    /// MiB, every tenth of a second.
    pub memory: Vec<f64>,
}

/// A running service.
pub struct Service {
    process: Guarded,
    client: Client,
    base: String,
}

/// A notice that has been previewed and approved.
pub struct Ready {
    /// Its id.
    pub notice: String,
    /// Of its incident.
    pub incident: Value,
    digest: String,
    /// How many mails it will be.
    pub recipients: u64,
    /// One of its mails, as previewed.
    pub sample: Value,
}

/// A notice of which nothing waits any more.
pub struct Finished {
    /// From the answer to `POST …/send`, so from the moment that it was queued, until its end was on record.
    pub seconds: f64,
    /// Mails in each state.
    pub counts: Value,
}

impl Service {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The port that it listens on.
    ///
    /// # Errors
    /// Where its URL has none.
    #[allow(dead_code)] // not every bench needs it
    pub fn port(&self) -> Result<u16> {
        let port = self.base.rsplit(':').next().context("no port")?;
        port.parse().context("the port")
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = format!("{method} {path}");
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.context(&what)?;
        let status = response.status();
        let text = response.text().await.context(&what)?;
        if !status.is_success() {
            return Err(format!("{what}: {status}: {text}"));
        }
        serde_json::from_str(&text).context(format!("{what}: {text}"))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// Where the service refuses.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(ADMIN, Method::GET, path, None).await
    }

    /// Asks it to do something.
    ///
    /// # Errors
    /// Where the service refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(ADMIN, Method::POST, path, Some(body)).await
    }

    /// Opens an incident that affects what the selector says.
    ///
    /// # Errors
    /// Where the service refuses.
    pub async fn affecting(&self, selector: &Value) -> Result<Value> {
        let incident = json!({"title": "Files cannot be opened", "severity": "major"});
        let incident = self.post("/api/v1/incidents", &incident).await?;
        let path = format!("/api/v1/incidents/{}/affected", id(&incident)?);
        self.post(&path, selector).await?;
        Ok(incident)
    }

    /// Opens an incident that affects what the shape's selector says, and drafts, previews and approves its notice.
    ///
    /// # Errors
    /// Where the service refuses, or the preview is not of everybody.
    pub async fn ready(&self, shape: Shape, people: u64) -> Result<Ready> {
        let incident = self.affecting(&shape.selector()).await?;
        let path = format!("/api/v1/incidents/{}", id(&incident)?);
        let draft = json!({
            "phase": "detection",
            "message": "Since this morning, some files cannot be opened or downloaded.\n\n\
                Your files are safe; a change of ours has made the way to them unreachable. We are undoing it.",
            "customer_action": {"required": false},
        });
        let draft = self.post(&format!("{path}/notices"), &draft).await?;
        let notice = id(&draft)?;
        let path = format!("/api/v1/notices/{notice}");
        let mut preview = self.get(&format!("{path}/preview")).await?;
        if preview["recipients"] != people {
            return Err(format!(
                "the preview is of {} people, not {people}",
                preview["recipients"]
            ));
        }
        let digest = preview["digest"]
            .as_str()
            .context("a preview without a digest")?
            .to_owned();
        if preview["approval_required"] == true {
            let token = json!({"name": "a second person", "role": "approver"});
            let token = self.post("/api/v1/tokens", &token).await?;
            let second = token["token"].as_str().context("no token")?;
            self.call(
                second,
                Method::POST,
                &format!("{path}/approve"),
                Some(&json!({"digest": digest})),
            )
            .await?;
        }
        Ok(Ready {
            notice,
            incident,
            digest,
            recipients: people,
            sample: preview["samples"][0].take(),
        })
    }

    /// Sends it. Answers when the service does, which is when it is queued.
    ///
    /// # Errors
    /// Where the service refuses.
    pub async fn send(&self, ready: &Ready) -> Result<Instant> {
        self.post(
            &format!("/api/v1/notices/{}/send", ready.notice),
            &json!({"digest": ready.digest}),
        )
        .await?;
        Ok(Instant::now())
    }

    /// Waits for the audit event of that action on the notice.
    async fn event(&self, ready: &Ready, action: &str, every: Duration) -> Result<Value> {
        let path = format!(
            "/api/v1/audit?subject=notice/{}&action={action}&limit=1",
            ready.notice
        );
        let started = Instant::now();
        loop {
            let mut answer = self.get(&path).await?;
            if let Some(event) = answer["items"].get_mut(0) {
                return Ok(event.take());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("no {action} within {PATIENCE:?}"));
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Waits until it is sent. Leaves the service alone until the sink has taken as many mails as there are recipients.
    ///
    /// # Errors
    /// Where a mail is missing, at the sink or in the service's own account.
    pub async fn finished(
        &self,
        ready: &Ready,
        since: Instant,
        sink: &Sink,
        before: u64,
    ) -> Result<Finished> {
        let wanted = before + ready.recipients;
        let mut moved = (Instant::now(), before);
        loop {
            let taken = sink.taken()?;
            if taken >= wanted {
                break;
            }
            if taken > moved.1 {
                moved = (Instant::now(), taken);
            } else if moved.0.elapsed() > Duration::from_secs(120) {
                return Err(format!(
                    "no mail for two minutes, after {} of {}",
                    taken - before,
                    ready.recipients
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        let finished = self.end(ready, since, SOON).await?;
        let taken = sink.taken()? - before;
        if finished.counts["sent"] != ready.recipients || taken != ready.recipients {
            return Err(format!(
                "{} recipients, {taken} mails at the sink, on record: {}",
                ready.recipients, finished.counts
            ));
        }
        Ok(finished)
    }

    /// Waits until the end of the notice is on record, whatever became of its mails.
    ///
    /// # Errors
    /// Where that never happens.
    pub async fn recorded(&self, ready: &Ready, since: Instant) -> Result<Finished> {
        self.end(ready, since, LATER).await
    }

    async fn end(&self, ready: &Ready, since: Instant, every: Duration) -> Result<Finished> {
        let mut event = self.event(ready, "notice.finished", every).await?;
        let seconds = since.elapsed().as_secs_f64();
        // From the list, not from the notice itself, which also looks at who is affected now: at that size it would
        // be most of the memory and of the processor time that is being measured.
        let list = self
            .get(&format!("/api/v1/incidents/{}/notices", id(&ready.incident)?))
            .await?;
        let state = &list["items"][0]["state"];
        if state != "sent" {
            return Err(format!("the notice is {state}, not sent"));
        }
        Ok(Finished {
            seconds,
            counts: event["after"]["counts"].take(),
        })
    }

    /// Seconds until its deliveries are all in the queue.
    ///
    /// # Errors
    /// Where that never happens, or not all are.
    pub async fn expanded(&self, ready: &Ready, since: Instant) -> Result<f64> {
        let event = self.event(ready, "notice.expanded", SOON).await?;
        let seconds = since.elapsed().as_secs_f64();
        if event["after"]["deliveries"] != ready.recipients {
            return Err(format!(
                "{} recipients, expanded: {}",
                ready.recipients, event["after"]
            ));
        }
        Ok(seconds)
    }

    /// Signs in to the admin pages, and gives the cookie.
    ///
    /// # Errors
    /// Where the door stays shut.
    pub async fn sign_in(&self) -> Result<String> {
        let answer = self
            .client
            .post(format!("{}/admin/sign-in", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={ADMIN}"))
            .send()
            .await
            .context("signing in")?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        match (header(LOCATION.as_str()), header(SET_COOKIE.as_str())) {
            (Some("/admin"), Some(cookie)) => Ok(cookie.split(';').next().unwrap_or_default().to_owned()),
            _ => Err(format!("signing in: {}", answer.status())),
        }
    }

    /// Seconds that a page takes: the median, after one view that is not counted.
    ///
    /// # Errors
    /// Where it is not shown.
    pub async fn page(&self, cookie: &str, path: &str) -> Result<f64> {
        let mut times = Series::default();
        let mut spent = Duration::ZERO;
        for view in 0..=VIEWS {
            let started = Instant::now();
            let answer = self
                .client
                .get(format!("{}{path}", self.base))
                .header(COOKIE, cookie)
                .send()
                .await
                .context(path)?;
            let status = answer.status();
            answer.bytes().await.context(path)?;
            if status != 200 {
                return Err(format!("{path}: {status}"));
            }
            if view > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
            spent += started.elapsed();
            if view > 2 && spent > Duration::from_secs(10) {
                break;
            }
        }
        Ok(times.median())
    }

    /// MiB of memory that it had in use at most.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn peak(&self) -> Result<f64> {
        machine::peak(self.id())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn stop(self) -> Result<()> {
        self.process.terminate().context("candor")
    }
}

fn id(value: &Value) -> Result<String> {
    value["id"]
        .as_str()
        .map(str::to_owned)
        .context("an answer without an id")
}
