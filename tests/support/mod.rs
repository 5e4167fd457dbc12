//! Shared code of the tests: a database for each test, the service in the process or as the real program, a
//! mail server, an HTTP client with useful messages, and the directory of the first story.
//!
//! Nothing here asserts a behaviour, except that every test leaves an intact audit trail.

mod app;
mod binary;
pub mod browser;
mod certificate;
pub mod comparisons;
mod databases;
pub mod evidence;
mod http;
pub mod https;
mod mail;
pub mod monitoring;
pub mod mysql_server;
mod notices;
mod postgres;
pub mod postgres_proxy;
pub mod product;
pub mod receiver;
pub mod recovery;
pub mod shop;
pub mod signed_hook;
mod small_disk;
pub mod smtp_script;
pub mod sns;
pub mod stamps;
pub mod story;
mod templates;
mod wait;

pub use app::TestApp;
pub use binary::Binary;
pub use certificate::Certificate;
pub use databases::{Another, Backend, Env, run, run_on_empty};
pub(crate) use databases::{on_both_databases, on_one_database};
pub use http::{ADMIN_TOKEN, Answer, Http, Request};
pub use mail::{Mail, recipients, without_token};
pub use notices::{complete, crowd, crowd_at, last_reply, outcomes};
pub use postgres::OwnServer;
pub use small_disk::{SMALL_DISK, SmallDisk};
pub use story::story_directory;
pub use wait::{DEADLINE, eventually, wait_until};
