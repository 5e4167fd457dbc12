//! The code that all benches share: the other tools, the sink, the program itself, its directory, and the
//! figures.
//!
//! Every figure is measured. A missing tool is always reported. No process and no database remains after a
//! run.

#[allow(dead_code)] // Only the bench `intake` uses this module.
pub mod alertmanager;
pub mod candor;
pub mod figures;
pub mod machine;
pub mod postgres;
pub mod process;
pub mod sink;
pub mod story;
pub mod tools;

use std::process::ExitCode;

use tokio::runtime::Runtime;

/// A result whose error is a sentence. An error ends the run, because nothing can handle it.
pub type Result<T> = std::result::Result<T, String>;

/// Runs a bench and prints the reason if it fails. `cargo test --benches` also starts the program, without `--bench`. A test must not
/// put load on the machine, so nothing is measured then.
pub fn run(
    name: &str,
    bench: bool,
    runtime: std::io::Result<Runtime>,
    measure: impl Future<Output = Result<()>>,
) -> ExitCode {
    if !bench {
        println!("nothing is measured without --bench; run: cargo bench --bench {name}");
        return ExitCode::SUCCESS;
    }
    let done = runtime
        .context("a runtime")
        .and_then(|runtime| runtime.block_on(measure));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Adds the step that failed to an error.
pub trait Context<T> {
    /// Returns the error with `what: ` in front of it.
    ///
    /// # Errors
    /// The original error, with `what: ` in front of it. `None` becomes the text `what`.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        // `{:#}` also shows the source of the error, if the error type supports this.
        self.map_err(|error| format!("{what}: {error:#}"))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.ok_or_else(|| what.to_string())
    }
}
