//! The relay of `CANDOR_SMTP_URL`, and what is known about its state.
//!
//! The URL may contain a password, so it never appears in an error or a log.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::breaker::Breaker;
use crate::base::outage::Outage;
use crate::work::backoff::chance;
use lettre::transport::smtp::authentication::Credentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

/// The wait after the first failure to connect. It doubles with every further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The largest wait between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The largest size of a file with certificate authorities, in bytes.
const MAX_AUTHORITIES: u64 = 1024 * 1024;

/// How many connections in a row must end after the same number of emails before this number counts as a
/// limit.
const ENOUGH: u32 = 4;

/// A mail server that accepts the emails of Candor. Clones share what is known about it.
#[derive(Clone)]
pub struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<Credentials>,
    /// The largest number of emails on one connection, from the settings.
    pub(super) max_messages: Option<usize>,
    /// The certificate authorities that are trusted in addition to those of the machine.
    authorities: Vec<CertificateDer<'static>>,
    /// The host and the port.
    name: Arc<str>,
    /// Whether there is another mail server, so that this one can be passed over.
    replaceable: bool,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tls: OnceLock<TlsConnector>,
    health: Mutex<Health>,
    /// Whether it cannot be reached.
    outage: Outage,
    /// The number of emails after which the server closes its connections. 0 means that it is not known.
    learned_limit: AtomicUsize,
    /// The number of emails after which the server closed the last connection, and how many times in a row
    /// this was the same number.
    ended_after: Mutex<(usize, u32)>,
    /// Whether it gets emails, if there is another mail server.
    breaker: Mutex<Breaker>,
    /// The number of emails that it accepted.
    accepted: AtomicU64,
    /// The number of attempts that failed because of it.
    failures: AtomicU64,
}

#[derive(Default)]
struct Health {
    failures: u32,
    not_before: Option<Instant>,
    /// When a connection last succeeded.
    connected: Option<Instant>,
    /// When the first of the failures since then was.
    ill_since: Option<Instant>,
}

/// What this process knows about the mail server.
#[derive(Clone, Debug)]
pub struct RelayStanding {
    /// The host and the port.
    pub address: String,
    /// How long ago a connection last succeeded. None if there was none.
    pub connected: Option<Duration>,
    /// For how long no connection has succeeded. None if the last one succeeded, or there was none.
    pub unreachable: Option<Duration>,
    /// For how long it has got no emails because too many attempts failed. None if it gets them. Only a mail server beside
    /// another one can be passed over.
    pub passed_over: Option<Duration>,
    /// The number of emails that it accepted from this process.
    pub accepted: u64,
    /// The number of attempts of this process that failed because of it, and not because of a recipient.
    pub failures: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// STARTTLS is used if the server offers it.
    Opportunistic,
    /// STARTTLS is required. Without it, no email is sent.
    Required,
    /// The connection uses TLS from the first byte.
    Implicit,
    /// The connection is not encrypted, for example to a local relay.
    Plain,
}

impl Relay {
    /// Parses `smtp://[USER:PASSWORD@]HOST[:PORT][?tls=required|opportunistic|none][&max_messages=N]` or
    /// `smtps://…`.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL, because the URL may contain a password.
    pub fn parse(text: &str) -> Result<Relay, String> {
        let url = url::Url::parse(text).map_err(|_| "must be a URL such as smtp://localhost:25")?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or("has no host")?
            .trim_matches(['[', ']'])
            .to_owned();
        let mut security = match url.scheme() {
            "smtp" => Security::Opportunistic,
            "smtps" => Security::Implicit,
            _ => return Err("must begin with smtp:// or smtps://".to_owned()),
        };
        let mut max_messages = None;
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("tls", _) if security == Security::Implicit => {
                    return Err("must not have tls=, because smtps:// always uses TLS".to_owned());
                }
                ("tls", "required") => security = Security::Required,
                ("tls", "opportunistic") => security = Security::Opportunistic,
                ("tls", "none") => security = Security::Plain,
                ("tls", _) => return Err("tls= must be required, opportunistic or none".to_owned()),
                ("max_messages", number) => {
                    let number = number.parse().ok().filter(|number| *number > 0);
                    max_messages = Some(number.ok_or("max_messages= must be a whole number above 0")?);
                }
                _ => {
                    return Err(format!(
                        "'{name}' is not a known parameter; the parameters are tls and max_messages"
                    ));
                }
            }
        }
        let port = url
            .port()
            .unwrap_or(if security == Security::Implicit { 465 } else { 25 });
        let plain = |text: &str| {
            percent_decode(text).ok_or("the user or the password is not properly percent-encoded".to_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) => Some(Credentials::new(plain(user)?, plain(password)?)),
            _ => return Err("has a user but no password".to_owned()),
        };
        Ok(Relay {
            name: format!("{}:{port}", host.to_ascii_lowercase()).into(),
            replaceable: false,
            host,
            port,
            security,
            credentials,
            max_messages,
            authorities: Vec::new(),
            shared: Arc::default(),
        })
    }

    /// Adds the certificate authorities of a file with one or more certificates in PEM.
    ///
    /// # Errors
    /// A sentence with the name of the file, if the file cannot be read, or contains no certificate or an
    /// invalid one.
    pub fn trusting(mut self, file: &Path) -> Result<Relay, String> {
        let about = |reason: &str| format!("{}: {reason}", file.display());
        let metadata = std::fs::metadata(file).map_err(|error| about(&error.to_string()))?;
        if !metadata.is_file() || metadata.len() > MAX_AUTHORITIES {
            return Err(about("must be a file of at most 1 MB with certificates in PEM"));
        }
        let text = std::fs::read(file).map_err(|error| about(&error.to_string()))?;
        let mut store = rustls::RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(&text).enumerate() {
            let valid = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| {
                    store
                        .add(certificate.clone())
                        .map_err(|error| error.to_string())?;
                    Ok(certificate)
                })
                .map_err(|error| about(&format!("certificate {} is not valid: {error}", index + 1)))?;
            self.authorities.push(valid);
        }
        if self.authorities.is_empty() {
            return Err(about(
                "contains no certificate in PEM (-----BEGIN CERTIFICATE-----)",
            ));
        }
        // An existing TLS connector does not know the new authorities.
        self.shared = Arc::default();
        Ok(self)
    }

    /// Returns the largest number of emails on one connection, from the settings or learned from the server.
    pub(super) fn message_limit(&self) -> Option<usize> {
        let learned = self.shared.learned_limit.load(Ordering::Relaxed);
        [self.max_messages, (learned > 0).then_some(learned)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Records that the server closed a connection (421) after this number of emails. This can be a restart
    /// of the server. It counts as a limit only if it happens several times in a row after the same number.
    pub(super) fn learn_message_limit(&self, mails: usize) {
        let mut ended = self
            .shared
            .ended_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *ended = if ended.0 == mails {
            (mails, ended.1 + 1)
        } else {
            (mails, 1)
        };
        if ended.1 >= ENOUGH {
            self.shared.learned_limit.store(mails, Ordering::Relaxed);
        }
    }

    /// Returns when a connection may be tried again, if the last one failed.
    pub fn closed_until(&self) -> Option<Instant> {
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.not_before.filter(|at| *at > Instant::now())
    }

    /// Returns the host and the port, by which the mail server is named wherever it is shown.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns what this process knows about the mail server.
    pub fn standing(&self) -> RelayStanding {
        let passed_over = self.breaker().open_since().map(|at| at.elapsed());
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        RelayStanding {
            address: self.name.to_string(),
            connected: health.connected.map(|at| at.elapsed()),
            unreachable: health.ill_since.map(|at| at.elapsed()),
            passed_over,
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.shared.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is another mail server, so that this one is passed over when it fails.
    pub(super) fn replaceable(mut self) -> Relay {
        self.replaceable = true;
        self
    }

    /// Returns whether the mail server may get an email now. One that is alone always may.
    pub(super) fn admits(&self) -> bool {
        !self.replaceable || self.breaker().admits(Instant::now())
    }

    /// Returns when the breaker lets the mail server be tried again. `None` if it may be tried now.
    pub(super) fn breaker_until(&self, now: Instant) -> Option<Instant> {
        self.breaker().closed_until(now)
    }

    /// Records that the mail server accepted an email, or answered about it as it should.
    pub(super) fn did(&self, accepted: bool) {
        if accepted {
            self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if self.replaceable {
            self.breaker().succeeded();
        }
    }

    /// Records that an attempt failed because of the mail server.
    pub(super) fn failed(&self) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        if self.replaceable {
            self.breaker().failed(Instant::now(), 0.8 + 0.4 * chance());
        }
    }

    /// Records that a connection succeeded.
    pub(super) fn is_well(&self) {
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner) = Health {
            connected: Some(Instant::now()),
            ..Health::default()
        };
        if self.shared.outage.ends() {
            tracing::info!(
                host = self.host,
                port = self.port,
                "the mail server can be reached again"
            );
        }
    }

    /// Records that a connection failed at this step. All senders then wait. The wait grows with each failure and contains
    /// a random part. The log does not contain the reply of the server, because a server may repeat a password or an
    /// address. The attempts of the deliveries contain it.
    pub(super) fn is_ill(&self, step: &'static str) {
        if self.shared.outage.begins() {
            tracing::warn!(
                host = self.host,
                port = self.port,
                step,
                "the mail server cannot be reached; it is tried again, and the next line about it says that it can be \
                 reached. The attempts of the deliveries show the reason"
            );
        }
        let mut health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        health.ill_since.get_or_insert(now);
        if health.not_before.is_some_and(|at| at > now) {
            // Another sender has just recorded the same failure.
            return;
        }
        let pause = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(health.failures))
            .min(LONGEST_PAUSE);
        health.failures = health.failures.saturating_add(1).min(16);
        health.not_before = Some(now + pause.mul_f64(0.8 + 0.4 * chance()));
    }

    /// Returns the TLS connector with the certificate authorities of the machine and of the settings. It is
    /// made once.
    ///
    /// # Errors
    /// A sentence, if there are no certificate authorities or if TLS cannot be set up.
    pub(super) fn tls(&self) -> Result<TlsConnector, String> {
        if let Some(connector) = self.shared.tls.get() {
            return Ok(connector.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("this machine trusts no certificates (is ca-certificates installed?)".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(self.shared.tls.get_or_init(|| connector).clone())
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
