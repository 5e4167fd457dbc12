//! Runs the service in the process of the test, with its own database, mail server and clock.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use candor::app::Running;
use candor::base::time::{Clock, Timestamp};
use candor::config::Config;
use candor::delivery::calling::EndpointChannel;
use candor::delivery::endpoints::Endpoints;
use candor::demo::catcher::{Catcher, Policy};

use super::databases::Env;
use super::http::{ADMIN_TOKEN, Http};
use super::mail::Mail;
use super::wait::DEADLINE;

/// A running service. Calls on it are requests with the admin token. Each test ends with `finish`.
pub struct TestApp {
    pub env: Env,
    pub catcher: Catcher,
    pub clock: Clock,
    config: Config,
    channels: Vec<Arc<dyn EndpointChannel>>,
    http: Http,
    running: Option<Running>,
}

/// Changes the default settings of the service for a test.
pub struct Builder {
    env: Env,
    clock: Clock,
    smtp_policy: Policy,
    without_smtp: bool,
    relay: Option<String>,
    config: Config,
    channels: Vec<Arc<dyn EndpointChannel>>,
}

impl Builder {
    /// Uses a clock that stays at this time until the test moves it.
    pub fn at(mut self, time: &str) -> Self {
        self.clock = Clock::manual(time_of(time));
        self
    }

    pub fn smtp_policy(mut self, policy: Policy) -> Self {
        self.smtp_policy = policy;
        self
    }

    /// Writes emails as files to `outbox` in the directory of the test.
    pub fn without_smtp(mut self) -> Self {
        self.without_smtp = true;
        self
    }

    /// Sends emails to this server instead of the catcher.
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relay = Some(url.into());
        self
    }

    pub fn max_audience(self, people: usize) -> Self {
        self.config(|config| config.max_audience = people)
    }

    pub fn send_concurrency(self, connections: usize) -> Self {
        self.config(|config| config.send_concurrency = connections)
    }

    pub fn retry_schedule(self, waits: impl Into<Vec<Duration>>) -> Self {
        self.config(|config| config.retry_schedule = waits.into())
    }

    /// Sets whether this process sends deliveries.
    pub fn workers(self, on: bool) -> Self {
        self.config(|config| config.workers = on)
    }

    /// Adds a channel to systems of accounts.
    pub fn channel(mut self, channel: Arc<dyn EndpointChannel>) -> Self {
        self.channels.push(channel);
        self
    }

    /// Changes any other setting.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub async fn start(mut self) -> TestApp {
        let catcher = Catcher::start_with(self.smtp_policy).expect("a mail server");
        self.config.smtp_url = match self.relay {
            Some(url) => Some(url),
            None => (!self.without_smtp).then(|| catcher.url()),
        };
        let running = start(&self.config, &self.clock, &self.channels).await;
        let http = Http::new(&running.base_url(), Some(ADMIN_TOKEN));
        TestApp {
            env: self.env,
            catcher,
            clock: self.clock,
            config: self.config,
            channels: self.channels,
            http,
            running: Some(running),
        }
    }
}

impl TestApp {
    pub async fn start(env: &Env) -> Self {
        Self::builder(env).start().await
    }

    pub fn builder(env: &Env) -> Builder {
        let mut config = Config::for_test(&env.database_url);
        config.admin_token = Some(ADMIN_TOKEN.to_owned());
        config.outbox = env.directory.join("outbox");
        Builder {
            env: env.clone(),
            clock: Clock::system(),
            smtp_policy: Policy::accept_all(),
            without_smtp: false,
            relay: None,
            config,
            channels: Vec::new(),
        }
    }

    /// Sets a clock that was made with `Builder::at`.
    pub fn set_clock(&self, time: &str) {
        self.clock.set(time_of(time));
    }

    /// Waits for `n` emails and returns all that have arrived. It fails after a deadline if there are fewer,
    /// and if there are more.
    pub async fn mails(&self, n: usize) -> Vec<Mail> {
        let caught = self
            .catcher
            .wait_for(n, DEADLINE)
            .await
            .unwrap_or_else(|fewer| fewer);
        let mails: Vec<Mail> = caught.iter().map(Mail::read).collect();
        let shown: Vec<_> = mails.iter().map(|mail| (&mail.to, &mail.subject)).collect();
        assert_eq!(
            mails.len(),
            n,
            "expected {n} mails, got {}: {shown:#?}",
            mails.len()
        );
        mails
    }

    /// Returns a page as HTML, as a signed-in admin gets it.
    pub async fn admin_page(&self, path: &str) -> String {
        let form = format!("token={ADMIN_TOKEN}");
        let signed = self
            .anonymous()
            .post_raw("/admin/sign-in", "application/x-www-form-urlencoded", form)
            .await
            .expect(303);
        let cookie = signed
            .header("set-cookie")
            .split(';')
            .next()
            .expect("a cookie")
            .to_owned();
        let page = self
            .anonymous()
            .request(reqwest::Method::GET, path)
            .header("cookie", cookie)
            .send()
            .await
            .expect(200);
        assert!(page.text.contains("</html>"), "{path}: {}", page.text);
        page.text
    }

    /// Stops the service and starts it again with the same database and another port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops the service, changes its settings, and starts it again with the same database.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop().await;
        change(&mut self.config);
        self.start_again().await;
    }

    /// Starts the service again with the same database after it was stopped.
    pub async fn start_again(&mut self) {
        let running = start(&self.config, &self.clock, &self.channels).await;
        self.http = Http::new(&running.base_url(), Some(ADMIN_TOKEN));
        self.running = Some(running);
    }

    /// Stops the service, sets a clock that was made with `Builder::at`, and starts the service again.
    pub async fn down_until(&mut self, time: &str) {
        self.stop().await;
        self.set_clock(time);
        self.start_again().await;
    }

    /// Returns `http://ADDRESS:PORT`.
    pub fn base(&self) -> String {
        self.running.as_ref().expect("a running service").base_url()
    }

    /// Ends a test. The audit trail must be intact, the service must stop in time, and the stored counts must
    /// agree with the deliveries.
    pub async fn finish(mut self) {
        let verified = self.get("/api/v1/audit/verify").await.expect(200);
        assert_eq!(verified["ok"], true, "the audit chain does not hold: {verified}");
        self.stop().await;
        let counted = self.env.texts(
            "SELECT notice_id || ' ' || channel || ' ' || state || ' ' || CAST(count AS TEXT) AS value \
             FROM delivery_counts WHERE count <> 0 ORDER BY value",
        );
        let there = self.env.texts(
            "SELECT notice_id || ' ' || channel || ' ' || state || ' ' || CAST(COUNT(*) AS TEXT) AS value \
             FROM deliveries GROUP BY notice_id, channel, state ORDER BY value",
        );
        assert_eq!(counted, there, "deliveries are counted wrongly");
    }

    /// Stops the service. `start_again` starts it.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("a running service");
        tokio::time::timeout(DEADLINE, running.stop())
            .await
            .expect("the service did not stop in time");
    }
}

impl Deref for TestApp {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(
            self.running.is_none() || std::thread::panicking(),
            "a test must end with `app.finish().await`, which checks the audit chain"
        );
    }
}

async fn start(config: &Config, clock: &Clock, channels: &[Arc<dyn EndpointChannel>]) -> Running {
    let sms = config.sms().expect("the settings of short messages");
    let builtin = Endpoints::builtin(config.webhook_allow, sms.as_ref()).expect("the built-in channels");
    let endpoints = channels.iter().cloned().fold(builtin, |all, one| all.with(one));
    match candor::app::start_with(config.clone(), clock.clone(), endpoints).await {
        Ok(running) => running,
        Err(error) => panic!("the service did not start: {error} ({error:?})"),
    }
}

fn time_of(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
