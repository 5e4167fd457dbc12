//! The command about the status page.

use std::path::PathBuf;
use std::process::ExitCode;

use candor::app;
use candor::base::error::Error;
use candor::base::time::Clock;
use candor::config::Config;
use candor::http::status_page::export;
use clap::Subcommand;

use crate::console;

/// A command about the status page.
#[derive(Subcommand)]
pub enum StatusCommand {
    /// Writes the whole status page as files, for a server of files or a CDN. An earlier export is replaced in one step.
    Export {
        /// The folder to write. It is new, empty or an earlier export, and not a mount point.
        dir: PathBuf,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// A sentence for the person at the terminal.
pub async fn run(config: &Config, command: StatusCommand) -> Result<ExitCode, String> {
    let StatusCommand::Export { dir } = command;
    let shown = |error: Error| error.chain();
    let site = app::site(config, config.base_url()).map_err(shown)?;
    let db = app::open_database(config, Clock::system()).await.map_err(shown)?;
    let written = export(&db, site, dir.clone()).await.map_err(shown)?;
    console::say(&format!("{written} files are written to {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
