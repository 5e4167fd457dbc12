//! Runs Candor as its users run it: with the release binary, its settings and its API.

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

/// The number of open connections to the sink. It is the default of `CANDOR_SEND_CONCURRENCY`, and the other
/// senders use the same number.
pub const CONNECTIONS: usize = 32;
/// The longest time that a request may take. It is long, because notices to a million people are previewed.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often the service is asked whether it has finished, if this is expected soon. The service looks this
/// up in an index.
const SOON: Duration = Duration::from_millis(5);
/// How often the service is asked whether it has finished, if this can take seconds.
const LATER: Duration = Duration::from_millis(25);
/// How often the sink's counters are read. This costs neither the sink nor the service any time.
const LOOK: Duration = Duration::from_millis(10);
/// How many times a page is requested for the median. A slow page is requested fewer times.
const VIEWS: usize = 30;
const ADMIN: &str = "candor-admin-token-of-the-benches";
/// The key with which the service signs links.
pub const SECRET_KEY: &str = "candor-secret-key-of-the-benches-0123456789";

/// The kind of database that contains the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SQLite, which runs inside the process. Candor itself sets `synchronous=FULL`.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Kind {
    /// Returns the name that the table shows.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
        }
    }
}

/// A database for one measurement. It is deleted when this value is dropped.
pub struct Database<'a> {
    directory: tempfile::TempDir,
    server: Option<&'a Server>,
    postgres: Option<postgres::Database<'a>>,
}

impl<'a> Database<'a> {
    /// Makes a database and imports a directory with this many people by `candor import`. Prints how long the
    /// import took.
    ///
    /// # Errors
    /// The reason why a step failed.
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

    /// Makes a database without content. It does not even have tables.
    ///
    /// # Errors
    /// The reason why the database cannot be made.
    pub fn empty(scratch: &Path, server: Option<&'a Server>) -> Result<Self> {
        let mut new = Self::in_folder(scratch, server)?;
        new.postgres = server.map(|server| server.create(None)).transpose()?;
        Ok(new)
    }

    /// Creates the tables, runs `candor import` on a file, and then does the maintenance that PostgreSQL
    /// would do by itself a minute later. Only the import is measured.
    ///
    /// # Errors
    /// The reason why a step failed.
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
            output.read_to_string(&mut said).context("the output of candor")?;
        }
        process.ended().context("candor import")?;
        let seconds = started.elapsed().as_secs_f64();
        // A very short run has no samples of its memory.
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

    /// Runs `candor migrate`, which creates the tables.
    ///
    /// # Errors
    /// The reason why the program failed.
    pub fn migrate(&self) -> Result<()> {
        run(self.command()?.arg("migrate")).map(|_| ())
    }

    /// Returns the URL of the database, for [`candor::db::Db::open`].
    ///
    /// # Errors
    /// The reason why Candor does not accept the URL.
    pub fn url(&self) -> Result<candor::db::DatabaseUrl> {
        let url = match &self.postgres {
            Some(postgres) => postgres.url()?,
            None => format!("sqlite://{}", self.file().display()),
        };
        candor::db::DatabaseUrl::parse(&url)
    }

    /// Returns the URL of the PostgreSQL database.
    ///
    /// # Errors
    /// A sentence, if the database is an SQLite file.
    pub fn postgres_url(&self) -> Result<String> {
        self.postgres
            .as_ref()
            .context("the database is not on PostgreSQL")?
            .url()
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

    /// Makes another database with the same content. No process may use this database at the same time.
    ///
    /// # Errors
    /// The reason why the database cannot be copied.
    pub fn copy(&self, scratch: &Path) -> Result<Self> {
        let mut new = Self::in_folder(scratch, self.server)?;
        match (self.server, &self.postgres) {
            (Some(server), Some(postgres)) => new.postgres = Some(server.create(Some(postgres))?),
            _ => {
                fs::copy(self.file(), new.file()).context("copying the database")?;
                // The file is synced now, so that the disk does not write it during the measurement.
                File::open(new.file())
                    .and_then(|file| file.sync_all())
                    .context("copying the database")?;
            }
        }
        Ok(new)
    }

    /// Returns which kind of database it is.
    pub fn kind(&self) -> Kind {
        if self.server.is_some() {
            Kind::Postgres
        } else {
            Kind::Sqlite
        }
    }

    /// Returns the path of the SQLite file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("candor.db")
    }

    /// Returns a command that runs Candor with this database. It passes on no other setting of the
    /// environment.
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

    /// Starts the service with this database: `serve`, or `serve --no-workers`. The service sends emails to
    /// this port of 127.0.0.1.
    ///
    /// # Errors
    /// A sentence with the log of the service, if it does not start.
    pub fn serve(&self, smtp: u16, workers: bool) -> Result<Service> {
        self.started(&[smtp], workers)
    }

    /// Starts `serve` with one or two mail servers on these ports of 127.0.0.1.
    ///
    /// # Errors
    /// The same as [`Database::serve`].
    #[allow(dead_code)] // Only the bench `send` calls this function.
    pub fn serve_through(&self, smtp: &[u16]) -> Result<Service> {
        self.started(smtp, true)
    }

    fn started(&self, smtp: &[u16], workers: bool) -> Result<Service> {
        let log = self.directory.path().join("candor.log");
        let errors = File::create(&log).context(log.display())?;
        let mut command = self.command()?;
        command
            .env("CANDOR_LISTEN", "127.0.0.1:0")
            .env("CANDOR_ADMIN_TOKEN", ADMIN)
            .env("CANDOR_SECRET_KEY", SECRET_KEY)
            .env("CANDOR_MAIL_FROM", "Candor <candor@sender.example>")
            .env("CANDOR_PUBLIC_URL", "https://candor.sender.example")
            .env("CANDOR_SEND_CONCURRENCY", CONNECTIONS.to_string())
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(errors);
        for (name, port) in ["CANDOR_SMTP_URL", "CANDOR_SMTP_URL_2"].iter().zip(smtp) {
            command.env(name, format!("smtp://127.0.0.1:{port}"));
        }
        if !workers {
            command.arg("--no-workers");
        }
        let mut process = Guarded::spawn(&mut command)?;
        let output = process.child().stdout.take().context("the output of candor")?;
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

    /// Runs `candor audit verify`, which checks the whole audit chain.
    ///
    /// # Errors
    /// The reason why the chain is not intact.
    pub fn verify(&self) -> Result<()> {
        run(self.command()?.args(["audit", "verify"])).map(|_| ())
    }
}

/// The results of an import.
pub struct Imported {
    /// The text that the program printed.
    pub said: String,
    /// The seconds from the start of the program to its end.
    pub seconds: f64,
    /// The largest of the memory samples, in MiB.
    pub peak: f64,
    /// The memory of the program in MiB, ten times per second.
    pub memory: Vec<f64>,
}

/// A running Candor, which is killed when this value is dropped.
pub struct Service {
    process: Guarded,
    client: Client,
    base: String,
}

/// A notice that was previewed and approved.
pub struct Ready {
    /// The ID of the notice.
    pub notice: String,
    /// The incident of the notice, as the API returned it.
    pub incident: Value,
    digest: String,
    /// The number of recipients. Each recipient gets one email.
    pub recipients: u64,
    /// One of its emails, as the preview shows it.
    pub sample: Value,
}

/// A notice that has no pending deliveries left.
pub struct Finished {
    /// The seconds from the given start until the end of the notice was in the audit trail. The start is
    /// usually the answer to `POST …/send`, which is when the notice was queued.
    pub seconds: f64,
    /// The number of deliveries in each state.
    pub counts: Value,
}

impl Service {
    /// Returns the ID of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the URL of the service.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the IDs of the deliveries of a notice.
    ///
    /// # Errors
    /// The answer of the service, if it refuses a request.
    pub async fn deliveries(&self, ready: &Ready) -> Result<Vec<i64>> {
        self.of_deliveries(ready, |delivery| delivery["id"].as_i64())
            .await
    }

    /// Returns the mail servers that the deliveries of a notice name.
    ///
    /// # Errors
    /// The answer of the service, if it refuses a request.
    #[allow(dead_code)] // Only the bench `send` calls this function.
    pub async fn relays(&self, ready: &Ready) -> Result<Vec<String>> {
        let named = |delivery: &Value| Some(delivery["relay"].as_str()?.to_owned());
        self.of_deliveries(ready, named).await
    }

    async fn of_deliveries<T>(&self, ready: &Ready, of: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/notices/{}/deliveries?limit=500{cursor}", ready.notice);
            let page = self.get(&path).await?;
            let items = page["items"].as_array().context("the answer has no items")?;
            ids.extend(items.iter().filter_map(&of));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ids),
            }
        }
    }

    /// Returns the port on which the service listens.
    ///
    /// # Errors
    /// A sentence, if the URL of the service has no port.
    #[allow(dead_code)] // Only the bench `intake` calls this function.
    pub fn port(&self) -> Result<u16> {
        let port = self.base.rsplit(':').next().context("the URL has no port")?;
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

    /// Sends a GET request as the admin and returns the answer.
    ///
    /// # Errors
    /// The status and the body of the answer, if the service refuses the request.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(ADMIN, Method::GET, path, None).await
    }

    /// Sends a POST request as the admin and returns the answer.
    ///
    /// # Errors
    /// The status and the body of the answer, if the service refuses the request.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(ADMIN, Method::POST, path, Some(body)).await
    }

    /// Sends a PUT request with a body as the admin and returns the answer.
    ///
    /// # Errors
    /// The status and the body of the answer, if the service refuses the request.
    pub async fn put(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Value> {
        let what = format!("PUT {path}");
        let request = self.client.put(format!("{}{path}", self.base)).bearer_auth(ADMIN);
        let response = request
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .context(&what)?;
        let status = response.status();
        let text = response.text().await.context(&what)?;
        if !status.is_success() {
            return Err(format!("{what}: {status}: {text}"));
        }
        serde_json::from_str(&text).context(format!("{what}: {text}"))
    }

    /// Opens an incident that affects the resources of the selector.
    ///
    /// # Errors
    /// The answer of the service, if it refuses a request.
    pub async fn affecting(&self, selector: &Value) -> Result<Value> {
        let incident = json!({"title": "Files cannot be opened", "severity": "major"});
        let incident = self.post("/api/v1/incidents", &incident).await?;
        let path = format!("/api/v1/incidents/{}/affected", id(&incident)?);
        self.post(&path, selector).await?;
        Ok(incident)
    }

    /// Opens an incident that affects the resources of the shape's selector. Then drafts a notice of it,
    /// previews it and approves it.
    ///
    /// # Errors
    /// The answer of the service, if it refuses a request, or a sentence, if the preview does not have this
    /// many recipients.
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
                "the preview has {} recipients instead of {people}",
                preview["recipients"]
            ));
        }
        let digest = preview["digest"]
            .as_str()
            .context("the preview has no digest")?
            .to_owned();
        if preview["approval_required"] == true {
            let token = json!({"name": "a second person", "role": "approver"});
            let token = self.post("/api/v1/tokens", &token).await?;
            let second = token["token"].as_str().context("the answer has no token")?;
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

    /// Sends the notice. Returns the time of the service's answer, which is when the notice is queued.
    ///
    /// # Errors
    /// The answer of the service, if it refuses the request.
    pub async fn send(&self, ready: &Ready) -> Result<Instant> {
        self.post(
            &format!("/api/v1/notices/{}/send", ready.notice),
            &json!({"digest": ready.digest}),
        )
        .await?;
        Ok(Instant::now())
    }

    /// Waits for the audit event with this action on the notice.
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
                return Err(format!(
                    "the audit trail has no event {action} after {PATIENCE:?}"
                ));
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Waits until the notice is sent. It sends no request to the service until the sink has accepted as many
    /// emails as there are recipients.
    ///
    /// # Errors
    /// A sentence, if an email is missing at the sink or in the service's own counts.
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
                    "the sink accepted no email for two minutes, after {} of {} emails",
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
                "there are {} recipients, the sink accepted {taken} emails, and the audit trail counts: {}",
                ready.recipients, finished.counts
            ));
        }
        Ok(finished)
    }

    /// Waits until the end of the notice is in the audit trail. Its deliveries may have any final state.
    ///
    /// # Errors
    /// A sentence, if this does not happen in time.
    pub async fn recorded(&self, ready: &Ready, since: Instant) -> Result<Finished> {
        self.end(ready, since, LATER).await
    }

    async fn end(&self, ready: &Ready, since: Instant, every: Duration) -> Result<Finished> {
        let mut event = self.event(ready, "notice.finished", every).await?;
        let seconds = since.elapsed().as_secs_f64();
        // The state is read from the list of notices and not from the notice. For a single notice, the
        // service also computes the current audience. At this size that would be most of the memory and
        // processor time that is being measured.
        let list = self
            .get(&format!("/api/v1/incidents/{}/notices", id(&ready.incident)?))
            .await?;
        let state = &list["items"][0]["state"];
        if state != "sent" {
            return Err(format!("the state of the notice is {state} instead of sent"));
        }
        Ok(Finished {
            seconds,
            counts: event["after"]["counts"].take(),
        })
    }

    /// Returns the seconds until all deliveries are in the queue.
    ///
    /// # Errors
    /// A sentence, if this does not happen in time or if deliveries are missing.
    pub async fn expanded(&self, ready: &Ready, since: Instant) -> Result<f64> {
        let event = self.event(ready, "notice.expanded", SOON).await?;
        let seconds = since.elapsed().as_secs_f64();
        if event["after"]["deliveries"] != ready.recipients {
            return Err(format!(
                "there are {} recipients, but the expansion recorded: {}",
                ready.recipients, event["after"]
            ));
        }
        Ok(seconds)
    }

    /// Signs in to the admin pages and returns the cookie.
    ///
    /// # Errors
    /// The status of the answer, if the service refuses the token.
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

    /// Returns the seconds that a page takes. This is the median of several views, after a first view that is
    /// not counted.
    ///
    /// # Errors
    /// The status of the answer, if the service does not show the page.
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

    /// Returns the peak memory of the service, in MiB.
    ///
    /// # Errors
    /// A sentence, if the process has ended.
    pub fn peak(&self) -> Result<f64> {
        machine::peak(self.id())
    }

    /// Stops the service with SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// A sentence, if the service does not end in time or ends with an error.
    pub fn stop(self) -> Result<()> {
        self.process.terminate().context("candor")
    }
}

fn id(value: &Value) -> Result<String> {
    value["id"]
        .as_str()
        .map(str::to_owned)
        .context("the answer has no ID")
}
