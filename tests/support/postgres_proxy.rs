//! A proxy between the program and PostgreSQL that breaks a connection at a chosen statement.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

/// What happens to a connection whose client has just sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    No,
    /// The connection is broken before the server gets the message.
    Before,
    /// The server carries out the message, and its answer is lost.
    After,
}

type Rule = dyn Fn(&[u8]) -> Break + Send + Sync;

/// A running proxy. It stops and closes every connection when this value is dropped.
pub struct PostgresProxy {
    address: SocketAddr,
    url: Url,
    proxy: JoinHandle<()>,
}

impl PostgresProxy {
    /// Starts a proxy for the database of this URL. The rule gets every message that a client sends.
    pub fn start(database_url: &str, rule: impl Fn(&[u8]) -> Break + Send + Sync + 'static) -> Self {
        let url = Url::parse(database_url).expect("a URL");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("an address");
        let server = (
            url.host_str().unwrap_or("127.0.0.1").to_owned(),
            url.port().unwrap_or(5432),
        );
        let proxy = tokio::spawn(serve(listener, server, Arc::new(rule)));
        PostgresProxy { address, url, proxy }
    }

    /// Returns whether the server of this URL is reached over TCP, which the proxy needs.
    pub fn reaches(database_url: &str) -> bool {
        Url::parse(database_url).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
    }

    /// Returns the URL of the same database through the proxy.
    pub fn url(&self) -> String {
        let mut url = self.url.clone();
        url.set_ip_host(self.address.ip()).expect("a URL with a host");
        url.set_port(Some(self.address.port()))
            .expect("a URL with a host");
        url.to_string()
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

async fn serve(listener: TcpListener, server: (String, u16), rule: Arc<Rule>) {
    // The set owns the connections, so aborting this task also closes them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (server, rule) = (server.clone(), Arc::clone(&rule));
                connections.spawn(async move {
                    let server = TcpStream::connect((server.0.as_str(), server.1)).await?;
                    pass(client, server, &*rule).await
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, rule: &Rule) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let message = &asked[..read?];
                match rule(message) {
                    _ if message.is_empty() => return Ok(()),
                    Break::Before => return Ok(()),
                    Break::No => server.write_all(message).await?,
                    Break::After => {
                        server.write_all(message).await?;
                        // The answer shows that the server has carried out the message.
                        return server.read(&mut answered).await.map(|_| ());
                    }
                }
            }
            read = server.read(&mut answered) => {
                let message = &answered[..read?];
                if message.is_empty() {
                    return Ok(());
                }
                client.write_all(message).await?;
            }
        }
    }
}
