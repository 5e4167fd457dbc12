//! A built-in SMTP server that stores emails, for the demo and the tests. It never forwards anything.
//!
//! It listens on the loopback interface, accepts emails and keeps them in memory. A [`Policy`] decides what
//! happens for each recipient, so that a test can reproduce every fault of a real server. This module is
//! independent of the rest of Candor. It never relays, looks up or resolves anything, never listens on an
//! external address, and the service never depends on it.

mod mailbox;
mod policy;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

pub use mailbox::CaughtMail;
use mailbox::{Open, Shared, lock};
pub use policy::{Attempt, Decision, Policy};
use session::Session;

/// A running server. When it is dropped, it stops and closes every connection.
pub struct Catcher {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Catcher {
    /// Listens on a free port of 127.0.0.1 and accepts everything. It needs a tokio runtime.
    ///
    /// # Errors
    /// An I/O error if there is no runtime or no free port.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Policy::accept_all())
    }

    /// Listens on a free port of 127.0.0.1 and decides with the given policy. It needs a tokio runtime.
    ///
    /// # Errors
    /// An I/O error if there is no runtime or no free port.
    pub fn start_with(policy: Policy) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            policy,
            mails: Mutex::default(),
            attempts: Mutex::default(),
            arrived: Notify::new(),
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        });
        let server = runtime.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server, `smtp://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Returns every email whose data arrived completely, in the order of arrival. This includes an email
    /// whose reply is held back or whose connection was dropped, because the server has received it.
    pub fn mails(&self) -> Vec<CaughtMail> {
        lock(&self.shared.mails).clone()
    }

    /// Returns the number of emails that [`Catcher::mails`] returns.
    pub fn accepted(&self) -> usize {
        lock(&self.shared.mails).len()
    }

    /// Returns how many times a client tried to send to this address, including refused attempts.
    pub fn attempts(&self, recipient: &str) -> usize {
        lock(&self.shared.attempts).get(recipient).copied().unwrap_or(0)
    }

    /// Returns the number of connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Returns the largest number of connections that were open at the same time.
    pub fn peak_connections(&self) -> usize {
        self.shared.peak.load(Ordering::SeqCst)
    }

    /// Waits until `n` emails have arrived in total, and returns all that arrived.
    ///
    /// # Errors
    /// The emails that arrived in time, if they are fewer.
    pub async fn wait_for(&self, n: usize, within: Duration) -> Result<Vec<CaughtMail>, Vec<CaughtMail>> {
        let enough = async {
            loop {
                // Register before the check, so that no arrival in between is missed.
                let mut arrived = std::pin::pin!(self.shared.arrived.notified());
                arrived.as_mut().enable();
                if self.accepted() >= n {
                    return;
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(within, enough).await {
            Ok(()) => Ok(self.mails()),
            Err(_) => Err(self.mails()),
        }
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // The set owns the connections, so aborting this task also closes them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // The error is about one connection, which has ended, or there are no free file
                    // descriptors, which is temporary.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let open = Open::new(Arc::clone(&shared));
                connections.spawn(async move {
                    // An error of a connection concerns only its client.
                    let _ = Session::new(stream, &open.0)?.run().await;
                    io::Result::Ok(())
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Semaphore;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Sends all of `input` at once and reads until the server closes the connection.
    async fn talk(catcher: &Catcher, input: &str) -> String {
        let mut stream = TcpStream::connect(catcher.address()).await.unwrap();
        stream.write_all(input.as_bytes()).await.unwrap();
        let mut output = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut output))
            .await
            .unwrap()
            .unwrap();
        output
    }

    fn codes(output: &str) -> Vec<&str> {
        output
            .lines()
            .filter(|line| line.as_bytes()[3] == b' ')
            .map(|line| &line[..3])
            .collect()
    }

    #[tokio::test]
    async fn a_pipelined_mail_is_caught_without_its_stuffing() {
        let catcher = Catcher::start().unwrap();
        let output = talk(
            &catcher,
            "EHLO me\r\nMAIL FROM:<a@b> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<c@d>\r\nDATA\r\n\
             Subject: one\r\n two\r\nTo: c@d\r\n\r\n..dot\r\nlone\n.\nend\r\n.\r\nQUIT\r\n",
        )
        .await;
        assert_eq!(
            codes(&output),
            ["220", "250", "250", "250", "354", "250", "221"],
            "{output}"
        );
        let mails = catcher.wait_for(1, SOON).await.unwrap();
        assert_eq!(mails[0].from, "a@b");
        assert_eq!(mails[0].to, ["c@d"]);
        assert_eq!(mails[0].header("subject").as_deref(), Some("one two"));
        assert!(
            mails[0]
                .text_lossy()
                .ends_with("\r\n\r\n.dot\r\nlone\n.\nend\r\n")
        );
    }

    #[tokio::test]
    async fn the_policy_sees_the_number_of_the_attempt() {
        let catcher = Catcher::start_with(Policy::new(|attempt| match (attempt.recipient, attempt.number) {
            ("slow@d", 1) => Decision::Temporary("450 come\r\nback".into()),
            ("never@d", _) => Decision::Permanent("no such user".into()),
            ("lost@d", _) => Decision::DropAfterData,
            _ => Decision::Accept,
        }))
        .unwrap();
        let output = talk(
            &catcher,
            "HELO me\r\nDATA\r\nMAIL FROM:<>\r\nRCPT TO:<slow@d>\r\nRCPT TO:<never@d>\r\nDATA\r\n\
             RCPT TO:<slow@d>\r\nRCPT TO:<lost@d>\r\nDATA\r\nHi\r\n.\r\nNOOP\r\n",
        )
        .await;
        assert!(
            output.contains("450 come  back\r\n550 no such user\r\n"),
            "{output}"
        );
        assert_eq!(
            codes(&output),
            [
                "220", "250", "503", "250", "450", "550", "554", "250", "250", "354"
            ]
        );
        assert_eq!(catcher.accepted(), 1);
        assert_eq!(catcher.attempts("slow@d"), 2);
    }

    #[tokio::test]
    async fn a_held_mail_is_answered_when_there_is_a_permit() {
        let permits = Arc::new(Semaphore::new(0));
        let hold = Arc::clone(&permits);
        let catcher = Catcher::start_with(Policy::new(move |_| Decision::Hold(Arc::clone(&hold)))).unwrap();
        let input = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nHi\r\n.\r\nQUIT\r\n";
        let (output, ()) = tokio::join!(talk(&catcher, input), async {
            assert_eq!(catcher.wait_for(1, SOON).await.unwrap().len(), 1);
            permits.add_permits(1);
        });
        assert!(
            output.contains("\r\n250 Caught ") && output.ends_with("\r\n221 Bye\r\n"),
            "{output}"
        );
        assert_eq!((permits.available_permits(), catcher.peak_connections()), (0, 1));
    }
}
